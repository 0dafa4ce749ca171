"""nbgrader's course, built in a folder of its own: release, grade, feedback, gradebook."""

import contextlib
import csv
import io
import itertools
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.api import Assignment, Gradebook, MissingEntry, Student, SubmittedAssignment
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveAutoGrades
from sqlalchemy.exc import SAWarning, SQLAlchemyError
from traitlets.config import Config

from grading import names, release
from grading.apart import Apart, StoppedError
from grading.archives import GRADEBOOK
from grading.roster import Person, key, scope
from grading.session import SAID, Limits, judge
from grading.submissions import TEST, Cell, Submission
from grading.workers import START_SECONDS
from resnets.files import whole_file

SOURCES = Path(__file__).parents[1]
BUSY = 60  # seconds: pages are read from the gradebook while grades are entered
PROGRAMS = str(Path(sys.executable).parent)  # nbgrader starts alembic by its name alone
# The first thing in a page: it may run no script and load nothing.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:; font-src data:\"/>"
)


def assignments(sources: Path) -> list[str]:
    """The names of the assignments in this folder."""
    return sorted(path.stem for path in sources.glob("[0-9]*.ipynb"))


class NotMergedError(Exception):
    """The results of two shards do not go together; the message says why."""


@dataclass(frozen=True)
class Judged:
    """A submission as it was run, and of each code cell the outputs and what was wrong."""

    submission: Submission
    notebook: NotebookNode
    cells: list
    notes: list[str]


def numbers(folder: Path) -> dict[str, str]:
    """The students in the gradebook in `folder`, by the numbers that platforms gave them."""
    if not (folder / GRADEBOOK).exists():
        return {}
    with Gradebook(_config(folder.resolve()).CourseDirectory.db_url) as gradebook:
        return {number: one.last_name for one in gradebook.students for number in _numbers(one)}


def check_same(shards: list[Path], output: Path, sources: Path) -> None:
    """Whether what was graded into the folders `shards` goes together, and with that in `output`.

    Raises:
        NotMergedError: one cannot be read, has other tests or points than the assignments in
            `sources`, or another person under the same name.
    """
    points = {
        name: _points(nbformat.read(sources / f"{name}.ipynb", as_version=4))
        for name in assignments(sources)
    }
    people = defaultdict(list)
    for folder in [output] * (output / GRADEBOOK).exists() + shards:
        try:
            with Gradebook(_config(folder.resolve()).CourseDirectory.db_url) as gradebook:
                for student in gradebook.students:
                    name = student.last_name or student.id
                    one = _Entered(folder, name, student.first_name, set(_numbers(student)))
                    for other in people[student.id]:
                        _check_person(one, other)
                    people[student.id].append(one)
                for assignment in gradebook.assignments if folder in shards else ():
                    _check_points(folder, assignment, points.get(assignment.name))
        except SQLAlchemyError as error:
            why = names.one_line(str(error))
            raise NotMergedError(f"{folder / GRADEBOOK} cannot be read ({why})") from error


def _check_points(folder: Path, assignment: Assignment, points: dict[str, float] | None) -> None:
    cells = [cell for notebook in assignment.notebooks for cell in notebook.grade_cells]
    if assignment.submissions and {cell.name: cell.max_score for cell in cells} != points:
        raise NotMergedError(
            f"{folder} was graded with other tests or points of {assignment.name}: grade it again"
        )


class _Entered(NamedTuple):
    """A student in the gradebook of a folder: name, number on a roster, those of platforms."""

    folder: Path
    name: str
    id: str | None
    numbers: set[str]


def _check_person(one: _Entered, other: _Entered) -> None:
    """Whether two whose files have the same name are one person."""
    shown, its = names.one_line(one.name), names.one_line(other.name)
    if one.name != other.name:
        raise NotMergedError(
            f"{shown} in {one.folder} and {its} in {other.folder} have files of the same name: "
            "grade them from one folder"
        )
    shared = set(map(scope, one.numbers)) & set(map(scope, other.numbers))
    on_platforms = not shared or one.numbers & other.numbers
    if not (one.id == other.id if one.id and other.id else on_platforms):
        raise NotMergedError(
            f"{shown} in {one.folder} and in {other.folder} has different numbers: if these are "
            "two people, grade them from one folder; if not, with a roster that has an id for each"
        )


