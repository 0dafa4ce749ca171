"""Checks for chapter 3: a network put together, its recipe, and what its accuracy is worth.

And for its assignment: `rerun` trains what a recipe says, on a budget, and measures it.
"""

import math
import random as numbers
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import data, models, probes, training
from resnets.check.asking import (
    Mistake,
    Watch,
    answered,
    ask,
    call,
    checks,
    plain,
    random,
    same_draws,
    whole,
)
from resnets.check.exercise import (
    ALIKE_WITHIN,
    Case,
    Network,
    Value,
    alike,
    changed,
    computing,
    exercise,
    several,
)
from resnets.device import seed_everything

SHAPES = [(64, 50, 38), (64, 25, 19), (64, 25, 19), (128, 13, 10), (256, 7, 5), (512, 4, 3)]


def _shapes(heights: Sequence[int], widths: Sequence[int]) -> list[tuple[int, int, int]]:
    return list(zip((64, 64, 64, 128, 256, 512), heights, widths, strict=True))


@exercise(
    kind=Value,
    right=SHAPES,
    what="the list of shapes",
    says="These are the shapes, with odd sizes rounded up.",
    wrong={
        "You round down where a stride meets an odd size: with its padding a convolution outputs "
        "⌈n/2⌉, so 75 becomes 38.": _shapes((50, 25, 25, 12, 6, 3), (37, 18, 18, 9, 4, 2)),
        "Height and width are swapped.": [(c, w, h) for c, h, w in SHAPES],
        "The channels come first: (channels, height, width).": [(h, w, c) for c, h, w in SHAPES],
        "The first stage has stride 1: its image is as large as after the pooling.": _shapes(
            (50, 25, 13, 7, 4, 2), (38, 19, 10, 5, 3, 2)
        ),
        "The pooling has stride 2 as well: it halves the height and the width.": _shapes(
            (50, 50, 50, 25, 13, 7), (38, 38, 38, 19, 10, 5)
        ),
        "The question is about one image: leave the batch out.": [(1, *shape) for shape in SHAPES],
        "Each shape has three numbers: channels, height, width.": [h for _, h, _ in SHAPES],
        "Return six shapes: the last is the one after layer4.": SHAPES[:5],
        "Begin after conv1: leave out the image itself.": [(1, 100, 75), *SHAPES[:5]],
        "Each stage has twice as many channels as the one before: 64, 128, 256, 512.": [
            (64, h, w) for _, h, w in SHAPES
        ],
    },
)
def shapes_on_the_way(shapes: Sequence):
    """Are these the shapes (channels, height, width) in ResNet-18 for a gray image of 100×75?

    A list of six: behind conv1, the max pooling, and the four stages; the image is 100 high.
    """
    yield ()


def _small_resnet18(
    in_channels: int, classes: int, width: int, blocks: Sequence[int] = (2, 2, 2, 2)
) -> models.ResNet:
    widths = [width * 2**n for n in range(len(blocks))]
    return models.ResNet(
        blocks, in_channels=in_channels, num_classes=classes, widths=widths, stem="stride1"
    )


def _stem(kernel: int = 3, stride: int = 1, padding: int = 1, bias: bool = False) -> Callable:
    """Another first convolution."""

    def change(net: nn.Module) -> None:
        channels, width = net.conv1.in_channels, net.conv1.out_channels
        net.conv1 = nn.Conv2d(channels, width, kernel, stride, padding, bias=bias)

    return changed(_small_resnet18, change)


def _without_stride(stage: str) -> Callable:
    def change(net: nn.Module) -> None:
        first = net.get_submodule(stage)[0]
        first.conv1.stride = first.downsample[0].stride = (1, 1)

    return changed(_small_resnet18, change)


def _projects_first(stride: int) -> Callable:
    def change(net: nn.Module) -> None:
        width = net.conv1.out_channels
        net.layer1[0] = models.BasicBlock(width, width, stride, "all-projections")

    return changed(_small_resnet18, change)


def _logits(relu: Callable = F.relu, pool: Callable = lambda x: x, last=None, out=None) -> Callable:
    """The network with another step in its forward pass."""

    def forward(net: nn.Module, x: Tensor) -> Tensor:
        y = pool(relu(net.bn1(net.conv1(x))))
        for stage in net.stages:
            y = net.get_submodule(stage)(y)
        y = net.fc((last or net.avgpool)(y).flatten(1))
        return out(y) if out else y

    return computing(_small_resnet18, forward)


@exercise(
    kind=Network,
    right=_small_resnet18,
    says="Your network takes the library's weights, and matches its logits and gradients.",
    wrong={
        "A stage has two blocks: layer1.0 and layer1.1, and so on to layer4.1.": partial(
            _small_resnet18, blocks=(1, 1, 1, 1)
        ),
        "A stage has two blocks: layer1.0 and layer1.1, and no more.": partial(
            _small_resnet18, blocks=(3, 3, 3, 3)
        ),
        "ResNet-18 has four stages: layer1 to layer4.": partial(_small_resnet18, blocks=(2, 2, 2)),
        "ResNet-18 has four stages, and no layer5.": partial(
            _small_resnet18, blocks=(2, 2, 2, 2, 2)
        ),
        "conv1 is 7×7: in this stem it is 3×3.": _stem(7, 1, 3),
        "conv1 has a bias: leave it out, since batch normalization has one.": _stem(bias=True),
        "conv1 has a stride: this stem keeps every pixel of a small image.": _stem(stride=2),
        "conv1 has no padding: a 3×3 convolution needs padding 1 to keep the size.": _stem(
            padding=0
        ),
        "Batch normalization is missing after conv1: add bn1.": changed(
            _small_resnet18, lambda net: setattr(net, "bn1", nn.Identity())
        ),
        "layer1 begins with a projection: its first block changes neither size nor channels "
        "(stride 1), so the shortcut is `x`.": _projects_first(2),
        "fc has no bias: keep the one that `nn.Linear` has by default.": changed(
            _small_resnet18, lambda net: net.fc.register_parameter("bias", None)
        ),
        "The ReLU after the stem's batch normalization is missing.": _logits(lambda x: x),
        "Your stem has max pooling: leave it out for small images.": _logits(
            pool=nn.MaxPool2d(3, 2, 1)
        ),
        "At the end you take each map's maximum: take its average.": _logits(
            last=nn.AdaptiveMaxPool2d(1)
        ),
        "At the end, average over all pixels of a map, however many there are.": _logits(
            last=lambda x: F.avg_pool2d(x, 4)
        ),
        "There is a ReLU after fc: logits may be negative.": _logits(out=F.relu),
        "There is a softmax after fc: return the logits, since the loss has the softmax.": _logits(
            out=lambda y: y.softmax(1)
        ),
        "There is a log-softmax after fc: return the logits, since the loss has it.": _logits(
            out=lambda y: y.log_softmax(1)
        ),
    }
    | {
        f"layer{n} has no stride: every stage but the first halves the image in its first "
        "block.": _without_stride(f"layer{n}")
        for n in (2, 3, 4)
    },
)
def small_resnet18(make: Callable):
    """Is `make(in_channels, classes, width)` ResNet-18 for small images, `width` channels wide?

    Stem: conv1 (3×3, stride 1, no bias), bn1, ReLU, no pooling. Stages layer1 to layer4 of two
    basic blocks with `width` times 1, 2, 4, 8 channels; average pooling; fc. (N, in_channels, H, W)
    to logits (N, classes). Names as in torchvision. He et al. (2016a), table 1 and section 4.2.
    """
    yield [1, 10, 4], (2, 1, 16, 12)
    yield [3, 7, 2], (2, 3, 9, 17)


