"""Checks for chapter 3: a network put together, its recipe, and what its accuracy is worth.

And for its assignment: `rerun` trains what a recipe says, on a budget, and measures it.
"""

import math
import random as numbers
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from resnets import data, models, probes, training
from resnets.check.asking import (
    NOT_WRITTEN,
    Mistake,
    answered,
    ask,
    call,
    checks,
    convolutions,
    evaluate,
    expect,
    expect_convolutions,
    expect_layers,
    layers,
    random,
    random_state,
    reference,
    same,
)
from resnets.device import seed_everything

SHAPES = [(64, 50, 38), (64, 25, 19), (64, 25, 19), (128, 13, 10), (256, 7, 5), (512, 4, 3)]


@checks
def shapes_on_the_way(shapes: Sequence) -> str:
    """Are these the shapes (channels, height, width) in ResNet-18 for a gray image of 100×75?

    A list of six: behind conv1, the max pooling, and the four stages; the image is 100 high.
    """
    given = answered(shapes)
    if not isinstance(given, list | tuple) or any(part is ... for part in given):
        raise Mistake(NOT_WRITTEN)
    mistakes = {
        "You round down where a stride meets an odd size: with its padding a convolution gives "
        "⌈n/2⌉, so 75 becomes 38.": _halved((37, 18, 18, 9, 4, 2), (50, 25, 25, 12, 6, 3)),
        "Height and width have changed places.": [(c, w, h) for c, h, w in SHAPES],
        "The first stage has stride 1: its image is as large as behind the pooling.": _halved(
            (38, 19, 10, 5, 3, 2), (50, 25, 13, 7, 4, 2)
        ),
        "The pooling has stride 2 as well, and leaves half the height and half the width.": _halved(
            (38, 38, 38, 19, 10, 5), (50, 50, 50, 25, 13, 7)
        ),
    }
    expect(list(map(list, given)), SHAPES, "the list of shapes", mistakes)
    return "These are the shapes, odd sizes rounded up."


def _halved(widths: Sequence[int], heights: Sequence[int]) -> list[tuple[int, int, int]]:
    channels = [shape[0] for shape in SHAPES]
    return list(zip(channels, heights, widths, strict=True))


def _small_resnet18(in_channels: int, classes: int, width: int) -> models.ResNet:
    return models.resnet18(
        in_channels=in_channels,
        num_classes=classes,
        widths=[width * factor for factor in (1, 2, 4, 8)],
        stem="stride1",
    )


@checks
def small_resnet18(make: Callable) -> str:
    """Is `make(in_channels, classes, width)` ResNet-18 for small images, `width` channels wide?

    Stem: conv1 (3×3, stride 1, no bias), bn1, ReLU, no pooling. Stages layer1 to layer4 of two
    basic blocks with `width` times 1, 2, 4, 8 channels; average pooling; fc. (N, in_channels, H, W)
    to logits (N, classes). Names as in torchvision. He et al. (2016a), table 1 and section 4.2.
    """
    one_block = "A stage has two blocks: layer1.0 and layer1.1, and so on to layer4.1."
    four = "ResNet-18 has four stages: layer1 to layer4."
    for *args, height, width in [(1, 10, 4, 16, 12), (3, 7, 2, 9, 17)]:
        right = layers(_small_resnet18, args)
        expect_layers(
            ask(layers, make, args),
            right,
            missing={
                "bn1": "Behind conv1 batch normalization is missing: bn1.",
                "layer4.0": four,
            }
            | {f"layer{n}.1": one_block for n in range(1, 5)},
            unexpected={
                "conv1.bias": "conv1 has a bias: batch normalization has one, so it needs none.",
                "layer1.0.downsample": "layer1 begins with a projection: its first block changes "
                "neither size nor channels (stride 1), so the shortcut is `x`.",
                "layer5": four,
            }
            | {f"layer{n}.2": one_block for n in range(1, 5)},
        )
        expect_convolutions(
            ask(convolutions, make, args),
            convolutions(_small_resnet18, args),
            {
                "conv1 stride": "conv1 has a stride: this stem keeps every pixel of a small image.",
            }
            | {
                f"layer{n}.0.conv1 stride": f"layer{n} has no stride: every stage but the first "
                "halves the image in its first block."
                for n in (2, 3, 4)
            },
        )
        state, x = random_state(_small_resnet18, args), random(2, args[0], height, width)
        for mode in (True, False):
            want, upstream = reference(_small_resnet18, args, state, x, mode)
            got = ask(evaluate, make, args, state, x, upstream, mode)
            mistakes = _network_mistakes(args, state, x, mode)
            expect(got["output"], want["output"], "the output", mistakes)
            for name, gradient in want["gradients"].items():
                expect(got["gradients"].get(name), gradient, f"the gradient at {name}")
    return "Your network takes the library's weights, and gives its logits and gradients."


