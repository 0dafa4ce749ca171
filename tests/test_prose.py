"""Habits that made the text sound translated stay out of it, each with the word that says it."""

import re

import nbformat
import pytest
from conftest import ROOT

HABITS = {
    r"\bbehind\b": "after",
    r"\bstands?\b(?!-in| out)": "is, comes, goes",
    r"\bgives\b": "returns, outputs, has",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\b(a|its|the|this|usual|random|zero) starts?\b(?!\*)": "initialization",
    r"\bdrawn stand-in\b": "synthetic stand-in",
}
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", re.DOTALL)
PAGES = [
    path
    for pattern in (
        "*.md",
        "book/*.md",
        "book/reference/*.md",
        "book/*.ipynb",
        "book/assignments/*.ipynb",
    )
    for path in sorted(ROOT.glob(pattern))
]


def prose(path):
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return NOT_PROSE.sub(" ", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_text_is_plain_english(path):
    found = []
    for habit, better in HABITS.items():
        for match in re.finditer(habit, prose(path), re.IGNORECASE):
            around = match.string[max(match.start() - 40, 0) : match.end() + 20]
            found.append(f"{match.group()!r} in …{around}…: say {better!r}")
    assert not found, "\n".join(found)