def rates(answer: Callable, steps: int, peak: float) -> list | None:
    """A question: the learning rates `answer(step, steps, peak)` of all steps, in peaks."""
    return _in_peaks([plain(answer(step, steps, peak)) for step in range(steps)], peak)


def _in_peaks(found: list, peak: float) -> list | None:
    if any(rate is None or rate is ... for rate in found):
        return None
    try:
        return [float(0.0 + rate) / peak for rate in found]
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake("Each rate should be one number, but is something else.") from error


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _cycle(
    step: int, steps: int, peak: float, quarter=0.25, late=0, later=0, start=1 / 25, end=0.0,
    up: Callable = _cosine, down: Callable = _cosine,
) -> float:  # fmt: skip
    top, last = steps * quarter - 1 + late, steps - 1 + later
    if step <= top:
        return peak * up(start, 1, step / top)
    return peak * down(1, end, (step - top) / (last - top))


@exercise(
    right=_cycle,
    question=rates,
    what="the list of rates, in peaks,",
    says="Your rate matches PyTorch's OneCycleLR in every step.",
    wrong={
        "Your rate is the peak in every step: it should go up to the peak, then down to zero.": (
            lambda step, steps, peak: peak
        ),
        "There is no warm-up: let the rate go up to the peak in the first quarter of the steps.": (
            lambda step, steps, peak: peak * _cosine(1, 0, step / (steps - 1))
        ),
        "Your rate goes up and down along straight lines: make both ways half a cosine.": partial(
            _cycle, up=_line, down=_line
        ),
        "Your rate goes up along a straight line: make both ways half a cosine.": partial(
            _cycle, up=_line
        ),
        "Your rate goes down along a straight line: make both ways half a cosine.": partial(
            _cycle, down=_line
        ),
        "The rate should fall to zero: yours ends at peak/25.": partial(_cycle, end=1 / 25),
        "The rate should fall to zero: yours ends at peak/250,000, as PyTorch's does by "
        "default.": partial(_cycle, end=1 / 25e4),
        "The first rate is peak/25, not zero.": partial(_cycle, start=0.0),
        "The first rate is peak/25, not peak/10.": partial(_cycle, start=0.1),
        "The way up takes a quarter of the steps, not 0.3 of them.": partial(_cycle, quarter=0.3),
        "The way up takes a quarter of the steps, not half of them.": partial(_cycle, quarter=0.5),
        "The peak comes one step late: the first quarter is steps 0 to steps/4 − 1.": partial(
            _cycle, late=1
        ),
        "Zero comes one step late: the rate should be zero in the last step, steps − 1.": partial(
            _cycle, later=1
        ),
        "Peak and zero come one step late: count the steps from 0 to steps − 1.": partial(
            _cycle, late=1, later=1
        ),
        "Your rates are shares of the peak: multiply them by the peak.": (
            lambda step, steps, peak: _cycle(step, steps, 1.0)
        ),
    },
)
def one_cycle(rate: Callable):
    """Is `rate(step, steps, peak)` the one-cycle learning rate in step 0, 1, …, steps − 1?

    From peak/25 in step 0 up to the peak in step steps/4 − 1, and down to zero in the last step,
    each half a cosine. As `torch.optim.lr_scheduler.OneCycleLR`, with a last rate of zero. Smith
    and Topin (2018).
    """
    for steps in (8, 100, 4 * numbers.randint(30, 300)):
        yield steps, numbers.uniform(0.01, 0.9)


def _smoothed(
    logits: Tensor, labels: Tensor, smoothing: float, logs: Callable = lambda z: z.log_softmax(1),
    others_only: bool = False, whole: bool = False, reduce: Callable = Tensor.mean,
) -> Tensor:  # fmt: skip
    classes = logits.shape[1]
    right = F.one_hot(labels, classes).double()
    share = smoothing if whole else smoothing / (classes - others_only)
    target = (1 - smoothing) * right + share * ((1 - right) if others_only else 1)
    return reduce(-(target * logs(logits)).sum(1))


_OVERFLOWS = (
    "With logits in the thousands your loss is not finite or not right, since an exponential "
    "overflows or a logarithm meets zero: `log_softmax` takes both in one step."
)