def _network_mistakes(args: list, state: dict, x: Tensor, mode: bool) -> dict[str, Tensor]:
    net = _small_resnet18(*args).double().train(mode)
    net.load_state_dict(state)

    def logits(relu: Callable = F.relu, pool: Callable = net.maxpool, last=None) -> Tensor:
        out = pool(relu(net.bn1(net.conv1(x))))
        for name in net.stages:
            out = net.get_submodule(name)(out)
        return net.fc((last or net.avgpool)(out).flatten(1))

    with torch.no_grad():
        return {
            "The ReLU behind the stem's batch normalization is missing.": logits(relu=lambda x: x),
            "Your stem has max pooling: for small images it is left out.": logits(
                pool=nn.MaxPool2d(3, 2, 1)
            ),
            "In the end each map's average is taken, not its maximum.": logits(
                last=nn.AdaptiveMaxPool2d(1)
            ),
            "There is a ReLU behind fc: logits may be negative.": F.relu(logits()),
            "There is a softmax behind fc: return the logits, the loss has the softmax.": (
                logits().softmax(1)
            ),
        }


def rates(answer: Callable, steps: int, *inputs) -> list | None:
    """A question: the learning rates `answer(step, steps, *inputs)` of all steps."""
    found = [answer(step, steps, *inputs) for step in range(steps)]
    return None if None in found else found


@checks
def one_cycle(rate: Callable) -> str:
    """Is `rate(step, steps, peak)` the one-cycle learning rate in step 0, 1, …, steps − 1?

    From peak/25 in step 0 up to the peak in step steps/4 − 1, and down to zero in the last step,
    each half a cosine. Compared with `torch.optim.lr_scheduler.OneCycleLR`, whose last rate is
    set to zero. Smith and Topin (2018).
    """
    for steps in (8, 100, 4 * numbers.randint(30, 300)):
        peak = numbers.uniform(0.01, 1)
        right = _torch_one_cycle(steps, peak)
        expect(
            [value / peak for value in _all_numbers(ask(rates, rate, steps, peak))],
            [value / peak for value in right],
            f"the list of rates (in peaks, {steps} steps)",
            {
                message: [mistaken(step, steps) for step in range(steps)]
                for message, mistaken in _ONE_CYCLE_MISTAKES.items()
            },
        )
    return "Your rate is PyTorch's OneCycleLR in every step."


def _all_numbers(values) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake("Each rate should be one number, and is something else.") from error


def _torch_one_cycle(steps: int, peak: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=steps, pct_start=0.25, cycle_momentum=False,
        final_div_factor=1e12,
    )  # fmt: skip
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(found) < steps:
            scheduler.step()
    return found


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _cycle(
    step: int,
    steps: int,
    top: float | None = None,
    last: float | None = None,
    start: float = 1 / 25,
    end: float = 0.0,
    between: Callable = _cosine,
) -> float:
    top = steps / 4 - 1 if top is None else top
    last = steps - 1 if last is None else last
    if step <= top:
        return between(start, 1, step / top)
    return between(1, end, min(1, (step - top) / (last - top)))


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


_ONE_CYCLE_MISTAKES = {
    "There is no warm-up: the first quarter of the steps goes up to the peak.": lambda s, n: (
        _cosine(1, 0, s / (n - 1))
    ),
    "Your rate goes up and down along straight lines: both ways are half a cosine.": partial(
        _cycle, between=_linear
    ),
    "The rate should fall to zero: yours ends at peak/25.": partial(_cycle, end=1 / 25),
    "The first rate is peak/25, not zero.": partial(_cycle, start=0.0),
    "The peak comes one step late: the first quarter are steps 0 to steps/4 − 1.": lambda s, n: (
        _cycle(s, n, top=n / 4)
    ),
    "The rate should be zero in the last step, steps − 1: yours would get there a step later.": (
        lambda s, n: _cycle(s, n, last=n)
    ),
    "The peak comes one step late, and zero too: count the steps from 0 to steps − 1.": (
        lambda s, n: _cycle(s, n, top=n / 4, last=n)
    ),
}


def loss_with_gradient(
    answer: Callable, logits: Tensor, labels: Tensor, smoothing: float
) -> dict | None:
    """A question: `answer(logits, labels, smoothing)`, and its gradient at the logits."""
    logits = logits.clone().requires_grad_()
    loss = answer(logits, labels, smoothing)
    if loss is None:
        return None
    found = {"loss": loss}
    if isinstance(loss, Tensor) and loss.requires_grad and loss.ndim == 0:
        found = {"loss": loss.detach(), "gradient": torch.autograd.grad(loss, logits)[0]}
    return found


