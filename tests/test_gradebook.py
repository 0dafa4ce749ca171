"""The gradebook and the report: grading again, being stopped, results that cannot be written.

What submissions compute is tested elsewhere: here every test passes, and nothing runs apart.
"""

import contextlib
import csv
import errno
import functools
import html
import io
import json
import os
import random
import re
import shutil
import sys
import time
import zipfile
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("nbgrader")

from nbgrader import api
from test_grading import FULL, SETUP, answered, source

from grading import __main__ as command
from grading import confinement, course, release, similar
from grading.__main__ import main
from grading.apart import StoppedError
from grading.submissions import Cell

VERSION = functools.cache(api.get_alembic_version)  # each time it starts a process


class Here:
    """In place of the process apart: this one."""

    def do(self, function, *inputs, **_):
        return function(*inputs)

    def end(self):
        pass


class OneByOne:
    """In place of processes side by side: nbgrader changes the folder of this one."""

    aparts = (Here(),)

    def take_through(self, things, judge, enter, show):
        for thing in things:
            try:
                yield thing, show(thing, enter(thing, judge(thing, Here())), Here())
            except Exception as error:
                yield thing, error

    def end(self):
        pass


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A course that nobody has handed in to: making its database takes a second."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "sources").mkdir()
    nbformat.write(source(), folder / "sources" / "07_sample.ipynb")
    course.Course(folder / "out", folder / "sources").release()
    return folder


@pytest.fixture
def grade(monkeypatch, tmp_path, empty):
    """Grade the folder `in`, with all points for everybody: the exit status."""

    def judge(notebook, *_):
        return [([], None) for cell in notebook.cells if cell.cell_type == "code"]

    monkeypatch.setattr(api, "get_alembic_version", VERSION)
    monkeypatch.setattr(course, "_judge", judge)
    monkeypatch.setattr(command, "Apart", Here)
    monkeypatch.setattr(command, "Jobs", lambda count, apart: OneByOne())
    monkeypatch.setattr(confinement, "check", lambda kind: None)
    monkeypatch.setattr(command.grade_folder, "__defaults__", (tmp_path / "sources",))
    monkeypatch.setattr(command.merge_folders, "__defaults__", (tmp_path / "sources",))
    shutil.copytree(empty, tmp_path, dirs_exist_ok=True)

    def run(*names, output="out", options=()):
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(answered(source()), path)
        folder = str(tmp_path / "in")
        return main(["grade", folder, "--output", str(tmp_path / output), *options])

    return run


def points(folder):
    table = pd.read_csv(folder / "grades.csv")
    return dict(zip(table["student"], zip(table["points"], table["of"], strict=True), strict=True))


def test_after_a_change_of_tests_earlier_grades_do_not_mix_with_new_ones(grade, tmp_path):
    assert grade("Ann/a.ipynb", "Bob/a.ipynb") == 0
    assert points(tmp_path / "out") == {"Ann": (FULL, FULL), "Bob": (FULL, FULL)}
    (tmp_path / "in" / "Bob" / "a.ipynb").unlink()
    changed = source()
    changed.cells[3].metadata.nbgrader.points = 4  # was 1
    nbformat.write(changed, tmp_path / "sources" / "07_sample.ipynb")
    assert grade() == 0
    assert points(tmp_path / "out") == {"Ann": (FULL + 3, FULL + 3)}
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "07_sample has other tests or points than when it was last graded" in report
    assert "its 2 earlier grades count no more and are in gradebook-1.db" in report
    assert (tmp_path / "out" / "gradebook-1.db").exists()
    assert grade("Bob/a.ipynb") == 0  # and again, with nothing changed
    assert points(tmp_path / "out") == {"Ann": (FULL + 3, FULL + 3), "Bob": (FULL + 3, FULL + 3)}
    assert not (tmp_path / "out" / "gradebook-2.db").exists()


