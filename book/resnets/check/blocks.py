"""Checks for chapter 2: residual blocks."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets import models, probes
from resnets.check.asking import (
    Mistake,
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

SETTINGS = [  # in_channels, channels, stride, and the size of the input
    (4, 4, 1, (7, 5)),
    (3, 6, 2, (8, 6)),
    (4, 4, 2, (9, 7)),
    (6, 3, 1, (5, 8)),
]


@checks
def residual_block(make: Callable) -> str:
    """Is `make(in_channels, channels, stride)` the basic block with a projection shortcut?

    The layers are named as in torchvision: conv1, bn1, conv2, bn2, and downsample (1×1 convolution,
    batch normalization) where the shape changes. Compared with `models.BasicBlock`, in outputs and
    gradients: He et al. (2016a), figure 5, left.
    """
    for *args, size in SETTINGS:
        expect_layers(
            ask(layers, make, args),
            layers(models.BasicBlock, args),
            missing={
                "conv1": "There is no `conv1`: the first 3×3 convolution, which has the stride.",
                "conv2": "There is no `conv2`: the block has two 3×3 convolutions.",
                "bn": "Batch normalization is missing: bn1 and bn2, one behind each convolution.",
                "downsample.0": "Where stride or channels change the shape, the shortcut needs a "
                "projection: `downsample`.",
                "downsample.1": "The shortcut's 1×1 convolution has no batch normalization behind "
                "it: make `downsample` a Sequential of both.",
            },
            unexpected={
                "conv": "A 3×3 convolution has a bias: batch normalization subtracts it again "
                "(2.3), so leave it out.",
                "downsample.0.bias": "The projection has a bias: batch normalization has one.",
                "downsample": "Where the shape stays, the shortcut is `x` itself, without a "
                "projection.",
            },
        )
        expect_convolutions(
            ask(convolutions, make, args), convolutions(models.BasicBlock, args), _ADVICE
        )
        state, x = random_state(models.BasicBlock, args), random(2, args[0], *size)
        for training in (True, False):
            right, upstream = reference(models.BasicBlock, args, state, x, training)
            got = ask(evaluate, make, args, state, x, upstream, training)
            mistakes = _residual_block_mistakes(args, state, x, training)
            _expect_same_block(got, right, mistakes)
    return "Your block is torchvision's, in outputs and gradients, with and without projection."


_UNPADDED = "{} makes the image smaller at its borders: a 3×3 convolution needs padding 1."
_ADVICE = {  # on what is often missed in the convolutions of a basic block
    "conv1 padding": _UNPADDED.format("conv1"),
    "conv2 padding": _UNPADDED.format("conv2"),
    "conv1 stride": "The first convolution does not have the block's stride.",
    "conv2 stride": "Only the first convolution has the stride.",
    "downsample.0 stride": "The projection has no stride: it has to make the image as small as the "
    "two convolutions do.",
    "downsample.0 padding": "The projection is padded: a 1×1 convolution sees no border.",
}


def _expect_same_block(got: dict, right: dict, mistakes: dict) -> None:
    expect(got["output"], right["output"], "the output", mistakes)
    for name, gradient in right["gradients"].items():
        expect(got["gradients"].get(name), gradient, f"the gradient at {name}")


def _residual_block_mistakes(args: list, state: dict, x: Tensor, training: bool) -> dict:
    block = models.BasicBlock(*args).double().train(training)
    block.load_state_dict(state)
    layers, shortcut = block.residual(x), block.downsample(x)
    conv1, bn1, conv2, bn2 = block.conv1, block.bn1, block.conv2, block.bn2
    no_relu_inside = bn2(conv2(bn1(conv1(x))))
    mistakes = {
        "Your shortcut is missing: add `x`, or its projection, before the last ReLU.": F.relu(
            layers
        ),
        "Your shortcut is added after the last ReLU: add first, then the ReLU.": F.relu(layers)
        + shortcut,
        "There is a ReLU between the last batch normalization and the addition: the layers must be "
        "able to subtract.": F.relu(F.relu(layers) + shortcut),
        "There is a ReLU on the shortcut: it hands `x`, or its projection, on as it is.": F.relu(
            layers + F.relu(shortcut)
        ),
        "There is no ReLU behind the addition.": layers + shortcut,
        "You average the two branches: the block adds them.": F.relu((layers + shortcut) / 2),
        "You subtract the two branches: the block adds them.": F.relu(shortcut - layers),
        "There is no ReLU between bn1 and conv2.": F.relu(no_relu_inside + shortcut),
        "bn1 stands behind the ReLU: each convolution is followed by its batch normalization.": (
            F.relu(bn2(conv2(bn1(F.relu(conv1(x))))) + shortcut)
        ),
        "bn1 is not used: each convolution is followed by its batch normalization.": F.relu(
            bn2(conv2(F.relu(conv1(x)))) + shortcut
        ),
        "bn2 is not used: each convolution is followed by its batch normalization.": F.relu(
            conv2(F.relu(bn1(conv1(x)))) + shortcut
        ),
        "bn2 normalizes the sum: it belongs behind conv2, before the addition.": F.relu(
            bn2(conv2(F.relu(bn1(conv1(x)))) + shortcut)
        ),
        "The same batch normalization stands behind both convolutions: the second is bn2.": F.relu(
            bn1(conv2(F.relu(bn1(conv1(x))))) + shortcut
        ),
    }
    if x.shape == layers.shape:
        mistakes["`x` is added before conv2: the shortcut passes both convolutions."] = F.relu(
            bn2(conv2(F.relu(bn1(conv1(x))) + x))
        )
    return mistakes


@checks
def basic_block_parameters(answer: Callable) -> str:
    """Does `answer(in_channels, channels, stride)` count the parameters of a basic block?

    All numbers that training adjusts, of the block that `residual_block` checks.
    """
    for args in [(16, 16, 1), (16, 32, 2), (16, 16, 2), (24, 40, 1), (48, 20, 2)]:
        n, c, _ = args
        right = probes.parameters(models.BasicBlock(*args))
        changes = args != (n, n, 1)
        projection = n * c + 2 * c if changes else 0
        right_without_norms = right - 4 * c - 2 * c * changes
        mistakes = {
            "You count biases: convolutions in front of batch normalization have none.": right
            + 2 * c
            + c * changes,
            "You count the running means and variances: these are measured, and not adjusted by "
            "training.": right + 4 * c + 2 * c * changes,
            "You leave out batch normalization: it has a weight and a bias for each channel.": (
                right_without_norms
            ),
            "You count one number a channel in batch normalization: it has a weight and a bias.": (
                right_without_norms + 2 * c + c * changes
            ),
            "The projection is counted without its batch normalization.": right - 2 * c * changes,
            "You count a projection where the shape stays.": right
            + (0 if changes else n * c + 2 * c),
            "A stride changes the shape as well, so that block has a projection, even with as "
            "many channels as before.": right - (projection if n == c else 0),
            "You leave out the projection, where the shape changes.": right - projection,
            "The second convolution reads what the first one gives: it has `channels` channels on "
            "both sides.": right - 9 * c * c + 9 * n * c,
            "The projection is a 1×1 convolution, not 3×3.": right + 8 * n * c * changes,
        }
        expect(ask(call, answer, *args), right, f"the number of parameters for {args}", mistakes)
    return "Your count is the library's, with and without projection."


def call_without_autograd(answer: Callable, *inputs):
    """A question: what does the function give where no gradient can be computed for it?"""
    with torch.no_grad():
        return answer(*inputs)


@checks
def gradient_at_block_input(answer: Callable) -> str:
    """Is `answer(x, weight1, weight2, upstream)` the gradient at the input of a residual block?

    The block is relu(x + conv2(relu(conv1(x)))), 3×3 convolutions with padding 1 and neither bias
    nor normalization. `x` and `upstream` are (N, C, H, W), `upstream` the gradient at the block's
    output; the weights are (C, C, 3, 3). Autograd is off. Equation (2.1) and section 2.7.
    """
    for shape in [(2, 4, 5, 6), (1, 3, 7, 4)]:
        channels = shape[1]
        x, upstream = random(*shape), random(*shape)
        weights = [random(channels, channels, 3, 3) for _ in range(2)]
        try:
            got = ask(call_without_autograd, answer, x, *weights, upstream)
        except Mistake as mistake:
            if "require grad" in str(mistake):
                raise Mistake(
                    "Autograd is off here: compute the gradient yourself, from `upstream` "
                    "backward, with `F.conv_transpose2d`."
                ) from mistake
            raise
        right, mistakes = _gradient_and_mistakes(x, *weights, upstream)
        expect(got, right, "the gradient", mistakes)
    return "Both branches receive the whole gradient, and you add what they send back."


def _gradient_and_mistakes(x: Tensor, weight1: Tensor, weight2: Tensor, upstream: Tensor):
    def back(gradient, first=weight1, second=weight2, mask=True):
        gradient = F.conv_transpose2d(gradient, second, padding=1)
        return F.conv_transpose2d(gradient * (h > 0 if mask else 1), first, padding=1)

    x = x.clone().requires_grad_()
    h = F.conv2d(x, weight1, padding=1)
    y = F.relu(x + F.conv2d(F.relu(h), weight2, padding=1))
    (right,) = torch.autograd.grad(y, x, upstream)
    masked = upstream * (y > 0)
    not_transposed = F.conv2d(F.conv2d(masked, weight2, padding=1) * (h > 0), weight1, padding=1)
    outer = "The last ReLU acts on the sum: it stops the gradient of both branches where the "
    return right, {
        "Only what comes back through the layers is there: the shortcut sends the gradient back "
        "as well.": back(masked),
        "Only what comes back through the shortcut is there: the layers send something back as "
        "well.": masked,
        "You share the gradient out: each branch receives the whole of it (2.7).": right / 2,
        "The last ReLU is forgotten: where the output is 0, no gradient passes it.": upstream
        + back(upstream),
        outer + "output is 0, and you apply it to the layers only.": upstream + back(masked),
        outer + "output is 0, and you apply it to the shortcut only.": masked + back(upstream),
        "The ReLU between the convolutions is forgotten: where conv1 gave less than 0, no gradient "
        "passes it.": masked + back(masked, mask=False),
        "You convolve on the way back, where the transposed convolution is needed: what an input "
        "pixel gave to its neighbors comes back from there.": masked + not_transposed,
        "The two weights have changed places: the way back meets the second convolution first.": (
            masked + back(masked, weight2, weight1)
        ),
    }


@checks
def branch_factor(answer: Callable) -> str:
    """Is `answer(blocks, growth, normalized)` the factor a with which x + a·g(x) grows this much?

    The mean square is to be `growth` times the input's, which is 1, after so many blocks. g(x) is
    unrelated to x; its mean square is 1 where `normalized`, otherwise that of x. Section 2.4.
    """
    for blocks, growth in [(1, 3.0), (10, 2.0), (30, 5.0), (54, 1.5)]:
        added, multiplied = (growth - 1) / blocks, growth ** (1 / blocks) - 1
        got = ask(call, answer, blocks, growth, True)
        mistakes = {
            "You have the square of the factor: in the mean square of a·g(x) the factor counts "
            "twice.": added,
            "Normalized, each block adds the same amount; you let each block multiply.": (
                multiplied**0.5
            ),
            "The input has mean square 1 already, and only the rest may be added.": (
                growth / blocks
            )
            ** 0.5,
            "Means of squares add up, not the values: for unrelated terms the mean of the product "
            "is 0.": (growth**0.5 - 1) / blocks,
        }
        expect(got, added**0.5, "the factor with normalization", mistakes)
        got = ask(call, answer, blocks, growth, False)
        mistakes = {
            "You have the square of the factor: in the mean square of a·g(x) the factor counts "
            "twice.": multiplied,
            "Without normalization g(x) grows with x: each block multiplies the mean square by the "
            "same number.": added**0.5,
            "The shortcut's 1 is forgotten: a block multiplies the mean square by 1 + a².": (
                growth ** (1 / blocks)
            )
            ** 0.5,
            "Means of squares add up, not the values: a block multiplies the mean square by "
            "1 + a², not by (1 + a)².": growth ** (1 / blocks / 2) - 1,
        }
        expect(got, multiplied**0.5, "the factor without normalization", mistakes)
    return "The signal grows as much as it may, with normalization and without."


@checks
def folded_batch_norm(answer: Callable) -> str:
    """Does `answer(weight, bias, mean, var, gamma, beta, eps)` fold batch normalization away?

    It gives (weight, bias) of one convolution that computes what the convolution with `weight`
    (out, in, k, k) and `bias` (out,), followed by batch normalization in evaluation mode, computes.
    Ioffe and Szegedy (2015), algorithm 2, last line.
    """
    for outputs, inputs, kernel in [(4, 4, 3), (5, 3, 1), (2, 6, 3)]:
        weight, bias = random(outputs, inputs, kernel, kernel), random(outputs)
        mean, gamma, beta = random(outputs), random(outputs), random(outputs)
        var, eps = random(outputs).abs() + 0.1, random(1).abs().item() + 0.1
        got = _two(ask(call, answer, weight, bias, mean, var, gamma, beta, eps))
        scale = gamma / (var + eps).sqrt()
        right = _scaled(weight, scale)
        without_eps = gamma / var.sqrt()
        mistakes = {
            "`eps` is missing: batch normalization adds it to the variance.": without_eps,
            "`eps` belongs under the root, with the variance.": gamma / (var.sqrt() + eps),
            "You divide by the variance: it is its square root, the standard deviation.": gamma
            / (var + eps),
            "`gamma` does not reach the weight.": 1 / (var + eps).sqrt(),
            "The weight is as before: normalization multiplies it too.": torch.ones(outputs),
        }
        wrong = {message: _scaled(weight, factor) for message, factor in mistakes.items()}
        if inputs == outputs:
            wrong["You scale the channels that come in, not those that go out."] = (
                weight * scale.view(1, -1, 1, 1)
            )
        expect(got[0], right, "the weight", wrong)
        mistakes = {
            "The running mean is missing: batch normalization subtracts it.": bias * scale + beta,
            "The convolution's own bias is missing: it is normalized as well.": beta - mean * scale,
            "The convolution's own bias is not scaled: it is normalized like what it is added "
            "to.": bias + beta - mean * scale,
            "`beta` is missing: batch normalization adds it at the end.": (bias - mean) * scale,
            "You scale `beta`: it is added at the end, behind the scaling.": (bias - mean + beta)
            * scale,
            "The running mean is not scaled: it is subtracted before the division.": bias * scale
            + beta
            - mean,
            "You add the running mean: batch normalization subtracts it.": (bias + mean) * scale
            + beta,
            "The bias is as before: batch normalization shifts, too.": bias,
        }
        expect(got[1], (bias - mean) * scale + beta, "the bias", mistakes)
    return "One convolution computes what the convolution and its batch normalization computed."


def _scaled(weight: Tensor, factor: Tensor) -> Tensor:
    return weight * factor.view(-1, 1, 1, 1)


def _two(answer) -> list[Tensor]:
    """The answer's two tensors, float64."""
    if not isinstance(answer, (list, tuple)) or len(answer) != 2:
        raise Mistake("Return two tensors.")
    try:
        return [torch.as_tensor(value).detach().double() for value in answer]
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake("Return two tensors.") from error