@exercise(
    right=_smoothed,
    what="the loss",
    gradients=["the logits"],
    forbids={
        "torch.nn.functional.cross_entropy": "`F.cross_entropy` does all of it: write the loss "
        "yourself, from the logits."
    },
    says="Your loss matches PyTorch's in value and gradient, even for logits in the thousands.",
    wrong={
        "`F.cross_entropy` does all of it: write the loss yourself, from the logits.": (
            lambda z, y, s: F.cross_entropy(z, y, label_smoothing=s)
        ),
        "You do not smooth the labels: your loss is the plain cross-entropy.": (
            lambda z, y, s: _smoothed(z, y, 0.0)
        ),
        "You share the smoothing among the wrong classes only: all K classes get smoothing/K, the "
        "right one too.": partial(_smoothed, others_only=True),
        "Each class gets the whole smoothing: share it, smoothing/K for each.": partial(
            _smoothed, whole=True
        ),
        "You sum over the batch: the loss is the mean over the images.": partial(
            _smoothed, reduce=Tensor.sum
        ),
        "You average over the classes: sum over them, and average over the images.": (
            lambda z, y, s: _smoothed(z, y, s) / z.shape[1]
        ),
        "You return one loss for each image: return their mean.": partial(
            _smoothed, reduce=lambda x: x
        ),
        "The log-softmax is missing: logits are not yet logarithms of probabilities.": partial(
            _smoothed, logs=lambda z: z
        ),
        "You take the softmax twice: `log_softmax` takes the logits themselves.": partial(
            _smoothed, logs=lambda z: z.softmax(1).log_softmax(1)
        ),
        "Your softmax is over the images: take it over the classes, dim 1.": partial(
            _smoothed, logs=lambda z: z.log_softmax(0)
        ),
        "The logarithm is missing: the cross-entropy has the logarithms of the probabilities.": (
            partial(_smoothed, logs=lambda z: z.softmax(1))
        ),
        "You count in bits: use natural logarithms.": partial(
            _smoothed, logs=lambda z: z.log_softmax(1) / math.log(2)
        ),
        _OVERFLOWS: partial(_smoothed, logs=lambda z: z.softmax(1).log()),
        "The sign is wrong: logarithms of probabilities are negative.": (
            lambda z, y, s: -_smoothed(z, y, s)
        ),
        "Smoothing and the rest are swapped: the right class keeps 1 − smoothing.": (
            lambda z, y, s: _smoothed(z, y, 1 - s)
        ),
        "This is a divergence from the target: don't subtract the target's own entropy.": (
            lambda z, y, s: _smoothed(z, y, s) - (_entropy(z.shape[1], s)[0] if s else 0)
        ),
        "No gradient comes back to the logits: compute the loss with tensors.": (
            lambda z, y, s: _smoothed(z, y, s).item()
        ),
    },
)
def smoothed_cross_entropy(loss: Callable):
    """Is `loss(logits, labels, smoothing)` the cross-entropy with label smoothing?

    Logits (N, K), labels (N,) int64, smoothing in [0, 1); the mean over the batch, one number.
    Compared in value and gradient, for logits of thousands too. Szegedy et al. (2016), section 7.
    """
    for n, classes, smoothing, scale in [(5, 10, 0.1, 1), (4, 3, 0.3, 3), (6, 7, 0.0, 1)]:
        yield scale * random(n, classes), whole(0, classes, n), smoothing
    yield Case((2000 * random(5, 10), whole(0, 10, 5), 0.1), _OVERFLOWS)


def _entropy(classes: int, smoothing: float) -> tuple[float, float]:
    """The entropy of the smoothed target, and the margin that gives it."""
    top, rest = 1 - smoothing + smoothing / classes, smoothing / classes
    entropy = -top * math.log(top) - (classes - 1) * rest * math.log(rest)
    return entropy, math.log(top / rest)


def _lowest(loss: Callable | None = None, margin: Callable | None = None) -> Callable:
    """Another lowest loss or margin, of the entropy or margin, top, rest and number of classes."""

    def answer(classes: int, smoothing: float) -> list[float]:
        rest, found = smoothing / classes, list(_entropy(classes, smoothing))
        for place, change in enumerate((loss, margin)):
            if change:
                found[place] = change(found[place], 1 - smoothing + rest, rest, classes)
        return found

    return answer


@exercise(
    right=_entropy,
    what=["the lowest loss", "the margin"],
    says="That is how low the smoothed loss can get, and where.",
    wrong={
        "A loss of zero needs a target of zeros and a single one: the smoothed target has no "
        "zeros.": _lowest(lambda loss, p, q, k: 0.0),
        "Your sum has only the right class: add the others, with smoothing/K each.": (
            _lowest(lambda loss, p, q, k: -p * math.log(p))
        ),
        "You add only one other class: there are K − 1 others, each with smoothing/K.": _lowest(
            lambda loss, p, q, k: -p * math.log(p) - q * math.log(q)
        ),
        "There are K − 1 others, not K: the right class is counted already.": _lowest(
            lambda loss, p, q, k: loss - q * math.log(q)
        ),
        "This is the loss of a network that is certain of the right class: look where the "
        "derivative is zero.": _lowest(lambda loss, p, q, k: -math.log(p)),
        "You count in bits: use natural logarithms.": _lowest(
            lambda loss, p, q, k: loss / math.log(2)
        ),
        "The right class's target is 1 − smoothing + smoothing/K.": lambda k, s: (
            -(1 - s) * math.log(1 - s) - s * math.log(s / (k - 1)),
            math.log((1 - s) / (s / k)),
        ),
        "The sign of the loss is wrong: a logarithm of a probability is negative.": _lowest(
            lambda loss, p, q, k: -loss
        ),
        "The two are swapped: the loss comes first.": lambda k, s: _entropy(k, s)[::-1],
        "The margin is a difference of logits: take the logarithm of the ratio of the two "
        "probabilities.": _lowest(None, lambda margin, p, q, k: p / q),
        "The margin is positive: the right class's logit is the higher one.": _lowest(
            None, lambda margin, p, q, k: -margin
        ),
        "At the lowest loss the network gives each class its target; compare 1 − smoothing + "
        "smoothing/K with smoothing/K.": lambda k, s: (_entropy(k, s)[0], math.log((1 - s) / s)),
        "The margin is to each other class, which has smoothing/K, not to all of them "
        "together.": _lowest(None, lambda margin, p, q, k: math.log(p / (1 - p))),
    },
)
def lowest_smoothed_loss(lowest: Callable):
    """Does `lowest(classes, smoothing)` return the lowest smoothed loss, and the margin it needs?

    A pair of numbers: the minimum of the cross-entropy with label smoothing over all logits, and
    how much higher the right class's logit is there than each other. 0 < smoothing < 1.
    """
    yield from [(10, 0.1), (5, 0.3), (numbers.randint(3, 1000), 0.05)]


def lines_of(answer: Callable, images: Tensor, *options) -> dict | None:
    """A question: how many lines of `answer(images, *options)` run, which a loop multiplies."""
    with Watch() as watch:
        output = answer(images, *options)
    return None if output is None else {"lines": watch.lines}


# With fair draws each of the bounds below is passed at most once in ten million checks: a test
# computes these chances.
IMAGES_DRAWN = 20_000
MIRRORED_WITHIN = 0.02  # of a half
PLACES_WITHIN = 6.5  # standard deviations of a place's count


