"""Grading: what honest submissions score after a round trip, and what tricks do."""

import json
import os
import shutil
import sqlite3
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("nbgrader")

import resnets
from grading import __main__ as command
from grading import confinement, names
from grading.__main__ import grade_folder, main
from grading.apart import Apart
from grading.course import Course
from grading.session import Limits
from grading.workers import EndedError, Process

try:
    confinement.command("bubblewrap")
    CONFINED = True
except confinement.NoConfinementError:
    CONFINED = False
confined = pytest.mark.skipif(not CONFINED, reason="bubblewrap is not to be had here")

SETUP = """\
# Setup
import torch

from resnets import check
"""
HALVE = """\
# Task 7.1
def halve(x):
    ### BEGIN SOLUTION
    return x / 2
    ### END SOLUTION
"""
HALVE_PUBLIC = """\
# Test 7.1: what you can try yourself
x = torch.arange(4.0)
assert torch.allclose(halve(x), x / 2), "halve(x) is not x / 2."
"""
HALVE_HIDDEN = """\
# Test 7.1: run when graded
### BEGIN HIDDEN TESTS
SECRET = "not for students"
from resnets.check.classes import call_and_inputs

x = torch.randn(3, 5)
half = halve(x)
assert torch.linalg.matrix_rank(half.T @ half) == 3, "halve(x) has another rank."
told = check.ask(call_and_inputs, halve, x)
assert torch.equal(told["result"], x / 2), "halve(x) is not x / 2 for a matrix."
assert torch.equal(told["inputs"][0], x), "halve(x) changes x."
### END HIDDEN TESTS
"""
LAYERS = """\
# Task 7.2
### BEGIN SOLUTION
layers = 18
### END SOLUTION
"""
LAYERS_TEST = """\
# Test 7.2: run when graded
### BEGIN HIDDEN TESTS
assert layers == 18, "Count the layers with weights again."
### END HIDDEN TESTS
"""
FULL = 5
RIGHT = {"7.1": HALVE, "7.2": LAYERS}


def source():
    """A small assignment: two tasks, of three points and two."""

    def graded(text, name, points):
        nbgrader = {"grade": True, "solution": False, "locked": True, "points": points}
        return new_code_cell(text, metadata={"nbgrader": nbgrader | more(name)})

    def task(text, name):
        nbgrader = {"grade": False, "solution": True, "locked": False}
        return new_code_cell(text, metadata={"nbgrader": nbgrader | more(name)})

    def more(name):
        return {"grade_id": name, "schema_version": 3, "task": False}

    locked = {"grade": False, "solution": False, "locked": True}
    cells = [
        new_markdown_cell("# Assignment 7. A sample"),
        new_code_cell(SETUP, metadata={"nbgrader": locked | more("setup")}),
        task(HALVE, "task-7-1"),
        graded(HALVE_PUBLIC, "test-7-1-public", 1),
        graded(HALVE_HIDDEN, "test-7-1-hidden", 2),
        task(LAYERS, "task-7-2"),
        graded(LAYERS_TEST, "test-7-2-hidden", 2),
    ]
    return new_notebook(cells=cells)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    nbformat.write(source(), folder / "07_sample.ipynb")
    return folder


@pytest.fixture(scope="module")
def student_version(sources, tmp_path_factory):
    course = Course(tmp_path_factory.mktemp("release"), sources)
    course.release()
    (path,) = course.write_student_versions(tmp_path_factory.mktemp("student"))
    return nbformat.read(path, as_version=4)


def answered(student_version, answers=RIGHT, *, more=(), first=()):
    """The student version with these cells in place of the tasks', and more of them."""
    notebook = nbformat.from_dict(json.loads(json.dumps(student_version)))
    for cell in notebook.cells:
        for task, text in answers.items():
            if cell.source.startswith(f"# Task {task}"):
                cell.source = text
    notebook.cells[2:2] = [new_code_cell(text) for text in first]
    notebook.cells += [new_code_cell(text) for text in more]
    return notebook