def untrained(make: Callable, args: list, x: Tensor, upstream: Tensor) -> dict | None:
    """A question: what does a new module `make(*args)` give, and what would a first step move?

    In training mode, float64: the output, and for each parameter the norm of the gradient of the
    sum of output × `upstream`.
    """
    module = make(*args).double().train()
    output = module(x)
    if output is None:
        return None
    (output * upstream).sum().backward()
    norms = {
        name: 0.0 if parameter.grad is None else parameter.grad.norm().item()
        for name, parameter in module.named_parameters()
    }
    return {"output": output.detach(), "norms": norms}


@checks
def starts_as_identity(make: Callable) -> str:
    """Is `make(channels)` a pre-activation block that starts as the identity, and can leave it?

    With any weights it computes what `models.PreActivationBlock` with these computes (layers bn1,
    conv1, bn2, conv2). A new one passes every input on, and a gradient reaches a convolution.
    He et al. (2016b), figure 1b.
    """
    for channels, size in [(3, (6, 5)), (4, (4, 7))]:
        args, x = [channels], random(3, channels, *size)
        expect_layers(
            ask(layers, make, args),
            layers(models.PreActivationBlock, args),
            missing={"bn": "Batch normalization is missing: bn1 and bn2, before each convolution."},
            unexpected={
                "conv": "The convolutions have biases: leave them out, as the chapter's block does."
            },
        )
        expect_convolutions(
            ask(convolutions, make, args), convolutions(models.PreActivationBlock, args), {}
        )
        state = random_state(models.PreActivationBlock, args)
        for training in (True, False):
            right, upstream = reference(models.PreActivationBlock, args, state, x, training)
            got = ask(evaluate, make, args, state, x, upstream, training)
            _expect_same_block(got, right, _pre_activation_mistakes(channels, state, x, training))
        new = ask(untrained, make, args, x, upstream)
        if not same(new["output"], x):
            raise Mistake(
                "With given weights the block is right, but a new one changes its input: make what "
                "is added zero at the start."
            )
        if not any(norm > 0 for norm in new["norms"].values()):
            raise Mistake(
                "A new block is the identity and stays so: the gradient of every parameter is 0. "
                "Your zero stands in front of a ReLU or of the last convolution, and that is as "
                "far as the gradient comes. Zero the last thing that is computed, and only that."
            )
    return "A new block passes every input on, and its first step leaves the identity."


