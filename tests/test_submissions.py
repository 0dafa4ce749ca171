"""Finding submissions: which files count, whose they are, which attempt, and what is refused."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("nbgrader")

from grading import names, submissions
from grading.apart import StoppedError
from grading.submissions import TASK, TEST, Cell, find

ASSIGNMENTS = ["07_sample", "08_other"]


class Here:
    """In place of the process apart: this one."""

    def do(self, function, *inputs):
        return function(*inputs)


def notebook(*sources, task="# Task 7.1\nx = 1"):
    cells = [{"cell_type": "code", "source": text} for text in (task, *sources)]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})


@pytest.fixture
def folder(tmp_path):
    """A folder with two honest submissions, and a function that puts files beside them."""

    def put(name, content=None, time=1e9):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((notebook() if content is None else content).encode())
        os.utime(path, (time, time))
        return path

    put("Ann/a.ipynb")
    put("Zoe.ipynb")
    put.path = tmp_path / "in"
    return put


def found(folder, **options):
    """Who handed in, beside the two honest ones, and the lines on what is left out."""
    submitted, left_out, _ = find(folder.path, ASSIGNMENTS, Here(), **options)
    students = [one.student for one in submitted]
    assert {"Ann", "Zoe"} <= set(students)
    return sorted(set(students) - {"Ann", "Zoe"}), left_out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (notebook(task=f"# Task {'1' * 4400}.1"), "no cell begins with a line like"),
        (notebook(task="# Task ٧.1"), "no cell begins with a line like"),
        (notebook(*["x"] * 5000), "it has 5,001 cells: at most 1,000 are graded"),
        (notebook("x" * 5_000_000), "take out what is no answer"),
        ("[" * 100_000, "what is in it is not JSON"),
        ('{"nbformat": ' + "1" * 5000 + "}", "what is in it is not JSON"),
        (f'{{"nbformat": 4, "cells": {"[" * 500}{"]" * 500}}}', "is not a notebook"),
        (notebook(task="# Task 99.1"), "there is no assignment 99"),
    ],
    ids=range(8),
)
def test_a_hostile_file_has_a_line_and_its_neighbors_are_found(folder, content, says):
    folder("Mallory/a.ipynb", content)
    others, (line,) = found(folder)
    assert not others
    assert line.startswith("Mallory/a.ipynb: ") and says in line


def test_outputs_of_many_mib_do_not_matter(folder):
    cells = [{"cell_type": "code", "source": "# Task 7.1", "outputs": [{"text": "x" * 2**24}]}]
    folder("Bob/a.ipynb", json.dumps({"nbformat": 4, "cells": cells}))
    assert found(folder) == (["Bob"], [])


def test_a_file_and_a_folder_that_may_not_be_read_have_a_line(folder, monkeypatch):
    folder("Bob/a.ipynb")
    folder("Cy/a.ipynb")
    read_bytes, scandir = Path.read_bytes, os.scandir

    def forbid(function, name):
        def guarded(path):
            if str(path).endswith(name):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path)

        return guarded

    monkeypatch.setattr(Path, "read_bytes", forbid(read_bytes, "Bob/a.ipynb"))
    monkeypatch.setattr(os, "scandir", forbid(scandir, "Cy"))
    others, left_out = found(folder)
    assert not others
    assert sorted(left_out) == [
        "Bob/a.ipynb: it cannot be read (Permission denied)",
        "Cy: the folder cannot be read (Permission denied)",
    ]


def test_hidden_folders_and_results_are_no_submissions(folder, tmp_path):
    for name in (".ipynb_checkpoints/Zoe-checkpoint.ipynb", "Ann/.ipynb_checkpoints/a.ipynb"):
        folder(name, time=2e9)
    folder(".git/objects/ab/cdef", "blob")
    folder("__MACOSX/Ann/._a.ipynb", "resource fork")
    folder("grades/course/submitted/Ann/07_sample/07_sample.ipynb", time=2e9)
    folder("older/gradebook.db", "")
    folder("older/course/submitted/Ann/07_sample/07_sample.ipynb", time=2e9)
    others, left_out = found(folder, output=folder.path / "grades")
    assert not others
    assert left_out == [
        "grades: the folder holds results of grading",
        "older: the folder holds results of grading",
    ]


def test_other_spellings_of_the_ending_are_read(folder):
    folder("Bob.IPYNB")
    folder("Cy.ipynb.json")
    assert found(folder) == (["Bob", "Cy"], [])


LATER = [  # the later one last
    ("Bob/01.ipynb", "Bob/01 (1).ipynb"),
    ("Bob/01-2.ipynb", "Bob/01-10.ipynb"),
    ("Bob/old/01.ipynb", "Bob/01.ipynb"),
    ("Bob/2026-11-30.ipynb", "Bob/2026-12-01.ipynb"),
]


@pytest.mark.parametrize(("earlier", "later"), LATER)
@pytest.mark.parametrize("first", [0, 1])
def test_of_attempts_with_equal_times_the_one_that_comes_last_counts(folder, earlier, later, first):
    # A clone writes files within seconds, in any order.
    for name, time in zip((earlier, later), (first, 1 - first), strict=True):
        folder(name, time=1e9 + time)
    submitted, (line,), _ = find(folder.path, ASSIGNMENTS, Here())
    (bobs,) = [one for one in submitted if one.student == "Bob"]
    assert f"{bobs.name}" == later
    assert line.startswith(f"{earlier}: ") and later in line
    assert "newer" not in line and "at the same time" in line


def test_the_attempt_that_was_saved_later_counts_whatever_its_name(folder):
    folder("Bob/01 (1).ipynb", time=1e9)
    folder("Bob/01.ipynb", time=1e9 + 3600)
    submitted, (line,), _ = find(folder.path, ASSIGNMENTS, Here())
    assert "Bob/01.ipynb" in [f"{one.name}" for one in submitted]
    assert line.startswith("Bob/01 (1).ipynb: ") and "which is newer and is graded" in line


def test_where_nothing_tells_the_later_attempt_the_report_says_so(folder):
    folder("Bob/draft.ipynb")
    folder("Bob/final.ipynb")
    _, (line,), _ = find(folder.path, ASSIGNMENTS, Here())
    assert "leave only that one in the folder" in line


def test_a_name_that_is_not_utf_8_is_a_student_of_its_own(folder):
    try:
        for last in (b"\xe8", b"\xe9"):
            name = os.fsdecode(b"Zo" + last)
            folder(f"{name}/a.ipynb")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    others, _ = found(folder)
    assert others == ["Zo\\xe8", "Zo\\xe9"]
    assert len(set(names.file_names(others, {}).values())) == 2


@pytest.mark.parametrize(
    ("source", "task"),
    [
        ("%%time\n# Task 2.1\nx", "2.1"),
        ("# my answer\n\n  # task 2.1: blocks\nx", "2.1"),
        ("import torch\n# Task 2.1", None),
        ("# Task 2.1b", None),
        ("# Test 2.1\n# Task 2.1", None),
    ],
)
def test_a_task_is_known_by_its_line_below_comments_and_magics(source, task):
    assert Cell("code", source).marker(TASK) == task
    assert Cell("markdown", source).marker(TASK) is None
    assert (Cell("code", source).marker(TEST) == "2.1") == source.startswith("# Test")


NAMES = [
    "राम", "रीम",  # Hindi, vowel signs
    "สมชาย", "สมช้าย",  # Thai, a tone mark
    "דָּוִד", "דוד",  # Hebrew, with points and without
    "مُحَمَّد", "محمد", "علی‌رضا",  # Arabic, vocalized; Persian, with a joiner
    "ਗੁਰਪ੍ਰੀਤ", "தமிழ்ச்செல்வி", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "বাংলা", "ગુજરાતી", "ଓଡ଼ିଆ", "සිංහල",
    "မြန်မာ", "ខ្មែរ", "ລາວ", "བོད་ཡིག", "አበበ", "Ծովինար", "თამარ", "Ольга", "Νίκος",
    "李雷", "김민준", "さくら", "Nguyễn Thị Ánh", "Zoë", "O'Neil", "O’Neil", "Doe, Jane",
]  # fmt: skip


def test_names_of_every_script_stay_whole(folder):
    for name in NAMES:
        folder(f"{name}/a.ipynb")
        assert names.student(Path(f"{name}.ipynb"), "07_sample") == unicodedata.normalize(
            "NFC", name
        )
    others, left_out = found(folder)
    assert others == sorted(unicodedata.normalize("NFC", name) for name in NAMES)
    assert not left_out
    kept = names.file_names(others, {})
    assert len({name.casefold() for name in kept.values()}) == len(NAMES)
    # Nothing but a separator of Tibetan had to be replaced.
    assert [name for name in others if kept[name] != name] == ["བོད་ཡིག"]


def test_names_that_would_share_a_file_get_each_their_own():
    kept = names.file_names(
        ["a:b", "a;b", "a_b", "ann", "Ann", "x" * 200, "x" * 201, "[x]*", "??"], {}
    )
    assert kept["a_b"] == "a_b" and kept["Ann"] == "Ann"
    assert len({name.casefold() for name in kept.values()}) == 9
    for name in kept.values():
        assert name and not set("/:;*?[]") & set(name) and len(name) < 100
    assert kept["a:b"] == names.file_names(["a:b"], {})["a:b"]  # the next time as well


def test_names_that_look_alike_are_reported():
    lines = names.alike(["Sara", "Ѕаrа", "ann", "Ann", "Bob", "Bo\u200bb", "Cy", "李雷"])
    assert len(lines) == 4
    text = "\n".join(lines)
    for part in ("Sara, Ѕаrа:", "Ann, ann:", r"Bob, Bo\u200bb:", "cannot be seen"):
        assert part in text
    assert "Cy" not in text and "李雷" not in text


@pytest.mark.parametrize(
    "text",
    ["Mallory  20  20\nAnn  0  20", "\x1b[2J\x1b[H", "\u202e02", "a\u2028b", "\ud800", "a\rb"],
)
def test_what_is_shown_of_a_stranger_is_one_line_without_codes(text):
    shown = names.one_line(f"before {text} after")
    assert len(shown.splitlines()) == 1 and shown.isprintable()
    assert shown.startswith("before ") and shown.endswith(" after")
    assert shown.encode()


def test_what_is_shown_is_bounded():
    assert len(names.one_line("x" * 10**6)) < 400


@settings(deadline=None)
@given(st.text())
@example("'=1+1")
@example("'")
def test_a_cell_is_defused_and_can_be_read_back(text):
    cell = names.cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert names.uncell(cell) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
CELLS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "cell_type": st.sampled_from(["code", "markdown", "raw"]) | JSON,
            "source": st.sampled_from(["# Task 7.1", "# Task 8.2\nx", ["# Task", " 7.2"]]) | JSON,
            "outputs": JSON,
        },
    )
    | JSON,
    max_size=4,
)
MUTATED = st.fixed_dictionaries(
    {}, optional={"nbformat": st.integers(2, 5) | JSON, "cells": CELLS | JSON, "worksheets": JSON}
)


@settings(deadline=None, max_examples=200)
@given(MUTATED.map(json.dumps).map(str.encode) | st.binary(max_size=200))
def test_whatever_the_file_it_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "mutated.ipynb"
    path.write_bytes(content)
    try:
        cells = submissions.read(path)
        submissions._assignment(cells, ASSIGNMENTS)
    except StoppedError as error:
        assert str(error)
    else:
        assert all(isinstance(cell.source, str) for cell in cells)
