"""Checks that are no comparison with a right answer: draws, memory, recipes; and how checks ask."""

import math
import random as python_random
import statistics
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet

from resnets import check, data, models
from resnets.check import asking, bottlenecks, classes, exercise, recipes


def says(verdict, words):
    assert not verdict
    assert words in verdict.message, verdict.message


# Crop and flip.


def augment(images, padding, rows=None, columns=None, mirror=None, pad="constant"):
    n, height, width = images.shape
    places = 2 * padding + 1
    top = torch.randint(places, (n, 1)) if rows is None else rows(n, places)
    left = torch.randint(places, (n, 1)) if columns is None else columns(n, places)
    flip = torch.rand(n, 1) < 0.5 if mirror is None else mirror(n)
    across = torch.arange(width).expand(n, width)
    across = left + torch.where(flip, across.flip(1), across)
    down = top + torch.arange(height)
    padded = F.pad(images[:, None].float(), (padding,) * 4, pad)[:, 0].to(images.dtype)
    return padded[torch.arange(n)[:, None, None], down[:, :, None], across[:, None]]


def by_the_library(images, padding):
    generator = torch.Generator()
    generator.manual_seed(torch.randint(2**31, ()).item())
    return data.crop_and_flip(images, generator, padding)


def by_variants(images, padding):
    """A loop, but over the places."""
    n, height, width = images.shape
    padded, out = F.pad(images, (padding,) * 4), torch.empty_like(images)
    top, left = torch.randint(2 * padding + 1, (2, n))
    for i in range(2 * padding + 1):
        for j in range(2 * padding + 1):
            mine = (top == i) & (left == j)
            out[mine] = padded[mine, i : i + height, j : j + width]
    return torch.where((torch.rand(n) < 0.5)[:, None, None], out.flip(2), out)


def image_by_image(images, padding):
    padded = np.pad(images.numpy(), ((0, 0), (padding, padding), (padding, padding)))
    _, height, width = images.shape
    places = np.random.randint(2 * padding + 1, size=(len(images), 2))
    crops = [p[i : i + height, j : j + width] for p, (i, j) in zip(padded, places, strict=True)]
    flips = np.random.rand(len(images), 1, 1) < 0.5
    return torch.from_numpy(np.where(flips, np.stack(crops)[:, :, ::-1], crops))


def seeded(images, padding):
    torch.manual_seed(0)
    return augment(images, padding)


def one_row_for_columns(images, padding):
    top = torch.randint(2 * padding + 1, (len(images), 1))
    return augment(images, padding, lambda *_: top, lambda *_: top)


