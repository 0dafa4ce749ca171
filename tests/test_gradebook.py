"""The gradebook and the report: grading again, being stopped, results that cannot be written.

What submissions compute is tested elsewhere: here every test passes, and nothing runs apart.
"""

import errno
import html
import io
import json
import os
import random
import re
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("nbgrader")

from test_grading import FULL, SETUP, answered, source

from grading import __main__ as command
from grading import confinement, course, release, similar
from grading.__main__ import main
from grading.apart import StoppedError
from grading.submissions import Cell


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

    monkeypatch.setattr(course, "_judge", judge)
    monkeypatch.setattr(command, "Apart", Here)
    monkeypatch.setattr(command, "Jobs", lambda count, apart: OneByOne())
    monkeypatch.setattr(confinement, "check", lambda kind: None)
    monkeypatch.setattr(command.grade_folder, "__defaults__", (tmp_path / "sources", 1, (1, 1)))
    monkeypatch.setattr(command.merge_folders, "__defaults__", (tmp_path / "sources",))
    shutil.copytree(empty, tmp_path, dirs_exist_ok=True)

    def run(*names, output="out", more=()):
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(answered(source()), path)
        return main(["grade", str(tmp_path / "in"), "--output", str(tmp_path / output), *more])

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


def test_ctrl_c_keeps_what_was_graded(grade, tmp_path, monkeypatch, capsys):
    judge = course._judge
    judged = []

    def stop_at_the_second(*inputs):
        judged.append(inputs)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return judge(*inputs)

    monkeypatch.setattr(course, "_judge", stop_at_the_second)
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
    judge, judged = course._judge, []

    def stop_at_cy(notebook, *inputs):
        judged.append(notebook)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return judge(notebook, *inputs)

    monkeypatch.setattr(course, "_judge", stop_at_cy)
    assert grade("Ann/a.ipynb", "Bob/a.ipynb", "Cy/a.ipynb") == 130
    nbformat.write(answered(source(), more=["x = 1"]), tmp_path / "in" / "Bob" / "a.ipynb")
    assert grade() == 0
    assert len(judged) == 5  # Bob and Cy


def test_ctrl_c_before_anything_was_graded(grade, monkeypatch, capsys):
    def stop(*_):
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


def test_two_shards_merge_into_what_one_run_gives(grade, tmp_path, monkeypatch, capsys):
    def judge(notebook, *_):
        """Whoever has written `wrong` fails the last test."""
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        wrong = any("wrong" in cell.source for cell in code)
        last = "Count the layers again." if wrong else None
        return [([], None)] * (len(code) - 1) + [([], last)]

    monkeypatch.setattr(course, "_judge", judge)
    (tmp_path / "in").mkdir()
    nbformat.write(answered(source(), {"7.2": "# Task 7.2\nwrong = 1"}), tmp_path / "in/Cy.ipynb")
    (tmp_path / "in" / "notes.txt").write_text("words")
    people = ["Ann", "Bob", "राम", "a:b"]
    assert grade(*(f"{name}/a.ipynb" for name in people), output="whole") == 0
    for number in (1, 2):
        assert grade(output=f"part {number}", more=["--shard", f"{number}/2"]) == 0
    parts = [points(tmp_path / f"part {number}") for number in (1, 2)]
    assert [len(part) for part in parts] == [3, 2]
    shards = [str(tmp_path / f"part {number}") for number in (1, 2)]
    for _ in range(2):  # once more changes nothing
        assert main(["merge", *shards, "--output", str(tmp_path / "out 2")]) == 0
        for name in ("grades.csv", "index.html"):
            one, other = (tmp_path / out / name for out in ("whole", "out 2"))
            assert one.read_text() == other.read_text()
    pages = {
        out: sorted(p.relative_to(tmp_path / out) for p in (tmp_path / out).glob("feedback/*/*"))
        for out in ("whole", "out 2")
    }
    assert pages["whole"] == pages["out 2"] and len(pages["whole"]) == len(people) + 1
    report = (tmp_path / "out 2" / "report.txt").read_text()
    assert report.count("notes.txt: it is not a notebook") == 1
    assert sorted(report.splitlines()) == sorted(
        (tmp_path / "whole" / "report.txt").read_text().splitlines()
    )
    assert points(tmp_path / "out 2")["Cy"] == (3, FULL)


def test_shards_that_do_not_go_together_change_nothing(grade, tmp_path, capsys):
    assert grade("Ann/a.ipynb", output="part 1") == 0
    changed = source()
    changed.cells[3].metadata.nbgrader.points = 4  # was 1
    nbformat.write(changed, tmp_path / "sources" / "07_sample.ipynb")
    (tmp_path / "none").mkdir()
    for shards, says in {
        ("part 1",): "graded with other tests or points of 07_sample",
        ("none",): "none holds no gradebook.db",
        ("merged",): "merged is the folder for the results",
    }.items():
        shards = [str(tmp_path / shard) for shard in shards]
        assert main(["merge", *shards, "--output", str(tmp_path / "merged")]) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "merged" / "grades.csv").exists()


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_told_in_words(grade, shard, capsys):
    with pytest.raises(SystemExit):
        grade("Ann/a.ipynb", more=[f"--shard={shard}"])
    assert "as in SHARD=3/10" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "9" * 99])
def test_a_number_of_jobs_that_is_none_is_told_in_words(grade, jobs, capsys):
    with pytest.raises(SystemExit):
        grade("Ann/a.ipynb", more=[f"--jobs={jobs}"])
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