class Course:
    """nbgrader's folders and gradebook in `folder`, for the assignments in `sources`.

    `gradebook.db` stands in `folder`; what nbgrader makes on the way, in `folder/course`.
    """

    def __init__(self, folder: Path, sources: Path = SOURCES) -> None:
        if PROGRAMS not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = PROGRAMS + os.pathsep + os.environ["PATH"]
        self.folder = folder.resolve()
        self.assignments = assignments(sources)
        self.config = _config(self.folder)
        self.sources = {}
        for name in self.assignments:
            self.sources[name] = nbformat.read(sources / f"{name}.ipynb", as_version=4)
            _write(self.sources[name], self._path("source", ".", name))
        self.released = {}

    def release(self) -> list[str]:
        """Take solutions and hidden tests out of every source, and enter it in the gradebook.

        Returns a line on each assignment whose earlier grades are of no use, since it has other
        tests or points now.
        """
        said = []
        for name in self.assignments:
            said += self._forget_if_changed(name)
            _convert(self.config, GenerateAssignment, name, ".")
            path = self._path("release", ".", name)
            self.released[name] = nbformat.read(path, as_version=4)
        return said

    def _forget_if_changed(self, name: str) -> list[str]:
        path = self.folder / GRADEBOOK
        if not path.exists():
            return []
        cells = [c.metadata.nbgrader for c in self.sources[name].cells if "nbgrader" in c.metadata]
        points = _points(self.sources[name])
        with self._gradebook() as gradebook:
            try:
                before = gradebook.find_notebook(name, name)
            except MissingEntry:
                return []
            count = len(before.submissions)
            same = {cell.grade_id for cell in cells} == {cell.name for cell in before.source_cells}
            if not count or (same and points == {c.name: c.max_score for c in before.grade_cells}):
                return []
            kept = next(
                kept
                for number in itertools.count(1)
                if not (kept := self.folder / f"gradebook-{number}.db").exists()
            )
            shutil.copy(path, kept)
            gradebook.remove_assignment(name)
        return [
            f"{name} has other tests or points than when it was last graded: its {count} earlier "
            f"grades count no more and are in {kept.name}; hand those submissions to the grader "
            "again"
        ]

    def write_student_versions(self, folder: Path) -> list[Path]:
        """One notebook an assignment that runs alone: its paths."""
        paths = []
        for name, notebook in self.released.items():
            paths.append(folder / f"{name}.ipynb")
            _write(release.student_version(notebook), paths[-1])
        return paths

    def tests(self, name: str) -> str:
        """All cells of an assignment's source."""
        return _text(self.sources[name])

    def given(self, name: str) -> str:
        """All cells that students get."""
        return _text(self.released[name])

    def points(self, name: str) -> dict[str, float]:
        """How many points each task has."""
        points = defaultdict(float)
        for cell in self.sources[name].cells:
            if cell.metadata.get("nbgrader", {}).get("grade"):
                points[_task(cell.metadata.nbgrader.grade_id)] += cell.metadata.nbgrader.points
        return points

    def ids(self) -> dict[str, str]:
        """How files of each student in the gradebook are called."""
        with self._gradebook() as gradebook:
            return {one.last_name or one.id: one.id for one in gradebook.students}

    def kept(self, step: str, file_name: str, name: str) -> Path:
        """The notebook that nbgrader keeps of a submission: "submitted" or "autograded"."""
        return self._path(step, file_name, name)

    def file_names(self, students: list[str]) -> dict[str, str]:
        """How files of each student are called; the gradebook knows those of earlier times."""
        return names.file_names(students, self.ids())

    def identify(self, file_names: dict[str, str], people: dict[str, Person]) -> None:
        """Enter ids and addresses of a roster, of those that are in the gradebook."""
        by_file = {file: people[name] for name, file in file_names.items() if name in people}
        with self._gradebook() as gradebook:
            for student in gradebook.students:
                if person := by_file.get(student.id):
                    student.first_name, student.email = person.id, person.email
            gradebook.db.commit()

    def judge(self, submission: Submission, kind: str, limits: Limits, apart: Apart) -> Judged:
        """Run a submission and its tests; several may be judged at the same time.

        Args:
            kind: of the confinement.
            apart: where it is judged.

        Raises:
            StoppedError: it cannot be judged.
        """
        source, released = self.sources[submission.assignment], self.released[submission.assignment]
        notebook, notes = release.assemble(submission.cells, source, released)
        cells = _judge(notebook, release.setup(source).source, apart, kind, limits)
        return Judged(submission, notebook, cells, notes)

    def enter(self, judged: Judged, file_name: str) -> list[str]:
        """Enter one submission in the gradebook, and say what failed to run: one after the other.

        Args:
            file_name: how its files are called, by `file_names`.

        Raises:
            Exception: of any kind; the gradebook then says nothing of it.
        """
        name = judged.submission.assignment
        _write(judged.notebook, self._path("submitted", file_name, name))
        results = Results(judged.cells, self.released[name])
        try:
            _convert(
                self.config,
                Autograde,
                name,
                file_name,
                sanitize_preprocessors=[],
                autograde_preprocessors=[results, SaveAutoGrades, results.hide_tests],
            )
            with self._gradebook() as gradebook:
                submission = judged.submission
                student = gradebook.update_or_create_student(
                    file_name, last_name=submission.student
                )
                if number := key(name, submission.seen):
                    known = sorted({*_numbers(student), number})
                    gradebook.update_or_create_student(file_name, lms_user_id=json.dumps(known))
        except BaseException:
            with contextlib.suppress(Exception), self._gradebook() as gradebook:
                gradebook.remove_submission(name, file_name)
            raise
        return judged.notes + results.notes

    def show(self, submission: Submission, file_name: str, apart: Apart) -> list[str]:
        """Write the feedback page of what was entered; the points count where that cannot be."""
        name = submission.assignment
        page = self.page(file_name, name)
        page.parent.mkdir(parents=True, exist_ok=True)
        try:
            apart.do(write_feedback, self.folder, file_name, name, page)
        except StoppedError as error:
            page.unlink(missing_ok=True)
            return [f"its points count, but its feedback page could not be made: {error}"]
        return []

    def page(self, file_name: str, name: str) -> Path:
        """Where the feedback page of a student and an assignment is."""
        return self.folder / "feedback" / file_name / f"{name}.html"

    def take_over(self, shard: Path) -> None:
        """Take over what was graded into the folder `shard`, in place of what was here of it."""
        shard = shard.resolve()
        with (
            _quiet(),
            Gradebook(_config(shard).CourseDirectory.db_url) as theirs,
            self._gradebook() as gradebook,
        ):
            for student in theirs.students:
                _copy_student(student, gradebook)
            for assignment in theirs.assignments:
                for submission in assignment.submissions:
                    _copy_grades(submission, gradebook)
                    self._copy_files(shard, submission.student.id, assignment.name)
            gradebook.db.commit()

    def _copy_files(self, shard: Path, file_name: str, name: str) -> None:
        page = Path("feedback", file_name, f"{name}.html")
        folders = [Path("course", step, file_name, name) for step in ("submitted", "autograded")]
        for path in folders:
            shutil.rmtree(self.folder / path, ignore_errors=True)
            if (shard / path).exists():
                shutil.copytree(shard / path, self.folder / path)
        (self.folder / page).unlink(missing_ok=True)
        if (shard / page).exists():
            (self.folder / page).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(shard / page, self.folder / page)

    def _gradebook(self) -> Gradebook:
        return Gradebook(self.config.CourseDirectory.db_url)

    def grades(self) -> pd.DataFrame:
        """A row for each student and assignment in the gradebook: points by task, and in all."""
        rows = []
        with self._gradebook() as gradebook:
            for assignment in gradebook.assignments:
                for submission in assignment.submissions:
                    student = submission.student.last_name or submission.student.id
                    row = {"student": student, "assignment": assignment.name}
                    for grade in submission.notebooks[0].grades:
                        task = _task(grade.name)
                        row[task] = row.get(task, 0) + grade.score
                    row |= {"points": submission.score, "of": assignment.max_score}
                    rows.append(row)
        table = pd.DataFrame(rows, columns=["student", "assignment", "points", "of"])
        tasks = sorted({key for row in rows for key in row} - set(table))
        table = pd.DataFrame(rows, columns=["student", "assignment", *tasks, "points", "of"])
        return table.sort_values(["assignment", "student"], ignore_index=True)

    def write_grades(self) -> Path:
        """Write `grades.csv`, and for platforms to import `import/canvas.csv` and for each
        assignment `import/moodle-<assignment>.csv`. A spreadsheet finds no text to execute in them.
        """
        path = self.folder / "grades.csv"
        table = self.grades()
        with self._gradebook() as gradebook:
            students = {one.last_name or one.id: one for one in gradebook.students}
        imports = self.folder / "import"
        imports.mkdir(exist_ok=True)
        self._replace(imports / "canvas.csv", _rows(_canvas(table, students)))
        for name, rows in table.groupby("assignment"):
            self._replace(imports / f"moodle-{name}.csv", _rows(_moodle(name, rows, students)))
        table["student"] = table["student"].map(names.cell)
        self._replace(path, table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))
        return path

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the results, whole."""
        self._replace(self.folder / name, text)

    def _replace(self, path: Path, text: str) -> None:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            shutil.copymode(self.folder / GRADEBOOK, temporary)

    def _path(self, step: str, student: str, name: str) -> Path:
        return self.folder / "course" / step / student / name / f"{name}.ipynb"


def _points(source: NotebookNode) -> dict[str, float]:
    """How many points each test of an assignment has."""
    cells = [cell.metadata.nbgrader for cell in source.cells if "nbgrader" in cell.metadata]
    return {cell.grade_id: cell.points for cell in cells if cell.grade}


def _copy_student(student: Student, gradebook: Gradebook) -> None:
    """Enter a student of another gradebook; what was known here and is not there stays."""
    own = gradebook.update_or_create_student(student.id, last_name=student.last_name)
    own.first_name = student.first_name or own.first_name
    own.email = student.email or own.email
    if known := {*_numbers(own), *_numbers(student)}:
        own.lms_user_id = json.dumps(sorted(known))


def _copy_grades(submission: SubmittedAssignment, gradebook: Gradebook) -> None:
    """Enter what another gradebook says of a submission, and what was graded by hand there."""
    name, student = submission.assignment.name, submission.student.id
    gradebook.update_or_create_submission(name, student, timestamp=submission.timestamp)
    (notebook,) = submission.notebooks
    for grade in notebook.grades:
        own = gradebook.find_grade(grade.name, name, name, student)
        for field in ("auto_score", "manual_score", "extra_credit", "needs_manual_grade"):
            setattr(own, field, getattr(grade, field))
    for comment in notebook.comments:
        own = gradebook.find_comment(comment.name, name, name, student)
        own.auto_comment, own.manual_comment = comment.auto_comment, comment.manual_comment


def _text(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def _task(grade_id: str) -> str:
    return "task " + ".".join(grade_id.split("-")[1:3])


def _numbers(student: Student) -> list[str]:
    """The numbers that platforms gave a student, as `roster.key` writes them."""
    return json.loads(student.lms_user_id or "[]")


def _number(student: Student, scope: str) -> str:
    """The student's number in this scope of `roster.key`, "" if there is none."""
    found = [one.partition("=")[2] for one in _numbers(student) if one.startswith(f"{scope}=")]
    return found[-1] if found else ""


