"""Reliability by bins, against numbers worked out by hand."""

import pytest
import torch

from resnets.calibration import expected_error, overconfidence, reliability


def test_bins_hold_what_was_said_and_what_was_right():
    p = torch.tensor([0.5, 0.6, 0.9, 1.0])  # of the first of two classes
    logits = torch.stack([p, 1 - p], 1).log()
    rows = reliability(logits, torch.tensor([0, 1, 0, 0]), bins=5)
    assert [row["low"] for row in rows] == pytest.approx([0.4, 0.6, 0.8])
    assert [row["images"] for row in rows] == [1, 1, 2]
    assert [row["confidence"] for row in rows] == pytest.approx([0.5, 0.6, 0.95])
    assert [row["accuracy"] for row in rows] == [1, 0, 1]
    assert expected_error(rows) == pytest.approx((0.5 + 0.6 + 2 * 0.05) / 4)
    assert overconfidence(rows) == pytest.approx(0, abs=1e-6)  # too sure and too modest


def test_labels_drawn_from_the_probabilities_leave_no_error():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40_000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    rows = reliability(logits, labels)
    assert expected_error(rows) < 0.01 and abs(overconfidence(rows)) < 0.01
    sharper = reliability(3 * logits, labels)
    assert expected_error(sharper) > 0.1 and overconfidence(sharper) > 0.1