def _pre_activation_mistakes(channels: int, state: dict, x: Tensor, training: bool) -> dict:
    block = models.PreActivationBlock(channels).double().train(training)
    block.load_state_dict(state)
    bn1, conv1, bn2, conv2 = block.bn1, block.conv1, block.bn2, block.conv2
    active, layers = F.relu(bn1(x)), block.residual(x)
    original = bn2(conv2(F.relu(bn1(conv1(x)))))
    return {
        "There is a ReLU behind the sum: in the pre-activation block nothing follows it.": F.relu(
            x + layers
        ),
        "This is the block of section 2.2: here batch normalization and ReLU stand in front of "
        "each convolution.": F.relu(x + original),
        "Batch normalization stands behind the convolutions: it belongs in front, and the ReLU "
        "between the two.": x + original,
        "Your shortcut starts behind the first activation: add `x` itself.": active + layers,
        "Your shortcut is missing: add `x`.": layers,
        "There is no ReLU between bn1 and conv1.": x + conv2(F.relu(bn2(conv1(bn1(x))))),
        "There is no ReLU between bn2 and conv2.": x + conv2(bn2(conv1(active))),
        "The first activation is missing: bn1 and a ReLU stand in front of conv1.": x
        + conv2(F.relu(bn2(conv1(x)))),
        "The ReLUs stand in front of batch normalization: they belong behind it.": x
        + conv2(bn2(F.relu(conv1(bn1(F.relu(x)))))),
        "You average the two branches: the block adds them.": (x + layers) / 2,
    }