@pytest.mark.parametrize("change", ["add", "remove", "rename"])
def test_tests_may_be_added_removed_and_renamed(grade, tmp_path, change):
    assert grade("Ann/a.ipynb", "Bob/a.ipynb") == 0
    changed = source()
    if change == "remove":
        del changed.cells[3]
    else:
        cell = nbformat.from_dict(changed.cells[3]) if change == "rename" else None
        if change == "add":
            cell = nbformat.v4.new_code_cell(changed.cells[3].source)
            cell.metadata = nbformat.from_dict(changed.cells[3].metadata)
            changed.cells.insert(4, cell)
        cell.metadata.nbgrader.grade_id = "test-7-1-another"
    nbformat.write(changed, tmp_path / "sources" / "07_sample.ipynb")
    assert grade() == 0
    full = FULL + {"add": 1, "remove": -1, "rename": 0}[change]
    assert points(tmp_path / "out") == {"Ann": (full, full), "Bob": (full, full)}


def test_results_written_among_the_submissions_are_nobodys(grade, tmp_path):
    for _ in range(2):
        assert grade("Ann/a.ipynb", "Bob.ipynb", output="in/grades") == 0
    assert list(points(tmp_path / "in" / "grades")) == ["Ann", "Bob"]


def stopped_at(count, monkeypatch):
    """Ctrl-C while the submission of this number is judged; the list of all that were judged."""
    judge, judged = course._judge, []

    def stop(*inputs):
        judged.append(inputs)
        if len(judged) == count:
            raise KeyboardInterrupt
        return judge(*inputs)

    monkeypatch.setattr(course, "_judge", stop)
    return judged


def test_ctrl_c_keeps_what_was_graded(grade, tmp_path, monkeypatch, capsys):
    judged = stopped_at(2, monkeypatch)
    assert grade("Ann/a.ipynb", "Bob/a.ipynb", "Cy/a.ipynb") == 130
    assert points(tmp_path / "out") == {"Ann": (FULL, FULL)}
    assert "2 of 3 submissions were not graded" in capsys.readouterr().out
    assert grade() == 0
    assert list(points(tmp_path / "out")) == ["Ann", "Bob", "Cy"]
    assert "1 submissions were graded before" in capsys.readouterr().out
    assert len(judged) == 4  # Ann's not again
    assert grade() == 0
    assert len(judged) == 7  # after a whole run, all again


def test_after_a_stop_what_has_changed_is_graded_again(grade, tmp_path, monkeypatch):
    judged = stopped_at(3, monkeypatch)
    assert grade("Ann/a.ipynb", "Bob/a.ipynb", "Cy/a.ipynb") == 130
    nbformat.write(answered(source(), more=["x = 1"]), tmp_path / "in" / "Bob" / "a.ipynb")
    assert grade() == 0
    assert len(judged) == 5  # Bob and Cy