# What each does, where the rest of its answers is right, and what it deserves.
TRICKS = {
    "equals everything": (
        "# Task 7.1\nclass Yes:\n    def __eq__(self, other):\n        return True\n"
        "    __add__ = __sub__ = __mul__ = __abs__ = __lt__ = lambda *_: Yes()\n"
        "def halve(x):\n    return Yes()",
        2,
    ),
    "tensor that equals everything": (
        "# Task 7.1\nimport torch\nclass Yes(torch.Tensor):\n"
        "    @classmethod\n    def __torch_function__(cls, *_, **__):\n        return True\n"
        "def halve(x):\n    return x.as_subclass(Yes)",
        2,
    ),
    "replaced allclose": (
        "# Task 7.1\nimport torch\ntorch.allclose = torch.equal = lambda *_, **__: True\n"
        "def halve(x):\n    return x",
        2,
    ),
    "patched checks": (
        "# Task 7.1\nimport builtins, sys\nfrom resnets import check\n"
        "from resnets.check import asking\n"
        "asking.same = asking.expect = lambda *_, **__: True\n"
        "check.Verdict.required = lambda self: None\n"
        "builtins.AssertionError = Warning\n"
        "def halve(x):\n    return x",
        2,
    ),
    "changes the test's own numbers": ("# Task 7.1\ndef halve(x):\n    return x.zero_()", 2),
    "remembers the public test": (
        "# Task 7.1\nimport pathlib, torch\nfile = pathlib.Path('/tmp/seen')\n"
        "def halve(x):\n    file.write_text(str(x.tolist()))\n"
        "    return torch.tensor([0, 0.5, 1, 1.5])",
        3,
    ),
    "reads the hidden tests": (
        "# Task 7.1\nimport os\nfound = []\n"
        "for root, _, names in os.walk('/'):\n"
        "    if root.startswith(('/proc', '/usr')) or 'site-packages' in root: continue\n"
        "    for name in names:\n"
        "        if name in ('07_sample.ipynb', 'gradebook.db', SOURCE):\n"
        "            found.append(os.path.join(root, name))\n"
        "def halve(x):\n    return x / 2 if found else x",
        2,
    ),
    "exits": ("# Task 7.1\nimport os\nos._exit(0)", 2),
    "exits when called": ("# Task 7.1\nimport os\ndef halve(x):\n    os._exit(0)", 2),
    "ends the interpreter": ("# Task 7.1\nimport sys\ndef halve(x):\n    sys.exit(0)", 2),
    "loops": ("# Task 7.1\nwhile True:\n    pass", 2),
    "loops when called": ("# Task 7.1\ndef halve(x):\n    while True:\n        pass", 2),
    "100 GB": ("# Task 7.1\nx = bytearray(100 * 2**30)\ndef halve(x):\n    return x / 2", 2),
    "100 GB in pieces": (
        "# Task 7.1\ndef halve(x):\n    pieces = []\n    while True:\n"
        "        pieces.append(bytes(b'x' * 2**28))",
        2,
    ),
    "fork bomb": ("# Task 7.1\nimport os\nwhile True:\n    os.fork()", 2),
    "megabytes of output": (
        "# Task 7.1\nprint('x' * 2**23)\ndef halve(x):\n    print('y' * 2**23)\n    return x / 2",
        5,
    ),
    "more output than a reply holds": ("# Task 7.1\nwhile True:\n    print('x' * 2**20)", 2),
    "speaks for the process": (
        "# Task 7.1\nimport os\nfor fd in range(3, 200):\n"
        '    try:\n        os.write(fd, b\'{"outputs": [], "error": null}\\nnonsense\\n\')\n'
        "    except OSError:\n        pass\n"
        "def halve(x):\n    return x",
        None,  # at most what the other task is worth
    ),
    "writes everywhere": (
        "# Task 7.1\nimport os\nwrote = []\n"
        "for folder in ('/', '/usr', os.path.expanduser('~root'), OUTSIDE):\n"
        "    try:\n        open(os.path.join(folder, 'harm'), 'w').close()\n"
        "        wrote.append(folder)\n    except OSError:\n        pass\n"
        "def halve(x):\n    return x if wrote else x / 2",
        5,
    ),
    "opens the gradebook through a link": (
        "# Task 7.1\nimport os\nos.symlink(GRADEBOOK, '/tmp/link')\n"
        "open('/tmp/link', 'r+b').write(b'harm')\ndef halve(x):\n    return x / 2",
        2,
    ),
    "calls home": (
        "# Task 7.1\nimport socket\n"
        "socket.create_connection(('1.1.1.1', 53), timeout=3)\ndef halve(x):\n    return x / 2",
        2,
    ),
    "forks that share": (
        "# Task 7.1\nimport os, time\nkept = b'x' * (400 * 2**20)\n"
        "for _ in range(12):\n    if not os.fork():\n        time.sleep(60)\n"
        "        os._exit(0)\ndef halve(x):\n    return x / 2",
        5,
    ),
    "takes hours to judge": (
        "# Task 7.1\nimport torch\ndef halve(x):\n"
        "    return x / 2 if x.ndim == 1 else x[:1].repeat(1, 1200)",
        3,
    ),
    "swells in memory": (
        "# Task 7.1\nfrom grading import wire\nencode = wire.encode\n"
        "def swell(value, keep):\n"
        "    return [{}] * 9_000_000 if callable(value) else encode(value, keep)\n"
        "wire.encode = swell\ndef halve(x):\n    return x / 2",
        2,
    ),
    "declares what it does not send": (
        "# Task 7.1\nfrom grading import wire\n"
        "wire.encode = lambda value, keep: {'tensor': ['torch.uint8', [500_000_000], '']}\n"
        "def halve(x):\n    return x / 2",
        0,
    ),
    "patched helper": (
        "# Task 7.1\nimport copy\nfrom resnets.check import classes\n"
        "def forged(answer, *inputs):\n"
        "    return {'result': answer(*copy.deepcopy(inputs)), 'inputs': list(inputs)}\n"
        "classes.call_and_inputs = forged\ndef halve(x):\n    return x.div_(2)",
        3,
    ),
    "imaginary part": (
        "# Task 7.1\nimport torch\ndef halve(x):\n"
        "    return torch.complex(x / 2, torch.ones_like(x))",
        2,
    ),
    "forges the report": (
        "# Task 7.1\nraise ValueError('\\x1b[2J\\nMallory  3  2  5  5\\n' * 50_000)",
        2,
    ),
    "20,000 long keys": (
        "# Task 7.1\nanswer = {f'{i}' * 500: i for i in range(20_000)}\n"
        "print(answer)\ndef halve(x):\n    raise KeyError(answer)",
        2,
    ),
    "one line that is hard to color": (
        "# Task 7.1\ndef halve(x):\n    return x / 2\nf'" + "{" * 20_000 + '"' * 20_000,
        2,
    ),
    "a magic first": ("%%time\n# Task 7.1\ndef halve(x):\n    return x / 2", 5),
    "shuts the marker early": (
        "# Task 7.1\n### BEGIN HIDDEN TESTS\ndef halve(x):\n    return x / 2",
        5,
    ),
}


