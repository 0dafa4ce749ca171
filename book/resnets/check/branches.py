"""Checks for chapter 7: factors, gates and kernels on the two branches of a block.

De and Smith (2020) is "Batch Normalization Biases Residual Blocks Towards the Identity Function in
Deep Networks", NeurIPS 2020; He et al. (2016b) is "Identity Mappings in Deep Residual Networks",
ECCV 2016; Huang et al. (2017) is "Densely Connected Convolutional Networks", CVPR 2017; Ding et al.
(2021) is "RepVGG: Making VGG-Style ConvNets Great Again", CVPR 2021.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from resnets.check.asking import random
from resnets.check.exercise import exercise


def _share(block: int, factor: float, normalized: bool, before: int | None = None) -> float:
    """`before` is how many blocks have added something to the variance, this one included."""
    added = factor**2
    if not normalized:
        return added / (1 + added)
    return added / (1 + (block if before is None else before) * added)


@exercise(
    right=_share,
    what="the share",
    says="This is how much of the variance a block has added, with and without normalization.",
    wrong={
        "The variance of a·g(x) has the factor a², not a.": lambda block, a, normalized: (
            a / (1 + (block if normalized else 1) * a)
        ),
        "This is the share of the shortcut: the branch has the rest.": (
            lambda *args: 1 - _share(*args)
        ),
        "You divide by the variance before the block: what the block adds is a part of the "
        "variance after it.": lambda block, a, normalized: (
            a**2 / (1 + (block - 1) * a**2) if normalized else a**2
        ),
        "With normalization you leave out that earlier blocks have added to x: before block l the "
        "variance is 1 + (l − 1)·a².": lambda block, a, _: _share(block, a, False),
        "Without normalization g(x) grows with x, so the number of the block does not matter.": (
            lambda block, a, _: _share(block, a, True)
        ),
        "With normalization you count one block too many: the first block finds the variance 1.": (
            lambda block, a, normalized: _share(block, a, normalized, block + 1)
        ),
    },
)
def branch_share(answer: Callable):
    """Does `answer(block, factor, normalized)` return the branch's share in the variance?

    The blocks compute x + factor · g(x) and are counted from 1; x has variance 1 at first, g(x) has
    variance 1 (normalized) or that of x, and the terms are unrelated: De and Smith (2020).
    """
    yield from [(1, 1.0, True), (10, 0.5, True), (27, 0.2, False), (54, 1.0, True), (3, 2.0, False)]


def _bias(blocks: int, kept: float) -> float:
    return math.log(kept ** (-1 / blocks) - 1)


@exercise(
    right=_bias,
    what="the bias",
    says="With this bias the shortcuts together keep as much as they should.",
    wrong={
        "The sign is the other way round: the shortcut has the factor 1 − σ(b), which is σ(−b).": (
            lambda blocks, kept: -_bias(blocks, kept)
        ),
        "This is the bias with which one block keeps that share: all of them in a row should.": (
            lambda blocks, kept: _bias(1, kept)
        ),
        "You spread what is lost evenly over the blocks: factors multiply, so each block keeps the "
        "same root of the share.": lambda blocks, kept: math.log(1 / (1 - (1 - kept) / blocks) - 1),
        "This is e^b: take the logarithm.": lambda blocks, kept: kept ** (-1 / blocks) - 1,
        "This is what one shortcut keeps, 1 − σ(b): solve it for b.": (
            lambda blocks, kept: kept ** (1 / blocks)
        ),
        "This is the gate, σ(b): solve it for b.": lambda blocks, kept: 1 - kept ** (1 / blocks),
    },
)
def gate_bias(answer: Callable):
    """Does `answer(blocks, kept)` return the bias with which gated shortcuts keep this share?

    Each of the shortcuts in a row has the factor 1 − σ(bias): He et al. (2016b), section 3.1.
    """
    yield from [(54, 0.9), (27, 0.5), (10, 0.05), (3, 0.2), (1, 0.7)]


def _reads_all(weight: Tensor, count: int) -> Tensor:
    return weight.repeat(1, count, 1, 1)


@exercise(
    right=_reads_all,
    what="the weight",
    says="Side by side or summed up: the layer computes the same.",
    wrong={
        "You divide by the number of parts: that is for reading their mean.": (
            lambda weight, count: _reads_all(weight, count) / count
        ),
        "You repeat along the output channels: the layer has more inputs, and as many outputs as "
        "before.": lambda weight, count: weight.repeat(count, 1, 1, 1),
        "You repeat each channel in place: the parts come one after the other, each with all of "
        "its channels.": lambda weight, count: weight.repeat_interleave(count, 1),
        "This reads the first part only: the other parts belong to the sum as well.": (
            lambda weight, count: torch.cat(
                [weight, torch.zeros_like(weight).repeat(1, count - 1, 1, 1)], 1
            )
        ),
        "This reads the last part only: the other parts belong to the sum as well.": (
            lambda weight, count: torch.cat(
                [torch.zeros_like(weight).repeat(1, count - 1, 1, 1), weight], 1
            )
        ),
        "Return the weight for all parts side by side: this is the one for their sum.": (
            lambda weight, count: weight
        ),
    },
)
def weight_for_all(answer: Callable):
    """Does `answer(weight, count)` read `count` parts side by side as `weight` reads their sum?

    `weight` is (out, in, k, k), and the answer (out, count · in, k, k): Huang et al. (2017).
    """
    for count, *size in ((2, 4, 3, 3, 3), (3, 2, 2, 1, 1), (4, 3, 5, 3, 3)):
        yield random(*size), count


def _merged(first: Tensor, second: Tensor) -> Tensor:
    return torch.einsum("omhw,mnab->onhw", second, first)


def _center(kernel: Tensor) -> Tensor:
    height, width = kernel.shape[2] // 2, kernel.shape[3] // 2
    only = torch.zeros_like(kernel)
    only[:, :, height, width] = kernel[:, :, height, width]
    return only


@exercise(
    right=_merged,
    what="the kernel",
    says="One convolution does what two did.",
    wrong={
        "You multiply in the wrong order: the first convolution's outputs are what the second one "
        "reads.": lambda first, second: torch.einsum("omhw,nmab->onhw", second, first),
        "You flip the kernel: a convolution in PyTorch does not.": (
            lambda first, second: _merged(first, second).flip(2, 3)
        ),
        "You take only the kernel's center: the second convolution has weights around it, too.": (
            lambda first, second: _center(_merged(first, second))
        ),
        "You average over the channels in the middle: add them up.": (
            lambda first, second: _merged(first, second) / len(first)
        ),
        "You add the two kernels: that is for branches side by side. Here the second convolution "
        "reads what the first one computed.": lambda first, second: second + first,
    },
)
def merged_convolutions(answer: Callable):
    """Does `answer(first, second)` return the kernel of both convolutions in a row?

    `first` is (middle, in, 1, 1) and `second` (out, middle, k, k), without biases; the answer is
    (out, in, k, k). Such kernels are merged in networks like those of Ding et al. (2021).
    """
    for into, middle, out, k in ((3, 3, 3, 3), (2, 5, 4, 3), (6, 2, 3, 5)):
        yield random(middle, into, 1, 1), random(out, middle, k, k)