def zipped(path, *names):
    """A zip of so many right answers, under these names."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, nbformat.writes(answered(source())))
    return path


IMPORTS = ["import/canvas.csv", "import/moodle-07_sample.csv"]
MOODLE = "{}_assignsubmission_file_/a.ipynb".format


def test_a_zip_is_gone_on_with_after_ctrl_c_and_names_stay_as_they_would_have_been(
    grade, tmp_path, monkeypatch
):
    people = ["Ann Lee_11", "Ann Lee_12", "Bo_13"]
    path = zipped(tmp_path / "class.zip", *map(MOODLE, people))
    assert main(["grade", str(path), "--output", str(tmp_path / "whole")]) == 0
    judged = stopped_at(2, monkeypatch)
    assert main(["grade", str(path), "--output", str(tmp_path / "out")]) == 130
    assert list(points(tmp_path / "out")) == ["Ann Lee (11)"]
    shutil.copy(path, tmp_path / "again.zip")  # downloaded again
    assert main(["grade", str(tmp_path / "again.zip"), "--output", str(tmp_path / "out")]) == 0
    assert len(judged) == 4  # the first not again
    for name in ("grades.csv", "index.html", IMPORTS[1]):
        one, other = ((tmp_path / out / name).read_text() for out in ("whole", "out"))
        assert one == other and "Ann Lee (12)" in one


def test_ctrl_c_before_anything_was_graded(grade, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.submissions, "find", stop)
    assert grade("Ann/a.ipynb") == 130
    assert "before anything was graded" in capsys.readouterr().err


def test_whatever_one_submission_raises_its_neighbors_are_graded(grade, tmp_path, monkeypatch):
    convert = course._convert

    def fail_for_bob(folder, converter, name, student, **traits):
        convert(folder, converter, name, student, **traits)
        if student == "Bob" and converter is course.Autograde:  # its grades are entered already
            raise RuntimeError("\x1b[2J\nMallory  5  5")

    monkeypatch.setattr(course, "_convert", fail_for_bob)
    assert grade("Ann/a.ipynb", "Bob/a.ipynb", "Cy/a.ipynb") == 0
    assert points(tmp_path / "out") == {"Ann": (FULL, FULL), "Cy": (FULL, FULL)}
    report = (tmp_path / "out" / "report.txt").read_text()
    assert r"Bob/a.ipynb: \x1b[2J\nMallory  5  5" in report.partition("Not graded:")[2]


def test_points_count_where_a_page_cannot_be_made(grade, tmp_path, monkeypatch):
    assert grade("Ann/a.ipynb", "Bob/a.ipynb") == 0
    write = course.write_feedback

    def fail_for_bob(folder, file_name, name, page):
        if file_name == "Bob":
            raise StoppedError("it took more than 60 s of computing")
        write(folder, file_name, name, page)

    monkeypatch.setattr(course, "write_feedback", fail_for_bob)
    assert grade() == 0
    assert points(tmp_path / "out") == {"Ann": (FULL, FULL), "Bob": (FULL, FULL)}
    assert "its feedback page could not be made" in (tmp_path / "out" / "report.txt").read_text()
    pages = [path.parent.name for path in (tmp_path / "out" / "feedback").rglob("*.html")]
    assert pages == ["Ann"]  # not the one of the last time


def test_a_name_that_is_not_utf_8_does_not_empty_the_report(grade, tmp_path):
    try:
        assert grade(os.fsdecode(b"Zo\xe9.ipynb"), "Ann/a.ipynb", "Bob/a.ipynb") == 0
        (tmp_path / "in" / os.fsdecode(b"n\xf6tes.txt")).write_text("words")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    assert grade() == 0
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert re.search(r"\bZo\\xe9\b", report) and r"n\udcf6tes.txt: it is not a notebook" in report
    assert sorted(points(tmp_path / "out")) == ["Ann", "Bob", r"Zo\xe9"]


def test_names_that_differ_in_case_are_two_each_time(grade, tmp_path):
    assert grade("Ann/a.ipynb", "ann.ipynb") == 0
    shutil.rmtree(tmp_path / "in" / "Ann")
    assert grade() == 0
    assert pd.read_csv(tmp_path / "out" / "grades.csv")["student"].tolist() == ["Ann", "ann"]
    assert len(list((tmp_path / "out" / "feedback").iterdir())) == 2


def test_a_terminal_without_the_letters_of_a_name_ends_nothing(grade, monkeypatch, tmp_path):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert grade("राम.ipynb") == 0
    assert points(tmp_path / "out") == {"राम": (FULL, FULL)}


def test_names_that_differ_in_marks_or_punctuation_are_two_in_the_gradebook(grade, tmp_path):
    people = ["राम", "रीम", "a;b", "a:b", "=1+1|' calc'!A0"]
    assert grade(*(f"{name}/a.ipynb" for name in people)) == 0
    table = pd.read_csv(tmp_path / "out" / "grades.csv", keep_default_na=False)
    read_back = [re.sub(r"^'(?='*[=+@\t\r-])", "", name) for name in table["student"]]
    assert sorted(read_back) == sorted(people)
    assert not [name for name in table["student"] if name.startswith("=")]
    assert (table["points"] == FULL).all()
    assert len(list((tmp_path / "out" / "feedback").iterdir())) == len(people)


def imported(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_canvas_and_moodle_can_import_the_grades(grade, tmp_path):
    roster = tmp_path / "roster.csv"
    roster.write_text("name,id,e-mail\n'=Zoë,s1,zoe@uni.edu\nBo Ray,+2,\n", encoding="utf-8")
    files = ["zoë_1_5_a.ipynb", "raybo_LATE_2_6_a.ipynb", "stranger_3_7_a.ipynb"]
    assert grade(*files, options=["--roster", str(roster)]) == 0
    assert imported(tmp_path / "out" / "import" / "canvas.csv") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "07_sample"],
        ["    Points Possible", "", "", "", "", "5"],
        ["'=Zoë", "1", "s1", "zoe@uni.edu", "", "5"],
        ["Bo Ray", "2", "'+2", "", "", "5"],
        ["stranger", "3", "", "", "", "5"],
    ]
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "Named as Canvas names them: 3 files of 3 students, 1 marked as late; such as" in report
    assert "Bo Ray, 07_sample: Canvas marks it as late" in report
    assert "stranger: not on the roster" in report
    # Then of others, from Moodle; what was known stays.
    shutil.rmtree(tmp_path / "in")
    assert grade("Bo Ray_11_assignsubmission_file_/a.ipynb", "Cy_12_assignsubmission_file_/a.ipynb",
                 options=["--roster", str(roster)]) == 0  # fmt: skip
    assert imported(tmp_path / "out" / "import" / "moodle-07_sample.csv") == [
        ["Identifier", "Full name", "ID number", "Email address", "Grade", "Maximum grade",
         "Last modified (grade)"],
        ["", "'=Zoë", "s1", "zoe@uni.edu", "5", "5", ""],
        ["Participant 11", "Bo Ray", "'+2", "", "5", "5", ""],
        ["Participant 12", "Cy", "", "", "5", "5", ""],
        ["", "stranger", "", "", "5", "5", ""],
    ]  # fmt: skip
    assert imported(tmp_path / "out" / "import" / "canvas.csv")[3][:2] == ["Bo Ray", "2"]


def test_a_namesake_who_comes_later_replaces_nobody(grade, tmp_path):
    assert grade("Ann Lee_11_assignsubmission_file_/a.ipynb") == 0
    shutil.rmtree(tmp_path / "in")
    assert grade("Ann Lee_12_assignsubmission_file_/a.ipynb") == 0
    assert list(points(tmp_path / "out")) == ["Ann Lee", "Ann Lee (12)"]
    assert grade("Ann Lee_11_assignsubmission_file_/a.ipynb") == 0
    assert list(points(tmp_path / "out")) == ["Ann Lee", "Ann Lee (12)"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--roster", "missing.csv"], "Nothing was graded: missing.csv cannot be read"),
        (["--before", "tomorrow"], "tomorrow is no time: write 2026-11-30 or"),
    ],
)
def test_a_roster_or_a_time_that_cannot_be_used_is_told_in_words(grade, capsys, options, says):
    with contextlib.suppress(SystemExit):
        assert grade("Ann/a.ipynb", options=options) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("time", "counts"), [("2026-11-30", 1), ("2026-11-30 11:59", 0), ("2026-11-29", 0)]
)
def test_attempts_after_a_time_do_not_count(grade, tmp_path, time, counts):
    assert grade("Ann/a.ipynb", "Bo/a.ipynb") == 0
    for name, day in (("Ann", 1), ("Bo", 30)):
        noon = datetime(2026, 11, day, 12).timestamp()
        os.utime(tmp_path / "in" / name / "a.ipynb", (noon, noon))
    assert grade(output="other", options=["--before", time]) == 0
    assert len(points(tmp_path / "other")) == 1 + counts
    report = (tmp_path / "other" / "report.txt").read_text()
    assert ("Bo/a.ipynb: it was saved at 2026-11-30 12:00, after" in report) != counts


@pytest.mark.parametrize("full", ["grades.csv", "report.txt", "gradebook.db"])
def test_a_full_disk_is_told_in_words(grade, tmp_path, monkeypatch, capsys, full):
    assert grade("Ann/a.ipynb") == 0
    before = (tmp_path / "out" / "report.txt").read_text()

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if full == "gradebook.db":
        monkeypatch.setattr(course, "_convert", fail)
    else:
        write_text = Path.write_text

        def write(path, *inputs, **options):
            if full in path.name:
                fail()
            return write_text(path, *inputs, **options)

        monkeypatch.setattr(Path, "write_text", write)
    assert grade() == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "Traceback" not in said
    assert (tmp_path / "out" / "report.txt").read_text() == before


def test_an_output_folder_that_cannot_be_written_is_told_in_words(grade, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert grade("Ann/a.ipynb", output="file/out") == 1
    said = capsys.readouterr().err
    assert "The results cannot be written to" in said and "Not a directory" in said


def test_a_task_out_of_place_is_told_as_that(grade, tmp_path):
    grade("Ann/a.ipynb")
    merged = source()
    merged.cells = [c for c in merged.cells if not c.source.startswith("# Task 7.2")]
    merged.cells[2].source += "\n# Task 7.2\nlayers = 18"
    nbformat.write(merged, tmp_path / "in" / "Bob.ipynb")
    as_text = answered(source())
    as_text.cells[5] = nbformat.v4.new_markdown_cell(as_text.cells[5].source)
    nbformat.write(as_text, tmp_path / "in" / "Cy.ipynb")
    assert grade() == 0
    report = (tmp_path / "out" / "report.txt").read_text()
    for student, where in (("Bob", "in the middle of a cell"), ("Cy", "in a text cell")):
        said = f"its line stands {where}: begin a code cell with '# Task 7.2'"
        assert f"task 7.2 is out of place: {said}" in report
        page = tmp_path / "out" / "feedback" / student / "07_sample.html"
        assert where in page.read_text()


SOURCES = st.sampled_from(
    [
        "# Task 7.1",
        "# Task 7.2\nlayers = 18",
        "%%time\n# Task 7.1",
        "x\n# Task 7.2",
        "# Test 7.1: what you can try yourself\nassert True",
        "# Setup",
        SETUP,
        "f'{",
        "\x1b[31m\u202e\x00",
        "$$\\frac" + "{" * 99,
        "<script>",
    ]
)
CELLS = st.builds(Cell, st.sampled_from(["code", "markdown"]), SOURCES | st.text())


@settings(deadline=None, max_examples=50)
@given(st.lists(CELLS, max_size=6))
def test_whatever_the_cells_every_task_is_tested_once(cells):
    notebook, _ = release.assemble(tuple(cells), source(), source())
    nbformat.validate(notebook)
    graded = [cell.metadata.nbgrader.grade_id for cell in notebook.cells if _is_graded(cell)]
    assert sorted(graded) == sorted(
        cell.metadata.nbgrader.grade_id for cell in source().cells if _is_graded(cell)
    )


def _is_graded(cell):
    return cell.metadata.get("nbgrader", {}).get("grade", False)


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=6), min_size=4, max_size=4))
def test_mutated_notebooks_cost_no_neighbor_a_point(grade, tmp_path, notebooks):
    for number, cells in enumerate(notebooks):
        cells = [{"cell_type": cell.kind, "source": cell.source} for cell in cells]
        path = tmp_path / "in" / f"Mallory {number}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    assert grade("Ann/a.ipynb", "Zoe.ipynb") == 0
    table = points(tmp_path / "out")
    assert table["Ann"] == table["Zoe"] == (FULL, FULL)


def test_shards_of_a_zip_merge_into_what_one_run_gives(grade, tmp_path, monkeypatch):
    def judge(notebook, *_):
        """Whoever has written `wrong` fails the last test."""
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        wrong = any("wrong" in cell.source for cell in code)
        last = "Count the layers again." if wrong else None
        return [([], None)] * (len(code) - 1) + [([], last)]

    monkeypatch.setattr(course, "_judge", judge)
    people = ["Ann_11", "raylee_12", "राम_13", "a:b_14"]
    path = zipped(tmp_path / "class.zip", *map(MOODLE, people))
    with zipfile.ZipFile(path, "a") as archive:
        wrong = nbformat.writes(answered(source(), {"7.2": "# Task 7.2\nwrong = 1"}))
        archive.writestr(MOODLE("Cy_15"), wrong)
        archive.writestr("Di_16_assignsubmission_file_/notes.txt", "words")
    roster = tmp_path / "roster.csv"
    roster.write_text("name,id,e-mail\nRay Lee,s1,ray@uni.edu\nराम,s2,\nEve,s3,\n")
    command = ["grade", str(path), "--roster", str(roster), "--output"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    parts = [str(tmp_path / f"part {number}") for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        assert main([*command, part, "--shard", f"{number}/2"]) == 0
    assert [len(points(Path(part))) for part in parts] == [3, 2]
    whole, merged = tmp_path / "whole", tmp_path / "out 2"
    for _ in range(2):  # once more changes nothing
        assert main(["merge", *parts, "--output", str(merged)]) == 0
        for name in ["grades.csv", "index.html", *IMPORTS]:
            assert (whole / name).read_text() == (merged / name).read_text()
            assert "Ray Lee" in (whole / name).read_text()
    assert points(merged)["Cy"] == (3, FULL)
    both = whole, merged
    pages = [
        sorted(p.relative_to(out) for p in out.glob("feedback/*/*")) for out in (whole, merged)
    ]
    assert pages[0] == pages[1] and len(pages[0]) == len(people) + 1
    reports = [(out / "report.txt").read_text() for out in both]
    assert sorted(reports[0].splitlines()) == sorted(reports[1].splitlines())
    assert reports[0].count("notes.txt: it is not a notebook") == 1
    assert "Eve: on the roster, and handed in nothing this time" in reports[0]
    # Later another platform's, without the roster: what was known stays.
    rows = imported(merged / IMPORTS[1])
    assert ["Participant 12", "Ray Lee", "s1", "ray@uni.edu", "5", "5", ""] in rows
    path = zipped(tmp_path / "later.zip", "1-2 - Ray Lee - Oct 5, 2024 1010 PM/a.ipynb")
    assert main(["grade", str(path), "--output", str(tmp_path / "later")]) == 0
    assert main(["merge", str(tmp_path / "later"), "--output", str(merged)]) == 0
    assert imported(merged / IMPORTS[1]) == rows


def test_namesakes_in_two_shards_do_not_become_one(grade, tmp_path, capsys):
    parts = [str(tmp_path / f"part {number}") for number in (1, 2)]
    for part, number in zip(parts, (11, 12), strict=True):
        path = zipped(tmp_path / f"{number}.zip", MOODLE(f"Ann Lee_{number}"))
        assert main(["grade", str(path), "--output", part]) == 0
    assert main(["merge", *parts, "--output", str(tmp_path / "out 2")]) == 1
    assert "Ann Lee in " in (said := capsys.readouterr().err) and "different numbers" in said
    assert not (tmp_path / "out 2").exists()


def test_shards_that_do_not_go_together_change_nothing(grade, tmp_path, capsys):
    assert grade("Ann/a.ipynb", output="part 1") == 0
    changed = source()
    changed.cells[3].metadata.nbgrader.points = 4  # was 1
    nbformat.write(changed, tmp_path / "sources" / "07_sample.ipynb")
    for name in ("none", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "gradebook.db").write_bytes(b"no database" * 999)
    before = (tmp_path / "part 1" / "gradebook.db").read_bytes()
    for shard, output, says in [
        ("part 1", "merged", "graded with other tests or points of 07_sample"),
        ("none", "merged", "none holds no gradebook.db"),
        ("damaged", "merged", "gradebook.db cannot be read"),
        ("part 1", "part 1", "part 1 is the folder for the results"),
        ("part 1", "out", "graded with other tests or points of 07_sample"),
    ]:
        assert main(["merge", str(tmp_path / shard), "--output", str(tmp_path / output)]) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
    assert (tmp_path / "part 1" / "gradebook.db").read_bytes() == before
    assert not (tmp_path / "out" / "grades.csv").exists()


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_told_in_words(grade, shard, capsys):
    with pytest.raises(SystemExit):
        grade("Ann/a.ipynb", options=[f"--shard={shard}"])
    assert "as in SHARD=3/10" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "9" * 99])
def test_a_number_of_jobs_that_is_none_is_told_in_words(grade, jobs, capsys):
    with pytest.raises(SystemExit):
        grade("Ann/a.ipynb", options=[f"--jobs={jobs}"])
    assert "as in JOBS=2" in capsys.readouterr().err


def test_the_summary_counts_points_and_mistakes_and_links_to_feedback(grade, tmp_path, monkeypatch):
    def judge(notebook, *_):
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        said = [None] * len(code)
        if any("seventeen" in cell.source for cell in code):
            said[-1] = f"layers is {len(code)}.5, <b>not</b> right."
        if any("nineteen" in cell.source for cell in code):
            said[-1] = "layers is 1e-3, <b>not</b> right."
        return [([], one) for one in said]

    monkeypatch.setattr(course, "_judge", judge)
    people = ["<script>alert(1)</script>", "=1+1", "Ann & Bob", "Zoë"]
    grade(*(f"{name.replace('/', '∕')}/a.ipynb" for name in people))
    for name, number in (("Ann & Bob", "seventeen"), ("Zoë", "nineteen")):
        answers = {"7.2": f"# Task 7.2\nlayers = '{number}'"}
        nbformat.write(answered(source(), answers), tmp_path / "in" / name / "a.ipynb")
    assert grade() == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "<b>not</b>" not in page and "&lt;b&gt;not&lt;/b&gt;" in page
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert page.index("default-src 'none'") < page.index("<style")
    assert "4 submissions; mean 4.0 and median 4 of 5 points" in page
    # Both made one mistake, with another number in each message.
    assert page.count('<td class="number">2</td><td>task 7.2</td>') == 1
    links = re.findall(r'href="(feedback/[^"]*)"', page)
    assert len(set(links)) == len(people)
    for link in links:
        assert (tmp_path / "out" / unquote(html.unescape(link))).exists()


COPIED = """
def {f}({x}):
    {total}, {seen} = 0, []
    for {i}, {row} in enumerate({x}.tolist()):
        if {i} % 3 == 1 and len({row}) > {total}:
            {seen}.append({row}[{i} - 1] * 7 - {total} ** 2)
        elif {row}:
            {total} += min({row}) / (1 + abs({i} - len({seen})))
        else:
            {seen} = [one for one in {seen} if one != {i}] + [{total}]
    return {total}, {seen}[::-1], {x}.sum() / 2