@checks
def plain_from_residual(answer: Callable) -> str:
    """Does `answer(weight1, weight2)` give a plain block that computes a residual block?

    Given the weights (C, C, 3, 3) of relu(x + conv2(relu(conv1(x)))), it gives the weights
    (K, C, 3, 3) and (C, K, 3, 3) of relu(conv(relu(conv(x)))) with the same output for every x, K
    being its own choice. No bias, no normalization, padding 1. Section 2.8.
    """
    for channels, size in [(4, (6, 5)), (3, (4, 7))]:
        weights = [random(channels, channels, 3, 3) for _ in range(2)]
        plain = _two(ask(call, answer, *weights))
        _expect_plain_shapes(*(list(weight.shape) for weight in plain), channels)
        x = random(2, channels, *size)
        for given in (x.abs(), x):
            h = _convolve(given, weights[0])
            layers = _convolve(F.relu(h), weights[1])
            got = F.relu(_convolve(F.relu(_convolve(given, plain[0])), plain[1]))
            mistakes = _plain_mistakes(given, h, layers, weights[1])
            expect(got, F.relu(given + layers), "the output", mistakes)
    return "Two plain layers compute the residual block, for inputs of either sign."


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=1)


def _expect_plain_shapes(first: list[int], second: list[int], channels: int) -> None:
    if len(first) != 4 or len(second) != 4 or first[2:] != [3, 3] or second[2:] != [3, 3]:
        raise Mistake("Both weights must be those of 3×3 convolutions: (out, in, 3, 3).")
    if first[1] != channels:
        raise Mistake(
            f"The first weight reads {first[1]} channels, and the input has {channels}: its shape "
            "is (K, C, 3, 3)."
        )
    if second[0] != channels or second[1] != first[0]:
        raise Mistake(
            f"The second weight has shape {tuple(second)}: behind {first[0]} channels in the "
            f"middle it should be {(channels, first[0], 3, 3)}. To make the middle wider, join the "
            "first weights along their outputs (dim 0), the second ones along their inputs (dim 1)."
        )


