"""What counts as a failure, on scenes made by hand."""

from dataclasses import replace

import pytest
import torch

from resnets import data, scenes
from resnets.experiments import context, failures

SHOE, TOP = failures.SHOES[0], failures.TOPS[0]
NOTHING = dict.fromkeys(failures.KINDS, 0)


@pytest.fixture
def scene():
    """One scene: a shoe, the top that goes with it, two other garments of 400 pixels each."""
    labels = torch.zeros(1, 97, 97, dtype=torch.uint8)
    for (row, column), garment in zip(
        ((3, 5), (20, 70), (50, 4), (70, 76)), (SHOE, TOP, 1, 2), strict=True
    ):
        labels[0, row : row + 20, column : column + 20] = garment
    return labels


def count(predicted, labels):
    return {
        kind: found.sum().item() for kind, found in failures.failures(predicted, labels).items()
    }


def test_each_quarter_of_a_drawn_scene_has_one_garment(drawn):
    labels = scenes.fashion_scenes(drawn[1][:300], 20, outfits=True, seed=3).labels
    cut = failures.quarters(labels)
    assert sum((part > 0).sum() for part in cut) == (labels > 0).sum()
    for garment in cut.flatten(0, 1):
        assert len(garment[garment > 0].unique()) == 1


def test_what_is_right_is_no_failure(scene):
    assert count(scene, scene) == NOTHING


def test_a_top_that_goes_with_another_shoe_is_a_clash(scene):
    predicted = torch.where(scene == TOP, failures.TOPS[1], scene)
    assert count(predicted, scene) == NOTHING | {"clash": 1, "misnamed": 1}
    both = torch.where(scene == SHOE, failures.SHOES[1], predicted)
    assert count(both, scene) == NOTHING | {"misnamed": 2}  # wrong, but they go together
    unseen = torch.where(scene == TOP, 0, scene)
    assert count(unseen, scene) == NOTHING | {"missed": 1}


def test_a_garment_in_pieces_is_a_patchwork(scene):
    predicted = scene.clone()
    predicted[0, 20:27, 70:90] = 3  # 7 of 20 rows
    assert count(predicted, scene) == NOTHING | {"patchwork": 1}
    predicted[0, 20:27, 70:90] = TOP
    predicted[0, 20:26, 70:90] = 3  # 6 of 20 rows: two thirds agree
    assert count(predicted, scene) == NOTHING


def test_what_lies_outside_the_garments_is_left_out_but_for_the_clash(scene):
    predicted = torch.where(scene == 0, 5, scene)
    assert count(predicted, scene) == NOTHING
    predicted = torch.where(scene == 0, failures.TOPS[2], scene)
    assert count(predicted, scene)["clash"] == 1


def test_a_garment_is_missed_where_more_than_half_is_background(scene):
    predicted = scene.clone()
    predicted[0, 50:60, 4:24] = 0
    assert count(predicted, scene)["missed"] == 0  # half
    predicted[0, 60, 4] = 0
    assert count(predicted, scene) == NOTHING | {"missed": 1}


def test_the_worst_scenes_have_the_largest_share_of_wrong_garments(scene):
    labels = scene.repeat(4, 1, 1)
    labels[3][scene[0] != TOP] = 0  # a single garment, so that its pixels weigh more
    predicted = labels.clone()
    predicted[0, 90:] = 7  # background only: no garment is wrong
    predicted[1, 20:24, 70:90] = 0
    predicted[2, 20:22, 70:90] = 0
    predicted[3, 20:23, 70:90] = 0
    assert failures.worst(predicted, labels, 3).tolist() == [3, 1, 2]


def test_held_out_garments_are_neither_trained_on_nor_tested(drawn, monkeypatch):
    parts = []
    monkeypatch.setattr(failures, "fashion_scenes", lambda *given, **_: parts.append(given))
    numbered = data.ImageSet(drawn[0].images[:120], torch.arange(120), data.STAND_IN)
    config = replace(context.CONFIGS["quick"], scenes=7, test_scenes=5)
    failures.draw(config, (numbered, drawn[1]), seed=4)
    (train, scenes), (held_out, held_out_scenes), (test, test_scenes) = parts
    assert (len(train), len(held_out)) == (100, 20)
    assert not set(train.labels.tolist()) & set(held_out.labels.tolist())
    assert test is drawn[1]
    assert (scenes, held_out_scenes, test_scenes) == (7, 5, 5)


def test_the_method_counts_on_held_out_scenes_each_epoch_and_on_test_scenes_once(
    drawn, monkeypatch
):
    config = context.CONFIGS["quick"]
    recipe = replace(config.recipe, epochs=1)
    small = {"scenes": 16, "test_scenes": 12, "longer": 2, "widths": (4, 4, 8, 8), "recipe": recipe}
    monkeypatch.setattr(failures, "CONFIGS", {"quick": replace(config, **small)})
    looked_at, predict = [], failures.predict_labels

    def look(model, scenes):
        looked_at.append(scenes)
        return predict(model, scenes)

    monkeypatch.setattr(failures, "predict_labels", look)
    run = failures.run("quick", 1, data=(drawn[0][:600], drawn[1][:200]))
    _, held_out, test = failures.draw(
        failures.CONFIGS["quick"], (drawn[0][:600], drawn[1][:200]), 1
    )
    of_test = [torch.equal(scenes.images, test.images) for scenes in looked_at]
    assert of_test == [False, False, False, True] * 2  # two epochs, and at the end
    assert all(
        torch.equal(scenes.images, held_out.images)
        for scenes, judged in zip(looked_at, of_test, strict=True)
        if not judged
    )
    assert all({"tops_iou", *failures.KINDS} <= set(row) for row in run.history["PSPNet"])
    counted = {(row["network"], row["part"], row["scenes"]) for row in run.measured["failures"]}
    assert len(counted) == 2 * 2 * 2
    rows = [row for row in run.measured["failures"] if row["part"] == "held out"]
    assert rows[0]["clash"] == run.history["FCN"][-1]["clash"]