@pytest.fixture(scope="module")
def graded(sources, student_version, tmp_path_factory):
    """One folder of submissions, graded in one go: (grades by student, folder, report)."""
    folder = tmp_path_factory.mktemp("submissions")
    output = tmp_path_factory.mktemp("grades")
    outside = tmp_path_factory.mktemp("outside")
    outside.chmod(0o777)

    def hand_in(name, notebook):
        (folder / name).parent.mkdir(exist_ok=True)
        nbformat.write(notebook, folder / name)

    for name, (text, _) in TRICKS.items():
        text = text.replace("SOURCE", repr("02_residual_blocks.ipynb"))
        text = text.replace("OUTSIDE", repr(str(outside)))
        text = text.replace("GRADEBOOK", repr(str(output / "gradebook.db")))
        hand_in(f"{name}/07_sample.ipynb", answered(student_version, RIGHT | {"7.1": text}))
    again = ["# Task 7.2\nlayers = 17"]
    hand_in("second cell/a.ipynb", answered(student_version, more=again))
    edited = answered(student_version, RIGHT | {"7.2": "# Task 7.2\nlayers = 3"})
    for cell in edited.cells:
        if cell.source.startswith("# Test"):
            cell.source = cell.source.splitlines()[0] + "\nassert True"
    hand_in("edited tests/a.ipynb", edited)
    hand_in("script/a.ipynb", with_script(student_version))
    misplaced = answered(student_version, {"7.1": f"{HALVE}\n{LAYERS}"})
    misplaced.cells = [c for c in misplaced.cells if not c.source.startswith("# Task 7.2")]
    hand_in("misplaced/a.ipynb", misplaced)
    imports = answered(student_version, RIGHT | {"7.2": "# Task 7.2\nlayers = int(math.sqrt(324))"})
    for cell in imports.cells:
        if cell.source.startswith("# Setup"):
            cell.source += "\nimport math"
    hand_in("imports/a.ipynb", imports)

    hand_in("reference/07_sample.ipynb", answered(student_version))
    hand_in("empty/07_sample.ipynb", student_version)
    hand_in("colab/a.ipynb", through_colab(answered(student_version)))
    old = nbformat.convert(answered(student_version), 3)
    (folder / "old").mkdir()
    (folder / "old" / "a.ipynb").write_text(json.dumps(old))
    hand_in("07_sample Zoë 李雷 (1).ipynb", answered(student_version))
    hand_in("=HYPERLINK/a.ipynb", student_version)
    hand_in("twice/old.ipynb", student_version)
    os.utime(folder / "twice" / "old.ipynb", (1, 1))
    hand_in("twice/new.ipynb", answered(student_version))
    hand_in("no markers/a.ipynb", new_notebook(cells=[new_code_cell("x = 1")]))
    hand_in("07_sample.ipynb", answered(student_version))
    for name, content in {"nothing": b"", "torn": b'{"cells": [', "list": b"[1]"}.items():
        (folder / name).mkdir()
        (folder / name / "a.ipynb").write_bytes(content)
    (folder / "essay").mkdir()
    (folder / "essay" / "a.docx").write_text("words")
    (folder / "linked folder").symlink_to(folder / "reference")
    (folder / "link").mkdir()
    (folder / "link" / "a.ipynb").symlink_to(folder / "reference" / "07_sample.ipynb")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "Apart", partial(Apart, step=5))
        grade_folder(folder, output, "bubblewrap", Limits(cell=6, submission=120), sources)
    grades = pd.read_csv(output / "grades.csv").set_index("student")
    return grades, output, (output / "report.txt").read_text(), outside


