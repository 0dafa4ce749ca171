"""Checks for chapter 2: residual blocks."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from resnets import models
from resnets.check.asking import (
    ask,
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
)

SETTINGS = [  # in_channels, channels, stride, and the size of the input
    (4, 4, 1, 7),
    (3, 6, 2, 8),
    (4, 4, 2, 9),
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
                "bn": "Batch normalization is missing: bn1 and bn2, one behind each convolution.",
                "downsample.0": "Where stride or channels change the shape, the shortcut needs a "
                "projection: `downsample`.",
                "downsample.1": "The shortcut's 1×1 convolution has no batch normalization behind "
                "it: make `downsample` a Sequential of both.",
            },
            unexpected={
                "downsample.0.bias": "The projection has a bias: batch normalization has one.",
                "downsample": "Where the shape stays, the shortcut is `x` itself, without a "
                "projection.",
            },
        )
        expect_convolutions(
            ask(convolutions, make, args),
            convolutions(models.BasicBlock, args),
            {
                "downsample.0 stride": "The projection has no stride: it has to make the image as "
                "small as the two convolutions do.",
                "conv2 stride": "Only the first convolution has the stride.",
            },
        )
        state, x = random_state(models.BasicBlock, args), random(2, args[0], size, size)
        for training in (True, False):
            right, upstream = reference(models.BasicBlock, args, state, x, training)
            got = ask(evaluate, make, args, state, x, upstream, training)
            mistakes = _residual_block_mistakes(args, state, x, training)
            expect(got["output"], right["output"], "the output", mistakes)
            for name, gradient in right["gradients"].items():
                expect(got["gradients"].get(name), gradient, f"the gradient at {name}")
    return "Your block is torchvision's, in outputs and gradients, with and without projection."


def _residual_block_mistakes(args: list, state: dict, x: Tensor, training: bool) -> dict:
    block = models.BasicBlock(*args).double().train(training)
    block.load_state_dict(state)
    layers, shortcut = block.residual(x), block.downsample(x)
    no_relu_inside = block.bn2(block.conv2(block.bn1(block.conv1(x))))
    return {
        "Your shortcut is missing: add `x`, or its projection, before the last ReLU.": F.relu(
            layers
        ),
        "Your shortcut is added after the last ReLU: add first, then the ReLU.": F.relu(layers)
        + shortcut,
        "There is a ReLU between the last batch normalization and the addition: the layers must be "
        "able to subtract.": F.relu(F.relu(layers) + shortcut),
        "There is no ReLU behind the addition.": layers + shortcut,
        "You average the two branches: the block adds them.": F.relu((layers + shortcut) / 2),
        "There is no ReLU between bn1 and conv2.": F.relu(no_relu_inside + shortcut),
    }
