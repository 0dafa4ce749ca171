"""Checks for chapter 4: bottlenecks, shortcut options, and what depth costs."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from resnets import models, probes
from resnets.check.asking import (
    Mistake,
    Watch,
    ask,
    call_with_gradients,
    checks,
    expect,
    random,
    random_state,
    same,
)
from resnets.check.blocks import BY_FORMULA
from resnets.check.exercise import (
    ALIKE_WITHIN,
    Network,
    alike,
    computing,
    exercise,
    several,
)

COSTS = [  # blocks, bottleneck, height, width, stride_on
    ((2, 2, 2, 2), False, 224, 224, "3x3"),
    ((3, 4, 6, 3), True, 224, 224, "3x3"),
]
OPTIONS = [  # option, in_channels, channels, stride, height, width
    (option, *settings)
    for option in "ABC"
    for settings in ((4, 4, 1, 5, 6), (4, 8, 2, 6, 8), (3, 8, 2, 7, 10), (2, 5, 3, 8, 10))
]
NETWORKS = [  # blocks, width, in_channels, num_classes, stride_on
    ((1, 2, 1, 1), 8, 3, 10, "3x3"),
    ((2, 1, 1, 2), 8, 3, 10, "1x1"),
]
SHARES = [  # stride_on, height, width, stride
    ("1x1", 16, 16, 2),
    ("3x3", 16, 16, 2),
    ("1x1", 56, 28, 2),
]
WIDTHS = [(64, 4, 1), (128, 4, 1), (64, 2, 1)]  # width, reduction, groups


def _half(missing: int) -> int:
    return missing // 2


def _every(x: Tensor, stride: int) -> Tensor:
    return x[:, :, ::stride, ::stride]


def _padded(
    x: Tensor, channels: int, stride: int, keep: Callable = _every, before: Callable = _half
) -> Tensor:
    """Option A; `keep` chooses the pixels, and `before` how many zeros go before the channels."""
    missing = channels - x.shape[1]
    front = before(missing)
    return F.pad(keep(x, stride), (0, 0, 0, 0, front, missing - front))


def _repeated(x: Tensor, channels: int, stride: int) -> Tensor:
    return _every(x, stride).repeat(1, -(-channels // x.shape[1]), 1, 1)[:, :channels]


_PADDINGS = {
    "You ignore the stride: keep only every stride-th pixel, in both directions.": partial(
        _padded, keep=lambda x, s: x
    ),
    "You thin out only the rows: take every stride-th column as well.": partial(
        _padded, keep=lambda x, s: x[:, :, ::s]
    ),
    "You thin out only the columns: take every stride-th row as well.": partial(
        _padded, keep=lambda x, s: x[:, :, :, ::s]
    ),
    "Use the stride that is passed in: it need not be 2.": partial(
        _padded, keep=lambda x, s: _every(x, min(s, 2))
    ),
    "All zeros come after the channels of x. Some networks do that; here, put half of them before, "
    "so that the channels line up with those of the library.": partial(
        _padded, before=lambda missing: 0
    ),
    "All zeros come before the channels of x: put half of them after.": partial(
        _padded, before=lambda missing: missing
    ),
    "Where the number of new channels is odd, put the extra one after.": partial(
        _padded, before=lambda missing: missing - missing // 2
    ),
    "You keep the wrong pixels: take the first, then every stride-th.": partial(
        _padded, keep=lambda x, s: x[:, :, s - 1 :: s, s - 1 :: s]
    ),
    "You average over the pixels: option A keeps some as they are and drops the others.": partial(
        _padded, keep=lambda x, s: F.avg_pool2d(x, s, ceil_mode=True)
    ),
    "You average over the pixels, and drop the last row or column of an odd size: keep pixels as "
    "they are.": partial(_padded, keep=F.avg_pool2d),
    "You take the maximum of the pixels: option A keeps the first of them.": partial(
        _padded, keep=lambda x, s: F.max_pool2d(x, s, ceil_mode=True)
    ),
    "You lose the last row or column of an odd size: round the sizes up.": partial(
        _padded, keep=lambda x, s: _every(x, s)[:, :, : x.shape[2] // s, : x.shape[3] // s]
    ),
    "The new channels repeat those of x: fill them with zeros.": _repeated,
}


@exercise(
    right=_padded,
    what="the shortcut",
    gradients=["x"],
    says="Your shortcut is option A, at even and odd sizes, in values and gradients.",
    wrong=_PADDINGS
    | {
        "The new channels are missing: fill up to `channels` with zeros.": (
            lambda x, channels, stride: _every(x, stride)
        )
    },
)
def padded_shortcut(answer: Callable):
    """Is `answer(x, channels, stride)` the shortcut without parameters, option A?

    `x` is (N, C, H, W), the result (N, channels, ⌈H/stride⌉, ⌈W/stride⌉): every stride-th pixel
    from the first on, and channels of zeros, half of them before and half behind; where their
    number is odd, the one more is behind. As `models.PaddedIdentity`, in values and gradients: He
    et al. (2016a), section 4.1. (The paper does not say where the zeros go.)
    """
    for c, channels, stride, *size in [(4, 8, 2, 6, 8), (3, 8, 2, 7, 10), (5, 5, 1, 4, 6)]:
        yield random(2, c, *size), channels, stride
    yield random(2, 2, 8, 11), 7, 3


class _Padding(nn.Module):
    def __init__(self, pad: Callable, channels: int, stride: int) -> None:
        super().__init__()
        self.pad, self.channels, self.stride = pad, channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return self.pad(x, self.channels, self.stride)


def _shortcut(option, n, c, stride, pad=_padded, bias=False, norm=True, shrink=None, relu=False):
    if option != "C" and (n, 1) == (c, stride):
        return nn.Identity()
    if option == "A":
        return _Padding(pad, c, stride)
    conv = nn.Conv2d(n, c, 1, stride if shrink is None else shrink(stride), bias=bias)
    return nn.Sequential(conv, *[nn.BatchNorm2d(c)] * norm, *[nn.ReLU()] * relu)


def _as(**other: str) -> Callable:
    """One option in place of another."""
    return lambda option, *args: _shortcut(other.get(option, option), *args)


@exercise(
    kind=Network,
    right=_shortcut,
    renamed="",
    says="Your shortcuts match the library's in layers, outputs and gradients.",
    wrong={
        f"{sentence} (option A)": partial(_shortcut, pad=pad) for sentence, pad in _PADDINGS.items()
    }
    | {
        "Your option A has parameters: it should have none anywhere.": _as(A="B"),
        "Option B needs a projection where the shape changes: a Sequential of a 1×1 convolution "
        "and batch normalization.": _as(B="A"),
        "Where the shape stays the same, the shortcut of option B is `x` itself.": _as(B="C"),
        "Option C needs a projection even where the shape stays the same: a Sequential of a 1×1 "
        "convolution and batch normalization.": _as(C="B"),
        "The 1×1 convolution has a bias: leave it out, since batch normalization has one.": partial(
            _shortcut, bias=True
        ),
        "There is no batch normalization after the 1×1 convolution: add it.": partial(
            _shortcut, norm=False
        ),
        "The projection has no stride: it must shrink the image as much as the layers do.": partial(
            _shortcut, shrink=lambda stride: 1
        ),
        "Use the stride that is passed in for the projection: it need not be 2.": partial(
            _shortcut, shrink=lambda stride: min(stride, 2)
        ),
        "There is a ReLU on the projection: end the shortcut with batch normalization.": partial(
            _shortcut, relu=True
        ),
    },
)
def shortcut_options(make: Callable, settings: Iterable[Sequence] = OPTIONS):
    """Is `make(option, in_channels, channels, stride)` the shortcut of He et al. (2016a)?

    A module, (N, in_channels, H, W) to (N, channels, ⌈H/stride⌉, ⌈W/stride⌉), without parameters
    for "A" (zeros half before and half behind, one more behind), a Sequential of 1×1 convolution
    and batch normalization where the shape changes for "B" and everywhere for "C". Section 4.1; as
    `models.make_shortcut`. `settings` are tuples of option, in_channels, channels, stride, and
    height and width of the input.
    """
    for *args, height, width in settings:
        yield args, (2, args[1], height, width)


# Sections 4.3 and 4.5: the bottleneck, its versions, and its cost.


def _bottleneck(n: int, c: int, stride: int, stride_on: str = "3x3") -> nn.Module:
    return models.Bottleneck(n, c, stride, stride_on=stride_on)


def _made(change: Callable) -> Callable:
    """The bottleneck after `change(block, in_channels, channels, stride)`."""

    def make(n: int, c: int, stride: int, *version: str) -> nn.Module:
        block = _bottleneck(n, c, stride, *version)
        change(block, n, c, stride)
        return block

    return make


def _sum(forward: Callable) -> Callable:
    """The bottleneck that computes `forward(layers, shortcut)` with what its branches give."""
    return computing(_bottleneck, lambda b, x: forward(b.residual(x), b.downsample(x)))


def _branch(residual: Callable) -> Callable:
    """The bottleneck whose layers compute `residual(x, conv1, bn1, conv2, bn2, conv3, bn3)`."""

    def compute(b: nn.Module, x: Tensor) -> Tensor:
        layers = residual(x, b.conv1, b.bn1, b.conv2, b.bn2, b.conv3, b.bn3)
        return F.relu(layers + b.downsample(x))

    return computing(_bottleneck, compute)


def _projecting(change: Callable, where: Callable) -> Callable:
    def project(block: nn.Module, n: int, c: int, s: int) -> None:
        made = nn.Sequential(nn.Conv2d(n, 4 * c, 1, s, bias=False), nn.BatchNorm2d(4 * c))
        block.downsample = change(made) if where(n, 4 * c, s) else nn.Identity()

    return _made(project)


def _changes(n: int, out: int, stride: int) -> bool:
    return (n, 1) != (out, stride)


def _widths(middle: Callable, out: Callable) -> Callable:
    def change(b: nn.Module, n: int, c: int, s: int) -> None:
        m, o = middle(c), out(c)
        b.conv1, b.bn1 = models.conv1x1(n, m), nn.BatchNorm2d(m)
        b.conv2, b.bn2 = models.conv3x3(m, m, s), nn.BatchNorm2d(m)
        b.conv3, b.bn3 = models.conv1x1(m, o), nn.BatchNorm2d(o)
        if _changes(n, o, s):
            b.downsample = nn.Sequential(models.conv1x1(n, o, s), nn.BatchNorm2d(o))

    return _made(change)


def _strides(first: Callable, second: Callable) -> Callable:
    return _made(
        lambda b, n, c, s: (
            setattr(b.conv1, "stride", (first(s),) * 2),
            setattr(b.conv2, "stride", (second(s),) * 2),
        )
    )


def _layers(b: nn.Module) -> list[nn.Module]:
    return [b.conv1, b.conv2, b.conv3]


_BOTTLENECKS = {
    "This is the basic block: a bottleneck has three convolutions, conv1 to conv3.": (
        lambda n, c, s, *_: models.BasicBlock(n, c, s)
    ),
    "The last convolution outputs `channels` channels: the block's output has expansion times as "
    "many, 4 × `channels`.": _widths(lambda c: c, lambda c: c),
    "conv1 outputs too many channels: `channels` is the width of the 3×3 convolution.": _widths(
        lambda c: 4 * c, lambda c: 4 * c
    ),
    "`channels` is the width of the 3×3 convolution, not of the output: don't divide it.": _widths(
        lambda c: max(c // 4, 1), lambda c: c
    ),
    "Batch normalization is missing: add bn1, bn2 and bn3, one after each convolution.": _made(
        lambda b, *_: [setattr(b, name, nn.Identity()) for name in ("bn1", "bn2", "bn3")]
    ),
    "A convolution has a bias: leave it out, since batch normalization has one.": _made(
        lambda b, *_: [
            conv.register_parameter("bias", nn.Parameter(torch.zeros(conv.out_channels)))
            for conv in _layers(b)
        ]
    ),
    "The kernels have the wrong sizes: conv2 is 3×3, and conv1 and conv3 are 1×1.": _made(
        lambda b, n, c, s: (
            setattr(b, "conv1", models.conv3x3(n, c)),
            setattr(b, "conv2", models.conv1x1(c, c, s)),
        )
    ),
    "The shortcut needs a projection, `downsample`, wherever stride or channels change the shape; "
    "the output has 4 × `channels` channels.": _projecting(lambda p: p, lambda n, o, s: s > 1),
    "The shortcut's 1×1 convolution has no batch normalization after it: make `downsample` a "
    "Sequential of both.": _projecting(lambda p: p[:1], _changes),
    "The projection has a bias: leave it out, since batch normalization has one.": _projecting(
        lambda p: nn.Sequential(
            nn.Conv2d(p[0].in_channels, len(p[1].weight), 1, p[0].stride), p[1]
        ),
        _changes,
    ),
    "You project where the shape stays the same: there, the shortcut is `x` itself.": _projecting(
        lambda p: p, lambda *_: True
    ),
    "The projection has no stride: it must shrink the image as much as the layers do.": _made(
        lambda b, n, c, s: s > 1 and setattr(b.downsample[0], "stride", (1, 1))
    ),
    "The stride is on both the first 1×1 and the 3×3 convolution: put it on only one.": _strides(
        lambda s: s, lambda s: s
    ),
    "Only the projection has the stride: one of the layers needs it too.": _strides(
        lambda s: 1, lambda s: 1
    ),
    "Use the stride that is passed in: it need not be 2.": _made(
        lambda b, n, c, s: [
            setattr(m, "stride", (2, 2))
            for m in b.modules()
            if isinstance(m, nn.Conv2d) and m.stride[0] > 2
        ]
    ),
    "The 3×3 convolution needs padding 1 to keep the image's size.": _made(
        lambda b, *_: setattr(b.conv2, "padding", (0, 0))
    ),
    "Your shortcut is missing: add `x`, or its projection, before the last ReLU.": _sum(
        lambda layers, shortcut: F.relu(layers)
    ),
    "There is a ReLU between bn3 and the addition: the layers must be able to subtract.": _sum(
        lambda layers, shortcut: F.relu(F.relu(layers) + shortcut)
    ),
    "There is a ReLU on the shortcut: pass `x`, or its projection, on as it is.": _sum(
        lambda layers, shortcut: F.relu(layers + F.relu(shortcut))
    ),
    "The shortcut is detached from `x`: let the gradient flow back through it (no `detach`).": _sum(
        lambda layers, shortcut: F.relu(layers + shortcut.detach())
    ),
    "There is no ReLU after the addition.": _sum(lambda layers, shortcut: layers + shortcut),
    "You add the shortcut after the last ReLU: add first, then apply the ReLU.": _sum(
        lambda layers, shortcut: F.relu(layers) + shortcut
    ),
    "You average the two branches: the block adds them.": _sum(
        lambda layers, shortcut: F.relu((layers + shortcut) / 2)
    ),
    "You subtract the two branches: the block adds them.": _sum(
        lambda layers, shortcut: F.relu(shortcut - layers)
    ),
    "You multiply the two branches: the block adds them.": _sum(
        lambda layers, shortcut: F.relu(shortcut * layers)
    ),
    "You add the layers' output to itself: keep the `x` that came in.": _sum(
        lambda layers, shortcut: F.relu(layers + layers)
    ),
    "There is no ReLU between bn1 and conv2.": _branch(
        lambda x, c, b, d, e, f, g: g(f(F.relu(e(d(b(c(x)))))))
    ),
    "There is no ReLU between bn2 and conv3.": _branch(
        lambda x, c, b, d, e, f, g: g(f(e(d(F.relu(b(c(x)))))))
    ),
    "There is no ReLU inside: put one after bn1 and one after bn2.": _branch(
        lambda x, c, b, d, e, f, g: g(f(e(d(b(c(x))))))
    ),
    "bn1 comes after the ReLU: put it right after conv1.": _branch(
        lambda x, c, b, d, e, f, g: g(f(F.relu(e(d(b(F.relu(c(x))))))))
    ),
    "bn2 comes after the ReLU: put it right after conv2.": _branch(
        lambda x, c, b, d, e, f, g: g(f(e(F.relu(d(F.relu(b(c(x))))))))
    ),
    "You use bn1 after conv2 as well: use bn2 there.": _branch(
        lambda x, c, b, d, e, f, g: g(f(F.relu(b(d(F.relu(b(c(x))))))))
    ),
    "bn1 is not used: apply it right after conv1.": _branch(
        lambda x, c, b, d, e, f, g: g(f(F.relu(e(d(F.relu(c(x)))))))
    ),
    "bn2 is not used: apply it right after conv2.": _branch(
        lambda x, c, b, d, e, f, g: g(f(F.relu(d(F.relu(b(c(x)))))))
    ),
    "bn3 is not used: apply it right after conv3.": _branch(
        lambda x, c, b, d, e, f, g: f(F.relu(e(d(F.relu(b(c(x)))))))
    ),
    "bn3 normalizes the sum: apply it after conv3, before the addition.": computing(
        _bottleneck,
        lambda b, x: F.relu(
            b.bn3(b.conv3(F.relu(b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x))))))) + b.downsample(x))
        ),
    ),
}
BOTTLENECKS = [  # in_channels, channels, stride, height, width
    (8, 2, 1, 6, 7),
    (3, 2, 1, 5, 6),
    (8, 4, 2, 8, 9),
    (12, 3, 2, 7, 8),
    (5, 2, 3, 9, 7),
]


@exercise(
    kind=Network,
    right=_bottleneck,
    renamed="downsample",
    says="Your bottleneck matches torchvision's in outputs and gradients.",
    wrong=_BOTTLENECKS
    | {
        "The stride is on the first 1×1 convolution: that is v1. Here, put it on the 3×3.": (
            lambda n, c, s: _bottleneck(n, c, s, "1x1")
        )
    },
)
def bottleneck(make: Callable):
    """Is `make(in_channels, channels, stride)` the bottleneck with its stride on the 3×3?

    (N, in_channels, H, W) to (N, 4 × channels, ⌈H/stride⌉, ⌈W/stride⌉). The layers are named as in
    torchvision: conv1, bn1, conv2, bn2, conv3, bn3, and downsample (1×1 convolution, batch
    normalization) where the shape changes. Compared with `models.Bottleneck`, in outputs, gradients
    and running statistics: He et al. (2016a), figure 5, right, with the stride of ResNet v1.5.
    """
    for *args, height, width in BOTTLENECKS:
        yield args, (2, args[0], height, width)


@exercise(
    kind=Network,
    right=_bottleneck,
    renamed="downsample",
    says="Both versions of your bottleneck match the library's in outputs and gradients.",
    wrong={
        'The stride is on the first 1×1 convolution: that is v1. For "3x3", put it on the 3×3.': (
            lambda n, c, s, on: _bottleneck(n, c, s, "1x1")
        ),
        'The stride is on the 3×3 convolution: that is v1.5. For "1x1", put it on the first 1×1.': (
            lambda n, c, s, on: _bottleneck(n, c, s, "3x3")
        ),
        "The two versions are swapped.": lambda n, c, s, on: _bottleneck(n, c, s, _other(on)),
    }
    | _BOTTLENECKS,
)
def bottleneck_versions(make: Callable):
    """Is `make(in_channels, channels, stride, stride_on)` the bottleneck in both versions?

    As `bottleneck`, with the stride on the first convolution where `stride_on` is "1x1" (He et
    al., 2016a) and on the second where it is "3x3" (ResNet v1.5).
    """
    for n, c, stride, height, width in BOTTLENECKS:
        for version in models.STRIDE_ON:
            yield [n, c, stride, version], (2, n, height, width)


def _conv_cost(n, c, k, s, g, h, w, per_group=None, size=lambda h, s, k: -(-h // s)):
    weights = k * k * n * c // (g if per_group is None else per_group(g))
    return weights, weights * size(h, s, k) * size(w, s, k)


def _macs(change: Callable) -> Callable:
    """The parameters are right, and the multiply-adds `change(them, *inputs)`."""

    def answer(*args) -> tuple[int, int]:
        weights, macs = _conv_cost(*args)
        return weights, change(macs, weights, *args)

    return answer


@exercise(
    right=_conv_cost,
    what=["the number of parameters", "the number of multiply-adds"],
    exact=True,
    says="Parameters and multiply-adds match PyTorch's, with stride, groups and odd sizes.",
    wrong={
        "You count a bias among the parameters: this convolution has none.": (
            lambda n, c, *rest: [_conv_cost(n, c, *rest)[0] + c, 0]
        ),
        "With groups, each output channel reads only in_channels / groups channels.": partial(
            _conv_cost, per_group=lambda g: 1
        ),
        "You divide the weights by groups twice: divide once, since every output channel still has "
        "its own.": partial(_conv_cost, per_group=lambda g: g * g),
        "The kernel has kernel × kernel weights for each pair of channels.": (
            lambda n, c, k, *rest: [_conv_cost(n, c, k, *rest)[0] // k, 0]
        ),
        "You count a multiplication and an addition as two: a multiply-add is one.": _macs(
            lambda macs, *_: 2 * macs
        ),
        "You count multiplications and additions separately: a multiply-add is one.": _macs(
            lambda macs, p, n, c, *rest: 2 * macs - macs * c // p
        ),
        "You ignore the stride: each weight is used once at each pixel of the *output*.": _macs(
            lambda macs, p, n, c, k, s, g, h, w: p * h * w
        ),
        "You divide the pixels by the stride once: it divides both rows and columns.": _macs(
            lambda macs, p, n, c, k, s, g, h, w: p * -(-h * w // s)
        ),
        "You round down at an odd size: round up, since the padding makes room for the last row "
        "and column.": partial(_conv_cost, size=lambda h, s, k: h // s),
        "You left the padding out of the output's size: with kernel // 2 on each side it is "
        "⌈height / stride⌉.": partial(_conv_cost, size=lambda h, s, k: (h - k) // s + 1),
        "Your number of output pixels is not whole: round the quotient up.": partial(
            _conv_cost, size=lambda h, s, k: h / s
        ),
        "With groups, each output channel reads only in_channels / groups channels, in the "
        "multiply-adds too.": _macs(lambda macs, p, n, c, k, s, g, *_: macs * g),
        "You divide the multiply-adds by groups twice: divide once.": _macs(
            lambda macs, p, n, c, k, s, g, *_: macs // g
        ),
        "You take the output to be square: its size depends on height and width.": _macs(
            lambda macs, p, n, c, k, s, g, h, w: p * (-(-h // s)) ** 2
        ),
        "The two are swapped: return the parameters first, then the multiply-adds.": (
            lambda *args: _conv_cost(*args)[::-1]
        ),
    },
)
def convolution_cost(answer: Callable):
    """Does `answer` return a convolution's parameters and multiply-adds?

    `answer(in_channels, channels, kernel, stride, groups, height, width)` for a convolution
    without bias, its kernel's side odd, padded by kernel // 2, of one image of height × width:
    two whole numbers.
    """
    yield from [(6, 10, 3, 1, 1, 12, 20), (6, 10, 3, 3, 1, 12, 21), (4, 6, 7, 2, 1, 15, 21)]
    yield from [(4, 6, 1, 2, 1, 9, 14), (8, 12, 3, 1, 4, 10, 6)]
    drawn = Random()
    for k, s, g in ((3, 2, 1), (5, 3, 2), (1, 2, 3)):
        channels = (g * drawn.randint(2, 5), g * drawn.randint(2, 5))
        yield *channels, k, s, g, *drawn.sample(range(9, 30), 2)


def _bottleneck_parameters(
    i, c, stride, groups, base_width, norm=2, bias=0, project=None, own=True, g=None, middle=None
):  # fmt: skip
    width, out = groups * (c * base_width // 64), 4 * c
    width = middle(c, groups, base_width) if middle else width
    project = _changes(i, out, stride) if project is None else project
    convolutions = i * width + 9 * width**2 // (g or groups) + width * out
    normalized = (norm + bias) * (2 * width + out + project * own * out)
    return convolutions + project * i * out + normalized


@exercise(
    right=_bottleneck_parameters,
    what="the number of parameters",
    exact=True,
    forbids=BY_FORMULA,
    says="Your numbers match the library's blocks, with and without groups.",
    wrong={
        BY_FORMULA["torch.nn.modules.module.__init__"]: lambda i, c, s, g, b: probes.parameters(
            models.Bottleneck(i, c, s, groups=g, base_width=b)
        ),
        "You count biases of the convolutions: they have none.": partial(
            _bottleneck_parameters, bias=1
        ),
        "You left out batch normalization: it has two parameters for each channel.": partial(
            _bottleneck_parameters, norm=0
        ),
        "Batch normalization has two parameters for each channel: a weight and a bias.": partial(
            _bottleneck_parameters, norm=1
        ),
        "You count the running mean and variance: they are not parameters, so batch normalization "
        "has two for each channel.": partial(_bottleneck_parameters, norm=4),
        "The 3×3 convolution has groups: each output channel reads width / groups channels.": (
            partial(_bottleneck_parameters, g=1)
        ),
        "You divide the weights of the 3×3 convolution by groups twice: divide once.": (
            lambda i, c, s, g, b: _bottleneck_parameters(i, c, s, g, b, g=g * g)
        ),
        "The width of the 3×3 convolution is not `channels` here: it depends on groups and "
        "base_width.": lambda i, c, s, g, b: _bottleneck_parameters(i, c, s, 1, 64),
        "You use the width of one group: multiply it by groups to get all of them "
        "together.": partial(_bottleneck_parameters, middle=lambda c, g, b: c * b // 64),
        "You left out the projection on the shortcut: there is one wherever stride or channels "
        "change the shape.": partial(_bottleneck_parameters, project=False),
        "You left out the projection's batch normalization.": partial(
            _bottleneck_parameters, own=False
        ),
        "You count a projection for stride 1 and equal channels: there is none.": partial(
            _bottleneck_parameters, project=True
        ),
    },
)
def bottleneck_parameters(answer: Callable):
    """Does `answer` return a bottleneck's number of parameters?

    `answer(in_channels, channels, stride, groups, base_width)`, a whole number: convolutions
    without bias, batch normalization, and a projection where the shape changes. The 3×3
    convolution has groups × ⌊channels × base_width / 64⌋ channels: Xie et al. (2017), as in
    torchvision.
    """
    drawn = Random()
    c = 2 * drawn.randint(8, 40)
    yield from [(256, 64, 1, 1, 64), (64, 64, 1, 1, 64), (512, 128, 2, 1, 64)]
    yield from [(256, 64, 1, 32, 4), (512, 256, 2, 32, 4), (256, 64, 1, 1, 128)]
    yield from [(4 * c, c, 1, 1, 64), (c, 2 * c, 2, drawn.choice((4, 8)), 32)]


def _width(w: int, r: float, g: int, ones: int = 2, threes: int = 18, power: int = 1) -> float:
    return w * r * (threes / (ones * r + 9 / g**power)) ** 0.5


@exercise(
    right=_width,
    what="the width",
    says="At your widths both blocks have the same number of weights.",
    wrong={
        "This is the number of channels of the bottleneck's 3×3 convolution: return that of its "
        "output.": lambda w, r, g: _width(w, r, g) / r,
        "This is a ratio of weights times the width: weights grow as the square of the width.": (
            lambda w, r, g: (_width(w, r, g) / r) ** 2 / w * r
        ),
        "Weights grow as the square of the width: the ratio of weights is not the ratio of "
        "widths.": lambda w, r, g: _width(w, r, g) ** 2 / w,
        "There are two 1×1 convolutions in a bottleneck.": partial(_width, ones=1),
        "You left out the bottleneck's 3×3 convolution: it has weights, too.": (
            lambda w, r, g: w * r * (18 / (2 * r)) ** 0.5
        ),
        "The basic block has two convolutions.": partial(_width, threes=9),
        "Groups divide the weights of the 3×3 convolution.": lambda w, r, g: _width(w, r, 1),
        "You divide the weights of the 3×3 convolution by groups twice: divide once.": partial(
            _width, power=2
        ),
    },
)
def equal_width(answer: Callable, settings: Iterable[Sequence] = WIDTHS):
    """Does `answer` return the width at which a bottleneck costs as much as a basic block?

    `answer(width, reduction, groups)`: a basic block has `width` channels everywhere. The
    bottleneck's input and output have W channels, its 3×3 convolution W / reduction in so many
    groups. The W, not rounded, for which the convolutions of both have equally many weights.
    """
    yield from settings


def _other(stride_on: str) -> str:
    return models.STRIDE_ON[1 - models.STRIDE_ON.index(stride_on)]


def _seen(stride_on: str, *sizes: int, border: bool = True, gaps: bool = True) -> list[float]:
    """The shares of rows and of columns that are looked at."""
    *sizes, stride = sizes
    reach = (0,) if stride_on == "1x1" else (-1, 0, 1)
    shares = []
    for size in sizes:
        seen = {p + r for p in range(0, size, stride) for r in reach}
        shares.append(len(seen & set(range(size)) if border else seen) / size)
    return shares if gaps or stride_on == "1x1" else [1.0, 1.0]


@exercise(
    right=lambda *args: math.prod(_seen(*args)),
    what="the share",
    says="Your shares are right.",
    wrong={
        "The two versions are swapped: which of the convolutions reads the whole input?": (
            lambda on, *rest: math.prod(_seen(_other(on), *rest))
        ),
        "You count one direction only: the stride goes in both.": lambda *args: _seen(*args)[0],
        "Where the stride does not divide the size, count the first pixel and then every "
        "stride-th.": lambda on, h, w, s: (
            1 / s**2 if on == "1x1" else math.prod(_seen(on, h, w, s))
        ),
        "Where the stride does not divide the size, count the pixel in the last, incomplete step "
        "too.": lambda on, h, w, s: (
            (h // s) * (w // s) / (h * w) if on == "1x1" else math.prod(_seen(on, h, w, s))
        ),
        "A 3×3 convolution with a large stride leaves gaps between its windows.": (
            lambda *args: math.prod(_seen(*args, gaps=False))
        ),
        "At the border the window extends beyond the image: count no pixels there.": (
            lambda *args: math.prod(_seen(*args, border=False))
        ),
        "This is the share that goes unseen.": lambda *args: 1 - math.prod(_seen(*args)),
        "This is in percent: a share lies between 0 and 1.": (
            lambda *args: 100 * math.prod(_seen(*args))
        ),
    },
)
def seen_share(answer: Callable, settings: Iterable[Sequence] = SHARES):
    """Does `answer` return the share of input pixels that a bottleneck looks at?

    `answer(stride_on, height, width, stride)`, between 0 and 1, for a block with a projection:
    the pixels on which some pixel of the output depends, in evaluation mode.
    """
    yield from settings


# Section 4.4: whole networks.


def _counted(blocks, *rest) -> tuple[int, int]:
    return _counted_once(tuple(blocks), *rest)


@cache
def _counted_once(blocks, bottleneck, height, width, stride_on) -> tuple[int, int]:
    block = partial(models.Bottleneck, stride_on=stride_on) if bottleneck else models.BasicBlock
    with torch.device("meta"):
        net = models.ResNet(blocks, block=block)
    return probes.parameters(net), probes.multiply_adds(net, 3, height, width)


def _rows(blocks, bottleneck, height, width, stride_on, down=lambda size: -(-size // 2)):
    """Each layer with weights: kind, kernel, input and output channels, output height and width."""
    size = down(height), down(width)
    yield "conv1", 7, 3, 64, *size
    channels, size = 64, (down(size[0]), down(size[1]))
    for stage, count in enumerate(blocks):
        inner = 64 * 2**stage
        out = 4 * inner if bottleneck else inner
        for number in range(count):
            before = size
            if stage > 0 and number == 0:
                size = down(size[0]), down(size[1])
            if bottleneck:
                yield "layer", 1, channels, inner, *(before if stride_on == "3x3" else size)
                yield "layer", 3, inner, inner, *size
                yield "layer", 1, inner, out, *size
            else:
                yield "layer", 3, channels, inner, *size
                yield "layer", 3, inner, inner, *size
            if channels != out:
                yield ("first" if stage == 0 else "shortcut"), 1, channels, out, *size
            channels = out
    yield "fc", 1, channels, 1000, 1, 1


def _total(drop=(), norm: int = 2, bias: int = 1, times: int = 1, macs_only=False, **how):
    """An answer that leaves out kinds of layers, or counts them in another way."""

    def answer(*args) -> tuple[int, int]:
        rows = [row for row in _rows(*args, **how) if row[0] not in drop]
        each = {"fc": bias}
        weights = sum(k * k * i * o + each.get(kind, norm) * o for kind, k, i, o, *_ in rows)
        macs = times * sum(k * k * i * o * h * w for _, k, i, o, h, w in rows)
        return (_counted(*args)[0] if macs_only else weights), macs

    return answer


@exercise(
    right=_counted,
    what=["the number of parameters", "the number of multiply-adds"],
    exact=True,
    says="Parameters and multiply-adds match the library's, to the last one.",
    wrong={
        "You left out the projections on the shortcuts.": _total(drop=("first", "shortcut")),
        "You left out the projection of the first stage: it changes the channels, though not the "
        "size.": _total(drop=("first",)),
        "You left out batch normalization: it has two parameters for each channel.": _total(norm=0),
        "Batch normalization has two parameters for each channel: a weight and a bias.": _total(
            norm=1
        ),
        "You count the running mean and variance: they are not parameters, so batch normalization "
        "has two for each channel.": _total(norm=4),
        "You count biases of the convolutions: they have none.": _total(norm=3),
        "You left out the linear layer.": _total(drop=("fc",)),
        "You left out the linear layer's biases.": _total(bias=0),
        "You left out the 7×7 convolution.": _total(drop=("conv1",)),
        "You count a multiplication and an addition as two: a multiply-add is one.": _total(
            times=2
        ),
        "You left out the projections' multiply-adds.": _total(
            drop=("first", "shortcut"), macs_only=True
        ),
        "You left out the first stage's projection in the multiply-adds.": _total(
            drop=("first",), macs_only=True
        ),
        "You left out the linear layer's multiply-adds.": _total(drop=("fc",), macs_only=True),
        "You left out the 7×7 convolution's multiply-adds.": _total(
            drop=("conv1",), macs_only=True
        ),
        "v1 and v1.5 are swapped: where the 3×3 has the stride, the first convolution of a stage "
        "works on the larger image.": lambda *args: _total()(*args[:4], _other(args[4])),
        "You round down when you halve an odd size: round up.": _total(down=lambda size: size // 2),
        "You count every layer at the input's size: use its own.": _total(down=lambda size: size),
    },
)
def resnet_cost(answer: Callable, settings: Iterable[Sequence] = COSTS):
    """Does `answer` return a network's parameters and multiply-adds, from its numbers of blocks?

    `answer(blocks, bottleneck, height, width, stride_on)`, two whole numbers, for the networks of
    He et al. (2016a), table 1: `blocks` of each stage, basic blocks or bottlenecks, color images
    of height × width, 1000 classes, option B. Compared with `models.ResNet`, to the last number.
    """
    for blocks, *rest in settings:
        yield list(blocks), *rest


def call_the_network(answer: Callable, state: dict, stride_on: str, x: Tensor) -> Tensor | None:
    """A question: what does the module `answer(state, stride_on)` output for `x`, in float64?"""
    module = answer(state, stride_on)
    return None if module is None or module is ... else module.double()(x).detach()


def _from_state(state: dict, stride_on: str, load=True, train=False, blocks=None) -> nn.Module:
    """The network of bottlenecks that the weights belong to."""
    stages = [
        max(int(name.split(".")[1]) for name in state if name.startswith(f"layer{n}.")) + 1
        for n in range(1, 5)
    ]
    first, last = state["conv1.weight"], state["fc.weight"]
    net = models.ResNet(
        blocks or stages,
        block=partial(models.Bottleneck, stride_on=stride_on),
        widths=[len(first) * 2**stage for stage in range(4)],
        in_channels=first.shape[1],
        num_classes=len(last),
    )
    if load:
        net.load_state_dict(state)
    return net.train(train)


@exercise(
    right=_from_state,
    question=call_the_network,
    what="the network's output",
    says="Your network has read its weights, and its outputs match the library's.",
    wrong={
        'The stride is in the wrong place: for "1x1" these are the outputs of v1.5.': (
            lambda state, on: _from_state(state, "3x3")
        ),
        'The stride is in the wrong place: for "3x3" these are the outputs of v1.': (
            lambda state, on: _from_state(state, "1x1")
        ),
        "The two versions are swapped: the stride is in the wrong place in each.": (
            lambda state, on: _from_state(state, _other(on))
        ),
        "The network is still in training mode: it normalizes with the batch's own mean and "
        "variance.": partial(_from_state, train=True),
    },
)
def bottleneck_network(answer: Callable, settings: Iterable[Sequence] = NETWORKS):
    """Does `answer(state, stride_on)` build the network that a `state_dict` belongs to?

    `state` holds the float32 weights of a network of bottlenecks with torchvision's names; its
    numbers of blocks, channels and classes are to be read from it. The result is that network with
    these weights, in evaluation mode, ready for images. Compared with `models.ResNet`, in outputs.
    `settings` are tuples of blocks, width, in_channels, num_classes, stride_on.
    """
    for blocks, width, in_channels, num_classes, stride_on in settings:
        widths = [width * 2**stage for stage in range(4)]
        make = partial(
            models.ResNet, blocks, block=models.Bottleneck, widths=widths, in_channels=in_channels,
            num_classes=num_classes,
        )  # fmt: skip
        state = random_state(make, [])
        kinds = {name: value.dtype.is_floating_point for name, value in state.items()}
        state = {name: v.float() if kinds[name] else v for name, v in state.items()}
        yield state, stride_on, random(2, in_channels, 64, 96)


# Section 4.6: memory.


def _memory(blocks: int, segments: int, a: float, b: float) -> float:
    return a * segments + b * -(-blocks // segments)


def _least(blocks: int, a: int, b: int, allowed: Callable = lambda n, s: True) -> list:
    segments = [s for s in range(1, blocks + 1) if allowed(blocks, s)]
    best = min(segments, key=lambda s: _memory(blocks, s, a, b))
    return [best, _memory(blocks, best, a, b)]


def _with(choose: Callable) -> Callable:
    """The segments that `choose(blocks, a, b)` gives, with their memory."""
    return lambda n, a, b: (choose(n, a, b), _memory(n, choose(n, a, b), a, b))


def segments_and_memory(answer: Callable, blocks: int, a: int, b: int) -> dict | None:
    """A question: what memory do the segments need that the answer chose, and what does it say?"""
    found = answer(blocks, a, b)
    if found is None or found is ...:
        return None
    segments, memory = several(found, ["the number of segments", "the memory"]).values()
    if int(segments) != segments or not 1 <= segments <= blocks:
        raise Mistake("Choose a whole number of segments, from 1 to the number of blocks.")
    return {"what these segments need": _memory(blocks, int(segments), a, b), "the memory": memory}


@exercise(
    right=_least,
    question=segments_and_memory,
    read=dict,
    says="The segments and their memory are right.",
    wrong={
        "The square root is the minimum only if segments may be fractions: compare the whole "
        "numbers around it, or all.": _with(lambda n, a, b: round((n * b / a) ** 0.5)),
        "Segments may differ in length: their number need not divide the number of blocks.": (
            partial(_least, allowed=lambda n, s: n % s == 0)
        ),
        "The square root of the number of blocks is best only if a and b are equal.": _with(
            lambda n, a, b: round(n**0.5)
        ),
        "a and b are swapped: a counts for each segment, b for each block of the longest.": _with(
            lambda n, a, b: round((n * a / b) ** 0.5)
        ),
        "This is the length of a segment: return the number of segments.": (
            lambda n, a, b: (-(-n // _least(n, a, b)[0]), _least(n, a, b)[1])
        ),
        "One segment keeps all blocks, as without checkpointing.": _with(lambda n, a, b: 1),
        "A segment for each block keeps the most inputs: use fewer.": _with(lambda n, a, b: n),
        "The longest segment has a whole number of blocks: round up.": (
            lambda n, a, b: (s := _least(n, a, b)[0], a * s + b * n / s)
        ),
        "The longest segment has a whole number of blocks: round up, not down.": (
            lambda n, a, b: (s := _least(n, a, b)[0], a * s + b * (n // s))
        ),
        "This is the formula's minimum: with whole segments it takes a little more.": (
            lambda n, a, b: (_least(n, a, b)[0], 2 * (a * b * n) ** 0.5)
        ),
    },
)
def least_memory(answer: Callable):
    """Does `answer(blocks, a, b)` return the best number of segments, and its memory?"""
    drawn = Random()
    yield from [(71, 2, 7), (89, 2, 9), (100, 3, 7), (30, 5, 3)]
    yield drawn.randint(40, 200), drawn.randint(1, 3), drawn.randint(5, 20)


def _deepest(memory: int, a: int, b: int) -> int:
    return max(s * ((memory - a * s) // b) for s in range(1, memory // a + 1))


@exercise(
    right=_deepest,
    what="the number of blocks",
    exact=True,
    says="The depth is right.",
    wrong={
        "This is without checkpointing: split the network into segments.": lambda m, a, b: m // b,
        "This is with one segment, which still needs its input.": lambda m, a, b: (m - a) // b,
        "The formula's optimum is not a whole number: try whole numbers of segments.": (
            lambda m, a, b: m * m // (4 * a * b)
        ),
        "Half of the memory for inputs is best only if segments may be fractions: try all numbers "
        "of segments.": lambda m, a, b: (s := round(m / a / 2)) * ((m - a * s) // b),
        "A segment has a whole number of blocks: round down within each segment.": (
            lambda m, a, b: max(int(s * (m - a * s) / b) for s in range(1, m // a + 1))
        ),
    },
)
def deepest_network(answer: Callable):
    """Does `answer(memory, a, b)` return the largest number of blocks that the memory allows?"""
    yield from [(108, 4, 9), (40, 1, 6), (9, 1, 8), (Random().randint(60, 300), 1, 7)]


@checks
def checkpoint_memory(least_memory: Callable, deepest: Callable) -> str:
    """Are these the least memory for so many blocks, and the most blocks for so much memory?

    Checkpointing keeps each segment's input (`a` each) and, of the longest segment, all that its
    blocks keep (`b` each): (4.2), for whole numbers. `least_memory(blocks, a, b)` gives the best
    number of segments and the memory that it takes; `deepest(memory, a, b)` the largest number of
    blocks that `memory`, a + b or more, is enough for. Chen et al. (2016), section 4.
    """
    _LEAST.exercise.check(least_memory)
    deepest_network.exercise.check(deepest)
    return "Memory and depth are right; four times the depth takes about twice the memory."


_LEAST = least_memory  # which the argument's name hides


def make_segment() -> nn.Sequential:
    """Three convolutions with batch normalization and ReLU: (N, 4, H, W) to the same, float64."""
    layers = []
    for _ in range(3):
        layers += [models.conv3x3(4, 4), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers).double()


def run_segment(
    answer: Callable, state: dict, x: Tensor, of_images: bool, upstream: Tensor
) -> dict | None:
    """A question: how does `answer(segment, x)` run a segment of a network?

    The segment is a Sequential of convolutions, batch normalizations and ReLUs with the weights
    `state`. Its input is the network's, which needs no gradient (`of_images`), or comes from a
    layer before. Gives the output, the gradients at the input and the weights, how often the
    segment had run after the forward and after the backward pass, and what is kept in between.
    """
    segment = make_segment()
    segment.load_state_dict(state)
    runs = []
    segment[0].register_forward_hook(lambda *_: runs.append(1))
    x = x.clone().requires_grad_(not of_images)
    inputs = x if of_images else 2 * x
    with probes.Memory() as memory:
        with Watch() as watch:
            output = answer(segment, inputs)
        kept, forward = memory.alive, len(runs)
    if output is None or output is ...:
        return None
    if not isinstance(output, Tensor):
        raise Mistake(
            f"Return a tensor, the segment's output: this is of type {type(output).__name__}."
        )
    if "torch.utils.checkpoint.checkpoint" in watch.called:
        raise Mistake(_ITSELF)
    if output.requires_grad and output.shape == upstream.shape:
        output.backward(upstream)
    weights = dict(segment.named_parameters()) | ({} if of_images else {"input": x})
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in weights.items()}
    return {
        "the output": output.detach(),
        "what is kept": "little" if kept < 3 * x.numel() * x.element_size() else "much",
        "whether a gradient comes back": str(output.requires_grad),
        **{f"the gradient at {name}": gradient for name, gradient in found.items()},
        "how often the segment runs in both passes": str([forward, len(runs)]),
    }


_ITSELF = "That is PyTorch's own checkpointing: write yours with a `torch.autograd.Function`."


class _Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, back, segment, x, *weights):
        ctx.back, ctx.segment = back, segment
        ctx.save_for_backward(x)
        return segment(x)

    @staticmethod
    def backward(ctx, upstream):
        gradients = ctx.back(ctx.segment, ctx.saved_tensors[0], upstream)
        return None, None, *gradients[: len(ctx.needs_input_grad) - 2]


def _again(segment, x, upstream, recorded: bool = True) -> tuple:
    x = x.detach().requires_grad_()
    with torch.set_grad_enabled(recorded):
        y = segment(x)
    return torch.autograd.grad(y, [x, *segment.parameters()], upstream)


def _returned_and_added(segment, x, upstream) -> tuple:
    gradients = _again(segment, x, upstream)
    for weight, gradient in zip(segment.parameters(), gradients[1:], strict=True):
        weight.grad = gradient.clone()
    return gradients


def _checkpointed(back: Callable = _again, weights: bool = True) -> Callable:
    def answer(segment: nn.Module, x: Tensor) -> Tensor:
        return _Checkpoint.apply(back, segment, x, *(segment.parameters() if weights else ()))

    return answer


def _not_recorded(segment: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return segment(x)


def _by_torch(segment: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(segment, x, use_reentrant=False)


@exercise(
    right=_checkpointed(),
    question=run_segment,
    read=dict,
    says="Outputs and gradients are equal, the segment runs once more, and little is kept.",
    wrong={
        _ITSELF: _by_torch,
        "After the forward pass the segment's inner activations are still kept: run it without "
        "recording, and keep only its input.": lambda segment, x: segment(x),
        "The output does not require a gradient, so nothing can go back: wrap the two passes in a "
        "`torch.autograd.Function`.": _not_recorded,
        "Where x is an image that needs no gradient, the output does not require one, so nothing "
        "can go back: apply the function to the weights too.": _checkpointed(
            _returned_and_added, weights=False
        ),
        "The gradient at the input is missing: return it from the backward pass.": _checkpointed(
            lambda *args: (None, *_again(*args)[1:])
        ),
        "The weights get no gradient: return theirs from the backward pass too.": _checkpointed(
            lambda *args: (_again(*args)[0], *[None] * 9)
        ),
        "The backward pass ignores what comes back from later layers: start it with the gradient "
        "at the output.": _checkpointed(
            lambda segment, x, upstream: _again(segment, x, torch.ones_like(upstream))
        ),
        "The gradient counts twice: you return it, and a `backward()` inside adds it too.": (
            _checkpointed(_returned_and_added)
        ),
        "The segment runs more than twice: once in each pass is enough.": _checkpointed(
            lambda *args: (_again(*args), _again(*args))[1]
        ),
        "The second run is not recorded: within `backward` gradients are off, so switch them on "
        "with `torch.enable_grad()`.": _checkpointed(partial(_again, recorded=False)),
    },
)
def checkpointing(answer: Callable):
    """Does `answer(segment, x)` run the module `segment`, and run it again in the backward pass?

    Its output is `segment(x)`. After the forward pass nothing is kept of what `segment` computes
    inside; the backward pass runs it a second time, and gives the gradients at `x` and at the
    segment's weights, whether or not `x` needs one itself. Chen et al. (2016).
    """
    state, x, upstream = random_state(make_segment, []), random(8, 4, 12, 10), random(8, 4, 12, 10)
    yield state, x, False, upstream
    yield state, x, True, upstream


# Section 4.7: stochastic depth.


def _survive(blocks: int, last: float, first: int = 1) -> list[float]:
    return [1 - n / blocks * (1 - last) for n in range(first, blocks + first)]


@exercise(
    right=_survive,
    what="the list of probabilities",
    says="The probabilities are right.",
    wrong={
        "The first block is number 1, not 0: only the input is sure to survive.": partial(
            _survive, first=0
        ),
        "The input counts as layer 0: the first block's probability is already below 1.": (
            lambda n, last: torch.linspace(1, last, n, dtype=torch.double)
        ),
        "These are the probabilities of being left out: return those of taking part.": (
            lambda n, last: [1 - p for p in _survive(n, last)]
        ),
        "The order is reversed: the first block is the most likely to survive.": (
            lambda n, last: _survive(n, last)[::-1]
        ),
        "All blocks have the last one's probability: it falls from block to block.": (
            lambda n, last: [last] * n
        ),
        "Your list includes the input: begin with p_1.": lambda n, last: [1.0, *_survive(n, last)],
        "Your probabilities fall as powers: let them fall along a line.": (
            lambda n, last: [last ** (k / n) for k in range(1, n + 1)]
        ),
    },
)
def survival_probabilities(answer: Callable):
    """Is `answer(blocks, last)` the list of the probabilities with which blocks take part?"""
    yield from [(3, 0.4), (9, 0.5), (54, 0.8)]


def _evaluated(sum_of: Callable) -> Callable:
    return lambda shortcut, layers, survival, training: sum_of(shortcut, layers, survival)


@exercise(
    right=_evaluated(lambda x, g, p: F.relu(x + p * g)),
    what="the output in evaluation",
    gradients=["shortcut in evaluation", "layers in evaluation"],
    says="The evaluation is right.",
    wrong={
        "In evaluation the layers are not weighted: multiply them by the probability of "
        "survival.": _evaluated(lambda x, g, p: F.relu(x + g)),
        "In evaluation the layers are missing: all take part, weighted.": _evaluated(
            lambda x, g, p: F.relu(x)
        ),
        "In evaluation the shortcut is weighted too: it always survives.": _evaluated(
            lambda x, g, p: F.relu(p * (x + g))
        ),
        "In evaluation your weight is the probability of being left out: use that of "
        "survival.": _evaluated(lambda x, g, p: F.relu(x + (1 - p) * g)),
        "In evaluation you divide the layers by the probability: multiply them by it.": _evaluated(
            lambda x, g, p: F.relu(x + g / p)
        ),
        "There is no ReLU after the addition.": _evaluated(lambda x, g, p: x + p * g),
        "The ReLU comes before the addition: apply it last.": _evaluated(
            lambda x, g, p: x + p * F.relu(g)
        ),
        "The layers are detached: let their gradient flow back (no `detach`).": _evaluated(
            lambda x, g, p: F.relu(x + p * g.detach())
        ),
    },
)
def survival_in_evaluation(answer: Callable):
    """Is `answer(shortcut, layers, survival, False)` relu(shortcut + survival × layers)?"""
    yield random(4, 3, 5, 6), random(4, 3, 5, 6), 0.7, False


@checks
def stochastic_depth(probabilities: Callable, stochastic_sum: Callable) -> str:
    """Are these the probabilities of survival, and the block that survives image by image?

    `probabilities(blocks, last)` is the list p_1 … p_L of Huang et al. (2016), section 3, linear
    from the input, which survives surely, to `last`. `stochastic_sum(shortcut, layers, survival,
    training)` takes both branches of a block, (N, C, H, W), and gives its output: in training
    relu(shortcut + layers) for each image with probability `survival`, to be seen from 0.02 on, and
    else relu(shortcut); in evaluation relu(shortcut + survival × layers).
    """
    survival_probabilities.exercise.check(probabilities)
    x, g = random(6, 1, 2, 2), random(6, 1, 2, 2)
    found = ask(call_with_gradients, stochastic_sum, [x, g], [0.7, False], x)["output"]
    if isinstance(found, Tensor) and found.shape == x.shape:
        whole, alone = F.relu(x + g), F.relu(x)
        kinds = [same(o, w) or same(o, a) for o, w, a in zip(found, whole, alone, strict=True)]
        if all(kinds) and not same(found, whole) and not same(found, alone):
            raise Mistake("You draw in evaluation: there, let all layers take part, weighted.")
    survival_in_evaluation.exercise.check(stochastic_sum)
    for survival in (0.3, 1.0, 0.8):
        _check_training(stochastic_sum, survival)
    return "The probabilities are right, and so are the draws, image by image, and the evaluation."


# With fair draws each of the bounds below is passed at most once in ten million checks: a test
# computes these chances.
DRAWN = 40_000
SHARE_WITHIN = 0.014  # of `survival`


def _check_training(answer: Callable, survival: float) -> None:
    x, g, upstream = (random(DRAWN, 2, 1, 1) for _ in range(3))
    x = x.abs() + 0.01
    counts = set()
    for _ in range(4 if survival < 1 else 1):
        got = ask(call_with_gradients, answer, [x, g], [survival, True], upstream)
        output = got["output"]
        if not isinstance(output, Tensor) or output.shape != x.shape:
            raise Mistake(
                f"In training the output has shape {tuple(getattr(output, 'shape', ()))}, but "
                f"should have that of the inputs, {tuple(x.shape)}."
            )
        kept, dropped = (_near(output, F.relu(value)) for value in (x + g, x))
        if not (kept | dropped).all():
            _explain_training(output, x, g, survival)
        by_image = kept.flatten(1)
        if (by_image.any(1) & ~by_image.all(1)).any():
            raise Mistake(
                "Each draw is for a whole image, with all its channels and pixels: draw N numbers."
            )
        kept = by_image.all(1)
        counts.add(kept.sum().item())
        _expect_fair(kept, survival)
        active = (output > 0) * upstream
        wanted = {"shortcut": active, "layers": active * kept[:, None, None, None]}
        if not got["gradients"]:
            raise Mistake(f"No gradient gets through to {' and '.join(wanted)} in training.")
        for gradient, (name, right) in zip(got["gradients"], wanted.items(), strict=True):
            expect(gradient, right, f"the gradient at {name} in training")
    if survival < 1 and len(counts) == 1:
        raise Mistake(
            "Each call draws the same number of images: draw for each image separately, and set no "
            "seed inside."
        )


def _expect_fair(kept: Tensor, survival: float) -> None:
    share = kept.double().mean().item()
    if survival < 1 and share in (0, 1):
        raise Mistake("All images of a batch share one draw: draw a number for each.")
    if abs(share - survival) > SHARE_WITHIN:
        if abs(share - (1 - survival)) < SHARE_WITHIN:
            raise Mistake("The probability is reversed: `survival` is that of taking part.")
        raise Mistake(
            f"In training the layers take part in {share:.1%} of the images, but `survival` is "
            f"{survival:g}."
        )
    if survival < 1 and alike(kept) > ALIKE_WITHIN:
        raise Mistake("Some images of a batch share their draws: draw a number for each.")


def _near(got: Tensor, right: Tensor) -> Tensor:
    atol = 1e-9 if got.dtype == torch.float64 else 1e-5
    return torch.isclose(got.double(), right, rtol=0, atol=atol)


def _explain_training(output: Tensor, x: Tensor, g: Tensor, p: float) -> None:
    alternatives = {
        "You divide the layers by the probability of survival in training and weight them in "
        "evaluation: one of the two is enough, here the latter.": (x + g / p, x),
        "In training you weight instead of drawing: draw for each image.": (
            x + p * g,
            x + p * g,
        ),
        "In training you weight the layers as well as draw: weight them in evaluation only.": (
            x + p * g,
            x,
        ),
        "Where the layers are left out, the shortcut is gone too: it always survives.": (
            x + g,
            torch.zeros_like(x),
        ),
    }
    for message, pair in alternatives.items():
        kept, dropped = (_near(output, F.relu(value)) for value in pair)
        if (kept | dropped).all():
            raise Mistake(message)
    kept, dropped = (_near(output, value) for value in (x + g, x))
    if (kept | dropped).all():
        raise Mistake("There is no ReLU after the addition.")
    raise Mistake("In training some images are neither relu(shortcut + layers) nor relu(shortcut).")
