"""The page of claims: each row leads to a cell that asserts, or says that it was not run here."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).parents[1] / "book"
PAGE = (BOOK / "reference" / "claims.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
][2:]
VERDICTS = ("holds", "holds with a condition", "does not hold", "reported, not run here")
LINK = re.compile(r'<a href="\.\./(\w+)\.html#([\w-]+)">')


def anchors():
    """Where each anchor of the chapters is: (chapter, name) to the cell after it."""
    found = {}
    for path in sorted(BOOK.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        for cell, following in pairwise(cells):
            for name in re.findall(r'<a id="([\w-]+)"></a>', cell.source):
                assert (path.stem, name) not in found, name
                found[path.stem, name] = following
    return found


def test_the_table_was_found():
    assert len(ROWS) >= 16
    assert all(len(row) == 4 for row in ROWS), ROWS
    assert {verdict for _, _, verdict, _ in ROWS} == set(VERDICTS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_the_link_leads_to_a_cell_that_asserts(row):
    _, _, verdict, decided_by = row
    links = LINK.findall(decided_by)
    assert bool(links) == (verdict != "reported, not run here")
    for link in links:
        cell = anchors()[link]
        assert cell.cell_type == "code", link
        assert re.search(r"^\s*assert |assert_close", cell.source, re.MULTILINE), link


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_reported_claim_has_a_source(row):
    _, who, verdict, _ = row
    assert verdict != "reported, not run here" or "{cite" in who


def test_every_anchor_in_the_chapters_is_a_claim_on_the_page():
    assert {link for row in ROWS for link in LINK.findall(row[3])} == set(anchors())
