"""Checks for chapter 2: residual blocks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import models, probes
from resnets.check.asking import Mistake, ask, checks, random, same, watched
from resnets.check.exercise import (
    BY_AUTOGRAD,
    LINES,
    Exercise,
    Network,
    changed,
    computing,
    exercise,
    several,
)

BY_FORMULA = {"torch.nn.modules.module.__init__": "Write a formula, without building the block."}


def _basic(forward: Callable) -> Callable:
    """The basic block that computes `forward(x, block, layers)` with its own layers."""
    return computing(models.BasicBlock, lambda b, x: forward(x, b, b.residual(x)))


def _branch(residual: Callable) -> Callable:
    """The basic block whose layers compute `residual(x, block)`."""
    return _basic(lambda x, b, _: F.relu(residual(x, b) + b.downsample(x)))


def _set(name: str, **settings) -> Callable:
    """The basic block with other settings of one layer, if it has the layer."""

    def change(block: nn.Module) -> None:
        for found, module in block.named_modules():
            if found == name:
                for setting, value in settings.items():
                    setattr(module, setting, value)

    return changed(models.BasicBlock, change)


def _made(change: Callable) -> Callable:
    """The basic block after `change(block, in_channels, channels, stride)`."""

    def make(in_channels: int, channels: int, stride: int) -> nn.Module:
        block = models.BasicBlock(in_channels, channels, stride)
        change(block, in_channels, channels, stride)
        return block

    return make


def _norms(make: Callable) -> Callable:
    """The basic block with `make(channels)` in place of bn1 and bn2."""
    return _made(lambda b, n, c, s: (setattr(b, "bn1", make(c)), setattr(b, "bn2", make(c))))


def _project(make: Callable, where: Callable = lambda n, c, s: (n, 1) != (c, s)) -> Callable:
    """The basic block with another projection, or in other places."""

    def change(block: nn.Module, n: int, c: int, s: int) -> None:
        block.downsample = nn.Sequential(*make(n, c, s)) if where(n, c, s) else nn.Identity()

    return _made(change)


def _projection(n: int, c: int, s: int, kernel: int = 1, bias: bool = False) -> list[nn.Module]:
    return [nn.Conv2d(n, c, kernel, s, kernel // 2, bias=bias), nn.BatchNorm2d(c)]


BLOCK_SHAPES = [([4, 4, 1], (7, 5)), ([3, 6, 2], (8, 6)), ([4, 4, 2], (9, 7))]


@exercise(
    kind=Network,
    right=models.BasicBlock,
    renamed="downsample",
    says="Your block matches torchvision's in outputs and gradients, with and without projection.",
    wrong={
        "There is no `conv2`: the block has two 3×3 convolutions.": _made(
            lambda b, *_: delattr(b, "conv2")
        ),
        "Batch normalization is missing: add bn1 and bn2, one after each convolution.": _norms(
            lambda c: nn.Identity()
        ),
        "bn1 and bn2 keep no running mean and variance: use `nn.BatchNorm2d` with its "
        "defaults.": _norms(lambda c: nn.BatchNorm2d(c, track_running_stats=False)),
        "bn1 and bn2 have no weight and bias: use `nn.BatchNorm2d` with its defaults.": _norms(
            lambda c: nn.BatchNorm2d(c, affine=False)
        ),
        "Where stride or channels change the shape, the shortcut needs a projection: "
        "`downsample`.": _project(lambda *_: []),
        "A stride changes the shape too, so the shortcut needs a projection there, even if the "
        "number of channels stays the same.": _project(_projection, lambda n, c, s: n != c),
        "The shortcut's 1×1 convolution has no batch normalization after it: make `downsample` a "
        "Sequential of both.": _project(lambda *args: _projection(*args)[:1]),
        "A 3×3 convolution has a bias: batch normalization subtracts it again (2.3), so leave it "
        "out.": _made(
            lambda b, n, c, s: (
                setattr(b, "conv1", nn.Conv2d(n, c, 3, s, 1)),
                setattr(b, "conv2", nn.Conv2d(c, c, 3, 1, 1)),
            )
        ),
        "The projection has a bias: leave it out, since batch normalization has one.": _project(
            partial(_projection, bias=True)
        ),
        "The projection is a 1×1 convolution, not 3×3.": _project(partial(_projection, kernel=3)),
        "You project where the shape stays the same: there, the shortcut is `x` itself.": _project(
            _projection, lambda *_: True
        ),
        "conv2 reads the output of conv1: it has `channels` channels on both sides.": _made(
            lambda b, n, c, s: setattr(b, "conv2", nn.Conv2d(n, c, 3, 1, 1, bias=False))
        ),
        "conv1 shrinks the image at its borders: a 3×3 convolution needs padding 1.": _set(
            "conv1", padding=(0, 0)
        ),
        "conv2 shrinks the image at its borders: a 3×3 convolution needs padding 1.": _set(
            "conv2", padding=(0, 0)
        ),
        "The first convolution does not have the block's stride: put it there.": _made(
            lambda b, n, c, s: (
                setattr(b.conv1, "stride", (1, 1)),
                setattr(b.conv2, "stride", (s, s)),
            )
        ),
        "Both convolutions have the stride: only the first one should.": _made(
            lambda b, n, c, s: setattr(b.conv2, "stride", (s, s))
        ),
        "Use the stride that is passed in: it need not be 2.": _made(
            lambda b, n, c, s: (
                setattr(b.conv1, "stride", (min(s, 2),) * 2),
                s > 1 and setattr(b.downsample[0], "stride", (2, 2)),
            )
        ),
        "The projection has no stride: it must shrink the image as much as the two convolutions "
        "do.": _set("downsample.0", stride=(1, 1)),
        "The projection is padded: a 1×1 convolution needs no padding.": _set(
            "downsample.0", padding=(1, 1)
        ),
        "The projection averages over pixels first (as in ResNet-D): here, put the stride on its "
        "convolution.": _basic(
            lambda x, b, layers: F.relu(
                layers
                + (
                    b.downsample(x)
                    if b.conv1.stride[0] == 1
                    else b.downsample[1](
                        F.conv2d(
                            F.avg_pool2d(x, b.conv1.stride, ceil_mode=True), b.downsample[0].weight
                        )
                    )
                )
            )
        ),
        "You pad the borders with numbers other than zero: use zeros.": _branch(
            lambda x, b: b.bn2(
                F.conv2d(F.pad(F.relu(b.bn1(b.conv1(x))), (1, 1, 1, 1), "reflect"), b.conv2.weight)
            )
        ),
        "Your shortcut is missing: add `x`, or its projection, before the last ReLU.": _basic(
            lambda x, b, layers: F.relu(layers)
        ),
        "You add the shortcut after the last ReLU: add first, then apply the ReLU.": _basic(
            lambda x, b, layers: F.relu(layers) + b.downsample(x)
        ),
        "There is a ReLU between the last batch normalization and the addition: the layers must be "
        "able to subtract.": _basic(lambda x, b, layers: F.relu(F.relu(layers) + b.downsample(x))),
        "There is a ReLU on the shortcut: pass `x`, or its projection, on as it is.": _basic(
            lambda x, b, layers: F.relu(layers + F.relu(b.downsample(x)))
        ),
        "There is no ReLU after the addition.": _basic(lambda x, b, g: g + b.downsample(x)),
        "You average the two branches: the block adds them.": _basic(
            lambda x, b, layers: F.relu((layers + b.downsample(x)) / 2)
        ),
        "You subtract the two branches: the block adds them.": _basic(
            lambda x, b, layers: F.relu(b.downsample(x) - layers)
        ),
        "You multiply the two branches: the block adds them.": _basic(
            lambda x, b, layers: F.relu(b.downsample(x) * layers)
        ),
        "You concatenate the two branches: the block adds them.": _basic(
            lambda x, b, layers: F.relu(torch.cat([layers, b.downsample(x)], 1))
        ),
        "You add the layers' output to itself: keep the `x` that came in.": _basic(
            lambda x, b, layers: F.relu(layers + layers)
        ),
        "You add the output of conv1, bn1 and the ReLU: the shortcut bypasses both convolutions.": (
            _basic(lambda x, b, layers: F.relu(layers + F.relu(b.bn1(b.conv1(x)))))
        ),
        "The shortcut is detached from `x`: let the gradient flow back through it (no `detach`).": (
            _basic(lambda x, b, layers: F.relu(layers + b.downsample(x.detach())))
        ),
        "There is no ReLU between bn1 and conv2.": _branch(
            lambda x, b: b.bn2(b.conv2(b.bn1(b.conv1(x))))
        ),
        "The function between bn1 and conv2 is not a ReLU: use max(x, 0).": _branch(
            lambda x, b: b.bn2(b.conv2(F.leaky_relu(b.bn1(b.conv1(x)))))
        ),
        "bn1 comes after the ReLU: put it right after conv1.": (
            _branch(lambda x, b: b.bn2(b.conv2(b.bn1(F.relu(b.conv1(x))))))
        ),
        "bn1 is not used: apply it right after conv1.": _branch(
            lambda x, b: b.bn2(b.conv2(F.relu(b.conv1(x))))
        ),
        "bn2 is not used: apply it right after conv2.": _branch(
            lambda x, b: b.conv2(F.relu(b.bn1(b.conv1(x))))
        ),
        "bn2 normalizes the sum: apply it after conv2, before the addition.": _basic(
            lambda x, b, _: F.relu(b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x)))) + b.downsample(x)))
        ),
        "You use bn1 after both convolutions: use bn2 after conv2.": _branch(
            lambda x, b: b.bn1(b.conv2(F.relu(b.bn1(b.conv1(x)))))
        ),
        "You use bn2 after both convolutions: use bn1 after conv1.": _branch(
            lambda x, b: b.bn2(b.conv2(F.relu(b.bn2(b.conv1(x)))))
        ),
        "bn1 and bn2 are swapped: bn1 comes after conv1.": _branch(
            lambda x, b: b.bn1(b.conv2(F.relu(b.bn2(b.conv1(x)))))
        ),
        "You add `x` before conv2: the shortcut bypasses both convolutions.": _basic(
            lambda x, b, _: F.relu(b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x))) + b.downsample(x))))
        ),
        "The `eps` of a batch normalization is not 1e-5: keep the default.": _norms(
            partial(nn.BatchNorm2d, eps=1e-3)
        ),
    },
)
def residual_block(make: Callable):
    """Is `make(in_channels, channels, stride)` the basic block with a projection shortcut?

    The layers are named as in torchvision: conv1, bn1, conv2, bn2, and downsample (1×1 convolution,
    batch normalization) where the shape changes. Compared with `models.BasicBlock`, in outputs,
    gradients and running statistics: He et al. (2016a), figure 5, left.
    """
    for args, size in [*BLOCK_SHAPES, ([6, 3, 1], (5, 8)), ([2, 4, 3], (10, 8))]:
        yield args, (2, args[0], *size)


def _parameters(n, c, stride, norm=2, bias=0, second=None, projected=None, kernel=1, own_norm=None):
    if projected is None:
        projected = (n, 1) != (c, stride)
    each = norm + bias
    project = kernel**2 * n * c + (each if own_norm is None else own_norm) * c
    return 9 * n * c + 9 * (second or c) * c + 2 * each * c + projected * project


@exercise(
    right=_parameters,
    what="the number of parameters",
    exact=True,
    forbids=BY_FORMULA,
    says="Your count matches the library's, with and without projection.",
    wrong={
        "Write a formula, without building the block.": (
            lambda *args: probes.parameters(models.BasicBlock(*args))
        ),
        "You count biases: convolutions before batch normalization have none.": partial(
            _parameters, bias=1
        ),
        "You count the running means and variances: training measures them but does not adjust "
        "them.": partial(_parameters, norm=4),
        "You leave out batch normalization: it has a weight and a bias for each channel.": partial(
            _parameters, norm=0
        ),
        "You count one number per channel in batch normalization: it has a weight and a bias.": (
            partial(_parameters, norm=1)
        ),
        "You count the projection without its batch normalization: add that.": partial(
            _parameters, own_norm=0
        ),
        "You count a projection where the shape stays the same: there is none.": partial(
            _parameters, projected=True
        ),
        "A stride changes the shape too, so such a block has a projection, even if the number of "
        "channels stays the same.": lambda n, c, s: _parameters(n, c, s, projected=n != c),
        "More or fewer channels change the shape too, so such a block has a projection, even "
        "without a stride.": lambda n, c, s: _parameters(n, c, s, projected=s != 1),
        "You leave out the projection: a block has one where the shape changes.": partial(
            _parameters, projected=False
        ),
        "The second convolution reads the output of the first: it has `channels` channels on both "
        "sides.": lambda n, c, s: _parameters(n, c, s, second=n),
        "The projection is a 1×1 convolution, not 3×3.": partial(_parameters, kernel=3),
        "There are two 3×3 convolutions.": lambda n, c, s: _parameters(n, c, s) - 9 * c * c,
        "A 3×3 kernel has nine weights for each pair of channels.": (
            lambda n, c, s: _parameters(n, c, s) - 6 * n * c - 6 * c * c
        ),
    },
)
def basic_block_parameters(answer: Callable):
    """Does `answer(in_channels, channels, stride)` count the parameters of a basic block?

    All numbers that training adjusts, of the block that `residual_block` checks, by a formula.
    """
    yield from [(16, 16, 1), (16, 32, 2), (16, 16, 2), (24, 40, 1), (48, 20, 2)]


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=1)


def _block_gradient(
    x, w1, w2, upstream, layers: Callable | None = None, inner=True, outer=(True, True), way=None
):
    """By hand; `outer` says to which branches the mask of the last ReLU is applied."""
    way = way or partial(F.conv_transpose2d, padding=1)
    h = _convolve(x, w1)
    masked = upstream * (x + _convolve(F.relu(h), w2) > 0)
    through, past = (masked if outer[n] else upstream for n in (0, 1))
    back = way(way(through, w2) * (h > 0 if inner else 1), w1)
    return past + back if layers is None else layers(past, back)


def _swapped_weights(x, w1, w2, upstream):
    h = _convolve(x, w1)
    masked = upstream * (x + _convolve(F.relu(h), w2) > 0)
    back = partial(F.conv_transpose2d, padding=1)
    return masked + back(back(masked, w1) * (h > 0), w2)


def _by_autograd(x, w1, w2, upstream):
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        y = F.relu(x + _convolve(F.relu(_convolve(x, w1)), w2))
        return torch.autograd.grad(y, x, upstream)[0]


_OFF = (
    "Autograd is off here: compute the gradient yourself, backward from `upstream`, with "
    "`F.conv_transpose2d`."
)
_OUTER = "The last ReLU acts on the sum, and stops the gradient of both branches where the output "


def call_without_autograd(answer: Callable, limit: float, *inputs) -> dict | None:
    """A question: as `watched`, where no gradient can be computed for the function."""
    try:
        with torch.no_grad():
            return watched(answer, limit, *inputs)
    except RuntimeError as error:
        if "require grad" not in str(error):
            raise
        raise Mistake(_OFF) from error


class _WithoutAutograd(Exercise):
    def parts(self, answer, *inputs) -> dict:
        told = ask(call_without_autograd, answer, LINES, *inputs)
        if any(name.startswith(BY_AUTOGRAD) for name in told["called"]):
            raise Mistake(_OFF)
        return self.named(told["result"])


@exercise(
    kind=_WithoutAutograd,
    right=_block_gradient,
    what="the gradient",
    says="Both branches receive the whole gradient, and you add what they send back.",
    wrong={
        _OFF: _by_autograd,
        "You have only the gradient through the layers: add what comes back through the "
        "shortcut.": partial(_block_gradient, layers=lambda past, back: back),
        "You have only the gradient through the shortcut: add what comes back through the "
        "layers.": partial(_block_gradient, layers=lambda past, back: past),
        "You split the gradient between the branches: each receives all of it (2.7).": partial(
            _block_gradient, layers=lambda past, back: (past + back) / 2
        ),
        "You subtract what the two branches send back: add it.": partial(
            _block_gradient, layers=lambda past, back: past - back
        ),
        "You multiply what the two branches send back: add it.": partial(
            _block_gradient, layers=lambda past, back: past * back
        ),
        "You left out the last ReLU: where the output is 0, no gradient gets through it.": partial(
            _block_gradient, outer=(False, False)
        ),
        _OUTER + "is 0: you apply it to the layers only.": partial(
            _block_gradient, outer=(True, False)
        ),
        _OUTER + "is 0: you apply it to the shortcut only.": partial(
            _block_gradient, outer=(False, True)
        ),
        "You left out the ReLU between the convolutions: where the output of conv1 is less than 0, "
        "no gradient gets through it.": partial(_block_gradient, inner=False),
        "You convolve on the way back: use the transposed convolution, which brings back what an "
        "input pixel sent to its neighbors.": partial(_block_gradient, way=_convolve),
        "You swap the channels of the weights but do not flip the kernels: on the way back each is "
        "reversed (`flip` both sides).": partial(
            _block_gradient, way=lambda g, w: _convolve(g, w.transpose(0, 1))
        ),
        "You flip the kernels but do not swap their channels: on the way back the outputs come "
        "in.": partial(_block_gradient, way=lambda g, w: _convolve(g, w.flip(2, 3))),
        "The two weights are swapped: on the way back the second convolution comes first.": (
            _swapped_weights
        ),
    },
)
def gradient_at_block_input(answer: Callable):
    """Is `answer(x, weight1, weight2, upstream)` the gradient at the input of a residual block?

    The block is relu(x + conv2(relu(conv1(x)))), 3×3 convolutions with padding 1 and neither bias
    nor normalization. `x` and `upstream` are (N, C, H, W), `upstream` the gradient at the block's
    output; the weights are (C, C, 3, 3). Autograd is off. Equation (2.1) and section 2.7.
    """
    for shape in [(2, 4, 5, 6), (1, 3, 7, 4)]:
        c = shape[1]
        yield random(*shape), random(c, c, 3, 3), random(c, c, 3, 3), random(*shape)


def _factor(n: int, growth: float, normalized: bool) -> float:
    return ((growth - 1) / n if normalized else growth ** (1 / n) - 1) ** 0.5


def _unnormalized(change: Callable) -> Callable:
    """Right where normalized, and else `change(blocks, growth)`."""
    return lambda n, growth, normal: _factor(n, growth, True) if normal else change(n, growth)


@exercise(
    right=_factor,
    what="the factor",
    says="The signal grows as much as it should, with and without normalization.",
    wrong={
        "This is the square of the factor: take the root, since the mean square of a·g(x) has the "
        "factor a².": lambda *args: _factor(*args) ** 2,
        "Without normalization this is the square of the factor: take the root, since the mean "
        "square of a·g(x) has the factor a².": _unnormalized(
            lambda n, g: _factor(n, g, False) ** 2
        ),
        "With normalization you let each block multiply the mean square: each adds the same amount "
        "to it.": lambda n, g, _: _factor(n, g, False),
        "Without normalization g(x) grows with x: each block multiplies the mean square by the "
        "same number.": lambda n, g, _: _factor(n, g, True),
        "The input has mean square 1 already: the blocks may add only the rest.": (
            lambda n, g, normal: (g / n) ** 0.5 if normal else _factor(n, g, False)
        ),
        "You add values instead of mean squares: for unrelated terms the mean of the product is "
        "0.": lambda n, g, normal: (g**0.5 - 1) / n if normal else g ** (0.5 / n) - 1,
        "You left out the shortcut's 1: a block multiplies the mean square by 1 + a².": (
            _unnormalized(lambda n, g: g ** (0.5 / n))
        ),
        "You add values instead of mean squares: a block multiplies the mean square by 1 + a², not "
        "by (1 + a)².": _unnormalized(lambda n, g: g ** (0.5 / n) - 1),
        "`growth` is the growth over all blocks together, not over one.": (
            lambda n, g, normal: _factor(1, g, normal)
        ),
        "Your factor falls like one over the number of blocks: it should fall like one over its "
        "root.": lambda n, g, normal: _factor(n, g, normal) / n**0.5,
    },
)
def branch_factor(answer: Callable):
    """Is `answer(blocks, growth, normalized)` the factor a that makes x + a·g(x) grow this much?

    The mean square is to be `growth` times the input's, which is 1, after so many blocks. g(x) is
    unrelated to x; its mean square is 1 where `normalized`, otherwise that of x. Section 2.4.
    """
    for blocks, growth in [(10, 2.0), (1, 3.0), (30, 5.0), (54, 1.5)]:
        yield blocks, growth, True
        yield blocks, growth, False


def _fold(
    weight, bias, mean, var, gamma, beta, eps,
    scale=lambda gamma, var, eps: gamma / (var + eps).sqrt(),
    shift=lambda b, m, beta, s: (b - m) * s + beta, view=(-1, 1, 1, 1),
):  # fmt: skip
    shifted = shift(bias, mean, beta, gamma / (var + eps).sqrt())
    return weight * scale(gamma, var, eps).view(view), shifted


@exercise(
    right=_fold,
    what=["the weight", "the bias"],
    says="One convolution computes what the convolution and its batch normalization computed.",
    wrong={
        "`eps` is missing: batch normalization adds it to the variance.": partial(
            _fold, scale=lambda g, v, e: g / v.sqrt()
        ),
        "`eps` belongs under the root, with the variance.": partial(
            _fold, scale=lambda g, v, e: g / (v.sqrt() + e)
        ),
        "You divide by the variance: divide by its square root, the standard deviation.": partial(
            _fold, scale=lambda g, v, e: g / (v + e)
        ),
        "You multiply by the standard deviation: normalization divides by it.": partial(
            _fold, scale=lambda g, v, e: g * (v + e).sqrt()
        ),
        "The weight lacks the factor `gamma`.": partial(
            _fold, scale=lambda g, v, e: 1 / (v + e).sqrt()
        ),
        "The weight ignores the variance: normalization divides by its root.": partial(
            _fold, scale=lambda g, v, e: g
        ),
        "The weight is unchanged: normalization multiplies it too.": partial(
            _fold, scale=lambda g, v, e: torch.ones_like(g)
        ),
        "You scale the input channels: scale the output channels instead.": partial(
            _fold, view=(1, -1, 1, 1)
        ),
        "The running mean is missing: batch normalization subtracts it.": partial(
            _fold, shift=lambda b, m, beta, s: b * s + beta
        ),
        "The convolution's own bias is missing: it is normalized as well.": partial(
            _fold, shift=lambda b, m, beta, s: beta - m * s
        ),
        "The convolution's own bias is not scaled: it is normalized like the rest of the "
        "output.": partial(_fold, shift=lambda b, m, beta, s: b + beta - m * s),
        "`beta` is missing: batch normalization adds it at the end.": partial(
            _fold, shift=lambda b, m, beta, s: (b - m) * s
        ),
        "You scale `beta`: add it at the end, after the scaling.": partial(
            _fold, shift=lambda b, m, beta, s: (b - m + beta) * s
        ),
        "You subtract `beta`: batch normalization adds it.": partial(
            _fold, shift=lambda b, m, beta, s: (b - m) * s - beta
        ),
        "The running mean is not scaled: it is subtracted before the division.": partial(
            _fold, shift=lambda b, m, beta, s: b * s + beta - m
        ),
        "You add the running mean: batch normalization subtracts it.": partial(
            _fold, shift=lambda b, m, beta, s: (b + m) * s + beta
        ),
        "The bias is unchanged: batch normalization shifts, too.": partial(
            _fold, shift=lambda b, m, beta, s: b
        ),
        "The new bias is zero: the mean, `beta` and the convolution's own bias enter it.": partial(
            _fold, shift=lambda b, m, beta, s: 0 * b
        ),
        "The bias is `beta` alone: the mean and the convolution's own bias enter it, too.": partial(
            _fold, shift=lambda b, m, beta, s: beta
        ),
    },
)
def folded_batch_norm(answer: Callable):
    """Does `answer(weight, bias, mean, var, gamma, beta, eps)` fold batch normalization away?

    It gives (weight, bias) of one convolution that computes what the convolution with `weight`
    (out, in, k, k) and `bias` (out,), followed by batch normalization in evaluation mode, computes.
    Ioffe and Szegedy (2015), algorithm 2, last line.
    """
    for outputs, inputs, kernel in [(4, 4, 3), (5, 3, 1), (2, 6, 3)]:
        mean, var, gamma, beta = (random(outputs) for _ in range(4))
        weight, bias = random(outputs, inputs, kernel, kernel), random(outputs)
        yield weight, bias, mean, var.abs() + 0.1, gamma, beta, random(1).abs().item() + 0.1


def _pre_activation(residual: Callable | None = None, forward: Callable | None = None) -> Callable:
    """The pre-activation block with other layers, or another sum of `x` and them."""

    def compute(block: nn.Module, x: Tensor) -> Tensor:
        layers = residual(block, x) if residual else block.residual(x)
        return forward(block, x, layers) if forward else x + layers

    return computing(models.PreActivationBlock, compute)


def _post(b: nn.Module, x: Tensor) -> Tensor:
    return b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x)))))


@exercise(
    kind=Network,
    right=models.PreActivationBlock,
    says="With given weights this is the pre-activation block.",
    wrong={
        "Batch normalization is missing: add bn1 and bn2, one before each convolution.": changed(
            models.PreActivationBlock,
            lambda b: (setattr(b, "bn1", nn.Identity()), setattr(b, "bn2", nn.Identity())),
        ),
        "The convolutions have biases: leave them out, as the chapter's block does.": changed(
            models.PreActivationBlock,
            lambda b: [
                setattr(b, name, nn.Conv2d(b.conv1.in_channels, b.conv1.in_channels, 3, padding=1))
                for name in ("conv1", "conv2")
            ],
        ),
        "There is a ReLU after the sum: in the pre-activation block nothing follows the sum.": (
            _pre_activation(None, lambda b, x, layers: F.relu(x + layers))
        ),
        "This is the block of section 2.2: here, put batch normalization and ReLU before each "
        "convolution.": _pre_activation(_post, lambda b, x, layers: F.relu(x + layers)),
        "Batch normalization comes after the convolutions: put it before them, with the ReLU in "
        "between.": _pre_activation(_post),
        "Your shortcut starts after the first activation: add `x` itself.": _pre_activation(
            None, lambda b, x, layers: F.relu(b.bn1(x)) + layers
        ),
        "Your shortcut is missing: add `x`.": _pre_activation(None, lambda b, x, layers: layers),
        "There is no ReLU between bn1 and conv1.": _pre_activation(
            lambda b, x: b.conv2(F.relu(b.bn2(b.conv1(b.bn1(x)))))
        ),
        "There is no ReLU between bn2 and conv2.": _pre_activation(
            lambda b, x: b.conv2(b.bn2(b.conv1(F.relu(b.bn1(x)))))
        ),
        "There is no ReLU at all: put one before each convolution.": _pre_activation(
            lambda b, x: b.conv2(b.bn2(b.conv1(b.bn1(x))))
        ),
        "The first activation is missing: put bn1 and a ReLU before conv1.": _pre_activation(
            lambda b, x: b.conv2(F.relu(b.bn2(b.conv1(x))))
        ),
        "bn2 is not used: apply it between conv1 and the second ReLU.": _pre_activation(
            lambda b, x: b.conv2(F.relu(b.conv1(F.relu(b.bn1(x)))))
        ),
        "The ReLUs come before batch normalization: put them after it.": _pre_activation(
            lambda b, x: b.conv2(b.bn2(F.relu(b.conv1(b.bn1(F.relu(x))))))
        ),
        "You average the two branches: the block adds them.": _pre_activation(
            None, lambda b, x, layers: (x + layers) / 2
        ),
        "You subtract the layers: the block adds them.": _pre_activation(
            None, lambda b, x, layers: x - layers
        ),
    },
)
def pre_activation_block(make: Callable):
    """Is `make(channels)`, with any weights, `models.PreActivationBlock`?"""
    yield [3], (3, 3, 6, 5)
    yield [4], (3, 4, 4, 7)


def untrained(make: Callable, args: list, x: Tensor, upstream: Tensor) -> dict | None:
    """A question: what does a new module `make(*args)` output, and what would a first step move?

    In training mode, float64: the output, and the largest gradient of a parameter, of the sum of
    output × `upstream`.
    """
    module = make(*args).double().train()
    output = module(x)
    (output * upstream).sum().backward()
    gradients = [p.grad.abs().max().item() for p in module.parameters() if p.grad is not None]
    return {"output": output.detach(), "largest": max(gradients, default=0.0)}


@checks
def starts_as_identity(make: Callable) -> str:
    """Is `make(channels)` a pre-activation block that starts as the identity, and can leave it?

    With any weights it computes what `models.PreActivationBlock` with these computes (layers bn1,
    conv1, bn2, conv2). A new one passes every input on, and a gradient reaches a convolution.
    He et al. (2016b), figure 1b.
    """
    pre_activation_block.exercise.check(make)
    for channels in (3, 4):
        x, upstream = random(3, channels, 6, 5), random(3, channels, 6, 5)
        new = ask(untrained, make, [channels], x, upstream)
        if not torch.equal(new["output"].double(), x):
            nearly = " It nearly passes it on, but small is not zero." * same(new["output"], x)
            raise Mistake(
                "With given weights the block is right, but a new one changes its input: make what "
                f"is added zero at initialization.{nearly}"
            )
        if not new["largest"] > 0:
            raise Mistake(
                "A new block is the identity and stays so: the gradient of every parameter is 0. "
                "Your zero comes before a ReLU or the last convolution, and the gradient gets no "
                "further than that. Zero only the last thing that is computed."
            )
    return "A new block passes every input on unchanged, and its first step leaves the identity."


def plain_block(answer: Callable, weight1: Tensor, weight2: Tensor, x: Tensor) -> Tensor | None:
    """A question: what do the plain layers `answer(weight1, weight2)` output for `x`?"""
    found = answer(weight1, weight2)
    if found is None or found is ...:
        return None
    kernels = list(several(found, ["the first weight", "the second weight"]).values())
    if not all(isinstance(one, Tensor) for one in kernels):
        raise Mistake("Return two tensors.")
    first, second = (list(one.shape) for one in kernels)
    channels = len(weight1)
    if len(first) != 4 or len(second) != 4 or first[2:] != [3, 3] or second[2:] != [3, 3]:
        raise Mistake("Both weights must have the shape of a 3×3 convolution, (out, in, 3, 3).")
    if first[1] != channels:
        raise Mistake(
            f"The first weight reads {first[1]} channels, but the input has {channels}: its shape "
            "should be (K, C, 3, 3)."
        )
    if second[:2] != [channels, first[0]]:
        raise Mistake(
            f"The second weight has shape {tuple(second)}: with {first[0]} channels in the middle "
            f"it should be {(channels, first[0], 3, 3)}. To widen the middle, join the first "
            "weights along their outputs (dim 0) and the second ones along their inputs (dim 1)."
        )
    output = F.relu(_convolve(F.relu(_convolve(x, kernels[0].double())), kernels[1].double()))
    return output.to(kernels[0].dtype)


def _pass_on(weight: Tensor) -> Tensor:
    """A kernel with 1 at its center, channel by channel."""
    return nn.init.dirac_(torch.empty_like(weight))


def _beside(first: Callable, second: Callable, mix: tuple = (False, False)) -> Callable:
    """The given kernels and these beside them; each list joins the channels in the middle."""

    def answer(w1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor]:
        d = _pass_on(w1)
        a, b = (d.sum(1, keepdim=True).expand_as(d) if mixed else d for mixed in mix)
        return torch.cat([w1, *first(a)]), torch.cat([w2, *second(b)], 1)

    return answer


@exercise(
    right=_beside(lambda d: [d, -d], lambda d: [d, -d]),
    question=plain_block,
    what="the output",
    says="Two plain layers compute the residual block, for inputs of either sign.",
    wrong={
        "The shortcut is missing: something has to carry `x` past the given weights.": (
            lambda w1, w2: (w1, w2)
        ),
        "A Dirac kernel added to the second weight adds the output of conv1, not `x`: `x` needs "
        "channels of its own.": lambda w1, w2: (w1, w2 + _pass_on(w2)),
        "A Dirac kernel added to the first weight adds `x` before conv2: `x` needs channels of its "
        "own.": lambda w1, w2: (w1 + _pass_on(w1), w2),
        "Dirac kernels added to both weights mix the two paths: `x` needs channels of its own.": (
            lambda w1, w2: (w1 + _pass_on(w1), w2 + _pass_on(w2))
        ),
        "The channels in the middle are swapped: the output of conv1 is added, and `x` goes "
        "through conv2.": lambda w1, w2: (
            torch.cat([w1, _pass_on(w1)]),
            torch.cat([_pass_on(w2), w2], 1),
        ),
        "Your kernels that pass `x` on mix its channels: keep each channel separate.": _beside(
            lambda d: [d], lambda d: [d], (True, True)
        ),
        "One of your two kernels that pass `x` on mixes its channels: keep each channel "
        "separate.": _beside(lambda d: [d], lambda d: [d], (False, True)),
        "Your block is right for inputs that are not negative. The ReLU in the middle loses the "
        "others: keep the negative part of `x` in more channels.": _beside(
            lambda d: [d], lambda d: [d]
        ),
        "The negative part has the wrong sign: relu(x) + relu(-x) is the absolute value.": _beside(
            lambda d: [d, -d], lambda d: [d, d]
        ),
        "The given weights are missing: only `x` gets through.": lambda w1, w2: (
            torch.cat([_pass_on(w1), -_pass_on(w1)]),
            torch.cat([_pass_on(w2), -_pass_on(w2)], 1),
        ),
        "You add `x` twice: each sign needs one channel with a 1.": _beside(
            lambda d: [d, -d], lambda d: [2 * d, -2 * d]
        ),
    },
)
def plain_from_residual(answer: Callable):
    """Does `answer(weight1, weight2)` return a plain block that computes a residual block?

    Given the weights (C, C, 3, 3) of relu(x + conv2(relu(conv1(x)))), it gives the weights
    (K, C, 3, 3) and (C, K, 3, 3) of relu(conv(relu(conv(x)))) with the same output for every x, K
    being its own choice. No bias, no normalization, padding 1. Section 2.8.
    """
    for c, size in [(4, (6, 5)), (3, (4, 7))]:
        yield random(c, c, 3, 3), random(c, c, 3, 3), random(2, c, *size)