def _canvas(grades: pd.DataFrame, students: dict[str, Student]) -> list[list]:
    """The rows of Canvas's gradebook (lib/gradebook_importer.rb): a column for each assignment."""
    columns = sorted(set(grades["assignment"]))
    points = grades.set_index(["student", "assignment"])["points"].to_dict()
    most = dict(zip(grades["assignment"], grades["of"], strict=True))
    return [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *columns],
        ["    Points Possible", "", "", "", "", *(most[column] for column in columns)],
    ] + [
        [
            student,
            _number(students[student], "Canvas"),
            students[student].first_name or "",
            students[student].email or "",
            "",
            *(points.get((student, column), "") for column in columns),
        ]
        for student in sorted(set(grades["student"]))
    ]


def _moodle(assignment: str, grades: pd.DataFrame, students: dict[str, Student]) -> list[list]:
    """The rows of Moodle's grading worksheet (mod/assign/feedback/offline/importgradeslib.php)."""
    titles = ["Identifier", "Full name", "ID number", "Email address", "Grade", "Maximum grade"]
    rows = [[*titles, "Last modified (grade)"]]
    for student, points, of in grades[["student", "points", "of"]].itertuples(index=False):
        number = _number(students[student], f"Moodle {assignment}")
        person = students[student]
        identifier = f"Participant {number}" if number else ""
        known = person.first_name or "", person.email or ""
        rows.append([identifier, student, *known, points, of, ""])
    return rows