def _plain_mistakes(x: Tensor, h: Tensor, layers: Tensor, weight2: Tensor) -> dict:
    mixed = x.sum(1, keepdim=True)
    mistakes = {
        "The shortcut is missing: something has to carry `x` past the given weights.": F.relu(
            layers
        ),
        "A Dirac kernel added to the second weight adds what conv1 gave, and not `x`: `x` needs "
        "channels of its own.": F.relu(layers + F.relu(h)),
        "A Dirac kernel added to the first weight adds `x` in front of conv2: `x` needs channels "
        "of its own.": F.relu(_convolve(F.relu(h + x), weight2)),
        "The channels in the middle change places: what conv1 gave is added, and `x` goes through "
        "conv2.": F.relu(_convolve(F.relu(x), weight2) + F.relu(h)),
        "Your kernels that pass `x` on mix its channels: each has to stay apart.": F.relu(
            layers + x.shape[1] * mixed
        ),
        "One of your two kernels that pass `x` on mixes its channels: each has to stay "
        "apart.": F.relu(layers + mixed),
    }
    if (x < 0).any():
        mistakes |= {
            "For inputs that are not negative it is right. The ReLU in the middle loses the "
            "others: keep the negative part of `x` in more channels.": F.relu(layers + F.relu(x)),
            "The negative part has the wrong sign: relu(x) + relu(-x) is the absolute value.": (
                F.relu(layers + x.abs())
            ),
        }
    return mistakes