@checks
def crop_and_flip(augment: Callable) -> str:
    """Does `augment(images, padding)` crop and mirror each image at random, all at once?

    (N, H, W) uint8 to the same shape and type: each image padded by `padding` zeros on all sides,
    cut to its size again at one of the (2·padding + 1)² places, and mirrored left to right with
    probability 1/2, to be seen from 0.02 on; each image for itself, without a loop over the images.
    """
    for n, height, width, padding in [(300, 9, 7, 2), (IMAGES_DRAWN, 4, 5, 1)]:
        images = (random(n, height, width).abs() * 60 + 1).clamp(max=255).to(torch.uint8)
        output = ask(call, augment, images, padding)
        if not isinstance(output, Tensor):
            raise Mistake("Return a tensor of images.")
        if output.shape != images.shape:
            raise Mistake(
                f"{tuple(images.shape)} became {tuple(output.shape)}: after the padding, each crop "
                "has the size of the image again."
            )
        if output.dtype != torch.uint8:
            raise Mistake(f"The images were uint8 and are now {output.dtype}: keep the type.")
        _expect_fair(*_crops(output, images, padding), padding, few=n < IMAGES_DRAWN)
        if torch.equal(ask(call, augment, images, padding), output):
            raise Mistake("A second call draws the same numbers: set no seed in the function.")
    few, many = (ask(lines_of, augment, images[:n], padding)["lines"] for n in (200, 400))
    if many - few >= 200:
        raise Mistake(
            "The crops are right, but you loop over the images: index all of them at once, with "
            "rows (N, H, 1) and columns (N, 1, W)."
        )
    return "Each image is cropped and mirrored by itself, at all places, and half are mirrored."