def _rows(rows: list[list]) -> str:
    """CSV; texts are defused, and numbers have no more digits than they need."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(names.cell(one) if isinstance(one, str) else f"{one:g}" for one in row)
    return text.getvalue()


def _config(folder: Path) -> Config:
    config = Config()
    config.CourseDirectory.root = str(folder / "course")
    config.CourseDirectory.db_url = f"sqlite:///{folder / GRADEBOOK}?timeout={BUSY}"
    config.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # your code here"}
    return config


def _convert(config: Config, converter: type, name: str, student: str, **traits) -> None:
    """Let nbgrader's `converter` do its work in the course that `config` describes."""
    directory = CourseDirectory(config=config)
    directory.assignment_id = name
    directory.student_id = student
    log = logging.getLogger("grading.nbgrader")
    log.setLevel(logging.CRITICAL)
    task = converter(coursedir=directory, config=config, log=log, force=True)
    for trait, value in traits.items():
        setattr(task, trait, value)
    with _quiet():
        task.start()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without SQLAlchemy's warnings about the ways of nbgrader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield


def _judge(notebook: NotebookNode, setup: str, apart: Apart, kind: str, limits: Limits) -> list:
    """Outputs and what was wrong, of each code cell: a cell that ends `apart` fails alone."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = [("test" if _is_test(cell) else "run", cell.source) for cell in code]
    deadline, refused = time.monotonic() + limits.submission, {}
    longest = limits.submission + 2 * START_SECONDS
    while True:
        try:
            work = judge, kind, setup, cells, limits, deadline, refused
            return apart.do(*work, seconds=longest)
        except StoppedError as error:
            if error.step is None or error.step in refused:
                raise
            refused[error.step] = (
                f"Your answer could not be judged: {error}. Has it the right size?"
            )


def _is_test(cell: NotebookNode) -> bool:
    return Cell(cell.cell_type, cell.source).marker(TEST) is not None


class Results(Preprocessor):
    """Enter what was judged in the notebook."""

    enabled = True

    def __init__(self, judged: list, released: NotebookNode) -> None:
        super().__init__()
        self.judged, self.notes = judged, []
        self.public = {
            cell.metadata.nbgrader.grade_id: cell.source
            for cell in released.cells
            if "nbgrader" in cell.metadata
        }

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        for cell, (outputs, said) in zip(code, self.judged, strict=True):
            cell.execution_count = None
            cell.outputs = [NotebookNode(output) for output in outputs]
            if said:
                cell.outputs.append(_failure(said))
                if not _is_test(cell):
                    first = cell.source.strip().splitlines()[:1]
                    self.notes.append(f"{first[0] if first else 'an empty cell'}: {said}")
        return nb, resources

    def hide_tests(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Show of each test what the student version shows."""
        for cell in nb.cells:
            if _is_test(cell):
                cell.source = self.public[cell.metadata.nbgrader.grade_id]
        return nb, resources


def write_feedback(folder: Path, file_name: str, name: str, path: Path) -> None:
    """Write a feedback page, of what is graded in the course in `folder`: done apart."""
    _convert(_config(folder), GenerateFeedback, name, file_name)
    made = folder / "course" / "feedback" / file_name / name / f"{name}.html"
    page = made.read_text(encoding="utf-8")
    # The page asks for nothing elsewhere: formulas stay as they were typed.
    page = re.sub(r'<script[^>]*\ssrc="http.*?</script>', "", page, flags=re.DOTALL)
    path.write_text(page.replace("<head>", f"<head>\n{POLICY}", 1), encoding="utf-8")


def _failure(message: str) -> NotebookNode:
    message = message[:SAID]
    return new_output("error", ename="Not right", evalue=message, traceback=[message])


def _write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
