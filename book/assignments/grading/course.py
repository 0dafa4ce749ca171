"""nbgrader's course, built in a folder of its own: release, grade, feedback, gradebook."""

import csv
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveAutoGrades
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from grading import release
from grading.session import Limits, Session, Workers
from grading.submissions import TEST, Cell, Submission

SOURCES = Path(__file__).parents[1]
PROGRAMS = str(Path(sys.executable).parent)  # nbgrader starts alembic by its name alone


class Course:
    """nbgrader's folders and gradebook in `folder`, for the assignments in `sources`.

    `gradebook.db` stands in `folder`; what nbgrader makes on the way, in `folder/course`.
    """

    def __init__(self, folder: Path, sources: Path = SOURCES) -> None:
        if PROGRAMS not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = PROGRAMS + os.pathsep + os.environ["PATH"]
        self.folder = folder.resolve()
        self.assignments = sorted(path.stem for path in sources.glob("[0-9]*.ipynb"))
        config = Config()
        config.CourseDirectory.root = str(self.folder / "course")
        config.CourseDirectory.db_url = f"sqlite:///{self.folder / 'gradebook.db'}"
        config.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # your code here"}
        self.config = config
        self.sources = {}
        for name in self.assignments:
            self.sources[name] = nbformat.read(sources / f"{name}.ipynb", as_version=4)
            _write(self.sources[name], self._path("source", ".", name))
        self.released = {}

    def release(self) -> None:
        """Take solutions and hidden tests out of every source, and enter it in the gradebook."""
        for name in self.assignments:
            self._convert(GenerateAssignment, name, ".")
            path = self._path("release", ".", name)
            self.released[name] = nbformat.read(path, as_version=4)

    def write_student_versions(self, folder: Path) -> list[Path]:
        """One notebook an assignment that runs alone: its paths."""
        paths = []
        for name, notebook in self.released.items():
            paths.append(folder / f"{name}.ipynb")
            _write(release.student_version(notebook), paths[-1])
        return paths

    def grade(self, submission: Submission, workers: Workers, limits: Limits) -> list[str]:
        """Grade one submission, write its feedback page, and say what failed to run."""
        name, student = submission.assignment, submission.student
        source, released = self.sources[name], self.released[name]
        notebook, notes = release.assemble(submission.cells, source, released)
        _write(notebook, self._path("submitted", student, name))
        session = Session(workers, release.setup(source).source, limits)
        try:
            confined = Confined(session, released, notes.append)
            self._convert(
                Autograde,
                name,
                student,
                sanitize_preprocessors=[],
                autograde_preprocessors=[confined, SaveAutoGrades, confined.hide_tests],
            )
        finally:
            session.end()
        self._convert(GenerateFeedback, name, student)
        page = self._path("feedback", student, name).with_suffix(".html").read_text()
        # The page asks for nothing elsewhere: formulas stay as they were typed.
        page = re.sub(r'<script[^>]*\ssrc="http.*?</script>', "", page, flags=re.DOTALL)
        feedback = self.folder / "feedback" / student / f"{name}.html"
        feedback.parent.mkdir(parents=True, exist_ok=True)
        feedback.write_text(page)
        return notes

    def grades(self) -> pd.DataFrame:
        """A row for each student and assignment in the gradebook: points by task, and in all."""
        rows = []
        with Gradebook(self.config.CourseDirectory.db_url) as gradebook:
            for assignment in gradebook.assignments:
                for submission in assignment.submissions:
                    row = {"student": submission.student.id, "assignment": assignment.name}
                    for grade in submission.notebooks[0].grades:
                        task = "task " + ".".join(grade.name.split("-")[1:3])
                        row[task] = row.get(task, 0) + grade.score
                    row |= {"points": submission.score, "of": assignment.max_score}
                    rows.append(row)
        table = pd.DataFrame(rows, columns=["student", "assignment", "points", "of"])
        tasks = sorted({key for row in rows for key in row} - set(table))
        table = pd.DataFrame(rows, columns=["student", "assignment", *tasks, "points", "of"])
        return table.sort_values(["assignment", "student"], ignore_index=True)

    def write_grades(self) -> Path:
        """Write `grades.csv`; what a spreadsheet would take for a formula is quoted."""
        path = self.folder / "grades.csv"
        table = self.grades()
        table["student"] = table["student"].str.replace(r"^(?=[=+@-])", "'", regex=True)
        table.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC)
        return path

    def _path(self, step: str, student: str, name: str) -> Path:
        return self.folder / "course" / step / student / name / f"{name}.ipynb"

    def _convert(self, converter: type, name: str, student: str, **traits) -> None:
        directory = CourseDirectory(config=self.config)
        directory.assignment_id = name
        directory.student_id = student
        log = logging.getLogger("grading.nbgrader")
        log.setLevel(logging.ERROR)
        task = converter(coursedir=directory, config=self.config, log=log, force=True)
        for trait, value in traits.items():
            setattr(task, trait, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)
            task.start()


class Confined(Preprocessor):
    """Run the student's cells in the confined process and the tests here, in their order."""

    enabled = True

    def __init__(
        self, session: Session, released: NotebookNode, note: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.session, self.note = session, note
        self.public = {
            cell.metadata.nbgrader.grade_id: cell.source
            for cell in released.cells
            if "nbgrader" in cell.metadata
        }

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        for cell in nb.cells:
            if cell.cell_type != "code":
                continue
            cell.execution_count = None
            if Cell("code", cell.source).marker(TEST):
                said = self.session.test(cell.source)
                cell.outputs = [_failure(said)] if said else []
            else:
                outputs, error = self.session.run(cell.source)
                cell.outputs = [NotebookNode(output) for output in outputs]
                if error:
                    cell.outputs.append(_failure(error))
                    first = cell.source.strip().splitlines()[:1]
                    self.note(f"{first[0] if first else 'an empty cell'}: {error}")
        return nb, resources

    def hide_tests(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Show of each test what the student version shows."""
        for cell in nb.cells:
            if Cell(cell.cell_type, cell.source).marker(TEST):
                cell.source = self.public[cell.metadata.nbgrader.grade_id]
        return nb, resources


def _failure(message: str) -> NotebookNode:
    return new_output("error", ename="Not right", evalue=message, traceback=[message])


def _write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
