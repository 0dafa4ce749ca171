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
    says="Your block is torchvision's, in outputs and gradients, with and without projection.",
    wrong={
        "There is no `conv2`: the block has two 3×3 convolutions.": _made(
            lambda b, *_: delattr(b, "conv2")
        ),
        "Batch normalization is missing: bn1 and bn2, one behind each convolution.": _norms(
            lambda c: nn.Identity()
        ),
        "bn1 and bn2 keep no running mean and variance: they are `nn.BatchNorm2d`, as it is by "
        "default.": _norms(lambda c: nn.BatchNorm2d(c, track_running_stats=False)),
        "bn1 and bn2 have no weight and bias: they are `nn.BatchNorm2d`, as it is by "
        "default.": _norms(lambda c: nn.BatchNorm2d(c, affine=False)),
        "Where stride or channels change the shape, the shortcut needs a projection: "
        "`downsample`.": _project(lambda *_: []),
        "A stride changes the shape as well, so the shortcut needs a projection there, even with "
        "as many channels as before.": _project(_projection, lambda n, c, s: n != c),
        "The shortcut's 1×1 convolution has no batch normalization behind it: make `downsample` a "
        "Sequential of both.": _project(lambda *args: _projection(*args)[:1]),
        "A 3×3 convolution has a bias: batch normalization subtracts it again (2.3), so leave it "
        "out.": _made(
            lambda b, n, c, s: (
                setattr(b, "conv1", nn.Conv2d(n, c, 3, s, 1)),
                setattr(b, "conv2", nn.Conv2d(c, c, 3, 1, 1)),
            )
        ),
        "The projection has a bias: batch normalization has one.": _project(
            partial(_projection, bias=True)
        ),
        "The projection is a 1×1 convolution, not 3×3.": _project(partial(_projection, kernel=3)),
        "Where the shape stays, the shortcut is `x` itself, without a projection.": _project(
            _projection, lambda *_: True
        ),
        "conv2 reads what conv1 gives: it has `channels` channels on both sides.": _made(
            lambda b, n, c, s: setattr(b, "conv2", nn.Conv2d(n, c, 3, 1, 1, bias=False))
        ),
        "conv1 makes the image smaller at its borders: a 3×3 convolution needs padding 1.": _set(
            "conv1", padding=(0, 0)
        ),
        "conv2 makes the image smaller at its borders: a 3×3 convolution needs padding 1.": _set(
            "conv2", padding=(0, 0)
        ),
        "The first convolution does not have the block's stride.": _made(
            lambda b, n, c, s: (
                setattr(b.conv1, "stride", (1, 1)),
                setattr(b.conv2, "stride", (s, s)),
            )
        ),
        "Only the first convolution has the stride.": _made(
            lambda b, n, c, s: setattr(b.conv2, "stride", (s, s))
        ),
        "The stride is the argument's, and need not be 2.": _made(
            lambda b, n, c, s: (
                setattr(b.conv1, "stride", (min(s, 2),) * 2),
                s > 1 and setattr(b.downsample[0], "stride", (2, 2)),
            )
        ),
        "The projection has no stride: it has to make the image as small as the two convolutions "
        "do.": _set("downsample.0", stride=(1, 1)),
        "The projection is padded: a 1×1 convolution sees no border.": _set(
            "downsample.0", padding=(1, 1)
        ),
        "The projection averages over pixels first (as in ResNet-D): here its convolution has the "
        "stride.": _basic(
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
        "The borders are padded with other numbers than zeros.": _branch(
            lambda x, b: b.bn2(
                F.conv2d(F.pad(F.relu(b.bn1(b.conv1(x))), (1, 1, 1, 1), "reflect"), b.conv2.weight)
            )
        ),
        "Your shortcut is missing: add `x`, or its projection, before the last ReLU.": _basic(
            lambda x, b, layers: F.relu(layers)
        ),
        "Your shortcut is added after the last ReLU: add first, then the ReLU.": _basic(
            lambda x, b, layers: F.relu(layers) + b.downsample(x)
        ),
        "There is a ReLU between the last batch normalization and the addition: the layers must be "
        "able to subtract.": _basic(lambda x, b, layers: F.relu(F.relu(layers) + b.downsample(x))),
        "There is a ReLU on the shortcut: it hands `x`, or its projection, on as it is.": _basic(
            lambda x, b, layers: F.relu(layers + F.relu(b.downsample(x)))
        ),
        "There is no ReLU behind the addition.": _basic(lambda x, b, g: g + b.downsample(x)),
        "You average the two branches: the block adds them.": _basic(
            lambda x, b, layers: F.relu((layers + b.downsample(x)) / 2)
        ),
        "You subtract the two branches: the block adds them.": _basic(
            lambda x, b, layers: F.relu(b.downsample(x) - layers)
        ),
        "You multiply the two branches: the block adds them.": _basic(
            lambda x, b, layers: F.relu(b.downsample(x) * layers)
        ),
        "You put the two branches beside each other: the block adds them.": _basic(
            lambda x, b, layers: F.relu(torch.cat([layers, b.downsample(x)], 1))
        ),
        "What the layers give is added to itself: keep the `x` that came in.": _basic(
            lambda x, b, layers: F.relu(layers + layers)
        ),
        "What conv1, bn1 and the ReLU give is added: the shortcut passes both convolutions.": (
            _basic(lambda x, b, layers: F.relu(layers + F.relu(b.bn1(b.conv1(x)))))
        ),
        "The shortcut is cut off from `x`: its gradient goes back through it (no `detach`).": (
            _basic(lambda x, b, layers: F.relu(layers + b.downsample(x.detach())))
        ),
        "There is no ReLU between bn1 and conv2.": _branch(
            lambda x, b: b.bn2(b.conv2(b.bn1(b.conv1(x))))
        ),
        "The ReLU between bn1 and conv2 is another function: it is max(x, 0).": _branch(
            lambda x, b: b.bn2(b.conv2(F.leaky_relu(b.bn1(b.conv1(x)))))
        ),
        "bn1 stands behind the ReLU: each convolution is followed by its batch normalization.": (
            _branch(lambda x, b: b.bn2(b.conv2(b.bn1(F.relu(b.conv1(x))))))
        ),
        "bn1 is not used: each convolution is followed by its batch normalization.": _branch(
            lambda x, b: b.bn2(b.conv2(F.relu(b.conv1(x))))
        ),
        "bn2 is not used: each convolution is followed by its batch normalization.": _branch(
            lambda x, b: b.conv2(F.relu(b.bn1(b.conv1(x))))
        ),
        "bn2 normalizes the sum: it belongs behind conv2, before the addition.": _basic(
            lambda x, b, _: F.relu(b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x)))) + b.downsample(x)))
        ),
        "The same batch normalization stands behind both convolutions: the second is bn2.": _branch(
            lambda x, b: b.bn1(b.conv2(F.relu(b.bn1(b.conv1(x)))))
        ),
        "The same batch normalization stands behind both convolutions: the first is bn1.": _branch(
            lambda x, b: b.bn2(b.conv2(F.relu(b.bn2(b.conv1(x)))))
        ),
        "bn1 and bn2 have changed places: bn1 stands behind conv1.": _branch(
            lambda x, b: b.bn1(b.conv2(F.relu(b.bn2(b.conv1(x)))))
        ),
        "`x` is added before conv2: the shortcut passes both convolutions.": _basic(
            lambda x, b, _: F.relu(b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x))) + b.downsample(x))))
        ),
        "`eps` of a batch normalization is not 1e-5, as it is by default.": _norms(
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
    says="Your count is the library's, with and without projection.",
    wrong={
        "Write a formula, without building the block.": (
            lambda *args: probes.parameters(models.BasicBlock(*args))
        ),
        "You count biases: convolutions in front of batch normalization have none.": partial(
            _parameters, bias=1
        ),
        "You count the running means and variances: these are measured, and not adjusted by "
        "training.": partial(_parameters, norm=4),
        "You leave out batch normalization: it has a weight and a bias for each channel.": partial(
            _parameters, norm=0
        ),
        "You count one number a channel in batch normalization: it has a weight and a bias.": (
            partial(_parameters, norm=1)
        ),
        "The projection is counted without its batch normalization.": partial(
            _parameters, own_norm=0
        ),
        "You count a projection where the shape stays.": partial(_parameters, projected=True),
        "A stride changes the shape as well, so that block has a projection, even with as many "
        "channels as before.": lambda n, c, s: _parameters(n, c, s, projected=n != c),
        "More or fewer channels change the shape as well, so that block has a projection, even "
        "without a stride.": lambda n, c, s: _parameters(n, c, s, projected=s != 1),
        "You leave out the projection, where the shape changes.": partial(
            _parameters, projected=False
        ),
        "The second convolution reads what the first one gives: it has `channels` channels on both "
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
    "Autograd is off here: compute the gradient yourself, from `upstream` backward, with "
    "`F.conv_transpose2d`."
)
_OUTER = "The last ReLU acts on the sum: it stops the gradient of both branches where the output "


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
        "Only what comes back through the layers is there: the shortcut sends the gradient back as "
        "well.": partial(_block_gradient, layers=lambda past, back: back),
        "Only what comes back through the shortcut is there: the layers send something back as "
        "well.": partial(_block_gradient, layers=lambda past, back: past),
        "You share the gradient out: each branch receives the whole of it (2.7).": partial(
            _block_gradient, layers=lambda past, back: (past + back) / 2
        ),
        "You subtract what the two branches send back: it adds up.": partial(
            _block_gradient, layers=lambda past, back: past - back
        ),
        "You multiply what the two branches send back: it adds up.": partial(
            _block_gradient, layers=lambda past, back: past * back
        ),
        "The last ReLU is forgotten: where the output is 0, no gradient passes it.": partial(
            _block_gradient, outer=(False, False)
        ),
        _OUTER + "is 0, and you apply it to the layers only.": partial(
            _block_gradient, outer=(True, False)
        ),
        _OUTER + "is 0, and you apply it to the shortcut only.": partial(
            _block_gradient, outer=(False, True)
        ),
        "The ReLU between the convolutions is forgotten: where conv1 gave less than 0, no gradient "
        "passes it.": partial(_block_gradient, inner=False),
        "You convolve on the way back, where the transposed convolution is needed: what an input "
        "pixel gave to its neighbors comes back from there.": partial(
            _block_gradient, way=_convolve
        ),
        "You exchange the channels of the weights, but do not turn their kernels round: on the way "
        "back each goes the other way (`flip` both sides).": partial(
            _block_gradient, way=lambda g, w: _convolve(g, w.transpose(0, 1))
        ),
        "You turn the kernels round, but do not exchange their channels: on the way back the "
        "outputs come in.": partial(_block_gradient, way=lambda g, w: _convolve(g, w.flip(2, 3))),
        "The two weights have changed places: the way back meets the second convolution first.": (
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
    says="The signal grows as much as it may, with normalization and without.",
    wrong={
        "You have the square of the factor: in the mean square of a·g(x) the factor counts "
        "twice.": lambda *args: _factor(*args) ** 2,
        "Without normalization you have the square of the factor: in the mean square of a·g(x) it "
        "counts twice.": _unnormalized(lambda n, g: _factor(n, g, False) ** 2),
        "Normalized, each block adds the same amount; you let each block multiply.": (
            lambda n, g, _: _factor(n, g, False)
        ),
        "Without normalization g(x) grows with x: each block multiplies the mean square by the "
        "same number.": lambda n, g, _: _factor(n, g, True),
        "The input has mean square 1 already, and only the rest may be added.": (
            lambda n, g, normal: (g / n) ** 0.5 if normal else _factor(n, g, False)
        ),
        "Means of squares add up, not the values: for unrelated terms the mean of the product is "
        "0.": lambda n, g, normal: (g**0.5 - 1) / n if normal else g ** (0.5 / n) - 1,
        "The shortcut's 1 is forgotten: a block multiplies the mean square by 1 + a².": (
            _unnormalized(lambda n, g: g ** (0.5 / n))
        ),
        "Means of squares add up, not the values: a block multiplies the mean square by 1 + a², "
        "not by (1 + a)².": _unnormalized(lambda n, g: g ** (0.5 / n) - 1),
        "`growth` is that of all blocks together, not of one.": (
            lambda n, g, normal: _factor(1, g, normal)
        ),
        "The factor falls like one over the root of the number of blocks, not over the number.": (
            lambda n, g, normal: _factor(n, g, normal) / n**0.5
        ),
    },
)
def branch_factor(answer: Callable):
    """Is `answer(blocks, growth, normalized)` the factor a with which x + a·g(x) grows this much?

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
        "You divide by the variance: it is its square root, the standard deviation.": partial(
            _fold, scale=lambda g, v, e: g / (v + e)
        ),
        "You multiply by the standard deviation: normalization divides by it.": partial(
            _fold, scale=lambda g, v, e: g * (v + e).sqrt()
        ),
        "`gamma` does not reach the weight.": partial(
            _fold, scale=lambda g, v, e: 1 / (v + e).sqrt()
        ),
        "The variance does not reach the weight: normalization divides by its root.": partial(
            _fold, scale=lambda g, v, e: g
        ),
        "The weight is as before: normalization multiplies it too.": partial(
            _fold, scale=lambda g, v, e: torch.ones_like(g)
        ),
        "You scale the channels that come in, not those that go out.": partial(
            _fold, view=(1, -1, 1, 1)
        ),
        "The running mean is missing: batch normalization subtracts it.": partial(
            _fold, shift=lambda b, m, beta, s: b * s + beta
        ),
        "The convolution's own bias is missing: it is normalized as well.": partial(
            _fold, shift=lambda b, m, beta, s: beta - m * s
        ),
        "The convolution's own bias is not scaled: it is normalized like what it is added "
        "to.": partial(_fold, shift=lambda b, m, beta, s: b + beta - m * s),
        "`beta` is missing: batch normalization adds it at the end.": partial(
            _fold, shift=lambda b, m, beta, s: (b - m) * s
        ),
        "You scale `beta`: it is added at the end, behind the scaling.": partial(
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
        "The bias is as before: batch normalization shifts, too.": partial(
            _fold, shift=lambda b, m, beta, s: b
        ),
        "The new bias is zero: the mean, `beta` and the convolution's own bias shift.": partial(
            _fold, shift=lambda b, m, beta, s: 0 * b
        ),
        "The bias is `beta` alone: the mean and the convolution's own bias shift, too.": partial(
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
    says="With given weights it is the pre-activation block.",
    wrong={
        "Batch normalization is missing: bn1 and bn2, before each convolution.": changed(
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
        "There is a ReLU behind the sum: in the pre-activation block nothing follows it.": (
            _pre_activation(None, lambda b, x, layers: F.relu(x + layers))
        ),
        "This is the block of section 2.2: here batch normalization and ReLU stand in front of "
        "each convolution.": _pre_activation(_post, lambda b, x, layers: F.relu(x + layers)),
        "Batch normalization stands behind the convolutions: it belongs in front, and the ReLU "
        "between the two.": _pre_activation(_post),
        "Your shortcut starts behind the first activation: add `x` itself.": _pre_activation(
            None, lambda b, x, layers: F.relu(b.bn1(x)) + layers
        ),
        "Your shortcut is missing: add `x`.": _pre_activation(None, lambda b, x, layers: layers),
        "There is no ReLU between bn1 and conv1.": _pre_activation(
            lambda b, x: b.conv2(F.relu(b.bn2(b.conv1(b.bn1(x)))))
        ),
        "There is no ReLU between bn2 and conv2.": _pre_activation(
            lambda b, x: b.conv2(b.bn2(b.conv1(F.relu(b.bn1(x)))))
        ),
        "There is no ReLU at all: one stands in front of each convolution.": _pre_activation(
            lambda b, x: b.conv2(b.bn2(b.conv1(b.bn1(x))))
        ),
        "The first activation is missing: bn1 and a ReLU stand in front of conv1.": _pre_activation(
            lambda b, x: b.conv2(F.relu(b.bn2(b.conv1(x))))
        ),
        "bn2 is not used: it stands between conv1 and the second ReLU.": _pre_activation(
            lambda b, x: b.conv2(F.relu(b.conv1(F.relu(b.bn1(x)))))
        ),
        "The ReLUs stand in front of batch normalization: they belong behind it.": _pre_activation(
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
    """A question: what does a new module `make(*args)` give, and what would a first step move?

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
            nearly = " It nearly passes it on: small is not zero." * same(new["output"], x)
            raise Mistake(
                "With given weights the block is right, but a new one changes its input: make what "
                f"is added zero at the start.{nearly}"
            )
        if not new["largest"] > 0:
            raise Mistake(
                "A new block is the identity and stays so: the gradient of every parameter is 0. "
                "Your zero stands in front of a ReLU or of the last convolution, and that is as "
                "far as the gradient comes. Zero the last thing that is computed, and only that."
            )
    return "A new block passes every input on, and its first step leaves the identity."


def plain_block(answer: Callable, weight1: Tensor, weight2: Tensor, x: Tensor) -> Tensor | None:
    """A question: what do the plain layers `answer(weight1, weight2)` give for `x`?"""
    found = answer(weight1, weight2)
    if found is None or found is ...:
        return None
    kernels = list(several(found, ["the first weight", "the second weight"]).values())
    if not all(isinstance(one, Tensor) for one in kernels):
        raise Mistake("Return two tensors.")
    first, second = (list(one.shape) for one in kernels)
    channels = len(weight1)
    if len(first) != 4 or len(second) != 4 or first[2:] != [3, 3] or second[2:] != [3, 3]:
        raise Mistake("Both weights must be those of 3×3 convolutions: (out, in, 3, 3).")
    if first[1] != channels:
        raise Mistake(
            f"The first weight reads {first[1]} channels, and the input has {channels}: its shape "
            "is (K, C, 3, 3)."
        )
    if second[:2] != [channels, first[0]]:
        raise Mistake(
            f"The second weight has shape {tuple(second)}: behind {first[0]} channels in the "
            f"middle it should be {(channels, first[0], 3, 3)}. To make the middle wider, join the "
            "first weights along their outputs (dim 0), the second ones along their inputs (dim 1)."
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
        "A Dirac kernel added to the second weight adds what conv1 gave, and not `x`: `x` needs "
        "channels of its own.": lambda w1, w2: (w1, w2 + _pass_on(w2)),
        "A Dirac kernel added to the first weight adds `x` in front of conv2: `x` needs channels "
        "of its own.": lambda w1, w2: (w1 + _pass_on(w1), w2),
        "Dirac kernels added to both weights mix the ways: `x` needs channels of its own.": (
            lambda w1, w2: (w1 + _pass_on(w1), w2 + _pass_on(w2))
        ),
        "The channels in the middle change places: what conv1 gave is added, and `x` goes through "
        "conv2.": lambda w1, w2: (
            torch.cat([w1, _pass_on(w1)]),
            torch.cat([_pass_on(w2), w2], 1),
        ),
        "Your kernels that pass `x` on mix its channels: each has to stay apart.": _beside(
            lambda d: [d], lambda d: [d], (True, True)
        ),
        "One of your two kernels that pass `x` on mixes its channels: each has to stay "
        "apart.": _beside(lambda d: [d], lambda d: [d], (False, True)),
        "For inputs that are not negative it is right. The ReLU in the middle loses the others: "
        "keep the negative part of `x` in more channels.": _beside(lambda d: [d], lambda d: [d]),
        "The negative part has the wrong sign: relu(x) + relu(-x) is the absolute value.": _beside(
            lambda d: [d, -d], lambda d: [d, d]
        ),
        "The given weights are missing: only `x` passes.": lambda w1, w2: (
            torch.cat([_pass_on(w1), -_pass_on(w1)]),
            torch.cat([_pass_on(w2), -_pass_on(w2)], 1),
        ),
        "Twice `x` is added: each sign has one channel with a 1.": _beside(
            lambda d: [d, -d], lambda d: [2 * d, -2 * d]
        ),
    },
)
def plain_from_residual(answer: Callable):
    """Does `answer(weight1, weight2)` give a plain block that computes a residual block?

    Given the weights (C, C, 3, 3) of relu(x + conv2(relu(conv1(x)))), it gives the weights
    (K, C, 3, 3) and (C, K, 3, 3) of relu(conv(relu(conv(x)))) with the same output for every x, K
    being its own choice. No bias, no normalization, padding 1. Section 2.8.
    """
    for c, size in [(4, (6, 5)), (3, (4, 7))]:
        yield random(c, c, 3, 3), random(c, c, 3, 3), random(2, c, *size)