def _crops(output: Tensor, images: Tensor, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which crop each image got: (N,) top, left, mirrored."""
    height, width = images.shape[1:]
    places = 2 * padding + 1

    def matches(of: Tensor, mode: str = "constant", got: Tensor = output) -> Tensor:
        padded = F.pad(of[:, None].double(), (padding,) * 4, mode)[:, 0].to(torch.uint8)
        crops = padded.unfold(1, height, 1).unfold(2, width, 1).flatten(1, 2)  # (N, places², H, W)
        both = torch.stack([crops, crops.flip(3)], 2).flatten(1, 2)
        return (both == got[:, None]).flatten(2).all(2)

    found = matches(images)
    if not found.any(1).all():
        if (matches(images, got=output.flip(1)) | found).any(1).all():
            raise Mistake(
                "You turn images upside down: mirror left and right, along the last axis."
            )
        for mode, says in (
            ("circular", "What is shifted out on one side comes in on the other: pad with zeros."),
            ("replicate", "The border repeats the edge of the image: pad with zeros."),
            ("reflect", "The border mirrors the image: pad with zeros."),
        ):
            if matches(images, mode).any(1).all():
                raise Mistake(says)
        if matches(images[:1])[1:].any():
            raise Mistake("You mix up the images: crop each one by itself, and keep their order.")
        raise Mistake(
            f"An image is none of the {2 * places**2} crops that it has with padding {padding}, "
            "mirrored or not."
        )
    which = found.double().argmax(1)
    return which // 2 // places, which // 2 % places, which % 2


def _expect_fair(top: Tensor, left: Tensor, mirrored: Tensor, padding: int, few: bool) -> None:
    if mirrored.min() == mirrored.max():
        raise Mistake(
            "Either no image of a batch is mirrored or each is: draw a number for each image."
        )
    if top.min() == top.max() or left.min() == left.max():
        raise Mistake("All images of a batch are shifted alike: draw a number for each image.")
    if max(top.max(), left.max()) < 2 * padding:
        raise Mistake(
            "The last place never comes up: there are 2·padding + 1 in each direction, and "
            "`torch.randint` leaves out its upper bound."
        )
    if torch.equal(top, left):
        raise Mistake("Rows and columns are shifted by the same number: draw one for each.")
    if few:  # too few for what follows
        return
    n, places = len(top), 2 * padding + 1
    if abs(mirrored.double().mean() - 0.5) > MIRRORED_WITHIN:
        raise Mistake("Half of the images should be mirrored, but you mirror more or fewer.")
    counts = torch.bincount((top * places + left) * 2 + mirrored, minlength=2 * places**2)
    if counts.min() == 0:
        raise Mistake(
            "Some crops never come up: shift down, shift right, and mirror independently, with the "
            "same probability for all places."
        )
    chance = 1 / len(counts)
    if (counts - n * chance).abs().max() > PLACES_WITHIN * (n * chance * (1 - chance)) ** 0.5:
        raise Mistake("Some places come up more often than others: all should be equally likely.")
    for draws in (mirrored, top > padding, left > padding):
        if alike(draws) > ALIKE_WITHIN:
            raise Mistake(
                "Some images of a batch share their draws: draw for each image separately."
            )


def _paired(
    first: Sequence, second: Sequence, correction: int = 1, power: float = 0.5
) -> list[float]:
    change = torch.tensor(second, dtype=torch.double) - torch.tensor(first, dtype=torch.double)
    error = change.std(correction=correction) / len(change) ** power
    return [change.mean().item(), error.item()]


def _error(change: Callable) -> Callable:
    """The mean difference is right, and the error is `change(error, first, second)`."""

    def answer(first: Sequence, second: Sequence) -> list[float]:
        mean, error = _paired(first, second)
        return [mean, change(error, first, second)]

    return answer


@exercise(
    right=_paired,
    what=["the mean difference", "the standard error"],
    says="These are the mean of the differences and its standard error.",
    wrong={
        "The sign is wrong: take second − first, positive where the second is better.": (
            lambda a, b: _paired(b, a)
        ),
        "Take the mean over the seeds, not the largest accuracy of each.": (
            lambda a, b: [max(b) - max(a), 0.0]
        ),
        "Take the mean over the seeds, not the median.": (
            lambda a, b: [statistics.median(y - x for x, y in zip(a, b, strict=True)), 0.0]
        ),
        "You divide by the first accuracy: leave the difference as it is.": (
            lambda a, b: [_paired(a, b)[0] / statistics.fmean(a), 0.0]
        ),
        "This is the standard deviation of the differences: divide it by √n to get the error of "
        "their mean.": partial(_paired, power=0),
        "You divide the squares by n: divide by n − 1, since the mean comes from the same "
        "numbers.": partial(_paired, correction=0),
        "You divide the standard deviation by n: divide it by √n.": partial(_paired, power=1),
        "You divide by √(n − 1), but the standard deviation already has n − 1 in it: divide by "
        "√n.": _error(lambda error, a, b: error * (len(a) / (len(a) - 1)) ** 0.5),
        "This is the variance: take the root.": _error(lambda error, a, b: error**2),
        "You add the variances of the two lists: the seeds are the same, so take the differences "
        "first.": _error(
            lambda error, a, b: ((statistics.variance(a) + statistics.variance(b)) / len(a)) ** 0.5
        ),
        "This is twice the standard error, about a confidence interval: return it once.": _error(
            lambda error, a, b: 2 * error
        ),
        "This is 1.96 standard errors, an interval for many seeds: return one.": _error(
            lambda error, a, b: 1.96 * error
        ),
    },
)
def paired_difference(difference: Callable):
    """Does `difference(first, second)` return the mean difference and its standard error?

    Two lists of accuracies, of the same seeds in the same order, to a pair of numbers: the mean of
    second − first, and the standard deviation of these differences (n − 1) over √n.
    """
    for n in (3, 5, numbers.randint(6, 12)):
        seed_effect, noise = 0.02 * random(n), 0.004 * random(2, n)
        yield (0.77 + seed_effect + noise[0]).tolist(), (0.78 + seed_effect + noise[1]).tolist()


def schedule(
    answer: Callable, images: int, batch_size: int, epochs: int, peak: float, warm_up: int
) -> list | None:
    """A question: the list of rates that `answer` returns, in peaks."""
    found = plain(answer(images, batch_size, epochs, peak, warm_up))
    if found is None or found is ...:
        return None
    if isinstance(found, Tensor):
        found = found.tolist()
    if not isinstance(found, list | tuple):
        raise Mistake("Return a list of rates, one for each step.")
    return _in_peaks(list(found), peak)


def _warm_up_cosine(
    images: int, batch_size: int, epochs: int, peak: float, warm_up: int, first=1, last=0,
    rest: bool = False, on: bool = False, down: Callable = _cosine,
) -> list[float]:  # fmt: skip
    steps = (-(-images // batch_size) if rest else images // batch_size) * epochs
    start = 0 if on else warm_up
    return [
        peak * (t + first) / warm_up
        if t < warm_up
        else peak * down(1, 0, min(1, (t - start) / (steps - start - last)))
        for t in range(steps)
    ]


def _one_epoch(n: int, batch: int, epochs: int, peak: float, warm_up: int) -> list[float]:
    return _warm_up_cosine(n, batch, 1, peak, min(warm_up, n // batch - 1))


def _by_epoch(n: int, batch: int, *rest) -> list[float]:
    right = _warm_up_cosine(n, batch, *rest)
    return [right[t - t % (n // batch)] for t in range(len(right))]


@exercise(
    right=_warm_up_cosine,
    question=schedule,
    what="the list of rates, in peaks,",
    says="These are the rates, one for each step.",
    wrong={
        "There is no warm-up.": lambda *args: _warm_up_cosine(*args[:4], 0),
        "Your rates change once an epoch: change them in each step.": _by_epoch,
        "You return one rate for each epoch: return one for each step.": (
            lambda n, batch, *rest: _warm_up_cosine(n, batch, *rest)[:: n // batch]
        ),
        "This is only one epoch: the schedule goes over all of them.": _one_epoch,
        "Your schedule starts anew in each epoch: let it go over all of them once.": (
            lambda n, batch, epochs, *rest: _one_epoch(n, batch, epochs, *rest) * epochs
        ),
        "The first step's rate is zero, so the step is lost: the t-th has peak · t / warm_up, "
        "counted from 1.": partial(_warm_up_cosine, first=0),
        "The last step's rate is zero, so the step is lost: the step after the last would be the "
        "first at zero.": partial(_warm_up_cosine, last=1),
        "Your cosine goes on from where it would be without the warm-up: start it at the peak, "
        "after the warm-up.": partial(_warm_up_cosine, on=True),
        "Your rate falls along a straight line: make it half a cosine.": partial(
            _warm_up_cosine, down=_line
        ),
        "You count images that fill no whole batch: round the steps of an epoch down.": partial(
            _warm_up_cosine, rest=True
        ),
        "Your rates are shares of the peak: multiply them by the peak.": (
            lambda n, batch, epochs, peak, w: _warm_up_cosine(n, batch, epochs, 1.0, w)
        ),
    },
)
def warm_up_cosine(rates: Callable, drop_last: bool = True):
    """Is `rates(images, batch_size, epochs, peak, warm_up)` the list of learning rates?

    One rate for each step of all epochs; images that fill no batch are left out. The first
    `warm_up` steps go up along a line, the t-th of them (from 1) at peak · t / warm_up; then half
    a cosine from the peak down to zero, which the step behind the last would reach. With
    `drop_last=False` only numbers of images that fill whole batches are tried.
    """
    if drop_last:
        yield from [(1000, 96, 3, 0.2, 7), (700, 128, 4, 1.0, 0), (333, 100, 2, 0.4, 4)]
    else:
        yield from [(640, 64, 5, 0.1, 12), (96, 32, 1, 2.0, 1), (480, 32, 2, 0.05, 0)]


def sgd_steps(
    answer: Callable, weights: Tensor, gradients: list[Tensor], lrs: list[float], *options: float
) -> dict | None:
    """A question: the weights and velocities after each step of the optimizer `answer`.

    `answer(weights, gradient, velocity, lr, *options)` gives the next weights and velocity; the
    velocity starts at zero.
    """
    velocity, found = torch.zeros_like(weights), {"weights": [], "velocities": []}
    for gradient, lr in zip(gradients, lrs, strict=True):
        step = plain(answer(weights.clone(), gradient.clone(), velocity.clone(), lr, *options))
        if step is None or step is ...:
            return None
        weights, velocity = several(step, ["the next weights", "the next velocity"]).values()
        found["weights"].append(torch.as_tensor(weights).clone())
        found["velocities"].append(torch.as_tensor(velocity).clone())
    return found


def _sgd(w, g, v, lr, momentum, decay, grow=False, keep=1.0, apart=False, heavy=False):
    """Nesterov's step as PyTorch takes it, or another."""
    d = g if apart else g + (-decay if grow else decay) * w
    v = momentum * v + keep * d
    after = w - lr * (v if heavy else d + momentum * v)
    return (after - lr * decay * w if apart else after), v


def _rate_inside(w, g, v, lr, momentum, decay):
    d = g + decay * w
    v = momentum * v + lr * d
    return w - lr * d - momentum * v, v


@exercise(
    right=_sgd,
    question=sgd_steps,
    read=lambda told: {"the list of weights": told["weights"]},
    says="Your step matches that of PyTorch's SGD.",
    wrong={
        "Your step goes along the velocity, which is momentum without Nesterov: go along gradient "
        "+ momentum · velocity.": partial(_sgd, heavy=True),
        "The weights go up the gradient: subtract the step.": (
            lambda w, g, v, lr, *rest: _sgd(w, g, v, -lr, *rest)
        ),
        "There is no momentum in your step.": lambda w, g, v, lr, m, d: _sgd(w, g, v, lr, 0.0, d),
        "Your velocity forgets the steps before: use momentum · velocity + gradient.": (
            lambda w, g, v, *rest: _sgd(w, g, 0 * v, *rest)
        ),
        "You add 1 − momentum of the gradient to the velocity: PyTorch adds all of it.": (
            lambda w, g, v, lr, m, d: _sgd(w, g, v, lr, m, d, keep=1 - m)
        ),
        "The learning rate is in the velocity, so a step at a high rate still pushes when the rate "
        "has fallen: PyTorch multiplies the whole step by the current rate.": _rate_inside,
        "There is no weight decay in your step.": (
            lambda w, g, v, lr, m, d: _sgd(w, g, v, lr, m, 0.0)
        ),
        "Your weight decay shrinks the weights apart from the momentum (as in AdamW): in SGD it is "
        "added to the gradient first, and goes into the velocity.": partial(_sgd, apart=True),
        "Weight decay makes the weights grow: add weight_decay · weights to the gradient.": partial(
            _sgd, grow=True
        ),
        "Weight decay is doubled: the gradient of weight_decay · w² / 2 is weight_decay · w.": (
            lambda w, g, v, lr, m, d: _sgd(w, g, v, lr, m, 2 * d)
        ),
        "Weights and velocity are swapped: return the weights first.": (
            lambda *args: _sgd(*args)[::-1]
        ),
    },
)
def sgd_step(step: Callable, weight_decay: bool = True):
    """Is `step(weights, gradient, velocity, lr, momentum, weight_decay)` SGD as `fit` uses it?

    SGD with Nesterov momentum. Returns the next weights and velocity, of the same shape: as
    `torch.optim.SGD(…, nesterov=True)`, over several steps, between which the rate changes. With
    `weight_decay=False` only weight decay 0 is tried.
    """
    for shape, count, momentum, decay in [((5,), 5, 0.9, 0.01), ((3, 2), 4, 0.5, 0.2)]:
        gradients = [random(*shape) for _ in range(count)]
        lrs = [0.3 / (1 + n) for n in range(count)]
        yield random(*shape), gradients, lrs, momentum, decay if weight_decay else 0.0


def _as_dictionary(result) -> dict:
    if not isinstance(result, Mapping) or set(result) != {"multiply_adds", "parameters"}:
        raise Mistake('Return a dictionary with "multiply_adds" and "parameters".')
    return {
        f"the number of {name.replace('_', '-')}": result[name]
        for name in ("parameters", "multiply_adds")
    }


def built_cost(blocks, widths, stem: str, height: int, width: int) -> dict[str, int]:
    """Counted on the network itself, without memory for its weights."""
    with torch.device("meta"):
        net = models.ResNet(blocks, widths=widths, stem=stem, in_channels=1, num_classes=10)
    return {
        "multiply_adds": probes.multiply_adds(net, 1, height, width),
        "parameters": probes.parameters(net),
    }


def _cost(blocks, widths, stem: str, height: int, width: int, how: str = "") -> dict[str, int]:
    """By formula; `how` names a mistake."""

    def halved(n: int) -> int:
        return n // 2 if how == "down" else (n + 1) // 2

    kernel = 7 if stem == "imagenet" and how != "always 3" else 3
    before = (height, width)
    if stem != "stride1":
        height, width = halved(height), halved(width)
    norm = {"no norm": 0, "biases": 3, "one norm": 1, "statistics": 4}.get(how, 2)
    at = before if how == "at input" else (height, width)
    adds = kernel**2 * widths[0] * at[0] * at[1]
    weights = kernel**2 * widths[0] + norm * widths[0]
    if stem == "imagenet" and how != "no pooling":
        height, width = halved(height), halved(width)
    channels = widths[0]
    for stage, (count, out) in enumerate(zip(blocks, widths, strict=True)):
        for block in range(count):
            stride = stage > 0 and block == 0
            at = (height, width)
            if stride:
                height, width = halved(height), halved(width)
            pixels = height * width
            first = at[0] * at[1] if how == "at input" else pixels
            adds += 9 * channels * out * first + 9 * out * out * pixels
            weights += 9 * channels * out + 9 * out * out + 2 * norm * out
            if (stride if how != "only channels" else channels != out) and how != "no projection":
                adds += channels * out * first
                weights += channels * out + norm * out
            channels = out
    if how != "no linear":
        adds, weights = adds + 10 * channels, weights + 10 * channels + 10 * (how != "no bias")
    return {"multiply_adds": (2 if how == "flops" else 1) * adds, "parameters": weights}


@exercise(
    right=built_cost,
    read=_as_dictionary,
    exact=True,
    says="Multiply-adds and parameters match the networks themselves.",
    wrong={
        sentence: partial(_cost, how=how)
        for sentence, how in {
            "The projections on the shortcuts are missing: add a 1×1 convolution where a stage "
            "begins with a stride.": "no projection",
            "A stride needs a projection too, even where the channels stay the same.": (
                "only channels"
            ),
            "The linear layer is missing.": "no linear",
            "The linear layer's biases are missing.": "no bias",
            "The weights and biases of batch normalization are missing: two for each channel.": (
                "no norm"
            ),
            "Batch normalization has two parameters for each channel, weight and bias.": "one norm",
            "You count the running mean and variance: training does not adjust them, so they are "
            "not parameters.": "statistics",
            "You count biases of the convolutions: they have none, since batch normalization "
            "follows.": "biases",
            "The ImageNet stem has a 7×7 convolution.": "always 3",
            "You count at the size of a convolution's input: count output pixels, which are fewer "
            "where there is a stride.": "at input",
            "You round sizes down where a stride meets an odd size: a convolution outputs ⌈n/2⌉.": (
                "down"
            ),
            "The max pooling of the stem is missing.": "no pooling",
            "You count multiplications and additions separately: a multiply-add is one.": "flops",
        }.items()
    },
)
def network_cost(cost: Callable, stems: Sequence[str] = models.STEMS):
    """Does `cost(blocks, widths, stem, height, width)` count a residual network's work?

    A dictionary with "multiply_adds" (convolutions and the linear layer, for one image) and
    "parameters" of `models.ResNet(blocks, widths=widths, stem=stem, in_channels=1,
    num_classes=10)`, compared with `probes`. Only the stems named are tried.
    """
    sizes = [([1, 1, 1], [16, 32, 64], 28, 28), ([2, 1], [5, 7], 17, 30), ([3], [8], 12, 9)]
    for blocks, widths, height, width in [*sizes, ([1, 2, 1, 1], [4, 4, 6, 6], 33, 21)]:
        for stem in stems:
            yield blocks, widths, stem, height, width


def choices(answer: Callable, tables: list) -> list | None:
    """A question: what `answer(results, costs)` chooses from each of the tables."""
    found = [answer(results, costs) for results, costs in tables]
    if any(name is None or name is ... for name in found):
        return None
    known = zip(found, tables, strict=True)
    if not all(type(name) is str and name in costs for name, (_, costs) in known):
        raise Mistake("Return the name of one of the recipes.")
    return found


def _choose(results: Mapping, costs: Mapping, how: str = "") -> str:
    """The cheapest of those that are as good as the best; `how` names a mistake."""
    level = {"luckiest": max, "median": statistics.median}.get(how, statistics.fmean)
    means = {name: level(values) for name, values in results.items()}
    best = max(means, key=means.get)
    error = {
        name: (statistics.pstdev if how == "n" else statistics.stdev)(values)
        / len(values) ** (0 if how == "deviation" else 0.5)
        for name, values in results.items()
    }
    if how == "best":
        return best
    if how == "cheapest":
        return min(costs, key=costs.get)
    if how == "worst in reach":
        return min(means, key=lambda n: (means[n] < means[best] - error[best], means[n]))
    of = {"own error": lambda n: error[n], "two errors": lambda n: 2 * error[best]}
    reach = of.get(how, lambda n: error[best])
    good = [name for name in means if means[name] >= means[best] - reach(name)]
    return (max if how == "dearest" else min)(good, key=costs.get)


_CHOICES = {
    "You take the best mean: take the cheapest of those as good as it.": "best",
    "You take the cheapest of all: only those that are as good as the best count.": "cheapest",
    "Of those as good as the best you take the most expensive: take the cheapest.": "dearest",
    "You take the standard deviation of single runs: divide it by the root of the number of "
    "seeds.": "deviation",
    "You divide the squares by n: divide by n − 1, since the mean comes from the same numbers.": (
        "n"
    ),
    "You compare each recipe's luckiest seed: compare means.": "luckiest",
    "You compare medians: compare means.": "median",
    "You take each recipe's own standard error: take that of the best one.": "own error",
    "You allow two standard errors: allow one here.": "two errors",
    "You take the lowest mean in reach: take the cheapest.": "worst in reach",
}


@exercise(
    right=_choose,
    question=choices,
    read=lambda names: {"the choice": "\n".join(names)},
    says="You choose the cheapest of those that are as good as the best, in each of the tables.",
    wrong={sentence: partial(_choose, how=how) for sentence, how in _CHOICES.items()},
)
def one_standard_error(choose: Callable, equal_counts: bool = False) -> Iterator[Case]:
    """Does `choose(results, costs)` take the cheapest recipe that is as good as the best?

    `results` holds each recipe's held-out accuracies, one for each seed (two or more), `costs`
    what a training costs. As good as the best is a mean that lies no more than one standard error
    of the best recipe's mean below it. With `equal_counts` all recipes have five seeds.
    """
    while True:  # until each mistake shows
        tables = [_table(equal_counts) for _ in range(80)]
        wrong = [choices(partial(_choose, how=how), tables) for how in _CHOICES.values()]
        if choices(_choose, tables) not in wrong:
            break
    yield Case(
        (tables,),
        "In some tables another recipe is the cheapest of those as good as the best: compare each "
        "mean with the best mean minus the best recipe's standard error.",
    )


def _table(equal_counts: bool) -> tuple[dict, dict]:
    names = [f"recipe {letter}" for letter in "ABCDE"]
    results = {}
    for name in names:
        seeds = 5 if equal_counts else numbers.choice([2, 3, 4, 6, 9])
        middle = 0.88 + numbers.gauss(0, 0.003)
        spread = numbers.choice([0.002, 0.006])
        results[name] = [numbers.gauss(middle, spread) for _ in range(seeds)]
    best, *others = sorted(results.values(), key=statistics.fmean, reverse=True)
    means = [statistics.fmean(values) for values in (best, *others)]
    level = means[0] - statistics.stdev(best) / len(best) ** 0.5
    if means[0] - means[1] < 1e-5 or min(abs(mean - level) for mean in means) < 1e-5:
        return _table(equal_counts)  # too close to be told apart with rounding errors
    costs = map(float, numbers.sample(range(10, 100), len(names)))
    return results, dict(zip(names, costs, strict=True))


# A rerun: what a recipe may say, and what that may cost.

IMAGES, HELD_OUT = 8_000, 2_000
BUDGET = 64_000_000_000  # multiply-adds of the forward passes: five to fifteen seconds on one core
LOWEST_AND_HIGHEST = {
    "epochs": (1, 5),
    "batch_size": (64, 512),
    "lr": (0.0001, 2.0),
    "momentum": (0.0, 0.99),
    "weight_decay": (0.0, 0.1),
    "label_smoothing": (0.0, 0.5),
}
WHOLE = ("epochs", "batch_size")
CHOICES = {
    "stem": ("imagenet", "stride2"),
    "schedule": training.SCHEDULES,
    "augment": (False, True),
}
BASELINE = {
    "blocks": [1, 1, 1],
    "widths": [16, 32, 64],
    "stem": "stride2",
    "epochs": 3,
    "batch_size": 128,
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "constant",
    "label_smoothing": 0.0,
    "augment": False,
}
# Mean accuracies to be reached, by the source of the images. Measured on the test images, mean ± sd
# of six seeds, Fashion-MNIST and stand-in: BASELINE 0.767 ± 0.010 and 0.630 ± 0.017; BASELINE with
# "one-cycle" up to 0.1, 0.843 ± 0.004 and 0.889 ± 0.007; with the stem "imagenet", five epochs and
# batches of 64, at the constant rate 0.01, 0.844 ± 0.005 and 0.903 ± 0.009; the same with
# "one-cycle" up to 0.2, 0.872 ± 0.003 and 0.946 ± 0.006.
GOALS = {
    data.REAL: {"baseline": 0.80, "target": 0.855},
    data.STAND_IN: {"baseline": 0.80, "target": 0.92},
}


def budget_of(recipe: Mapping) -> int:
    """Multiply-adds of the forward passes of one training: network × images × epochs.

    Raises:
        Mistake: the recipe is not valid; the message names the entry.
    """
    if not isinstance(recipe, Mapping):
        raise Mistake("The recipe should be a dictionary.")
    for name in BASELINE:
        if recipe.get(name, ...) is ...:
            raise Mistake(f"The recipe lacks {name!r}: it needs {', '.join(BASELINE)}.")
    for name in recipe:
        if name not in BASELINE:
            raise Mistake(f"The recipe has {name!r}, but can only have {', '.join(BASELINE)}.")
    for name, (low, high) in LOWEST_AND_HIGHEST.items():
        value = recipe[name]
        kinds = (int,) if name in WHOLE else (int, float)
        if type(value) not in kinds or not low <= value <= high:
            what = "a whole number" if name in WHOLE else "a number"
            raise Mistake(f"{name!r} should be {what} from {low:g} to {high:g}.")
    for name, known in CHOICES.items():
        if type(recipe[name]) not in (str, bool) or recipe[name] not in known:
            raise Mistake(f"{name!r} should be one of {', '.join(map(repr, known))}.")
    _check_stages(recipe["blocks"], recipe["widths"])
    shape = (recipe["blocks"], recipe["widths"], recipe["stem"], 28, 28)
    return built_cost(*shape)["multiply_adds"] * IMAGES * recipe["epochs"]


def _check_stages(blocks, widths) -> None:
    for name, value, high in (("blocks", blocks, 3), ("widths", widths, 512)):
        if type(value) not in (list, tuple) or not 1 <= len(value) <= 4:
            raise Mistake(f"{name!r} should be a list of one to four numbers, one for each stage.")
        if not all(type(n) is int and 1 <= n <= high for n in value):
            raise Mistake(f"{name!r} should hold whole numbers from 1 to {high}.")
    if len(blocks) != len(widths):
        raise Mistake(f"{len(blocks)} stages of blocks, but {len(widths)} widths.")
    if sum(blocks) > 6:
        raise Mistake("A network in this task has at most six blocks.")


@checks
def recipe(answer: Mapping) -> str:
    """Is this dictionary a recipe that `rerun` accepts, and within the budget?

    Entries as in `BASELINE`: "blocks" and "widths" of each stage and "stem" are `models.ResNet`'s,
    the others `training.Recipe`'s. Bounds: `LOWEST_AND_HIGHEST`, `CHOICES`, and `BUDGET`
    multiply-adds (network × `IMAGES` images × epochs, forward passes only).
    """
    cost = budget_of(answered(answer))
    spent = f"{cost / 1e9:.1f} of {BUDGET / 1e9:.0f} thousand million multiply-adds"
    if cost > BUDGET:
        raise Mistake(f"The recipe is over the budget: {spent}.")
    return f"A valid recipe: {spent}."


def rerun(answer: Mapping, seed: int = 0, on: str = "held-out") -> float:
    """Train what the recipe says, on the CPU, and return the network's accuracy in [0, 1].

    One core is used, so that a busy machine does not make threads wait for each other. Trains on
    8,000 images of Fashion-MNIST's training set (`data.fashion_mnist`, or where it
    cannot be had the stand-in's) and measures on 2,000 others of it ("held-out"), or on the test
    set ("test"), which is for grading. `seed` is that of the weights and of the images' order. The
    same recipe and seed give the same network on the same machine, and are trained only once.

    Raises:
        Mistake: the recipe is not valid or over the budget, or the training diverged.
    """
    if not (verdict := recipe(answer)):
        raise Mistake(verdict.message)
    if on not in ("held-out", "test"):
        raise ValueError(f"measure on 'held-out' or 'test' images, not on {on!r}")
    entries = ((k, tuple(v) if isinstance(v, list | tuple) else v) for k, v in answer.items())
    return _trained(tuple(sorted(entries)), seed)[on]


@cache
def _images() -> dict[str, data.ImageSet]:
    train, test = data.fashion_mnist()
    train, held_out = data.split(train, HELD_OUT)
    return {"train": train[:IMAGES], "held-out": held_out, "test": test}


@cache
def _trained(entries: tuple, seed: int) -> dict[str, float]:
    options, images = dict(entries), _images()
    with same_draws():
        return _train(options, images, seed)


def _train(options: dict, images: dict, seed: int) -> dict[str, float]:
    seed_everything(seed)
    threads = torch.get_num_threads()
    shape = {name: options.pop(name) for name in ("blocks", "widths", "stem")}
    net = models.ResNet(**shape, in_channels=1, num_classes=10)
    torch.set_num_threads(1)
    try:
        training.fit(net, images["train"], training.Recipe(**options), seed=seed)
        return {on: training.evaluate(net, images[on])[1] for on in ("held-out", "test")}
    except FloatingPointError as error:
        raise Mistake(f"The training diverged: {error}.") from error
    finally:
        torch.set_num_threads(threads)


@checks
def reaches(
    answer: Mapping, goal: str = "target", seeds: Sequence[int] = (0,), on: str = "held-out"
) -> str:
    """Does the recipe's mean accuracy over the seeds reach the goal, "baseline" or "target"?

    `rerun` trains it once for each seed. The goals of the two sources of images are in `GOALS`.
    """
    accuracies = [rerun(answered(answer), seed, on) for seed in seeds]
    source = _images()["train"].source
    mean, needed = statistics.fmean(accuracies), GOALS[source][goal]
    found = f"{source}, {on} images: accuracy {mean:.3f}, mean of {len(accuracies)}"
    if mean < needed:
        raise Mistake(f"{found}. The {goal} asks for {needed:.3f}.")
    return f"{found}. The {goal} asks for {needed:.3f}."