def with_script(student_version):
    notebook = answered(student_version)
    notebook.cells.append(new_markdown_cell("<script>steal()</script> [x](javascript:steal())"))
    notebook.cells.append(
        new_code_cell("from IPython.display import HTML\nHTML('<script>steal()</script>')")
    )
    return notebook


def through_colab(notebook):
    """As Colab saves it: other ids, its own metadata, nbgrader's lost, joined and split lines."""
    saved = json.loads(nbformat.writes(notebook))
    for number, cell in enumerate(saved["cells"]):
        cell["metadata"] = {"id": f"x{number}Y", "colab": {"base_uri": "https://localhost:8080/"}}
        cell["id"] = f"x{number}Y"
    saved["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3"}}
    saved["nbformat_minor"] = 0
    for cell in saved["cells"]:
        del cell["id"]
    return nbformat.from_dict(saved)


@confined
@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_scores_what_it_deserves(graded, name):
    points = graded[0].loc[name, "points"]
    deserved = TRICKS[name][1]
    assert points == deserved if deserved is not None else points <= 2


@confined
def test_the_others_are_graded_as_if_there_were_no_tricks(graded):
    right = ["reference", "colab", "old", "Zoë 李雷", "twice", "script", "imports", "misplaced"]
    for name in right:
        assert graded[0].loc[name, "points"] == FULL, name
    assert graded[0].loc["empty", "points"] == 0


@confined
def test_no_trick_reached_outside(graded):
    _, output, _, outside = graded
    assert not list(outside.iterdir())
    assert sqlite3.connect(output / "gradebook.db").execute(
        "pragma integrity_check"
    ).fetchone() == ("ok",)
    assert not Path("/harm").exists()


@confined
def test_a_second_cell_of_a_task_counts_and_is_reported(graded):
    grades, _, report, _ = graded
    assert grades.loc["second cell", "points"] == 3  # the later value is the wrong one
    assert "task 7.2 stands in 2 cells" in report


@confined
def test_edited_tests_are_put_back(graded):
    assert graded[0].loc["edited tests", "points"] == 3


@confined
@pytest.mark.parametrize(
    "line",
    [
        "twice/old.ipynb: twice handed in 07_sample again",
        "no markers/a.ipynb: no cell begins with a line like '# Task 2.1'",
        "07_sample.ipynb: the file's name does not say whose it is",
        "nothing/a.ipynb: it is empty",
        "torn/a.ipynb: it is damaged: what is in it is not JSON",
        "list/a.ipynb: it is damaged: what is in it is not a notebook",
        "essay/a.docx: it is not a notebook",
        "link/a.ipynb: it is a link",
        "linked folder: it is a link",
    ],
)
def test_what_cannot_be_graded_has_a_line_in_the_report(graded, line):
    assert line in graded[2].partition("Not graded:")[2]


@confined
def test_the_report_says_what_failed_to_run(graded):
    report = graded[2]
    assert "the cell was stopped: it did not come to an end within 6 s" in report
    assert "the cell was stopped: its process ended" in report
    assert "# Task 7.2: There is no answer so far" in report


