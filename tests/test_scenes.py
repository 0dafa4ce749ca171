import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from torchvision.transforms import functional as TF

from resnets import data, metrics, scenes
from resnets.data import VOID, LabeledScenes

MADE = {"classes": ("a", "b", "c"), "source": "made", "mean": (0.5,), "sd": (0.25,)}


def made(n=4, height=33, width=41, channels=1):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, channels, height, width), generator=generator)
    labels = torch.randint(3, (n, height, width), generator=generator)
    labels[:, :2] = VOID
    made = MADE | {"mean": (0.5,) * channels, "sd": (0.25,) * channels}
    return LabeledScenes(images.to(torch.uint8), labels.to(torch.uint8), **made)


def test_labels_that_do_not_fit_their_images_are_refused():
    good = made()
    with pytest.raises(ValueError, match=r"need labels that are uint8 of shape \(4, 33, 41\)"):
        LabeledScenes(good.images, good.labels[:, :-1], **MADE)
    with pytest.raises(ValueError, match=r"not torch\.int64"):
        LabeledScenes(good.images, good.labels.long(), **MADE)
    with pytest.raises(ValueError, match="uint8 of shape"):
        LabeledScenes(good.images.float(), good.labels, **MADE)


def test_a_label_outside_the_classes_is_refused_and_void_is_none():
    good = made()
    labels = good.labels.clone()
    labels[1, 5, 7] = 3
    with pytest.raises(ValueError, match=r"label 3, but the 3 classes are 0 to 2.*255"):
        LabeledScenes(good.images, labels, **MADE)
    LabeledScenes(good.images, torch.full_like(labels, VOID), **MADE)


def test_a_batch_is_normalized_and_in_order_without_a_generator():
    scenes_ = made(channels=3)
    x, y = scenes_.batch(torch.tensor([2, 0]))
    torch.testing.assert_close(x, (scenes_.images[[2, 0]].float() / 255 - 0.5) / 0.25)
    assert torch.equal(y, scenes_.labels[[2, 0]].long())


def test_a_random_batch_has_the_largest_size_on_the_grid_of_eight_and_follows_the_generator():
    def batch(seed):
        return made(height=39, width=50).batch(torch.arange(4), torch.Generator().manual_seed(seed))

    x, y = batch(0)
    assert x.shape == (4, 1, 33, 49) and y.shape == (4, 33, 49)
    assert torch.equal(x, batch(0)[0]) and torch.equal(y, batch(0)[1])
    assert not torch.equal(y, batch(1)[1])