@checks
def smoothed_cross_entropy(loss: Callable) -> str:
    """Is `loss(logits, labels, smoothing)` the cross-entropy with label smoothing?

    Logits (N, K), labels (N,) int64, smoothing in [0, 1); the mean over the batch, one number.
    Compared with `F.cross_entropy`, in value and gradient, for logits of thousands too. Szegedy et
    al. (2016), section 7.
    """
    for n, classes, smoothing, scale in [(5, 10, 0.1, 1), (4, 3, 0.3, 3), (6, 7, 0.0, 1)]:
        logits, labels = scale * random(n, classes), torch.randint(classes, (n,))
        right = loss_with_gradient(_smoothed, logits, labels, smoothing)
        got = ask(loss_with_gradient, loss, logits, labels, smoothing)
        mistakes = _smoothing_mistakes(logits, labels, smoothing)
        expect(got["loss"], right["loss"], "the loss", mistakes)
        if "gradient" not in got:
            raise Mistake("No gradient comes back to the logits: compute the loss with tensors.")
        expect(got["gradient"], right["gradient"], "the gradient at the logits")
    logits, labels = 2000 * random(5, 10), torch.randint(10, (5,))
    got = ask(loss_with_gradient, loss, logits, labels, 0.1)
    if not same(got["loss"], _smoothed(logits, labels, 0.1)):
        raise Mistake(
            "With logits of thousands your loss is not finite or not right: an exponential "
            "overflows, or a logarithm meets zero. `log_softmax` takes both in one step."
        )
    return "Your loss is PyTorch's, in value and gradient, and stands logits of thousands."


