"""What a trained network sees: mosaics of images, and the squares that hold the influence."""

import pytest
import torch

from resnets import data, probes
from resnets.experiments import context, degradation, receptive_fields
from resnets.training import Recipe


def test_a_mosaic_shows_images_side_by_side(drawn):
    images = drawn[1][:50]
    made = receptive_fields.mosaics(images, can_see=60, count=2, seed=1)
    assert made.shape == (2, 1, 65, 65)
    known, _ = images.batch(torch.arange(50))
    for mosaic in made:
        for row in range(2):
            for column in range(2):
                tile = mosaic[:, 28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
                assert (known == tile).flatten(1).all(1).any()
    assert not torch.equal(*made)


@pytest.mark.parametrize(("can_see", "side"), [(47, 49), (49, 49), (50, 65), (195, 209)])
def test_a_mosaic_is_as_large_as_it_has_to_be_and_has_a_middle_feature(can_see, side, drawn):
    assert receptive_fields.mosaics(drawn[1], can_see, 1, 0).shape[-1] == side


@pytest.mark.parametrize("name", ["ResNet-8", "ResNet-20"])
def test_no_pixel_outside_of_what_can_be_seen_counts(name, drawn):
    net = degradation.network(name, "stride2").eval()
    can_see = receptive_fields.receptive_field(net)
    x = receptive_fields.mosaics(drawn[1], can_see + 16, 2, 0)
    found = probes.influence(lambda x: list(net.stage_outputs(x))[-1], x)
    assert probes.side_of(found, 1 - 1e-6) <= can_see
    sides = receptive_fields.measure(net, x)
    assert list(sides) == list(receptive_fields.SHARES)
    assert 0 < sides[0.5] <= sides[0.9] <= sides[0.95] <= sides[0.99] <= can_see


def test_the_backbone_of_the_scenes_sees_195_pixels():
    net = context.network("FCN", context.CONFIGS["hour"])
    assert receptive_fields.receptive_field(net.backbone) == 195


def test_each_network_is_measured_before_and_after_on_images_and_noise(drawn, monkeypatch):
    small = receptive_fields.Config(("ResNet-8",), 160, 40, 1, Recipe(epochs=1))
    monkeypatch.setattr(receptive_fields, "CONFIGS", {"quick": small})
    run = receptive_fields.run("quick", 0, data=(drawn[0][:200], drawn[1][:60]))
    rows = run.measured["sides"]
    assert len(rows) == 2 * 2 * len(receptive_fields.SHARES)
    assert {(row["trained"], row["input"]) for row in rows} == {
        (trained, kind) for trained in (False, True) for kind in ("images", "noise")
    }
    assert run.data == data.STAND_IN and 0 <= run.final["ResNet-8"]["test_accuracy"] <= 1
