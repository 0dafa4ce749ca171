"""The table of claims: each row leads to a cell that asserts, and says how strong that is."""

import re
from itertools import pairwise

import nbformat
import pytest

from publishing import claims_page, notebooks
from resnets import claims

ROWS = claims.rows()
KEYS = {"claim", "source", "verdict", "evidence", "finding", "distance", "decided", "effects"}
MEASURED = ("measured here", "agrees with recorded runs")
SAID = {True: "*Computed here.*", False: "*Agrees with the recorded runs.*"}

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["claim"][:40])


def anchors():
    """Where each anchor of the chapters is: its name to its text cell and the cell after it."""
    found = {}
    for path in notebooks.chapters():
        for cell, following in pairwise(nbformat.read(path, as_version=4).cells):
            for name in claims_page.ANCHOR.findall(cell.source):
                assert name not in found, name
                found[name] = cell, following
    return found


ANCHORS = anchors()


def test_the_table_was_found():
    assert len(ROWS) >= 40
    assert {row["verdict"] for row in ROWS} <= set(claims.VERDICTS)
    assert {row["evidence"] for row in ROWS} <= set(claims.EVIDENCE)


@each_row
def test_a_row_has_its_entries(row):
    assert row.keys() == KEYS
    assert row["claim"].endswith(".") and row["source"]
    reported = row["verdict"] == "reported"
    assert reported == (row["evidence"] == "reported") == (not row["decided"])
    assert not reported or "{cite" in row["source"]
    assert reported or row["finding"]


@each_row
def test_the_link_leads_to_a_cell_that_asserts(row):
    for name in row["decided"]:
        _, cell = ANCHORS[name]
        assert cell.cell_type == "code", name
        assert re.search(r"^\s*assert |assert_close", cell.source, re.MULTILINE), name


@each_row
def test_a_measured_row_has_an_effect_and_says_how_far_it_is_from_the_source(row):
    if row["evidence"] in MEASURED:
        assert row["effects"] and row["distance"]
        cells = "\n".join(ANCHORS[name][1].source for name in row["decided"])
        assert all(f'"{name}"' in cells for name in row["effects"])


@each_row
def test_what_does_not_hold_is_refuted(row):
    """By a proof or a counterexample, or by an interval (which the row's cell has to judge)."""
    if row["verdict"] == "does not hold":
        assert row["evidence"] in claims.COMPUTED_HERE[:2] or row["effects"]


@each_row
def test_the_chapter_says_whether_it_computes_or_reads_again(row):
    said = set()
    for name in row["decided"]:
        text = ANCHORS[name][0].source
        found = [words for words in SAID.values() if words in text]
        assert len(found) == 1, name
        said.update(found)
    assert not row["decided"] or SAID[row["evidence"] in claims.COMPUTED_HERE] in said


def test_every_anchor_in_the_chapters_is_a_claim_of_the_table():
    assert {name for row in ROWS for name in row["decided"]} == set(ANCHORS)


@pytest.mark.parametrize("name", claims.effects())
def test_every_effect_belongs_to_a_claim_and_is_computed_in_a_chapter(name):
    assert any(name in row["effects"] for row in ROWS)
    code = "\n".join(
        cell.source
        for path in notebooks.chapters()
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    )
    assert f'"{name}"' in code
    stated = claims.effects()[name]
    assert stated.low <= stated.mean <= stated.high and stated.seeds >= 2


def test_a_row_is_four_cells():
    effect = claims.interval((0.1, 0.2, 0.3), "error, deep minus shallow")
    row = {
        "claim": "Deep networks fit worse.",
        "source": "{cite:t}`he2016deep`",
        "verdict": "holds",
        "evidence": "agrees with recorded runs",
        "finding": "at depth 56",
        "distance": "small images",
        "decided": ["degradation"],
        "effects": ["a"],
    }
    sections = {"degradation": ("02_residual_blocks", "2.1")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "effects", lambda: {"a": effect})
        claim, verdict, found, decided = claims_page.cells(row, sections)
    assert claim == "Deep networks fit worse.<br><small>{cite:t}`he2016deep`</small>"
    assert verdict == "**holds**<br>agrees with recorded runs"
    assert found == (
        "at depth 56<br>*Error, deep minus shallow: 0.200 (95 % interval −0.0484 to 0.448, "
        "3 seeds)*<br>Setting: small images"
    )
    assert decided == '<a href="../02_residual_blocks.html#claim-degradation">2.1</a>'


def test_a_row_that_leads_nowhere_is_refused():
    row = ROWS[0] | {"decided": ["nowhere"]}
    with pytest.raises(LookupError, match="no chapter has the anchor claim-nowhere"):
        claims_page.cells(row, {})
    with pytest.raises(LookupError, match=r"has no \[effects.nothing\]"):
        claims_page.cells(ROWS[0] | {"effects": ["nothing"]}, {})