def shared(count):
    return lambda n: (torch.rand(-(-n // count)) < 0.5).repeat_interleave(count)[:n, None]


@pytest.mark.parametrize("answer", [augment, by_the_library, by_variants])
def test_crop_and_flip_takes_what_is_right(answer):
    for _ in range(3):  # other random numbers each time
        torch.rand(1)
        assert check.crop_and_flip(answer), check.crop_and_flip(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (lambda images, padding: 1.0, "Return a tensor"),
        (lambda images, padding: F.pad(images, (padding,) * 4), "has the size of the image again"),
        (lambda images, padding: augment(images, padding).float(), "torch.float32"),
        (lambda images, padding: images, "no image of a batch is mirrored or each is"),
        (partial(augment, mirror=lambda n: torch.rand(1, 1).expand(n, 1) < 0.5), "each is"),
        (partial(augment, rows=lambda n, k: torch.randint(k, (1, 1)).expand(n, 1)), "alike"),
        (partial(augment, rows=lambda n, k: torch.randint(k - 1, (n, 1)),
                 columns=lambda n, k: torch.randint(k - 1, (n, 1))), "last place never comes"),
        (partial(augment, rows=lambda n, k: torch.randint(k - 1, (n, 1))), "Some crops never come"),
        (partial(augment, rows=lambda n, k: (torch.rand(n, 1) * (k - 1)).round().long()),
         "more often than others"),
        (one_row_for_columns, "Rows and columns are shifted by the same number"),
        (partial(augment, mirror=lambda n: torch.rand(n, 1) < 0.45), "Half of the images"),
        (partial(augment, mirror=lambda n: torch.rand(n, 1) < 0.55), "Half of the images"),
        (partial(augment, mirror=shared(2)), "share their draws"),
        (partial(augment, mirror=lambda n: shared(1)(n // 2).repeat(2, 1)), "share their draws"),
        (partial(augment, pad="circular"), "comes in on the other"),
        (partial(augment, pad="replicate"), "repeats the edge"),
        (partial(augment, pad="reflect"), "The border mirrors"),
        (lambda images, padding: augment(images.flip(1), padding), "upside down"),
        (lambda images, padding: augment(images.roll(1, 0), padding), "mix up the images"),
        (lambda images, padding: 255 - augment(images, padding), "none of the 50 crops"),
        (image_by_image, "loop over the images"),
        (seeded, "set no seed"),
    ],
)  # fmt: skip
def test_crop_and_flip_names_the_mistake(answer, words):
    says(check.crop_and_flip(answer), words)


# Stochastic depth in training.


def survive(blocks, last):
    return bottlenecks.survival_probabilities.exercise.right(blocks, last)


def draw(x, p):
    return (torch.rand(len(x), 1, 1, 1) < p).double()


def in_training(change):
    def answer(x, g, p, training):
        return change(x, g, p) if training else F.relu(x + p * g)

    return answer


stochastic = in_training(lambda x, g, p: F.relu(x + draw(x, p) * g))


def stochastic_by_where(x, g, p, training):
    if not training:
        return torch.relu(x + g * p)
    kept = torch.bernoulli(torch.full((x.shape[0],), p)).bool()
    return torch.where(kept.view(-1, 1, 1, 1), x + g, x).clamp(min=0)


def stochastic_in_place(x, g, p, training):
    g *= draw(g, p) if training else p
    g += x
    return F.relu(g, inplace=True)


def exactly(x, p):
    kept = (torch.arange(len(x)) < round(p * len(x)))[torch.randperm(len(x))]
    return kept.view(-1, 1, 1, 1).double()


def first(seed):
    return lambda x, p: (
        torch.rand(len(x), 1, 1, 1, generator=torch.Generator().manual_seed(seed)) < p
    ).double()


@pytest.mark.parametrize("answer", [stochastic, stochastic_by_where, stochastic_in_place])
def test_stochastic_depth_takes_what_is_right(answer):
    for _ in range(3):
        torch.rand(1)
        assert check.stochastic_depth(survive, answer), check.stochastic_depth(survive, answer)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, g, p: None, "no answer so far"),
        (lambda x, g, p: F.relu(x + draw(x, p) * g / p), "divide the layers by the probability"),
        (lambda x, g, p: F.relu(x + p * g), "weight instead of drawing"),
        (lambda x, g, p: F.relu(x + p * draw(x, p) * g), "weight the layers as well as draw"),
        (lambda x, g, p: F.relu(draw(x, p) * (x + g)), "shortcut is gone too"),
        (lambda x, g, p: x + draw(x, p) * g, "no ReLU"),
        (lambda x, g, p: F.relu(x + draw(x, 1 - p) * g), "probability is reversed"),
        (lambda x, g, p: F.relu(x + draw(x, p + 0.03 * (p < 1)) * g), "of the images"),
        (lambda x, g, p: F.relu(x + draw(x[:1], p) * g), "share one draw"),
        (lambda x, g, p: F.relu(x + draw(x[::2], p).repeat_interleave(2, 0) * g), "share their"),
        (lambda x, g, p: F.relu(x + (torch.rand(x.shape) < p) * g), "a whole image"),
        (lambda x, g, p: F.relu(x + (torch.rand(len(x), 2, 1, 1) < p) * g), "a whole image"),
        (lambda x, g, p: F.relu(x + first(0)(x, p) * g), "same number"),
        (lambda x, g, p: F.relu(x + exactly(x, p) * g), "same number"),
        (lambda x, g, p: F.relu(x + draw(x, p) * g.detach()), "gradient at layers"),
        (lambda x, g, p: F.relu(x + draw(x, p) * g).detach(), "No gradient"),
        (lambda x, g, p: F.relu(x - draw(x, p) * g), "are neither"),
        (lambda x, g, p: F.relu(x + draw(x, p) * g).sum(1), "shape"),
    ],
)
def test_stochastic_depth_names_the_mistake_in_training(change, words):
    says(check.stochastic_depth(survive, in_training(change)), words)


def test_stochastic_depth_names_a_draw_in_evaluation():
    drawn = lambda x, g, p, training: F.relu(x + draw(x, p) * g)  # noqa: E731
    said = set()
    for _ in range(8):
        torch.rand(1)  # other draws: a check gives the generators their states back
        said.add(check.stochastic_depth(survive, drawn).message)
    assert "You draw in evaluation: there, let all layers take part, weighted." in said


# How often fair draws are refused.


def test_fair_draws_are_refused_less_than_once_in_a_million_checks():
    n, sd = recipes.IMAGES_DRAWN, recipes.IMAGES_DRAWN**0.5 / 2
    mirrored = 2 * stats.binom.cdf(math.floor(n * (0.5 - recipes.MIRRORED_WITHIN)), n, 0.5)
    chance = 1 / 18
    width = recipes.PLACES_WITHIN * (n * chance * (1 - chance)) ** 0.5
    low, high = math.ceil(n * chance - width), math.floor(n * chance + width)
    places = 18 * (stats.binom.cdf(low - 1, n, chance) + stats.binom.sf(high, n, chance))
    apart = 3 * n * stats.norm.sf(exercise.ALIKE_WITHIN)  # of the ends of half of the distances
    assert sd > 70 and mirrored + places + apart < 1e-6
    kept = sum(
        1
        - stats.binom.cdf(math.floor(bottlenecks.DRAWN * (p + bottlenecks.SHARE_WITHIN)),
                          bottlenecks.DRAWN, p)
        + stats.binom.cdf(math.ceil(bottlenecks.DRAWN * (p - bottlenecks.SHARE_WITHIN)) - 1,
                          bottlenecks.DRAWN, p)
        for p in (0.3, 0.8)
    )  # fmt: skip
    variances = [bottlenecks.DRAWN * p * (1 - p) for p in (0.3, 0.8)]
    equal = sum((2 * math.pi * v) ** -1.5 / 2 for v in variances)  # four numbers of images
    apart = 8 * bottlenecks.DRAWN * stats.norm.sf(exercise.ALIKE_WITHIN)
    assert 4 * kept + equal + apart < 1e-6
    size = 80 * 140
    spread = 2 * stats.norm.sf(classes.SPREAD_WITHIN * (2 * size) ** 0.5)
    normal = stats.kstwo.sf(classes.NORMAL_WITHIN / size**0.5, size)
    alike = 3 * 2 * stats.norm.sf(classes.ALIKE_BELOW)
    assert 3 * (spread + normal + alike) < 1e-6


# An inserted block.


def inserting(make):
    def insert(blocks, place):
        return [*blocks[:place], make(*blocks[0]), *blocks[place:]]

    return insert


def he(w, v):
    return torch.randn_like(w) * (2 / w.shape[1]) ** 0.5, torch.zeros_like(v)


def starting(change):
    """He's block with another W."""
    return inserting(lambda w, v: (change(w), torch.zeros_like(v)))


def insert_with_torchs_init(blocks, place):
    w, v = (torch.empty_like(matrix, dtype=torch.float32) for matrix in blocks[0])
    nn.init.kaiming_normal_(w, nonlinearity="relu")
    grown = list(blocks)
    grown.insert(place, [nn.Parameter(w), nn.Parameter(nn.init.zeros_(v))])
    return grown


def in_place(blocks, place):
    blocks.insert(place, he(*blocks[0]))
    return blocks


def in_place_without_result(blocks, place):
    blocks.insert(place, he(*blocks[0]))


def writes_into_a_block(blocks, place):
    blocks[0][1].mul_(0.5)
    return inserting(he)(blocks, place)


@pytest.mark.parametrize("answer", [inserting(he), insert_with_torchs_init])
def test_inserted_block_takes_what_is_right(answer):
    for _ in range(5):
        torch.rand(1)
        assert check.inserted_block(answer), check.inserted_block(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda blocks, place: None, "no answer so far"),
        (in_place, "changes the list"),
        (in_place_without_result, "changes the list"),
        (writes_into_a_block, "changes the list"),
        (lambda blocks, place: list(blocks), "From 3 blocks you make 3"),
        (lambda blocks, place: [*blocks, he(*blocks[0])], "in the wrong place"),
        (lambda b, place: inserting(he)([(w, 0 * v) for w, v in b], place), "have changed"),
        (inserting(lambda w, v: (0 * w, 0 * v)), "Both matrices are zero"),
        (inserting(lambda w, v: (0 * w, torch.randn_like(v))), "zeroed the first"),
        (inserting(lambda w, v: (he(w, v)[0], torch.randn_like(v) / 1e4)), "changes the outputs"),
        (starting(torch.randn_like), "about 1:"),
        (starting(lambda w: torch.randn_like(w) * 2 / w.shape[1]), "2/d"),
        (starting(lambda w: nn.init.kaiming_normal_(0 * w, mode="fan_out")), "√(2/m)"),
        (starting(lambda w: nn.init.xavier_normal_(0 * w)), "Glorot's"),
        (starting(lambda w: nn.Linear(w.shape[1], w.shape[0]).weight), "nn.Linear"),
        (starting(lambda w: torch.randn_like(w) * (2.5 / w.shape[1]) ** 0.5), "The spread of W"),
        (starting(lambda w: torch.full_like(w, (2 / w.shape[1]) ** 0.5)), "not normal"),
        (starting(lambda w: nn.init.kaiming_uniform_(0 * w, nonlinearity="relu")), "not normal"),
        (starting(lambda w: w * 10 * (2 / w.shape[1]) ** 0.5), "made W from another block's"),
        (starting(lambda w: -torch.ones_like(w)), "has no gradient"),
        (inserting(lambda w, v: he(w.T, v.T)), "W of shape (140, 80)"),
        (inserting(lambda w, v: (w, None)), "two matrices"),
        (lambda blocks, place: 3, "TypeError"),
    ],
)
def test_inserted_block_names_the_mistake(answer, words):
    says(check.inserted_block(answer), words)


