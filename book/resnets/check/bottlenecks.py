"""Checks for chapter 4: bottlenecks, shortcut options, and what depth costs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random

import torch
from torch import Tensor, nn
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

# What answers are tried on: fixed cases for each typical mistake, fresh numbers beside them.

CONVOLUTIONS = [  # in_channels, channels, kernel, stride, groups, height, width
    (6, 10, 3, 1, 1, 12, 20),
    (6, 10, 3, 3, 1, 12, 21),
    (4, 6, 7, 2, 1, 15, 21),
    (4, 6, 1, 2, 1, 9, 14),
    (8, 12, 3, 1, 4, 10, 6),
]
PADDINGS = [  # in_channels, channels, stride, height, width
    (4, 8, 2, 6, 8),
    (3, 8, 2, 7, 10),
    (5, 5, 1, 4, 6),
    (2, 7, 3, 8, 11),
]
BOTTLENECKS = [  # in_channels, channels, stride, height, width
    (8, 2, 1, 6, 7),
    (3, 2, 1, 5, 6),
    (8, 4, 2, 8, 9),
    (12, 3, 2, 7, 8),
]
BOTTLENECK_PARAMETERS = [  # in_channels, channels, stride, groups, base_width
    (256, 64, 1, 1, 64),
    (64, 64, 1, 1, 64),
    (512, 128, 2, 1, 64),
    (256, 64, 1, 32, 4),
    (512, 256, 2, 32, 4),
    (256, 64, 1, 1, 128),
]
COSTS = [  # blocks, bottleneck, height, width, stride_on
    ((2, 2, 2, 2), False, 224, 224, "3x3"),
    ((3, 4, 6, 3), True, 224, 224, "3x3"),
]
OPTIONS = [  # option, in_channels, channels, stride, height, width
    (option, *settings)
    for option in "ABC"
    for settings in ((4, 4, 1, 5, 6), (4, 8, 2, 6, 8), (3, 8, 2, 7, 10))
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


# Questions.


def call_with_options(
    answer: Callable, inputs: list[Tensor], options: list, upstream: Tensor
) -> dict | None:
    """A question: what does `answer(*inputs, *options)` give, and which gradients at its inputs?

    The gradients are those of the sum of output × `upstream`, left out in an output of another
    shape.
    """
    inputs = [x.clone().requires_grad_() for x in inputs]
    output = answer(*inputs, *options)
    if output is None:
        return None
    gradients = []
    if output.shape == upstream.shape and output.requires_grad:
        found = torch.autograd.grad(output, inputs, upstream, allow_unused=True)
        gradients = [
            torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)
        ]
    return {"output": output.detach(), "gradients": gradients}


def layers_if_any(make: Callable, args: list) -> dict:
    """A question: `layers`, under the name "layers", of a module that may have none."""
    return {"layers": layers(make, args) or {}}


def run_segment(
    answer: Callable, state: dict, x: Tensor, of_images: bool, upstream: Tensor
) -> dict | None:
    """A question: how does `answer(segment, x)` run a segment of a network?

    The segment is a Sequential of convolutions, batch normalizations and ReLUs with the weights
    `state`. Its input is the network's, which needs no gradient (`of_images`), or comes from a
    layer before. Gives the output, the gradients at the input and the weights, how often the
    segment had run after the forward and after the backward pass, and the bytes kept in between.
    """
    segment = make_segment()
    segment.load_state_dict(state)
    runs = []
    segment[0].register_forward_hook(lambda *_: runs.append(1))
    x = x.clone().requires_grad_(not of_images)
    inputs = x if of_images else 2 * x
    with probes.Memory() as memory:
        output = answer(segment, inputs)
        kept, forward = memory.alive, len(runs)
    if output is None:
        return None
    if output.requires_grad and output.shape == upstream.shape:
        output.backward(upstream)
    weights = dict(segment.named_parameters())
    if not of_images:
        weights["input"] = x
    return {
        "output": output.detach(),
        "learns": output.requires_grad,
        "gradients": {
            name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in weights.items()
        },
        "kept": kept,
        "runs": [forward, len(runs)],
    }


def call_the_network(answer: Callable, state: dict, stride_on: str, x: Tensor) -> Tensor:
    """A question: what does the module `answer(state, stride_on)` give for `x`, in float64?"""
    module = answer(state, stride_on)
    return None if module is None else module.double()(x).detach()


# What the checks have in common.


def _expect_count(got, right: int, what: str, mistakes: Mapping[str, int] | None = None) -> None:
    """`expect` for a whole number, to the last one."""
    try:
        got = float("nan" if isinstance(got, str) else got)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake(f"{what.capitalize()} should be a number.") from error
    if got == right:
        return
    for message, wrong in (mistakes or {}).items():
        if got == wrong != right:
            raise Mistake(message)
    raise Mistake(f"{what.capitalize()}: {got:,.10g} is not right.")


def _several(got, count: int, what: str) -> Sequence:
    if not isinstance(got, list | tuple) or len(got) != count:
        raise Mistake(f"Give {count} values: {what}.")
    return got


def _expect_module(make: Callable, library: Callable, args: list, x: Tensor, mistakes) -> None:
    """Outputs and gradients in training and in evaluation; the layers are known to agree."""
    state = random_state(library, args)
    for training in (True, False):
        right, upstream = reference(library, args, state, x, training)
        got = ask(evaluate, make, args, state, x, upstream, training)
        expect(got["output"], right["output"], "the output", mistakes(state, training))
        for name, gradient in right["gradients"].items():
            expect(got["gradients"].get(name), gradient, f"the gradient at {name}")


def _expect_gradients(got: Sequence[Tensor], right: Mapping[str, Tensor], when: str = "") -> None:
    if len(got) != len(right):
        raise Mistake(f"No gradient gets through to {' and '.join(right)}{when}.")
    for gradient, (name, wanted) in zip(got, right.items(), strict=True):
        expect(gradient, wanted, f"the gradient at {name}{when}")


# Section 4.2: shortcuts.


@checks
def padded_shortcut(answer: Callable) -> str:
    """Is `answer(x, channels, stride)` the shortcut without parameters, option A?

    `x` is (N, C, H, W), the result (N, channels, ⌈H/stride⌉, ⌈W/stride⌉): every stride-th pixel
    from the first on, and channels of zeros, half of them before and half behind; where their
    number is odd, the one more is behind. Compared with `models.PaddedIdentity`, in values and
    gradients: He et al. (2016a), section 4.1. (The paper does not say where the zeros go.)
    """
    for in_channels, channels, stride, height, width in PADDINGS:
        x = random(2, in_channels, height, width)
        right = models.PaddedIdentity(in_channels, channels, stride)
        upstream = random(*right(x).shape)
        got = ask(call_with_options, answer, [x], [channels, stride], upstream)
        expect(got["output"], right(x), "the shortcut", _padding_mistakes(x, channels, stride))
        wanted = call_with_options(right, [x], [], upstream)["gradients"]
        _expect_gradients(got["gradients"], {"x": wanted[0]})
    return "Your shortcut is option A, at even and odd sizes, in values and gradients."


def _padding_mistakes(x: Tensor, channels: int, stride: int) -> dict[str, Tensor]:
    def pad(x, before):
        return F.pad(x, (0, 0, 0, 0, before, channels - x.shape[1] - before))

    missing = channels - x.shape[1]
    half, pixels = missing // 2, x[:, :, ::stride, ::stride]
    copies = -(-channels // x.shape[1])
    mistakes = {
        "Stride is ignored: only every stride-th pixel goes on, in both directions.": pad(x, half),
        "Only the rows are thinned out: take every stride-th column as well.": pad(
            x[:, :, ::stride], half
        ),
        "All zeros are behind the channels of x. Some networks do that; here half of them go "
        "before, so that the channels line up with those of the library.": pad(pixels, 0),
        "All zeros are before the channels of x: half of them go behind.": pad(pixels, missing),
        "Where the number of new channels is odd, the one more goes behind.": pad(
            pixels, missing - half
        ),
        "The pixels are not the right ones: begin with the first, then every stride-th.": pad(
            x[:, :, stride - 1 :: stride, stride - 1 :: stride], half
        ),
        "You average over the pixels: option A keeps some as they are and drops the others.": pad(
            F.avg_pool2d(x, stride, ceil_mode=True), half
        ),
        "You take the largest of the pixels: option A keeps the first of them.": pad(
            F.max_pool2d(x, stride, ceil_mode=True), half
        ),
        "The new channels repeat those of x: they hold zeros.": torch.cat([pixels] * copies, 1)[
            :, :channels
        ],
    }
    if x.shape[2] >= stride and x.shape[3] >= stride:
        mistakes["You average over the pixels, and drop the last row or column of an odd size."] = (
            pad(F.avg_pool2d(x, stride), half)
        )
    return mistakes


@checks
def shortcut_options(make: Callable, settings: Iterable[Sequence] = OPTIONS) -> str:
    """Is `make(option, in_channels, channels, stride)` the shortcut of He et al. (2016a)?

    A module, (N, in_channels, H, W) to (N, channels, ⌈H/stride⌉, ⌈W/stride⌉), without parameters
    for "A" (zeros half before and half behind, one more behind), a Sequential of 1×1 convolution
    and batch normalization where the shape changes for "B" and everywhere for "C". Section 4.1;
    compared with `models.make_shortcut`. `settings` are tuples of option, in_channels, channels,
    stride, and height and width of the input.
    """
    for *args, height, width in settings:
        option, in_channels, channels, stride = args
        same_shape = stride == 1 and in_channels == channels
        expect_layers(
            ask(layers_if_any, make, args)["layers"],
            layers_if_any(_library_shortcut, args)["layers"],
            missing={
                "0": f"Option {option} needs a projection here: a Sequential of 1×1 convolution "
                "and batch normalization.",
                "1": "There is no batch normalization behind the 1×1 convolution.",
            },
            unexpected={
                "0.bias": "The 1×1 convolution has a bias: batch normalization has one.",
                "": "Option A has no parameters anywhere."
                if option == "A"
                else "Where the shape stays, the shortcut of option B is `x` itself."
                if same_shape
                else f"Option {option} is a 1×1 convolution and batch normalization, no more.",
            },
        )
        stride_advice = "The projection has to make the image as small as the layers do: stride."
        expect_convolutions(
            ask(convolutions, make, args),
            convolutions(_library_shortcut, args),
            {"0 stride": stride_advice},
        )
        x = random(2, in_channels, height, width)
        mistakes = {} if option != "A" else _padding_mistakes(x, channels, stride)
        _expect_module(make, _library_shortcut, args, x, lambda *_, m=mistakes: m)
    return "Your shortcuts are the library's, in layers, outputs and gradients."


def _library_shortcut(option: str, in_channels: int, channels: int, stride: int) -> nn.Module:
    kinds = {"A": "identity", "B": "projection", "C": "all-projections"}
    return models.make_shortcut(kinds[option], in_channels, channels, stride)


# Sections 4.3 and 4.5: the bottleneck, its versions, and its cost.


@checks
def bottleneck(make: Callable) -> str:
    """Is `make(in_channels, channels, stride)` the bottleneck with its stride on the 3×3?

    (N, in_channels, H, W) to (N, 4 × channels, ⌈H/stride⌉, ⌈W/stride⌉). The layers are named as in
    torchvision: conv1, bn1, conv2, bn2, conv3, bn3, and downsample (1×1 convolution, batch
    normalization) where the shape changes. Compared with `models.Bottleneck`, in outputs and
    gradients: He et al. (2016a), figure 5, right, with the stride of ResNet v1.5.
    """
    for *args, height, width in BOTTLENECKS:
        _check_bottleneck(make, models.Bottleneck, args, "3x3", height, width)
    return "Your bottleneck is torchvision's, in outputs and gradients."


@checks
def bottleneck_versions(make: Callable) -> str:
    """Is `make(in_channels, channels, stride, stride_on)` the bottleneck in both versions?

    As `bottleneck`, with the stride on the first convolution where `stride_on` is "1x1" (He et
    al., 2016a) and on the second where it is "3x3" (ResNet v1.5).
    """
    for *args, height, width in BOTTLENECKS:
        for version in models.STRIDE_ON:
            args_of_version = [*args, version]
            _check_bottleneck(make, _library_bottleneck, args_of_version, version, height, width)
    return "Both versions of your bottleneck are the library's, in outputs and gradients."


def _library_bottleneck(in_channels: int, channels: int, stride: int, stride_on: str) -> nn.Module:
    return models.Bottleneck(in_channels, channels, stride, stride_on=stride_on)


def _check_bottleneck(
    make: Callable, library: Callable, args: list, stride_on: str, height: int, width: int
) -> None:
    in_channels, channels = args[:2]
    got, right = ask(layers, make, args), layers(library, args)
    out_channels = list(got.get("conv3.weight", []))[:1]
    if out_channels == [channels]:
        raise Mistake(
            "The last convolution gives `channels` channels: the block's output has expansion "
            "times as many, 4 × `channels`."
        )
    if out_channels == [4 * channels] and list(got.get("conv1.weight", [])) != [
        channels,
        in_channels,
        1,
        1,
    ]:
        raise Mistake(
            "`channels` is the number of channels of the 3×3 convolution: conv1 gives so many."
        )
    expect_layers(
        got,
        right,
        missing={
            "bn": "Batch normalization is missing: bn1, bn2 and bn3, one behind each convolution.",
            "downsample.0": "The shortcut needs a projection, `downsample`, wherever stride or "
            "channels change the shape; the output has 4 × `channels` channels.",
            "downsample.1": "The shortcut's 1×1 convolution has no batch normalization behind it: "
            "make `downsample` a Sequential of both.",
        },
        unexpected={
            "downsample.0.bias": "The projection has a bias: batch normalization has one.",
            "downsample": "Where the shape stays, the shortcut is `x` itself, without a "
            "projection.",
            "conv": "A convolution has a bias: batch normalization behind it has one.",
        },
    )
    moved = {
        "3x3": "The stride is on the first 1×1 convolution: that is v1. Here it is on the 3×3.",
        "1x1": "The stride is on the 3×3 convolution: that is v1.5. Here it is on the first 1×1.",
    }[stride_on]
    expect_convolutions(
        ask(convolutions, make, args),
        convolutions(library, args),
        {
            "conv1 stride": moved,
            "conv2 stride": moved,
            "conv2 padding": "The 3×3 convolution needs padding 1 to keep the image's size.",
            "downsample.0 stride": "The projection has no stride: it has to make the image as "
            "small as the layers do.",
        },
    )
    x = random(2, in_channels, height, width)

    def mistakes(state, training):
        return _bottleneck_mistakes(library(*args), state, x, training)

    _expect_module(make, library, args, x, mistakes)


def _bottleneck_mistakes(block: nn.Module, state: dict, x: Tensor, training: bool) -> dict:
    block = block.double().train(training)
    block.load_state_dict(state)

    def path(first=F.relu, second=F.relu):
        out = first(block.bn1(block.conv1(x)))
        return block.bn3(block.conv3(second(block.bn2(block.conv2(out)))))

    def nothing(x):
        return x

    layers, shortcut = path(), block.downsample(x)
    mistakes = {
        "Your shortcut is missing: add `x`, or its projection, before the last ReLU.": layers,
        "There is a ReLU between bn3 and the addition: the layers must be able to "
        "subtract.": F.relu(layers) + shortcut,
        "You average the two branches: the block adds them.": (layers + shortcut) / 2,
        "There is no ReLU between bn1 and conv2.": path(first=nothing) + shortcut,
        "There is no ReLU between bn2 and conv3.": path(second=nothing) + shortcut,
    }
    return {message: F.relu(value) for message, value in mistakes.items()} | {
        "There is no ReLU behind the addition.": layers + shortcut,
        "Your shortcut is added after the last ReLU: add first, then the ReLU.": F.relu(layers)
        + shortcut,
    }


@checks
def convolution_cost(answer: Callable) -> str:
    """Does `answer` give a convolution's parameters and multiply-adds?

    `answer(in_channels, channels, kernel, stride, groups, height, width)` for a convolution
    without bias, its kernel's side odd, padded by kernel // 2, of one image of height × width:
    two whole numbers. Compared with PyTorch's count of operations.
    """
    drawn = Random()
    fresh = [
        (g * drawn.randint(2, 5), g * drawn.randint(2, 5), k, s, g, *drawn.sample(range(9, 30), 2))
        for k, s, g in ((3, 2, 1), (5, 3, 2), (1, 2, 3))
    ]
    for args in (*CONVOLUTIONS, *fresh):
        in_channels, channels, k, stride, groups, height, width = args
        conv = nn.Conv2d(in_channels, channels, k, stride, k // 2, groups=groups, bias=False)
        weights = probes.parameters(conv)
        macs = probes.multiply_adds(conv, in_channels, height, width)
        got = _several(ask(call, answer, *args), 2, "parameters and multiply-adds")
        _expect_count(
            got[0],
            weights,
            "parameters",
            {
                "A bias is counted with the parameters: this convolution has none.": weights
                + channels,
                "With groups, each output channel reads only in_channels / groups channels.": (
                    weights * groups
                ),
                "Groups divide the weights once: every output channel still has its own.": weights
                // groups,
                "The kernel has kernel × kernel weights for each pair of channels.": weights // k,
            },
        )
        outputs = macs // weights
        _expect_count(
            got[1],
            macs,
            "multiply-adds",
            {
                "You count a multiplication and an addition as two: a multiply-add is one.": (
                    2 * macs
                ),
                "The stride is ignored: weights are used once at each pixel of the *output*.": (
                    weights * height * width
                ),
                "The stride thins out rows and columns: it divides both, not the number of pixels "
                "once.": weights * -(-height * width // stride),
                "At an odd size the output is rounded up: the padding gives the last row and "
                "column a place.": weights * (height // stride) * (width // stride),
                "With groups, each output channel reads only in_channels / groups channels, in "
                "the multiply-adds too.": macs * groups,
                "Groups divide the multiply-adds once.": macs // groups,
                "The output has another size: it depends on height and width.": weights
                * max(outputs, 1) ** 2,
            },
        )
    return "Parameters and multiply-adds are PyTorch's, with stride, groups and odd sizes."


@checks
def bottleneck_parameters(answer: Callable) -> str:
    """Does `answer` give a bottleneck's number of parameters?

    `answer(in_channels, channels, stride, groups, base_width)`, a whole number: convolutions
    without bias, batch normalization, and a projection where the shape changes. The 3×3
    convolution has groups × ⌊channels × base_width / 64⌋ channels: Xie et al. (2017), as in
    torchvision. Compared with `models.Bottleneck`.
    """
    drawn = Random()
    c = 2 * drawn.randint(8, 40)
    fresh = [(4 * c, c, 1, 1, 64), (c, 2 * c, 2, drawn.choice((4, 8)), 32)]
    for args in (*BOTTLENECK_PARAMETERS, *fresh):
        in_channels, channels, stride, groups, base_width = args
        make = partial(models.Bottleneck, groups=groups, base_width=base_width)
        right = probes.parameters(make(in_channels, channels, stride))
        out, width = 4 * channels, groups * (channels * base_width // 64)
        one = probes.parameters(models.Bottleneck(in_channels, channels, stride))
        projection = in_channels * out + 2 * out
        changes = stride != 1 or in_channels != out
        normalized = 2 * width + out + out * changes
        mistakes = {
            "The biases of the convolutions are counted: they have none.": right + normalized,
            "Batch normalization is forgotten: two parameters for each channel.": right
            - 2 * normalized,
            "Batch normalization has two parameters a channel; the running mean and variance are "
            "no parameters.": right + 2 * normalized,
            "The 3×3 convolution has groups: each output channel reads width / groups "
            "channels.": right + 9 * width**2 - 9 * width**2 // groups,
            "The width of the 3×3 convolution is not `channels` here: mind groups and "
            "base_width.": one,
        }
        if changes:
            mistakes |= {
                "The projection on the shortcut is forgotten: it is there wherever stride or "
                "channels change the shape.": right - projection,
                "The projection's batch normalization is forgotten.": right - 2 * out,
            }
        else:
            mistakes["There is no projection where stride is 1 and the channels are the same."] = (
                right + projection
            )
        _expect_count(ask(call, answer, *args), right, "parameters", mistakes)
    return "Your numbers are those of the library's blocks, with and without groups."


@checks
def equal_width(answer: Callable, settings: Iterable[Sequence] = WIDTHS) -> str:
    """Does `answer` give the width at which a bottleneck costs as much as a basic block?

    `answer(width, reduction, groups)`: a basic block has `width` channels everywhere. The
    bottleneck's input and output have W channels, its 3×3 convolution W / reduction in so many
    groups. The W, not rounded, for which the convolutions of both have equally many weights.
    """
    for width, reduction, groups in settings:
        inner = width * (18 / (2 * reduction + 9 / groups)) ** 0.5
        expect(
            ask(call, answer, width, reduction, groups),
            inner * reduction,
            "the width",
            {
                "This is the number of channels of the bottleneck's 3×3 convolution: asked for "
                "are those of its output.": inner,
                "This is a ratio of weights times the width: weights grow as the square of the "
                "width.": inner**2 / width * reduction,
                "Weights grow as the square of the width: the ratio of weights is not the ratio of "
                "widths.": (inner * reduction) ** 2 / width,
                "There are two 1×1 convolutions in a bottleneck.": reduction
                * width
                * (18 / (reduction + 9 / groups)) ** 0.5,
                "The basic block has two convolutions.": inner * reduction / 2**0.5,
                "Groups divide the weights of the 3×3 convolution.": reduction
                * width
                * (18 / (2 * reduction + 9)) ** 0.5,
                "Groups divide the weights of the 3×3 convolution once.": reduction
                * width
                * (18 / (2 * reduction + 9 / groups**2)) ** 0.5,
            },
        )
    return "At your widths both blocks have equally many weights."


@checks
def seen_share(answer: Callable, settings: Iterable[Sequence] = SHARES) -> str:
    """Does `answer` give the share of input pixels that a bottleneck looks at?

    `answer(stride_on, height, width, stride)`, between 0 and 1, for a block with a projection:
    the pixels on which some pixel of the output depends, in evaluation mode.
    """
    for stride_on, height, width, stride in settings:
        size = height, width

        def lines(size, stride_on, stride=stride):
            reach = (0,) if stride_on == "1x1" else (-1, 0, 1)
            seen = {p + r for p in range(0, size, stride) for r in reach}
            return len(seen & set(range(size))) / size

        def share(stride_on, height=height, width=width):
            return lines(height, stride_on) * lines(width, stride_on)

        other = models.STRIDE_ON[1 - models.STRIDE_ON.index(stride_on)]
        mistakes = {
            "The two versions are mixed up: which of the convolutions reads the whole "
            "input?": share(other),
            "The stride goes in both directions.": lines(height, stride_on),
            "Sizes that the stride does not divide: the first pixel counts, and then every "
            "stride-th.": 1 / stride**2,
            "Sizes that the stride does not divide: the last, incomplete step has a pixel that "
            "is looked at.": (height // stride) * (width // stride) / (height * width),
        }
        if stride_on == "3x3":
            mistakes["A 3×3 convolution with a large stride leaves gaps between its windows."] = 1.0
            over = [len({p + r for p in range(0, n, stride) for r in (-1, 0, 1)}) for n in size]
            mistakes["At the border the window hangs over the image: there is no pixel there."] = (
                over[0] * over[1] / (height * width)
            )
        got = ask(call, answer, stride_on, height, width, stride)
        expect(got, share(stride_on), "the share", mistakes)
    return "Your shares are right."


# Section 4.4: whole networks.


@checks
def resnet_cost(answer: Callable, settings: Iterable[Sequence] = COSTS) -> str:
    """Does `answer` give a network's parameters and multiply-adds from its numbers of blocks?

    `answer(blocks, bottleneck, height, width, stride_on)`, two whole numbers, for the networks of
    He et al. (2016a), table 1: `blocks` of each stage, basic blocks or bottlenecks, color images
    of height × width, 1000 classes, option B. Compared with `models.ResNet`, to the last number.
    """
    for args in settings:
        blocks, bottleneck, height, width, stride_on = args
        right = _counted(*args)
        got = ask(call, answer, list(blocks), bottleneck, height, width, stride_on)
        got = _several(got, 2, "parameters and multiply-adds")
        rows = list(_table(*args))
        halved = list(_table(*args, down=lambda size: size // 2))
        swapped = _macs(_table(blocks, bottleneck, height, width, _other(stride_on)))
        everywhere = _table(*args, down=lambda size: size)
        normalized = sum(row[3] for row in rows if row[0] != "fc")
        without = {
            kind: [row for row in rows if row[0] != kind] for kind in ("shortcut", "fc", "conv1")
        }
        first = [row for n, row in enumerate(rows) if n != _first_projection(rows)]
        _expect_count(
            got[0],
            right[0],
            "parameters",
            {
                "The projections on the shortcuts are forgotten.": _weights(without["shortcut"]),
                "The projection of the first stage is forgotten: it changes the channels, though "
                "not the size.": _weights(first) if bottleneck else -1,
                "Batch normalization is forgotten: two parameters for each channel.": right[0]
                - 2 * normalized,
                "Batch normalization has two parameters a channel; the running mean and variance "
                "are no parameters.": right[0] + 2 * normalized,
                "The biases of the convolutions are counted: they have none.": right[0]
                + normalized,
                "The linear layer is forgotten.": _weights(without["fc"]),
                "The linear layer's biases are forgotten.": right[0] - 1000,
                "The 7×7 convolution is forgotten.": _weights(without["conv1"]),
            },
        )
        _expect_count(
            got[1],
            right[1],
            "multiply-adds",
            {
                "You count a multiplication and an addition as two: a multiply-add is one.": 2
                * right[1],
                "The projections' multiply-adds are forgotten.": _macs(without["shortcut"]),
                "The projection of the first stage is forgotten in the multiply-adds.": _macs(first)
                if bottleneck
                else -1,
                "The linear layer's multiply-adds are forgotten.": _macs(without["fc"]),
                "The 7×7 convolution's multiply-adds are forgotten.": _macs(without["conv1"]),
                "v1 and v1.5 are mixed up: the first convolution of a stage works on the larger "
                "image where the 3×3 has the stride.": swapped,
                "At an odd size the image is halved and rounded up.": _macs(halved),
                "Every layer is counted at the size of the input.": _macs(everywhere),
            },
        )
    return "Parameters and multiply-adds are the library's, to the last one."


def _counted(blocks, bottleneck, height, width, stride_on) -> tuple[int, int]:
    block = partial(models.Bottleneck, stride_on=stride_on) if bottleneck else models.BasicBlock
    with torch.device("meta"):
        net = models.ResNet(blocks, block=block)
    return probes.parameters(net), probes.multiply_adds(net, 3, height, width)


def _table(blocks, bottleneck, height, width, stride_on, down=lambda size: -(-size // 2)):
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
                yield "shortcut", 1, channels, out, *size
            channels = out
    yield "fc", 1, channels, 1000, 1, 1


def _weights(rows) -> int:
    return sum(k * k * i * o + (o if kind == "fc" else 2 * o) for kind, k, i, o, *_ in rows)


def _macs(rows) -> int:
    return sum(k * k * i * o * height * width for _, k, i, o, height, width in rows)


def _first_projection(rows) -> int:
    return next((n for n, row in enumerate(rows) if row[0] == "shortcut"), -1)


def _other(stride_on: str) -> str:
    return models.STRIDE_ON[1 - models.STRIDE_ON.index(stride_on)]


@checks
def bottleneck_network(answer: Callable, settings: Iterable[Sequence] = NETWORKS) -> str:
    """Does `answer(state, stride_on)` build the network that a `state_dict` belongs to?

    `state` holds the float32 weights of a network of bottlenecks with torchvision's names; its
    numbers of blocks, channels and classes are to be read from it. The result is that network with
    these weights, in evaluation mode, ready for images. Compared with `models.ResNet`, in outputs.
    `settings` are tuples of blocks, width, in_channels, num_classes, stride_on.
    """
    for blocks, width, in_channels, num_classes, stride_on in settings:
        nets = {}
        for version in models.STRIDE_ON:
            nets[version] = models.ResNet(
                blocks,
                block=partial(models.Bottleneck, stride_on=version),
                widths=[width * 2**stage for stage in range(4)],
                in_channels=in_channels,
                num_classes=num_classes,
            )
        state = random_state(lambda net=nets["3x3"]: net, [])
        state = {name: value.float() for name, value in state.items()} | {
            name: value for name, value in state.items() if not value.is_floating_point()
        }
        for net in nets.values():
            net.double().eval().load_state_dict(state)
        right, other = nets[stride_on], nets[_other(stride_on)]
        x = random(2, in_channels, 64, 96)
        got = ask(call_the_network, answer, state, stride_on, x)
        mistakes = {
            "The stride stands in the other place: these are the outputs of "
            f"{'v1.5' if stride_on == '1x1' else 'v1'}.": other(x),
            "The network is still in training mode: it normalizes with the batch's own mean and "
            "variance.": _in_training(right, x),
        }
        expect(got, right(x), "the network's output", mistakes)
    return "Your network has read its weights, and gives the library's outputs."


def _in_training(net: nn.Module, x: Tensor) -> Tensor:
    """What `net` gives in training mode; it is in evaluation mode before and after."""
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        output = net.train()(x)
    net.eval().load_state_dict(state)
    return output


# Section 4.6: memory.


def _memory(blocks: int, segments: int, a: float, b: float) -> float:
    return a * segments + b * -(-blocks // segments)


@checks
def checkpoint_memory(least_memory: Callable, deepest: Callable) -> str:
    """Are these the least memory of so many blocks, and the most blocks for so much memory?

    Checkpointing keeps each segment's input (`a` each) and, of the longest segment, all that its
    blocks keep (`b` each): (4.2), for whole numbers. `least_memory(blocks, a, b)` gives the best
    number of segments and the memory that it takes; `deepest(memory, a, b)` the largest number of
    blocks that `memory`, a + b or more, is enough for. Chen et al. (2016), section 4.
    """
    drawn = Random()
    cases = [(71, 2, 7), (89, 2, 9), (100, 3, 7), (30, 5, 3)]
    cases.append((drawn.randint(40, 200), drawn.randint(1, 3), drawn.randint(5, 20)))
    for blocks, a, b in cases:
        every = range(1, blocks + 1)
        best = min(_memory(blocks, s, a, b) for s in every)
        optimal = [s for s in every if _memory(blocks, s, a, b) == best]
        got = ask(call, least_memory, blocks, a, b)
        segments, memory = _several(got, 2, "the number of segments and the memory")
        if segments not in optimal:
            root = (blocks * b / a) ** 0.5
            near = [f(root) for f in (int, round, lambda s: int(s) + 1)]
            whole = [s for s in every if blocks % s == 0]
            dividing = min(whole, key=lambda s: _memory(blocks, s, a, b))
            lengths = [-(-blocks // s) for s in optimal] + [blocks / s for s in optimal]
            upside_down = round((blocks * a / b) ** 0.5)
            mistakes = [
                (near, "The square root is where the least lies for fractions: with whole "
                 "segments, compare the numbers around it, or all."),
                ([dividing], "Segments may differ in length: their number need not divide the "
                 "number of blocks."),
                ([round(blocks**0.5)], "The square root of the number of blocks is best only if "
                 "a and b are equal."),
                ([upside_down], "a and b are mixed up: a is paid for each segment, b for each "
                 "block of the longest."),
                (lengths, "This is the length of a segment: asked for is their number."),
            ]  # fmt: skip
            for wrong, message in mistakes:
                if segments in wrong:
                    raise Mistake(message)
            raise Mistake(
                f"For {blocks} blocks, a = {a} and b = {b}, {segments} segments are not the best."
            )
        _expect_count(
            memory,
            best,
            "the memory",
            {
                "The longest segment has a whole number of blocks: round up.": a * segments
                + b * blocks / segments,
                "The longest segment has a whole number of blocks: round up, not down.": a
                * segments
                + b * (blocks // segments),
                "This is the formula's least: with whole segments it takes a little more.": 2
                * (a * b * blocks) ** 0.5,
            },
        )
    for memory, a, b in ((108, 4, 9), (40, 1, 6), (9, 1, 8), (drawn.randint(60, 300), 1, 7)):
        right = max(s * int((memory - a * s) // b) for s in range(1, memory // a + 1))
        length = int((memory - a * (s := round(memory / a / 2))) // b)
        _expect_count(
            ask(call, deepest, memory, a, b),
            right,
            f"the blocks for a memory of {memory}, a = {a}, b = {b}",
            {
                "This is without checkpointing.": memory // b,
                "This is with one segment, which still needs its input.": (memory - a) // b,
                "The formula's optimum is no whole number: try whole numbers of segments.": int(
                    memory**2 / (4 * a * b)
                ),
                "Half of the memory for inputs is where the best lies for fractions: try all "
                "numbers of segments.": s * length,
                "A segment has a whole number of blocks: round down within each segment.": max(
                    int(s * (memory - a * s) / b) for s in range(1, memory // a + 1)
                ),
            },
        )
    return "Memory and depth are right; four times as deep takes about twice the memory."


def make_segment() -> nn.Sequential:
    """Three convolutions with batch normalization and ReLU: (N, 4, H, W) to the same, float64."""
    layers = []
    for _ in range(3):
        layers += [models.conv3x3(4, 4), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers).double()


def _whole(segment: nn.Module, x: Tensor) -> Tensor:
    return segment(x)


@checks
def checkpointing(answer: Callable) -> str:
    """Does `answer(segment, x)` run the module `segment`, and run it again to go back?

    Its output is `segment(x)`. After the forward pass nothing is kept of what `segment` computes
    inside; the backward pass runs it a second time, and gives the gradients at `x` and at the
    segment's weights, whether or not `x` needs one itself. Chen et al. (2016).
    """
    state = random_state(make_segment, [])
    x = random(8, 4, 12, 10)
    upstream = random(*x.shape)
    for of_images in (False, True):
        right = run_segment(_whole, state, x, of_images, upstream)
        ones = run_segment(_whole, state, x, of_images, torch.ones_like(upstream))
        got = ask(run_segment, answer, state, x, of_images, upstream)
        expect(got["output"], right["output"], "the output")
        if got["kept"] > right["kept"] / 2:
            raise Mistake(
                "After the forward pass the segment's inner activations are still there: run it "
                "without recording, and keep its input only."
            )
        if not got["learns"]:
            raise Mistake(
                "The output does not require a gradient, so nothing can go back"
                + (
                    ", where x is an image that needs none: the weights must be among what the "
                    "function is applied to."
                    if of_images
                    else ": wrap the two passes in a `torch.autograd.Function`."
                )
            )
        if got["runs"] == [1, 1]:
            raise Mistake("The backward pass does not run the segment again.")
        for name, gradient in right["gradients"].items():
            found = got["gradients"].get(name)
            missing = (
                "The gradient at the input is missing: return it from the backward pass."
                if name == "input"
                else "The weights get no gradient: the backward pass has to give theirs too."
            )
            mistakes = {
                missing: torch.zeros_like(gradient),
                "The backward pass does not use what comes in from the layers "
                "behind: start it with the gradient at the output.": ones["gradients"][name],
                "The gradient comes twice: it is both returned and added by a "
                "`backward()` inside.": 2 * gradient,
            }
            expect(found, gradient, f"the gradient at {name}", mistakes)
        if got["runs"] != [1, 2]:
            raise Mistake("The segment runs more than twice: once in each pass is enough.")
    return "Equal outputs and gradients, one more run of the segment, and little kept."


# Section 4.7: stochastic depth.


@checks
def stochastic_depth(probabilities: Callable, stochastic_sum: Callable) -> str:
    """Are these the probabilities of survival, and the block that survives image by image?

    `probabilities(blocks, last)` is the list p_1 … p_L of Huang et al. (2016), section 3, linear
    from the input, which survives surely, to `last`. `stochastic_sum(shortcut, layers, survival,
    training)` takes both branches of a block, (N, C, H, W), and gives its output: in training
    relu(shortcut + layers) for each image with probability `survival`, and else relu(shortcut); in
    evaluation relu(shortcut + survival × layers).
    """
    for blocks, last in ((3, 0.4), (9, 0.5), (54, 0.8)):
        numbers = torch.arange(1, blocks + 1, dtype=torch.float64)
        right = 1 - numbers / blocks * (1 - last)
        mistakes = {
            "The first block is number 1, not 0: only the input survives surely.": 1
            - (numbers - 1) / blocks * (1 - last),
            "The input counts as layer 0: the first block's probability is below 1 already.": 1
            - (numbers - 1) / (blocks - 1) * (1 - last),
            "These are the probabilities of being left out.": 1 - right,
            "The order is reversed: the first block is the surest.": right.flip(0),
            "All blocks have the last one's probability: it falls from block to block.": (
                torch.full_like(right, last)
            ),
        }
        expect(ask(call, probabilities, blocks, last), right, "the list", mistakes)
    _check_evaluation(stochastic_sum)
    for survival in (0.3, 1.0, 0.8):
        _check_training(stochastic_sum, survival)
    return "The probabilities are right, and so are the draws, image by image, and the evaluation."


def _check_evaluation(answer: Callable) -> None:
    x, g, upstream = random(4, 3, 5, 6), random(4, 3, 5, 6), random(4, 3, 5, 6)
    p = 0.7
    got = ask(call_with_options, answer, [x, g], [p, False], upstream)
    whole, alone = F.relu(x + g), F.relu(x)
    if got["output"].shape == x.shape:
        images = zip(got["output"], whole, alone, strict=True)
        kinds = [same(o, w) or same(o, a) for o, w, a in images]
        if all(kinds) and not same(got["output"], whole) and not same(got["output"], alone):
            raise Mistake("In evaluation nothing is drawn: all layers take part, weighted.")
    right = F.relu(x + p * g)
    mistakes = {
        "In evaluation the layers are not weighted: they count with the probability of "
        "survival.": whole,
        "In evaluation the layers are missing: all take part, weighted.": alone,
        "In evaluation the shortcut is weighted too: it always survives.": F.relu(p * (x + g)),
        "In evaluation the weight is the probability of being left out.": F.relu(x + (1 - p) * g),
        "In evaluation the layers are divided by the probability: it is the other way "
        "round.": F.relu(x + g / p),
        "There is no ReLU behind the addition.": x + p * g,
    }
    expect(got["output"], right, "the output in evaluation", mistakes)
    active = (right > 0) * upstream
    wanted = {"shortcut": active, "layers": p * active}
    _expect_gradients(got["gradients"], wanted, " in evaluation")


def _check_training(answer: Callable, survival: float) -> None:
    count = 4000  # so that eight standard deviations of the share are 0.06
    x, g, upstream = random(count, 2, 1, 3).abs() + 0.01, *(random(count, 2, 1, 3) for _ in "gu")
    got = ask(call_with_options, answer, [x, g], [survival, True], upstream)
    if got["output"].shape != x.shape:
        raise Mistake(
            f"In training the output has shape {tuple(got['output'].shape)}, and should have "
            f"that of the inputs, {tuple(x.shape)}."
        )
    kept, dropped = (_near(got["output"], F.relu(value)) for value in (x + g, x))
    if not (kept | dropped).all():
        _explain_training(got["output"], x, g, survival)
    by_image = kept.flatten(1)
    if (by_image.any(1) & ~by_image.all(1)).any():
        raise Mistake(
            "A draw holds for a whole image, all its channels and pixels: draw N numbers."
        )
    kept = by_image.all(1)
    share = kept.double().mean().item()
    if survival < 1 and share in (0, 1):
        raise Mistake("All images of a batch share one fate: draw a number for each.")
    if abs(share - survival) > 0.06:
        if abs(share - (1 - survival)) < 0.06:
            raise Mistake("The probability is turned round: `survival` is that of taking part.")
        raise Mistake(
            f"In training the layers take part in {share:.0%} of the images, where `survival` is "
            f"{survival:g}."
        )
    if survival < 1:
        again = ask(call_with_options, answer, [x, g], [survival, True], upstream)["output"]
        if same(again, got["output"]):
            raise Mistake("Each call draws the same images: don't set a seed inside.")
    active = (got["output"] > 0) * upstream
    wanted = {"shortcut": active, "layers": active * kept[:, None, None, None]}
    _expect_gradients(got["gradients"], wanted, " in training")


def _near(got: Tensor, right: Tensor) -> Tensor:
    return torch.isclose(got.double(), right, rtol=0, atol=1e-9)


def _explain_training(output: Tensor, x: Tensor, g: Tensor, p: float) -> None:
    alternatives = {
        "In training the layers are divided by the probability of survival, as well as weighted in "
        "evaluation: one of the two is enough, here the latter.": (x + g / p, x),
        "In training nothing is drawn: the layers are weighted instead.": (x + p * g, x + p * g),
        "In training the weight is applied as well as the draw: it belongs to the evaluation.": (
            x + p * g,
            x,
        ),
        "Where the layers are left out the shortcut is gone too: it always survives.": (
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
        raise Mistake("There is no ReLU behind the addition.")
    raise Mistake("In training some images are neither relu(shortcut + layers) nor relu(shortcut).")