def _smoothed(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def _smoothing_mistakes(logits: Tensor, labels: Tensor, smoothing: float) -> dict[str, Tensor]:
    classes = logits.shape[1]
    one_hot = F.one_hot(labels, classes).double()
    target = (1 - smoothing) * one_hot + smoothing / classes
    others = (1 - smoothing) * one_hot + smoothing / (classes - 1) * (1 - one_hot)
    unshared = (1 - smoothing) * one_hot + smoothing
    logs = logits.log_softmax(1)
    right = -(target * logs).sum(1)
    return {
        "Labels are not smoothed: your loss is the plain cross-entropy.": F.cross_entropy(
            logits, labels
        ),
        "The smoothing is shared by the wrong classes only: all K classes get smoothing/K, the "
        "right one too.": -(others * logs).sum(1).mean(),
        "Each class gets the whole smoothing: it is shared, smoothing/K for each.": (
            -(unshared * logs).sum(1).mean()
        ),
        "You sum over the batch: the loss is the mean over the images.": right.sum(),
        "You average over the classes: sum over classes, and average over the images.": (
            right.mean() / classes
        ),
        "There is no log-softmax: logits are no logarithms of probabilities yet.": (
            -(target * logits).sum(1).mean()
        ),
        "The softmax is taken twice: `log_softmax` wants the logits themselves.": (
            -(target * logits.softmax(1).log_softmax(1)).sum(1).mean()
        ),
        "The sign is wrong: logarithms of probabilities are negative.": -right.mean(),
        "Smoothing and the rest have changed places: the right class keeps 1 − smoothing.": (
            _smoothed(logits, labels, 1 - smoothing)
        ),
    }


@checks
def lowest_smoothed_loss(lowest: Callable) -> str:
    """Does `lowest(classes, smoothing)` give the lowest smoothed loss, and the margin it needs?

    A pair of numbers: the minimum of the cross-entropy with label smoothing over all logits, and
    how much higher the right class's logit is there than each other. 0 < smoothing < 1.
    """
    for classes, smoothing in [(10, 0.1), (2, 0.2), (numbers.randint(3, 1000), 0.05)]:
        target = torch.full((1, classes), smoothing / classes, dtype=torch.float64)
        target[0, 0] += 1 - smoothing
        top, rest = target[0, 0].item(), smoothing / classes
        entropy = _smoothed(target.log(), torch.tensor([0]), smoothing).item()
        got = ask(call, lowest, classes, smoothing)
        if not isinstance(got, list | tuple) or len(got) != 2:
            raise Mistake("Return two numbers: the lowest loss, and the margin.")
        expect(
            got[0],
            entropy,
            "the lowest loss",
            {
                "A loss of zero needs a target of zeros and a one: the smoothed target has no "
                "zeros.": 0.0,
                "Only the right class is in your sum: the others are wanted too, with "
                "smoothing/K each.": -top * math.log(top),
                "All K classes together have 1: there are K − 1 others, each with smoothing/K.": (
                    -top * math.log(top) - rest * math.log(rest)
                ),
                "This is the loss of a network that is certain of the right class: look where the "
                "derivative is zero.": -math.log(top),
                "You count bits: the loss has natural logarithms.": entropy / math.log(2),
                "The right class's target is 1 − smoothing + smoothing/K.": (
                    -(1 - smoothing) * math.log(1 - smoothing)
                    - smoothing * math.log(smoothing / (classes - 1))
                ),
            },
        )
        expect(
            got[1],
            math.log(top / rest),
            "the margin",
            {
                "The margin is a difference of logits: the logarithm of the ratio of the two "
                "probabilities.": top / rest,
                "At the lowest loss the network gives each class its target; compare 1 − smoothing "
                "+ smoothing/K with smoothing/K.": math.log((1 - smoothing) / smoothing),
                "The right class's target is 1 − smoothing + smoothing/K.": math.log(
                    (1 - smoothing) / rest
                ),
            },
        )
    return "That is how low the smoothed loss can get, and where."


class _Count(TorchDispatchMode):
    """Counts the tensor operations within this context."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        return func(*args, **(kwargs or {}))


def augmented(answer: Callable, images: Tensor, padding: int) -> dict | None:
    """A question: `answer(images, padding)`, and how many tensor operations that took."""
    with _Count() as count:
        output = answer(images.clone(), padding)
    return None if output is None else {"images": output, "operations": count.operations}


@checks
def crop_and_flip(augment: Callable) -> str:
    """Does `augment(images, padding)` crop and mirror each image at random, all at once?

    (N, H, W) uint8 to the same shape and type: each image padded by `padding` zeros on all sides,
    cut to its size again at one of the (2·padding + 1)² places, and mirrored left to right with
    probability 1/2; each image for itself, without a loop over the images.
    """
    for n, height, width, padding in [(3000, 9, 7, 2), (2000, 6, 8, 1)]:
        shades = random(n, height, width).abs() * 60 + 1
        images = shades.clamp(max=255).to(torch.uint8)
        got = ask(augmented, augment, images, padding)
        output = got["images"]
        if not isinstance(output, Tensor):
            raise Mistake("Return a tensor of images.")
        if output.shape != images.shape:
            raise Mistake(
                f"{tuple(images.shape)} became {tuple(output.shape)}: after the padding, each crop "
                "has the size of the image again."
            )
        if output.dtype != torch.uint8:
            raise Mistake(f"The images were uint8 and are {output.dtype} now: keep the type.")
        top, left, mirrored = _crops(output, images, padding)
        _expect_independent(top, left, mirrored, padding)
        if got["operations"] > 400:
            raise Mistake(
                "The crops are right, but there is a loop over the images: index all of them at "
                "once, rows (N, H, 1) and columns (N, 1, W)."
            )
        if torch.equal(ask(augmented, augment, images, padding)["images"], output):
            raise Mistake("A second call draws the same numbers: set no seed in the function.")
    return "Each image is cropped and mirrored for itself, at all places, and half are mirrored."


def _variants(images: Tensor, padding: int, pad: Callable) -> Tensor:
    """All crops (N, variants, H, W), each as it is and then mirrored."""
    height, width = images.shape[1:]
    padded = pad(images)
    places = range(2 * padding + 1)
    crops = [
        padded[:, top : top + height, left : left + width] for top in places for left in places
    ]
    return torch.stack([turned for crop in crops for turned in (crop, crop.flip(2))], 1)


def _zeros(images: Tensor, padding: int) -> Tensor:
    return F.pad(images, (padding,) * 4)


def _other_padding(images: Tensor, padding: int, mode: str) -> Tensor:
    return F.pad(images.unsqueeze(1).double(), (padding,) * 4, mode).squeeze(1).to(torch.uint8)


def _crops(output: Tensor, images: Tensor, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which crop each image got: (N,) top, left, mirrored."""

    def matches(of: Tensor, pad: Callable = _zeros) -> Tensor:
        found = _variants(of, padding, partial(pad, padding=padding))
        return (found == output[:, None]).flatten(2).all(2)

    found = matches(images)
    if not found.any(1).all():
        upside_down = output.flip(1)
        turned = _variants(images, padding, partial(_zeros, padding=padding))
        if (turned == upside_down[:, None]).flatten(2).all(2).logical_or(found).any(1).all():
            raise Mistake("Images are turned upside down: mirror left and right, the last axis.")
        for mode, says in (
            ("circular", "What is shifted out on one side comes in on the other: pad with zeros."),
            ("replicate", "The border repeats the edge of the image: pad with zeros."),
            ("reflect", "The border mirrors the image: pad with zeros."),
        ):
            if matches(images, partial(_other_padding, mode=mode)).any(1).all():
                raise Mistake(says)
        if matches(images[:1])[1:].any():
            raise Mistake("Images have changed places: crop each image for itself.")
        raise Mistake(
            f"An image is none of the {2 * (2 * padding + 1) ** 2} crops that there are of it with "
            f"padding {padding}, mirrored or not."
        )
    which = found.double().argmax(1)
    place, mirrored = which // 2, which % 2
    return place // (2 * padding + 1), place % (2 * padding + 1), mirrored


def _expect_independent(top: Tensor, left: Tensor, mirrored: Tensor, padding: int) -> None:
    if mirrored.min() == mirrored.max():
        raise Mistake(
            "In a batch either no image is mirrored or each is: draw a number for each image."
        )
    if top.min() == top.max() or left.min() == left.max():
        raise Mistake("All images of a batch are shifted alike: draw a number for each image.")
    if max(top.max(), left.max()) < 2 * padding:
        raise Mistake(
            "The last place never comes: there are 2·padding + 1 of them in each direction, and "
            "the upper bound of `torch.randint` is left out."
        )
    if torch.equal(top, left):
        raise Mistake("Rows and columns are shifted by the same number: draw one for each.")
    counts = torch.zeros(2, (2 * padding + 1) ** 2)
    places = top * (2 * padding + 1) + left
    counts.index_put_((mirrored, places), torch.ones(len(top)), accumulate=True)
    if abs(mirrored.double().mean() - 0.5) > 0.1:
        raise Mistake("About half of the images should be mirrored.")
    if counts.min() == 0:
        raise Mistake(
            "Some crops never come: shift down, shift right, and mirror independently, all places "
            "with the same probability."
        )
    expected = len(top) / counts.numel()
    if (counts - expected).abs().max() > 8 * expected**0.5:
        raise Mistake("Some places come more often than others: all are equally likely.")


@checks
def paired_difference(difference: Callable) -> str:
    """Does `difference(first, second)` give the mean difference and its standard error?

    Two lists of accuracies, of the same seeds in the same order, to a pair of numbers: the mean of
    second − first, and the standard deviation of these differences (n − 1) over √n.
    """
    for n in (3, 5, numbers.randint(6, 12)):
        seed_effect, noise = 0.02 * random(n), 0.004 * random(2, n)
        first, second = (0.87 + seed_effect + noise[0], 0.88 + seed_effect + noise[1])
        change = second - first
        error = (change.var() / n) ** 0.5
        got = ask(call, difference, first.tolist(), second.tolist())
        if not isinstance(got, list | tuple) or len(got) != 2:
            raise Mistake("Return two numbers: the mean difference, and its standard error.")
        expect(
            _number(got[0]),
            change.mean(),
            "the mean difference",
            {
                "The sign is wrong: take second − first, positive where the second is better.": (
                    -change.mean()
                ),
                "Take the mean over the seeds, not the largest accuracy of each.": (
                    second.max() - first.max()
                ),
            },
        )
        unpaired = ((first.var() + second.var()) / n) ** 0.5
        expect(
            _number(got[1]),
            error,
            "the standard error",
            {
                "This is the standard deviation of the differences: the error of their mean is "
                "smaller, by √n.": change.std(),
                "You divide by n: the mean was taken from the same numbers, so divide the squares "
                "by n − 1.": (change.var(correction=0) / n) ** 0.5,
                "You divide the standard deviation by n: its error goes down with √n.": (
                    change.std() / n
                ),
                "This is the variance: take the root.": change.var() / n,
                "You add the variances of the two lists: the seeds are the same, so take the "
                "differences first.": unpaired,
            },
        )
    return "The mean of the differences, and its standard error."


def _number(value) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def schedule(answer: Callable, *inputs) -> list | None:
    """A question: the list of rates that `answer(*inputs)` gives."""
    found = answer(*inputs)
    return None if found is None else list(found)


@checks
def warm_up_cosine(rates: Callable, drop_last: bool = True) -> str:
    """Is `rates(images, batch_size, epochs, peak, warm_up)` the list of learning rates?

    One rate for each step of all epochs; images that fill no batch are left out. The first
    `warm_up` steps go up along a line, the t-th of them (from 1) at peak · t / warm_up; then half
    a cosine from the peak down to zero, which the step behind the last would reach. With
    `drop_last=False` only numbers of images that fill whole batches are tried.
    """
    settings = [(640, 64, 5, 0.1, 12), (96, 32, 1, 2.0, 1), (480, 32, 2, 0.05, 0)]
    if drop_last:
        settings = [(1000, 96, 3, 0.2, 7), (700, 128, 4, 1.0, 0), (333, 100, 2, 0.4, 4)]
    for images, batch_size, epochs, peak, warm_up in settings:
        per_epoch = images // batch_size
        got = ask(schedule, rates, images, batch_size, epochs, peak, warm_up)
        expect(
            [value / peak for value in _all_numbers(got)],
            _warm_up_cosine(per_epoch * epochs, warm_up),
            "the list of rates (in peaks)",
            _schedule_mistakes(images, batch_size, epochs, warm_up),
        )
    return "These are the rates, one for each step."


def _warm_up_cosine(steps: int, warm_up: int, first: int = 1, last: int = 0) -> list[float]:
    down = steps - warm_up - last
    return [
        (t + first) / warm_up if t < warm_up else _cosine(1, 0, min(1, (t - warm_up) / down))
        for t in range(steps)
    ]


def _schedule_mistakes(images: int, batch_size: int, epochs: int, warm_up: int) -> dict:
    per_epoch = images // batch_size
    steps = per_epoch * epochs
    with_rest = -(-images // batch_size) * epochs
    right = _warm_up_cosine(steps, warm_up)
    mistakes = {
        "There is no warm-up.": _warm_up_cosine(steps, 0),
        "The rates change once an epoch: they change in each step.": [
            right[t - t % per_epoch] for t in range(steps)
        ],
        "There is one rate for each epoch: it takes one for each step.": right[::per_epoch],
        "This is one epoch: the schedule goes over all of them.": _warm_up_cosine(
            per_epoch, min(warm_up, per_epoch - 1)
        ),
        "The schedule starts anew in each epoch: it goes over all of them once.": (
            _warm_up_cosine(per_epoch, min(warm_up, per_epoch - 1)) * epochs
        ),
        "The first step's rate is zero, and the step is lost: the t-th has peak · t / warm_up, "
        "counted from 1.": _warm_up_cosine(steps, warm_up, first=0),
        "The last step's rate is zero, and the step is lost: the step behind the last would be "
        "the first at zero.": _warm_up_cosine(steps, warm_up, last=1),
        "The cosine goes on from where it would be without the warm-up: it starts at the peak, "
        "behind the warm-up.": [
            (t + 1) / warm_up if t < warm_up else _cosine(1, 0, t / steps) for t in range(steps)
        ],
    }
    if with_rest != steps:
        message = "Images that fill no whole batch are left out: round the steps of an epoch down."
        mistakes[message] = _warm_up_cosine(with_rest, warm_up)
    return mistakes


def sgd_steps(
    answer: Callable, weights: Tensor, gradients: list[Tensor], lrs: list[float], *options: float
) -> dict | None:
    """A question: the weights and velocities after each step of the optimizer `answer`.

    `answer(weights, gradient, velocity, lr, *options)` gives the next weights and velocity; the
    velocity starts at zero.
    """
    velocity, found = torch.zeros_like(weights), {"weights": [], "velocities": []}
    for gradient, lr in zip(gradients, lrs, strict=True):
        step = answer(weights.clone(), gradient.clone(), velocity.clone(), lr, *options)
        if step is None:
            return None
        weights, velocity = step
        found["weights"].append(weights.clone())
        found["velocities"].append(velocity.clone())
    return found


@checks
def sgd_step(step: Callable, weight_decay: bool = True) -> str:
    """Is `step(weights, gradient, velocity, lr, momentum, weight_decay)` SGD as `fit` uses it?

    SGD with Nesterov momentum. Returns the next weights and velocity, of the same shape. Compared
    with `torch.optim.SGD(…, nesterov=True)` over several steps, between which the rate changes.
    With `weight_decay=False` only weight decay 0 is tried.
    """
    for shape, count, momentum, decay in [((5,), 5, 0.9, 0.01), ((3, 2), 4, 0.5, 0.2)]:
        decay = decay if weight_decay else 0.0
        weights, gradients = random(*shape), [random(*shape) for _ in range(count)]
        lrs = [0.3 / (1 + n) for n in range(count)]
        got = ask(sgd_steps, step, weights, gradients, lrs, momentum, decay)
        options = (weights, gradients, lrs, momentum, decay)
        right = _torch_sgd(*options)
        mistakes = {
            message: _sgd(*options, **changes) for message, changes in _SGD_MISTAKES.items()
        }
        expect(_stacked(got["weights"]), right, "the list of weights", mistakes)
    return f"Your step is PyTorch's SGD{'' if weight_decay else ', without weight decay'}."


def _stacked(tensors: Sequence) -> Tensor | None:
    try:
        return torch.stack([torch.as_tensor(tensor) for tensor in tensors])
    except (TypeError, ValueError, RuntimeError):
        return None


def _torch_sgd(weights, gradients, lrs, momentum: float, decay: float) -> Tensor:
    weights, found = weights.clone().requires_grad_(), []
    optimizer = torch.optim.SGD(
        [weights], lr=1.0, momentum=momentum, weight_decay=decay, nesterov=True
    )
    for gradient, lr in zip(gradients, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        weights.grad = gradient.clone()
        optimizer.step()
        found.append(weights.detach().clone())
    return torch.stack(found)


def _sgd(weights, gradients, lrs, momentum: float, decay: float, how: str = "") -> Tensor:
    velocity, found = torch.zeros_like(weights), []
    for gradient, lr in zip(gradients, lrs, strict=True):
        d = gradient
        if how not in ("no decay", "decoupled"):
            d = d + (-decay if how == "growth" else decay) * weights
        if how == "only last":
            velocity = d
        elif how == "damped":
            velocity = momentum * velocity + (1 - momentum) * d
        elif how == "rate inside":
            velocity = momentum * velocity + lr * d
        else:
            velocity = momentum * velocity + d
        if how == "rate inside":
            change = lr * d + momentum * velocity
        else:
            change = lr * (velocity if how == "heavy ball" else d + momentum * velocity)
        if how == "no momentum":
            change = lr * d
        if how == "decoupled":
            change = change + lr * decay * weights
        weights = weights + change if how == "ascent" else weights - change
        found.append(weights)
    return torch.stack(found)


_SGD_MISTAKES = {
    "Your step goes along the velocity, which is momentum without Nesterov: it goes along "
    "gradient + momentum · velocity.": {"how": "heavy ball"},
    "The weights go up the gradient: subtract the step.": {"how": "ascent"},
    "There is no momentum in your step.": {"how": "no momentum"},
    "The velocity forgets the steps before: momentum · velocity + gradient.": {"how": "only last"},
    "You take 1 − momentum of the gradient into the velocity: PyTorch takes all of it.": {
        "how": "damped"
    },
    "The learning rate is in the velocity: then a step at a high rate pushes on when the rate has "
    "fallen. PyTorch multiplies the whole step by the rate of now.": {"how": "rate inside"},
    "There is no weight decay in your step.": {"how": "no decay"},
    "Weight decay shrinks the weights beside the momentum (as in AdamW): in SGD it is added to the "
    "gradient first, and goes into the velocity.": {"how": "decoupled"},
    "Weight decay makes the weights grow: add weight_decay · weights to the gradient.": {
        "how": "growth"
    },
}


@checks
def network_cost(cost: Callable, stems: Sequence[str] = models.STEMS) -> str:
    """Does `cost(blocks, widths, stem, height, width)` count a residual network's work?

    A dictionary with "multiply_adds" (convolutions and the linear layer, for one image) and
    "parameters" of `models.ResNet(blocks, widths=widths, stem=stem, in_channels=1,
    num_classes=10)`, compared with `probes`. Only the stems named are tried.
    """
    sizes = [([1, 1, 1], [16, 32, 64], 28, 28), ([2, 1], [5, 7], 17, 30), ([3], [8], 12, 9)]
    sizes += [([1, 2, 1, 1], [4, 4, 6, 6], 33, 21)]
    for blocks, widths, height, width in sizes:
        for stem in stems:
            where = f" for blocks {blocks}, widths {widths}, stem {stem!r}, {height}×{width}"
            got = ask(call, cost, blocks, widths, stem, height, width)
            if not isinstance(got, Mapping) or set(got) != {"multiply_adds", "parameters"}:
                raise Mistake('Return a dictionary with "multiply_adds" and "parameters".')
            right = built_cost(blocks, widths, stem, height, width)
            for name in ("parameters", "multiply_adds"):
                mistakes = {
                    message: _cost(blocks, widths, stem, height, width, how)[name]
                    for message, how in _COST_MISTAKES.items()
                }
                value = _number(got[name])
                expect(value, right[name], f"the number of {name.replace('_', '-')}", mistakes)
                if round(value) != value:
                    raise Mistake(f"The number of {name}{where} is a whole number.")
    return "Multiply-adds and parameters are those of the networks themselves."


def built_cost(blocks, widths, stem: str, height: int, width: int) -> dict[str, int]:
    """Counted on the network itself, without memory for its weights."""
    with torch.device("meta"):
        net = models.ResNet(blocks, widths=widths, stem=stem, in_channels=1, num_classes=10)
    return {
        "multiply_adds": probes.multiply_adds(net, 1, height, width),
        "parameters": probes.parameters(net),
    }


def _cost(blocks, widths, stem: str, height: int, width: int, how: str = "") -> dict[str, int]:
    def halved(n: int) -> int:
        return n // 2 if how == "down" else (n + 1) // 2

    kernel = 7 if stem == "imagenet" else 3
    before = (height, width)
    if stem != "stride1":
        height, width = halved(height), halved(width)
    norm = {"no norm": 0, "biases": 3, "one norm": 1}.get(how, 2)
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
            if (stride or channels != out) and how != "no projection":
                adds += channels * out * first
                weights += channels * out + norm * out
            channels = out
    if how != "no linear":
        adds, weights = adds + 10 * channels, weights + 10 * channels + 10
    return {"multiply_adds": (2 if how == "flops" else 1) * adds, "parameters": weights}


_COST_MISTAKES = {
    "The projections on the shortcuts are missing: a 1×1 convolution where a stage begins with a "
    "stride.": "no projection",
    "The linear layer is missing.": "no linear",
    "The weights and biases of batch normalization are missing: two for each channel.": "no norm",
    "Batch normalization has two parameters for each channel, weight and bias.": "one norm",
    "The convolutions have no biases: batch normalization follows.": "biases",
    "You count at the size of a convolution's input: each output pixel costs, and where there is "
    "a stride they are fewer.": "at input",
    "You round sizes down where a stride meets an odd size: a convolution gives ⌈n/2⌉.": "down",
    "The max pooling of the stem is missing.": "no pooling",
    "You count multiplications and additions apart: a multiply-add is one.": "flops",
}


def choices(answer: Callable, tables: list) -> list | None:
    """A question: what `answer(results, costs)` chooses from each of the tables."""
    found = [answer(results, costs) for results, costs in tables]
    return None if None in found else found


@checks
def one_standard_error(choose: Callable, equal_counts: bool = False) -> str:
    """Does `choose(results, costs)` take the cheapest recipe that is as good as the best?

    `results` holds each recipe's held-out accuracies, one for each seed (two or more), `costs`
    what a training costs. As good as the best is a mean that lies no more than one standard error
    of the best recipe's mean below it. With `equal_counts` all recipes have five seeds.
    """
    tables = _tables(equal_counts)
    got = ask(choices, choose, tables)
    known = zip(got, tables, strict=True)
    if not all(isinstance(name, str) and name in costs for name, (_, costs) in known):
        raise Mistake("Return the name of one of the recipes.")
    if got == _chosen(tables):
        return "The cheapest of those that are as good as the best, in each of the tables."
    for message, how in _CHOICE_MISTAKES.items():
        if got == _chosen(tables, how):
            raise Mistake(message)
    raise Mistake(
        "In some tables another recipe is the cheapest of those as good as the best: compare each "
        "mean with the best mean minus the standard error of that one."
    )


def _tables(equal_counts: bool) -> list[tuple[dict, dict]]:
    """Random tables, among which each of the typical mistakes shows."""
    while True:
        tables = [_table(equal_counts) for _ in range(80)]
        right = _chosen(tables)
        if all(_chosen(tables, how) != right for how in _CHOICE_MISTAKES.values()):
            return tables


def _chosen(tables: list, how: str = "") -> list[str]:
    return [_choose(results, costs, how) for results, costs in tables]


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


def _choose(results: Mapping, costs: Mapping, how: str = "") -> str:
    level = max if how == "luckiest" else statistics.fmean
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
    if how == "own error":
        good = [name for name in means if means[name] >= means[best] - error[name]]
    elif how == "two errors":
        good = [name for name in means if means[name] >= means[best] - 2 * error[best]]
    else:
        good = [name for name in means if means[name] >= means[best] - error[best]]
    return min(good, key=costs.get)


_CHOICE_MISTAKES = {
    "You take the best mean: among those as good as it, take the cheapest.": "best",
    "You take the cheapest of all: only those count that are as good as the best.": "cheapest",
    "You take the standard deviation of single runs: the error of a mean is smaller, by the root "
    "of the number of seeds.": "deviation",
    "You divide the squares by n: the mean was taken from the same numbers, so divide by n − 1.": (
        "n"
    ),
    "You compare each recipe's luckiest seed: compare means.": "luckiest",
    "You take each recipe's own standard error: it is that of the best one which counts.": (
        "own error"
    ),
    "You allow two standard errors: one is the rule here.": "two errors",
    "You take the lowest mean in reach: take the cheapest.": "worst in reach",
}


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
            raise Mistake(f"The recipe has {name!r}, and can only have {', '.join(BASELINE)}.")
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
        raise Mistake("A network of this task has six blocks at most.")


@checks
def recipe(answer: Mapping) -> str:
    """Is this dictionary a recipe that `rerun` takes, and within the budget?

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