# A block that starts as the identity.


def starting_at_zero(*names, small=0.0):
    def make(channels):
        block = models.PreActivationBlock(channels)
        for name in names:
            nn.init.constant_(block.get_submodule(name).weight, small)
        return block

    return make


def test_starts_as_identity_takes_what_is_right():
    assert check.starts_as_identity(starting_at_zero("conv2"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (starting_at_zero(), "a new one changes its input"),
        (starting_at_zero("conv2", small=1e-9), "small is not zero"),
        (starting_at_zero("conv1"), "stays so"),
        (starting_at_zero("bn2"), "stays so"),
        (starting_at_zero("conv1", "conv2"), "stays so"),
        (lambda channels: None, "no answer so far"),
    ],
)
def test_starts_as_identity_names_the_mistake(answer, words):
    says(check.starts_as_identity(answer), words)


def test_both_halves_of_an_exercise_are_checked():
    least, deepest = (
        f.exercise.right for f in (bottlenecks.least_memory, bottlenecks.deepest_network)
    )
    assert check.checkpoint_memory(least, deepest)
    says(check.checkpoint_memory(least, lambda m, a, b: m // b), "without checkpointing")
    says(check.checkpoint_memory(lambda n, a, b: (1.5, 3), deepest), "whole number")
    says(check.stochastic_depth(lambda n, last: [last] * n, stochastic), "falls from block")


# A rerun.

SMALL = recipes.BASELINE | {"blocks": [1], "widths": [4], "epochs": 1, "batch_size": 64}


@pytest.fixture(scope="module")
def drawn():
    return data.stand_in()


@pytest.fixture
def few_images(drawn, monkeypatch):
    train, test = drawn
    few = {"train": train[:640], "held-out": train[640:1140], "test": test[:500]}
    monkeypatch.setattr(recipes, "_images", lambda: few)
    recipes._trained.cache_clear()
    yield few
    recipes._trained.cache_clear()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 2.0}, "'epochs' should be a whole number from 1 to 5"),
        ({"epochs": True}, "'epochs'"),
        ({"batch_size": 32}, "'batch_size'"),
        ({"lr": float("nan")}, "'lr'"),
        ({"lr": "0.1"}, "'lr'"),
        ({"momentum": 1.0}, "'momentum'"),
        ({"schedule": "one cycle"}, "'schedule'"),
        ({"stem": "stride1"}, "'stem' should be one of 'imagenet', 'stride2'"),
        ({"stem": ["stride2"]}, "'stem'"),
        ({"augment": 2}, "'augment'"),
        ({"blocks": [4, 1, 1]}, "'blocks'"),
        ({"blocks": 3}, "'blocks'"),
        ({"blocks": [1, 1]}, "2 stages"),
        ({"blocks": [3, 3, 1]}, "six blocks"),
        ({"widths": [16, 32, 0]}, "'widths'"),
        ({"widths": [16, 32, 64.0]}, "'widths'"),
        ({"widths": [32, 64, 128]}, "over the budget: 243"),
        ({"layers": 3}, "'layers'"),
        ({"seed": ...}, "'seed'"),
        ({"lr": ...}, "lacks 'lr'"),
    ],
)
def test_recipe_is_validated_before_it_costs_anything(change, words, few_images):
    says(check.recipe(recipes.BASELINE | change), words)
    with pytest.raises(check.Mistake):
        check.rerun(recipes.BASELINE | change)