@confined
def test_what_could_not_be_judged_is_told(graded):
    _, output, report, _ = graded
    page = (output / "feedback" / "takes hours to judge" / "07_sample.html").read_text()
    assert "Your answer could not be judged: it took more than 5 s of computing" in page
    assert "task 7.2 is out of place: its line stands in the middle of a cell" in report
    page = (output / "feedback" / "misplaced" / "07_sample.html").read_text()
    assert "its line stands in the middle of a cell" in page


@confined
def test_no_submission_writes_lines_of_the_report(graded):
    report = graded[2]
    assert "Mallory  3  2" in report
    assert not [line for line in report.splitlines() if line.startswith("Mallory")]
    assert "\x1b" not in report
    assert max(map(len, report.splitlines())) < 500


@confined
def test_points_are_given_by_task(graded):
    row = graded[0].loc["exits"]
    assert (row["task 7.1"], row["task 7.2"], row["points"], row["of"]) == (0, 2, 2, FULL)


@confined
def test_a_spreadsheet_takes_no_name_for_a_formula(graded):
    assert not [name for name in graded[0].index if name.startswith("=")]


@confined
def test_the_feedback_shows_points_and_messages_but_no_hidden_test(graded):
    _, output, _, _ = graded
    page = (output / "feedback" / "edited tests" / "07_sample.html").read_text()
    assert "Score: 3.0 / 5.0" in page
    assert "Count the layers with weights again." in page
    for page in (output / "feedback").rglob("*.html"):
        text = page.read_text()
        assert "not for students" not in text
        assert 'src="http' not in text
        assert len(text) < 2**20


@confined
def test_the_feedback_runs_nothing_that_a_submission_wrote(graded):
    page = (graded[1] / "feedback" / "script" / "07_sample.html").read_text()
    assert "steal()" in page
    assert "<script>steal()" not in page
    assert 'href="javascript:' not in page
    policy = page.index("Content-Security-Policy")
    assert "default-src 'none'; style-src" in page[policy : policy + 100]
    assert "<script" not in page[:policy] and "<style" not in page[:policy]


@confined
def test_side_by_side_everything_is_as_one_after_the_other(sources, student_version, tmp_path):
    drawn = "# Task 7.1\ndef halve(x):\n    raise ValueError(x.sum().item())"
    for name, answers in {
        "Ann": RIGHT,
        "Bob": RIGHT | {"7.1": TRICKS["replaced allclose"][0]},
        "Cy": RIGHT | {"7.1": drawn},
        "Di": RIGHT | {"7.1": TRICKS["exits when called"][0]},
        "Eve": RIGHT | {"7.1": drawn},
    }.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        nbformat.write(answered(student_version, answers), tmp_path / "in" / f"{name}.ipynb")
    results = []
    for jobs in (1, 3):
        output = tmp_path / f"{jobs} jobs" / "out"
        grade_folder(tmp_path / "in", output, "bubblewrap", Limits(20, 60), sources, jobs=jobs)
        files = [*output.glob("*.*"), *output.glob("feedback/*/*")]
        results.append({p.relative_to(output): p.read_text() for p in files if p.suffix != ".db"})
    assert len(results[0]) == 5 + 3
    assert results[0] == results[1]
    assert pd.read_csv(output / "grades.csv")["points"].tolist() == [5, 2, 2, 2, 2]


@confined
def test_a_second_run_keeps_the_gradebook(graded, sources, student_version, tmp_path):
    output = tmp_path / "grades"
    shutil.copytree(graded[1], output)
    (tmp_path / "late").mkdir()
    nbformat.write(answered(student_version), tmp_path / "late" / "empty.ipynb")
    grade_folder(tmp_path / "late", output, "bubblewrap", Limits(8, 60), sources)
    grades = pd.read_csv(output / "grades.csv").set_index("student")
    assert grades.loc["empty", "points"] == FULL  # was zero
    assert grades.loc["colab", "points"] == FULL  # not handed in again


def test_the_student_version_holds_no_solution_and_no_hidden_test(student_version):
    text = "\n".join(cell.source for cell in student_version.cells[1:])
    assert "return x / 2" not in text and "layers = 18" not in text
    assert "SECRET" not in text and "HIDDEN" not in text and "SOLUTION" not in text
    assert text.count("raise NotImplementedError  # your code here") == 2
    assert "# Test 7.1: what you can try yourself" in text


