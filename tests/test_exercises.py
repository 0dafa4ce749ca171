"""The exercises and quizzes of every chapter: complete, and solved by their own solutions."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import matplotlib
import nbformat
import pytest

from resnets import check

BOOK = Path(__file__).parents[1] / "book"
CHAPTERS = sorted(BOOK.glob("*.ipynb"))
EXERCISE = re.compile(
    r"### Exercise (?P<number>\d\.\d+)\. .+\n\n"
    r"\*Difficulty [123] of 3, about \d+ minutes\.\*\n\n"
    r"(?P<task>.+?)\n\n"
    r"(?P<hints>(<details><summary>Hint \d</summary>\n\n.+?\n\n</details>\n\n){2,3})"
    r"<details><summary>Solution</summary>\n\n.*?```python\n(?P<solution>.+?)\n```.*\n\n</details>",
    re.DOTALL,
)
CHOICE = re.compile(
    r"<details><summary>[A-E]\. .+?</summary>\n\n(Right|Wrong)\. (.+?)\n\n</details>", re.DOTALL
)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def after(chapter, heading):
    """The cells of the section, and of those behind it."""
    starts = [n for n, cell in enumerate(chapter.cells) if cell.source.startswith(heading)]
    assert len(starts) == 1
    return chapter.cells[starts[0] :]


def exercises(chapter):
    """(number, the match of the text, the code cell) of each."""
    cells = after(chapter, "## Exercises")
    for cell, code in pairwise(cells):
        if cell.source.startswith("### Exercise"):
            match = EXERCISE.fullmatch(cell.source)
            assert match, cell.source
            assert code.cell_type == "code"
            yield match["number"], match, code


def questions(source):
    """The last statements of a code cell, which ask the checks."""
    statements = ast.parse(source).body
    asked = [s for s in statements if ast.unparse(s).startswith("check.")]
    assert asked and statements[-len(asked) :] == asked, source
    return [ast.unparse(statement) for statement in asked]


def test_has_five_exercises_or_more_in_order(chapter):
    numbers = [number for number, _, _ in exercises(chapter)]
    first = chapter.cells[0].source[2]
    assert len(numbers) >= 5
    assert numbers == [f"{first}.{n}" for n in range(1, len(numbers) + 1)]


def test_the_empty_exercise_is_not_right(chapter):
    for _, _, code in exercises(chapter):
        (output,) = code.outputs
        said = output.get("text") or output["data"]["text/plain"]
        assert said.startswith("Not yet."), code.source


def test_every_solution_runs_and_is_right(chapter, monkeypatch):
    monkeypatch.chdir(BOOK)
    matplotlib.use("agg")
    names = {"__name__": "__main__"}
    _, imports, *_ = (cell for cell in chapter.cells if cell.cell_type == "code")
    exec(imports.source, names)
    for cell in after(chapter, "## Exercises"):
        if cell.source.startswith("### Exercise"):
            break
        if cell.cell_type == "code":
            exec(cell.source, names)
    for number, match, code in exercises(chapter):
        own = dict(names)
        exec(match["solution"], own)
        for question in questions(code.source):
            verdict = eval(question, own)
            assert isinstance(verdict, check.Verdict)
            assert verdict, f"{number}: {verdict}"


def test_quizzes_explain_every_choice(chapter):
    cells = [c for c in after(chapter, "## Quiz") if c.source.startswith("**Quiz ")]
    assert len(cells) >= 3
    places = []
    for number, cell in enumerate(cells, start=1):
        assert re.match(rf"\*\*Quiz \d\.{number}\.\*\* ", cell.source)
        choices = CHOICE.findall(cell.source)
        assert len(choices) == cell.source.count("<details>") >= 3
        verdicts = [verdict for verdict, _ in choices]
        assert verdicts.count("Right") == 1
        assert all(len(why) >= 40 for _, why in choices)
        places.append(verdicts.index("Right"))
    assert len(set(places)) > 1, "the right choice stands in the same place everywhere"


def test_summaries_are_plain_html(chapter):
    """Markdown and formulas inside of `<summary>` are shown as they were typed."""
    for cell in chapter.cells:
        for summary in re.findall(r"<summary>(.*?)</summary>", cell.source):
            assert not re.search(r"[$`*]", summary), summary