def test_recipe_takes_the_baseline_and_names_what_is_not_one():
    assert check.recipe(recipes.BASELINE)
    says(check.recipe(...), "no answer so far")
    says(check.recipe([1, 2]), "dictionary")


def test_rerun_is_repeatable_and_trains_a_recipe_once(few_images, monkeypatch):
    before = torch.get_rng_state(), python_random.getstate()
    first = check.rerun(SMALL, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0]) and python_random.getstate() == before[1]
    recipes._trained.cache_clear()
    assert check.rerun(SMALL | {"widths": (4,)}, seed=3) == first
    monkeypatch.setattr(recipes.training, "fit", None)
    assert check.rerun(SMALL, seed=3) == first
    assert 0 <= check.rerun(SMALL, seed=3, on="test") <= 1
    with pytest.raises(ValueError, match="'held-out' or 'test'"):
        check.rerun(SMALL, seed=3, on="train")


def test_rerun_says_that_a_training_diverged(few_images, monkeypatch):
    monkeypatch.setattr(F, "cross_entropy", lambda logits, *_, **options: logits.sum() * math.inf)
    with pytest.raises(check.Mistake, match="diverged"):
        check.rerun(SMALL)


def test_reaches_compares_the_mean_with_the_goal_of_the_images(few_images, monkeypatch):
    goals = {data.STAND_IN: {"baseline": 0.0, "target": 1.01}}
    monkeypatch.setattr(recipes, "GOALS", goals)
    assert check.reaches(SMALL, "baseline")
    says(check.reaches(SMALL, "target", (0, 1), "test"), "mean of 2. The target asks for 1.010.")
    says(check.reaches(..., "target"), "no answer so far")