def test_without_confinement_nothing_is_graded(monkeypatch, sources, tmp_path, capsys):
    monkeypatch.setattr(confinement.shutil, "which", lambda program: None)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ipynb").write_text("{}")
    assert main(["grade", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 1
    assert "CONFINEMENT=none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_where_the_process_does_not_start_nobody_gets_zero(
    monkeypatch, student_version, tmp_path, capsys
):
    (tmp_path / "in").mkdir()
    nbformat.write(answered(student_version), tmp_path / "in" / "Ann.ipynb")
    broken = confinement.Command([sys.executable, "-c", "raise OSError('no library')"])
    monkeypatch.setattr(confinement, "command", lambda kind: broken)
    assert main(["grade", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 1
    assert "does not start: OSError: no library" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@confined
def test_a_confined_process_starts_where_the_course_lies_in_a_temporary_folder(
    monkeypatch, tmp_path
):
    """The folder that a submission may write to must not hide what it reads."""
    for name in ("grading", "resnets"):
        folder = Path(confinement.__file__ if name == "grading" else resnets.__file__).parent
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("recorded"))
    monkeypatch.setattr(confinement, "__file__", str(tmp_path / "grading" / "confinement.py"))
    monkeypatch.setattr(confinement, "CODE", tmp_path)
    monkeypatch.setattr(resnets, "__file__", str(tmp_path / "resnets" / "__init__.py"))
    assert str(tmp_path).startswith("/tmp")
    confinement.check("bubblewrap")


def test_told_so_it_grades_without_confinement(sources, student_version, tmp_path):
    (tmp_path / "in").mkdir()
    nbformat.write(answered(student_version), tmp_path / "in" / "Ann.ipynb")
    grade_folder(tmp_path / "in", tmp_path / "out", "none", Limits(20, 60), sources)
    assert pd.read_csv(tmp_path / "out" / "grades.csv")["points"].tolist() == [FULL]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing"], "there is no folder"),
        (["."], "nothing lies in"),
        ([".", "--confinement", "faith"], "there is no confinement 'faith'"),
        ([".", "--confinement", "container"], "docker build"),
    ],
)
def test_bad_input_is_told_in_words(arguments, says, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    if "--confinement" not in arguments:  # so that it goes on without bubblewrap
        monkeypatch.setattr(confinement, "check", lambda kind: None)
    assert main(["grade", *arguments, "--output", str(tmp_path / "out")]) == 1
    assert says in capsys.readouterr().err


def test_a_process_that_no_longer_reads_does_not_hold_up_the_grader(monkeypatch):
    deaf = confinement.Command(["sleep", "60"])
    monkeypatch.setattr(confinement, "command", lambda kind: deaf)
    process, started = Process("deaf"), time.monotonic()
    with pytest.raises(EndedError, match="within 1 s"):
        process.ask({"inputs": "x" * 2**24}, seconds=1)
    assert time.monotonic() - started < 10
    assert process.process.returncode is not None


def test_a_submission_that_cannot_be_graded_does_not_stop_the_others(
    monkeypatch, sources, student_version, tmp_path
):
    (tmp_path / "in").mkdir()
    for name in ("Ann", "Bob"):
        nbformat.write(answered(student_version), tmp_path / "in" / f"{name}.ipynb")
    judge = Course.judge

    def fail_for_ann(self, submission, *others):
        if submission.student == "Ann":
            raise OSError("File name too long")
        return judge(self, submission, *others)

    monkeypatch.setattr(Course, "judge", fail_for_ann)
    grade_folder(tmp_path / "in", tmp_path / "out", "none", Limits(20, 60), sources)
    assert pd.read_csv(tmp_path / "out" / "grades.csv")["student"].tolist() == ["Bob"]
    assert "Ann.ipynb: File name too long" in (tmp_path / "out" / "report.txt").read_text()


def test_the_container_is_as_narrow_as_the_sandbox(monkeypatch):
    monkeypatch.setattr(confinement.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(
        confinement.subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 0})
    )
    command = confinement.command("container")
    start = " ".join(command.start)
    for part in ("--network none", "--read-only", "--cap-drop ALL", "--pids-limit", "--memory "):
        assert part in start
    assert command.end[-1] == command.start[command.start.index("--name") + 1]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Ann/homework.ipynb", "Ann"),
        ("Ann/deeper/homework.ipynb", "Ann"),
        ("02_residual_blocks_ann.ipynb", "ann"),
        ("Copy of 02_residual_blocks Ann Lee (2).ipynb", "Ann Lee"),
        ("Zoe\u0308.ipynb", "Zo\u00eb"),
        ("[x]*.ipynb", "[x]*"),
    ],
)
def test_students_are_known_by_folder_or_file(name, student):
    assert names.student(Path(name), "02_residual_blocks") == student
