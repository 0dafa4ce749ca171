"""Which cells of a chapter the site closes, and the line that it shows in their place."""

import ast
import json

import nbformat
import pytest

from publishing import folding, notebooks


def fold(source):
    cell = {"cell_type": "code", "metadata": {}, "source": source.splitlines(keepends=True)}
    return json.loads(folding.folded(json.dumps({"cells": [cell]})))["cells"][0]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("# Drawing\nplt.show()", "drawing"),
        ("# Table\nprint(1)", "table"),
        ("# Helper: the mean over seeds\ndef mean(): ...", "helper: the mean over seeds"),
        ("# Checked: 1 is less than 2\nassert 1 < 2", "checked ✓: 1 is less than 2"),
    ],
)
def test_a_cell_with_such_a_comment_is_closed_and_says_what_it_does(source, line):
    cell = fold(source)
    assert cell["metadata"]["tags"] == ["hide-input"]
    assert cell["metadata"]["mystnb"]["code_prompt_show"] == line
    assert "".join(cell["source"]) == source.partition("\n")[2]


def test_imports_are_closed_with_what_they_print_and_the_first_cell_is_not_there():
    assert fold("# Setup: imports\nimport os")["metadata"]["tags"] == ["hide-cell"]
    assert fold(notebooks.first_cell(""))["metadata"]["tags"] == ["remove-cell"]


@pytest.mark.parametrize("source", ["x = 1", "# Drawings are closed\nx = 1", "x = 1\n# Drawing\n"])
def test_any_other_cell_stays_open(source):
    cell = fold(source)
    assert cell["metadata"]["tags"] == []
    assert "".join(cell["source"]) == source


@pytest.mark.parametrize("path", notebooks.chapters(), ids=lambda path: path.stem)
def test_cells_that_only_check_or_draw_are_closed(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or cell.source.startswith("%"):
            continue
        line = folding.line(cell.source) or ""
        if all(isinstance(each, ast.Assert) for each in ast.parse(cell.source).body):
            assert line.startswith("checked ✓: "), cell.source
        if cell.source.endswith("plt.show()") and "plt.subplots(" in cell.source:
            assert line.startswith("drawing"), cell.source