def test_goals_are_in_order_and_know_both_sources():
    assert set(recipes.GOALS) == {data.REAL, data.STAND_IN}
    for goals in recipes.GOALS.values():
        assert 0.5 < goals["baseline"] < goals["target"] < 1


# Asking.


def test_an_answer_gets_copies_of_its_inputs():
    def answer(x, numbers):
        numbers.append(2)
        return x.mul_(3)

    x, numbers = torch.ones(2), [1]
    assert check.ask(asking.call, answer, x, numbers).tolist() == [3, 3]
    assert x.tolist() == [1, 1] and numbers == [1]
    told = check.ask(classes.call_and_inputs, answer, x, numbers)
    assert told["inputs"][0].tolist() == [3, 3] and told["inputs"][1] == [1, 2]


@pytest.mark.parametrize(
    "given",
    [
        [2, 3, 4], (2.0, 3, 4), range(2, 5), iter([2, 3, 4]), map(int, "234"), np.array([2, 3, 4]),
        np.array([4.0, 3.0, 2.0])[::-1], np.array([2, 3, 4], dtype=object), [Fraction(2), 3, 4],
        torch.tensor([2, 3, 4]), torch.tensor([2.0, 3, 4]).half(), [torch.tensor(2), 3.0, 4],
        [np.float32(2), np.int64(3), 4], torch.tensor([2.0, 3, 4], requires_grad=True),
    ],
)  # fmt: skip
def test_numbers_may_come_in_any_form(given):
    assert asking.same(check.ask(asking.call, lambda: given), [2, 3, 4])