def test_scale_crop_and_flip_moves_images_and_labels_together():
    n, size = 200, (33, 41)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(80), indexing="ij")
    images = torch.stack([rows, columns]).float().expand(n, -1, -1, -1)
    labels = ((rows // 16) * 5 + columns // 16).to(torch.uint8).expand(n, -1, -1)
    generator = torch.Generator().manual_seed(0)
    x, y = data.scale_crop_and_flip(images, labels, size, generator)
    assert x.shape == (n, 2, *size) and y.shape == (n, *size) and y.dtype == torch.uint8
    flips, scales = [], []
    for (down, right), label in zip(x, y, strict=True):
        inside = label != VOID
        if inside.all():
            step = (down[24, 20] - down[8, 20]) / 16
            turned = (right[16, 30] - right[16, 10]) / 20
            scales.append(1 / step.item())
            flips.append(bool(turned < 0))
            assert turned.abs().item() == pytest.approx(step.item(), rel=1e-3)
            there = (down.round() // 16 * 5 + right.round() // 16).to(torch.uint8)
            clear = ((down + 0.5) % 16 > 0.6) & ((right + 0.5) % 16 > 0.6)
            clear[[0, -1]] = clear[:, [0, -1]] = False  # half outside, where images fade to 0
            assert torch.equal(label[clear], there[clear])
    assert 0.4 < sum(flips) / len(flips) < 0.6
    assert min(scales) >= 0.5 and max(scales) <= 2 and max(scales) > 1.8


def test_those_are_flipped_that_are_to_be():
    image, labels = torch.rand(1, 1, 33, 41), torch.randint(5, (1, 33, 41), dtype=torch.uint8)
    for mirrored in (True, False):
        x, y = data.scale_crop_and_flip(
            image,
            labels,
            (33, 41),
            torch.Generator().manual_seed(0),
            scales=(1.0, 1.0),
            mirrored=torch.tensor([mirrored]),
        )
        expected = (image.flip(3), labels.flip(2)) if mirrored else (image, labels)
        torch.testing.assert_close(x, expected[0], atol=1e-4, rtol=0)
        assert torch.equal(y, expected[1])


def test_batches_of_scenes_are_flipped_where_they_are_to_be():
    def batch(mirrored):
        generator = torch.Generator().manual_seed(0)
        flips = torch.full((4,), mirrored)
        return next(data.batches(made(), 4, generator, augment=True, mirrored=flips))

    (x, y), (turned_x, turned_y) = batch(False), batch(True)
    torch.testing.assert_close(turned_x, x.flip(3), atol=1e-4, rtol=0)
    assert torch.equal(turned_y, y.flip(2)) and not torch.equal(turned_y, y)


def test_outside_a_small_image_the_crop_is_zero_and_void():
    images, labels = torch.ones(50, 1, 40, 40), torch.ones(50, 40, 40, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    x, y = data.scale_crop_and_flip(images, labels, (41, 41), generator, scales=(0.5, 0.5))
    assert torch.equal((y == 1).sum((1, 2)).float().mean().round(), torch.tensor(400.0))
    assert (x[:, 0][y == VOID] < 1).all() and (x[:, 0][y == VOID] == 0).float().mean() > 0.95
    places = {tuple(label.nonzero()[0].tolist()) for label in (y == 1)}
    assert len(places) > 40


def test_at_scale_one_the_crop_is_torchvisions():
    image = torch.rand(1, 3, 33, 41)
    labels = torch.randint(5, (1, 33, 41), dtype=torch.uint8)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        x, y = data.scale_crop_and_flip(image, labels, (33, 41), generator, scales=(1.0, 1.0))
        ways = [(image, labels), (TF.hflip(image), TF.hflip(labels))]
        found = [torch.allclose(x, i, atol=1e-4) and torch.equal(y, j) for i, j in ways]
        assert sum(found) == 1


@pytest.fixture(scope="module")
def worlds(drawn):
    return {
        outfits: scenes.fashion_scenes(drawn[0], 150, outfits=outfits, seed=3)
        for outfits in (True, False)
    }


def in_scene(labels, names):
    """Which of the classes each scene shows: a tuple of names a scene."""
    numbers = {name: scenes.SCENE_CLASSES.index(name) for name in names}
    return [tuple(n for n in names if (label == numbers[n]).any()) for label in labels]


def test_in_outfits_the_shoe_decides_the_top(worlds):
    shoes = in_scene(worlds[True].labels, scenes.OUTFITS)
    tops = in_scene(worlds[True].labels, scenes.OUTFITS.values())
    seen = 0
    for shoe, top in zip(shoes, tops, strict=True):
        assert len(shoe) <= 1 and len(top) <= 1
        if shoe and top:  # a dark garment may leave no label
            assert scenes.OUTFITS[shoe[0]] == top[0]
            seen += 1
    assert seen > 130


def test_the_other_world_has_the_same_shoes_and_others_but_tops_of_their_own(worlds):
    one, other = worlds[True].labels, worlds[False].labels
    keep = [n for n in scenes.SCENE_CLASSES[1:] if n not in scenes.OUTFITS.values()]
    for name in keep:
        number = scenes.SCENE_CLASSES.index(name)
        assert torch.equal(one == number, other == number)
    shoes = in_scene(other, scenes.OUTFITS)
    tops = in_scene(other, scenes.OUTFITS.values())
    pairs = {(s[0], t[0]) for s, t in zip(shoes, tops, strict=True) if s and t}
    assert len(pairs) == 9


def test_scenes_are_the_same_for_the_same_seed_and_show_garments_under_noise(drawn, worlds):
    again = scenes.fashion_scenes(drawn[0], 150, outfits=True, seed=3)
    assert torch.equal(again.images, worlds[True].images)
    other = scenes.fashion_scenes(drawn[0], 150, outfits=True, seed=4)
    assert not torch.equal(other.labels, again.labels)
    clean = scenes.fashion_scenes(drawn[0], 20, outfits=True, seed=3, noise=0)
    assert ((clean.images[:, 0] > 0) <= (clean.labels > 0)).all()
    assert again.images.shape == (150, 1, 97, 97) and again.source.endswith(drawn[0].source)
    sizes = [(again.labels == i).sum((1, 2)) for i in range(1, 11)]
    assert max(s.max() for s in sizes) > 20 * min(s[s > 0].min() for s in sizes)


def test_a_wardrobe_without_a_class_is_refused(drawn):
    bare = drawn[0][drawn[0].labels != data.CLASSES.index("Coat")]
    with pytest.raises(ValueError, match="no image of class 'Coat'"):
        scenes.fashion_scenes(bare, 2, outfits=True, seed=0)


@pytest.fixture
def judged():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(5, (3, 20, 30), generator=generator)
    wrong = torch.randint(5, labels.shape, generator=generator)
    predicted = torch.where(torch.rand(labels.shape, generator=generator) < 0.6, labels, wrong)
    labels[0, :5] = VOID
    return predicted.to(torch.uint8), labels.to(torch.uint8)


def test_the_metrics_are_scikit_learns(judged):
    predicted, labels = judged
    counts = metrics.confusion(predicted, labels, 5)
    known = labels != VOID
    truth, given = labels[known].numpy(), predicted[known].numpy()
    assert np.array_equal(counts, confusion_matrix(truth, given))
    assert metrics.pixel_accuracy(counts) == pytest.approx(accuracy_score(truth, given))
    iou = jaccard_score(truth, given, average=None)
    np.testing.assert_allclose(metrics.class_iou(counts), iou)
    assert metrics.mean_iou(counts) == pytest.approx(iou.mean())


def test_void_counts_nowhere(judged):
    predicted, labels = judged
    counts = metrics.confusion(predicted, labels, 5)
    predicted[labels == VOID] = (predicted[labels == VOID] + 1) % 5
    assert torch.equal(metrics.confusion(predicted, labels, 5), counts)
    assert counts.sum() == (labels != VOID).sum()


def test_a_class_that_does_not_occur_is_left_out_of_the_mean():
    labels = torch.tensor([0, 0, 1, 1], dtype=torch.uint8)
    counts = metrics.confusion(torch.tensor([0, 1, 1, 1], dtype=torch.uint8), labels, 3)
    assert metrics.class_iou(counts).tolist() == pytest.approx([1 / 2, 2 / 3, np.nan], nan_ok=True)
    assert metrics.mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_predictions_that_do_not_fit_are_refused(judged):
    predicted, labels = judged
    with pytest.raises(ValueError, match=r"shape \(2, 20, 30\) do not fit"):
        metrics.confusion(predicted[:2], labels, 5)
    with pytest.raises(ValueError, match="a prediction lies outside the 4 classes 0 to 3"):
        metrics.confusion(predicted, labels.clamp(max=3), 4)
    with pytest.raises(ValueError, match="a label lies outside the 4 classes"):
        metrics.confusion(predicted.clamp(max=3), labels, 4)


def test_borders_count_neighbors_of_different_classes():
    labels = torch.tensor([[[0, 0, 1], [0, 2, 1], [VOID, 2, 2]]], dtype=torch.uint8)
    expected = torch.tensor([[0, 1, 2], [1, 0, 2], [2, 2, 0]])
    assert torch.equal(metrics.borders(labels, 3), expected)


def test_rare_borders_are_the_pairs_at_the_rare_end():
    usual = torch.tensor([[0, 990, 8], [990, 0, 2], [8, 2, 0]])
    seen = torch.tensor([[0, 6, 3], [6, 0, 1], [3, 1, 0]])
    assert metrics.rare_borders(seen, usual) == pytest.approx(0.4)
    assert metrics.rare_borders(seen, usual, share=0.005) == pytest.approx(0.1)
    assert metrics.rare_borders(usual, usual) == pytest.approx(0.01)
