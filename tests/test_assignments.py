"""The assignments: their sources, what students get, and full marks and none by the command."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

pytest.importorskip("nbgrader")

import resnets
from grading import confinement
from grading.__main__ import main
from grading.submissions import TASK, TEST, Cell
from publishing.notebooks import library_cell

BOOK = Path(__file__).parents[1] / "book"
SOURCES = sorted((BOOK / "assignments").glob("*.ipynb"))
NAMES = [path.stem for path in SOURCES]
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", re.DOTALL)


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The folder that `make assignments` writes."""
    folder = tmp_path_factory.mktemp("released")
    assert main(["release", str(folder)]) == 0
    return folder


def marked(notebook, pattern):
    """Cells by task: {"2.1": [cell, ...]}."""
    found = {}
    for cell in notebook.cells:
        if number := Cell(cell.cell_type, cell.source).marker(pattern):
            found.setdefault(number, []).append(cell)
    return found


def distinctive(code):
    """Lines long enough to be nobody else's."""
    lines = {line.strip() for line in code.splitlines()}
    return {line for line in lines if len(line) >= 30}


def test_one_assignment_a_chapter():
    assert [path.stem for path in sorted(BOOK.glob("*.ipynb"))] == NAMES


def test_was_run_from_top_to_bottom_without_error(source):
    nbformat.validate(source)
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert len(cell.source.splitlines()) <= 40, cell.source
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"


def test_every_task_has_a_solution_a_public_and_a_hidden_test(source):
    tasks, tests = marked(source, TASK), marked(source, TEST)
    number = source.cells[0].source[len("# Assignment ")]
    assert list(tasks) == list(tests) == [f"{number}.{n}" for n in range(1, len(tasks) + 1)]
    assert 3 <= len(tasks) <= 6
    for task, cells in tasks.items():
        assert len(cells) == 1 and SOLUTION.search(cells[0].source)
        assert cells[0].metadata.nbgrader.solution and not cells[0].metadata.nbgrader.locked
        public, *hidden = (cell.source for cell in tests[task])
        assert "HIDDEN" not in public
        assert hidden
        for number, test in enumerate([public, *hidden]):
            text = HIDDEN.findall(test)[0] if number else test
            assert re.search(r"\bassert\b|\.required\(\)|\bexpect", text)
        assert all(cell.metadata.nbgrader.grade for cell in tests[task])


def test_points_add_up_to_what_the_text_says(source):
    tests = marked(source, TEST)
    points = {t: sum(c.metadata.nbgrader.points for c in cells) for t, cells in tests.items()}
    assert 10 <= sum(points.values()) <= 20
    text = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    said = dict(re.findall(r"^## Task (\d\.\d) \((\d+) points?\)", text, re.MULTILINE))
    assert {task: float(n) for task, n in said.items()} == points


def test_grade_ids_are_unique(source):
    ids = [c.metadata.nbgrader.grade_id for c in source.cells if "nbgrader" in c.metadata]
    assert len(ids) == len(set(ids))
    for task, cells in marked(source, TEST).items():
        for cell in cells:
            assert cell.metadata.nbgrader.grade_id.startswith(f"test-{task.replace('.', '-')}-")


@pytest.mark.parametrize("name", NAMES)
def test_the_student_version_holds_no_solution_and_no_hidden_test(released, name):
    given = nbformat.read(released / f"{name}.ipynb", as_version=4)
    source = nbformat.read(BOOK / "assignments" / f"{name}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in given.cells[1:])  # the first holds the library
    assert not re.search("BEGIN|END SOLUTION|HIDDEN", text)
    for pattern in (SOLUTION, HIDDEN):
        whole = "\n".join(cell.source for cell in source.cells)
        shown = pattern.sub("", whole)
        secret = {
            line
            for code in pattern.findall(whole)
            for line in distinctive(code)
            if line not in shown
        }
        assert secret
        for line in secret:
            assert line not in text, line
    assert not any(cell.get("outputs") for cell in given.cells)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_version_is_python_and_runs_up_to_the_tasks(released, name):
    given = nbformat.read(released / f"{name}.ipynb", as_version=4)
    nbformat.validate(given)
    for cell in given.cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)
    assert [c.source.splitlines()[0] for c in given.cells if c.source.startswith("# Setup")]


ALONE = """
import sys
sys.path = [p for p in sys.path if not p.endswith("book")]
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f)]
import nbformat
for cell in nbformat.read(sys.argv[1], as_version=4).cells:
    if cell.cell_type == "code":
        exec(cell.source, globals())
import resnets
assert "course_library" in resnets.__file__
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_solved_student_version_runs_alone_in_an_empty_folder(released, tmp_path, name):
    """Where the course library is not installed, as in Colab."""
    given = nbformat.read(released / f"{name}.ipynb", as_version=4)
    solved = nbformat.read(BOOK / "assignments" / f"{name}.ipynb", as_version=4)
    solved.cells.insert(0, given.cells[0])
    if name != NAMES[0]:  # of the others the setup will do, which imports what they need
        solved.cells = solved.cells[:3]
    assert solved.cells[2].source.startswith("# Setup")
    nbformat.write(solved, tmp_path / "solved.ipynb")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, "solved.ipynb"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_library_in_the_student_version_is_the_library(released, tmp_path, monkeypatch):
    cell = nbformat.read(released / f"{NAMES[0]}.ipynb", as_version=4).cells[0]
    assert cell.metadata.jupyter.source_hidden
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(cell.source, {})
    root = Path(resnets.__file__).parents[1]
    written = sorted((tmp_path / "course_library").rglob("*.py"))
    assert len(written) > 15
    for path in written:
        same = root / path.relative_to(tmp_path / "course_library")
        assert path.read_text() == same.read_text(), same


def test_the_library_cell_does_nothing_where_the_library_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(library_cell(whole=False).source, {})
    assert not list(tmp_path.iterdir())


def test_the_reference_scores_all_and_the_empty_one_nothing(released, tmp_path):
    try:
        confinement.command("bubblewrap")
    except confinement.NoConfinementError:
        pytest.skip("bubblewrap is not to be had here")
    for path in SOURCES:
        for student, file in (("reference", path), ("empty", released / path.name)):
            (tmp_path / "in" / student).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "in" / student)
    command = ["make", "grade", f"SUBMISSIONS={tmp_path / 'in'}", f"GRADES={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=BOOK.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    grades = pd.read_csv(tmp_path / "out" / "grades.csv").set_index(["assignment", "student"])
    report = (tmp_path / "out" / "report.txt").read_text()
    for name in NAMES:
        reference = grades.loc[(name, "reference")]
        assert reference["points"] == reference["of"] >= 10, report
        assert grades.loc[(name, "empty"), "points"] == 0, report