@pytest.mark.parametrize("given", ["2", ["2", 3], {}, 1j, torch.tensor(1j), [[1], 2]])
def test_what_is_no_number_is_none(given):
    assert not asking.same(given, 2)
    with pytest.raises(check.Mistake, match="something else"):
        asking.expect(given, 2, "the number")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotImplementedError(), "no answer so far"),
        (NotImplementedError("to do"), "no answer so far"),
        (NotImplementedError("\"f_cpu\" not implemented for 'Half'"), "convert them first"),
        (ValueError("no"), "Your code stopped with ValueError: no"),
        (SystemExit("bye"), "SystemExit"),
    ],
)
def test_an_exception_is_told(error, words):
    def answer():
        raise error

    with pytest.raises(check.Mistake, match=words):
        check.ask(asking.call, answer)


def test_watched_counts_lines_and_stops():
    def endless(x):
        while True:
            x = x + 1

    assert asking.watched(endless, 100, torch.zeros(2)) == {"lines": 101, "called": []}
    told = asking.watched(lambda x: F.softmax(x, 0), 100, torch.zeros(2))
    assert told["lines"] == 1 and told["called"] == ["torch.nn.functional.softmax"]


def test_the_initialization_of_convolutions_is_torchvisions():
    """Its spread, layer by layer: fan-in in place of fan-out is off by √2 where channels double."""
    ours = dict(models.ResNet([2, 2, 2, 2], num_classes=10).named_parameters())
    theirs = dict(resnet.resnet18(num_classes=10).named_parameters())
    assert set(ours) == set(theirs)
    for name, weight in ours.items():
        if weight.ndim == 4:
            spread = weight.std() / theirs[name].std()
            within = 6 / weight.numel() ** 0.5  # six standard errors of a ratio of two spreads
            assert abs(spread - 1) < within, name
            assert abs(weight.mean() / weight.std()) < within, name
        elif "downsample.1" in name or "bn" in name:
            assert torch.equal(weight, theirs[name]), name


def test_the_mean_of_differences_is_that_of_statistics():
    first, second = [0.8, 0.85, 0.9], [0.82, 0.86, 0.95]
    change = [b - a for a, b in zip(first, second, strict=True)]
    right = recipes._paired(first, second)
    assert right == pytest.approx([statistics.fmean(change), statistics.stdev(change) / 3**0.5])