"""


def test_similar_code_is_found_under_other_names_and_other_code_is_not():
    others = {"f": "halve", "x": "z", "total": "s", "seen": "kept", "i": "n", "row": "line"}
    code = {
        "Ann": COPIED.format(**{name: name for name in others}),
        "Bob": "# all my own\n" + COPIED.format(**others).replace("\n", "  # mine\n"),
        "Cy": "\n".join(f"value_{n} = torch.ones({n}) * {n * n} - offset[{n}]" for n in range(40)),
        "Di": "def halve(x):\n    return x / 2",
    }
    code |= {
        f"same {n}": "x = torch.zeros(3, 4) + torch.ones(3, 4).T.sum()\n" * 9 for n in range(9)
    }
    ((ratio, *who),) = similar.pairs(code, given="import torch\nx = 1")
    assert who == ["Ann", "Bob"] and ratio > 0.95


def test_three_hundred_are_compared_in_seconds():
    draw = random.Random(0)
    words = ["torch", "x", "y", "+", "*", "(", ")", "sum", "for", "in", "[", "]", "1", "2", "="]

    def program():
        return "\n".join(" ".join(draw.choices(words, k=12)) for _ in range(60))

    code = {f"student {n}": program() for n in range(300)}
    code["copy"] = code["student 7"].replace(" 1", " 2", 5)
    started = time.process_time()
    pairs = similar.pairs(code, given="torch.sum(x, y)")
    assert [set(pair[1:]) for pair in pairs] == [{"student 7", "copy"}]
    assert time.process_time() - started < 20
