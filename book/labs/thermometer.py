"""What the lab *Thermometer* shows: signals and gradients, block by block, before training.

The networks are those of section 5.3, from its seeds, on the first images of its batch. Two factors
are added to their blocks: relu(λ · shortcut(x) + β · F(x)); λ = 0 stands for the plain network.
What gradients become in training is taken from the recorded runs `gradient_norms`. The page also
computes a smaller network, which is `small` here.

    PYTHONPATH=book python -m labs.thermometer   # some minutes

writes the script `web/thermometer_data.js`.
"""

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from labs import script
from labs.script import packed, unpacked
from labs.shattering import normals
from resnets import data, probes, runs
from resnets.device import best_device, hardware
from resnets.models import BasicBlock, ResNet, cifar_resnet

DEPTHS = (20, 56, 110)
LAMBDAS, BETAS = (0, 0.5, 0.8, 1, 1.2), (1, 0.1, 0)
PADDINGS = ("zeros", "circular")
SEEDS = 5
BATCH = 32
EPOCHS = (1, 8)  # of the recorded trainings
NOTICE = "Written by `python -m labs.thermometer`."
# Of the small network: channels, pixels a side, images, classes.
CHANNELS, SMALL_SIDE, SMALL_BATCH, CLASSES = 8, 8, 4, 10
# (depth, λ, β, batch normalization, padding); β changes nothing in a plain network.
CASES = [
    case
    for case in product(DEPTHS, LAMBDAS, BETAS, (True, False), PADDINGS)
    if case[1] or case[2] == 1
]


class Scaled(nn.Module):
    """A factor times what a module gives."""

    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.module(x)


def network(
    depth: int, shortcut: float, branch: float, batch_norm: bool, padding: str, seed: int
) -> ResNet:
    """The network of 5.3, with the factor `shortcut` (λ) and `branch` (β) in each of its blocks."""
    torch.manual_seed(seed)
    kind = "identity" if shortcut else "none"
    options = {"stem": "stride2", "in_channels": 1, "num_classes": 10, "batch_norm": batch_norm}
    net = cifar_resnet(depth, shortcut=kind, **options)
    scale(net, shortcut, branch, padding)
    return net


def scale(net: nn.Module, shortcut: float, branch: float, padding: str) -> None:
    """Put λ on each block's shortcut, β on its layers, and the padding on its convolutions."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = padding
    for block in probes.blocks(net).values():
        if shortcut:
            block.downsample = Scaled(block.downsample, shortcut)
            block.bn2 = Scaled(block.bn2, branch)


def small(
    depth: int, shortcut: float, branch: float, batch_norm: bool, padding: str, seed: int
) -> tuple[nn.Sequential, Tensor, Tensor]:
    """The network that the page computes, its images of noise, and their labels; in float64.

    One stage of eight channels, between a ReLU and the mean over the pixels. The numbers are drawn
    in this order: the images, the linear layer, the convolutions.
    """
    blocks = (depth - 2) // 2
    kind = "identity" if shortcut else "none"
    layers = [BasicBlock(CHANNELS, CHANNELS, 1, kind, batch_norm) for _ in range(blocks)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES, bias=False)]
    net = nn.Sequential(nn.ReLU(), *layers, *head).double()
    shape = (SMALL_BATCH, SMALL_SIDE, SMALL_SIDE, CHANNELS)
    fan = 9 * CHANNELS
    sizes = [math.prod(shape), CLASSES * CHANNELS, *[fan * CHANNELS] * (2 * blocks)]
    images, last, *weights = normals(seed, sum(sizes)).split(sizes)
    net[-1].weight = nn.Parameter(last.reshape(CLASSES, CHANNELS) / math.sqrt(CHANNELS))
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    for convolution, weight in zip(convolutions, weights, strict=True):
        drawn = weight.reshape(CHANNELS, CHANNELS, 3, 3) * math.sqrt(2 / fan)
        convolution.weight = nn.Parameter(drawn)
    scale(net, shortcut, branch, padding)
    images = images.reshape(shape).permute(0, 3, 1, 2).requires_grad_()
    return net, images, torch.arange(SMALL_BATCH)


def sizes(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """At the input of each block: the signal's root mean square, and the gradient's norm.

    (2, blocks), the signal over that at the first block, the gradient over that at the last.
    """
    signal = []

    def keep(_, arguments: tuple[Tensor]) -> None:
        signal.append(arguments[0].square().mean().sqrt().item())

    for block in probes.blocks(net).values():
        block.register_forward_pre_hook(keep)  # the copy that the probe runs has it as well
    gradient = list(probes.gradient_norms(net, images, labels).values())
    found = torch.tensor([signal, gradient], dtype=torch.float64)
    return found / torch.stack([found[0, 0], found[1, -1]])[:, None]


def batch() -> tuple[Tensor, Tensor]:
    """The first of the images and labels that section 5.3 measures with."""
    train, _ = data.fashion_mnist()
    if train.source != data.REAL:
        raise SystemExit("The lab shows Fashion-MNIST: name its folder in RESNETS_DATA.")
    return next(data.batches(train.to(best_device()), BATCH))


def spread(found: Tensor) -> Tensor:
    """Lowest, median and highest of the seeds: (seeds, …) to (3, …)."""
    return torch.stack([found.amin(0), found.median(0).values, found.amax(0)])


def measured(case: tuple, images: Tensor, labels: Tensor) -> Tensor:
    """`spread` of the `sizes` of a case: (3, 2, blocks)."""
    nets = (network(*case, seed).to(images.device) for seed in range(SEEDS))
    return spread(torch.stack([sizes(net, images, labels) for net in nets]))


def trained() -> dict[tuple, Tensor]:
    """Of recorded trainings, by case and epoch: `spread` of the gradient's norms, (3, blocks).

    A network that did not come through its training in every seed, or whose gradient was zero
    somewhere, is left out.
    """
    found, recorded = {}, runs.recorded("gradient_norms", "hour")
    for depth, shortcut, batch_norm in product(DEPTHS, (0, 1), (True, False)):
        name = f"{'ResNet' if shortcut else 'plain'}-{depth}{'' if batch_norm else ', no BN'}"
        for epoch in EPOCHS:
            rows = [run.history[name][epoch - 1] for run in recorded if name in run.history]
            norms = [[n for column, n in row.items() if "gradient" in column] for row in rows]
            each = torch.tensor(norms, dtype=torch.float64)
            if len(rows) == len(recorded) and (each > 0).all():
                case = (depth, shortcut, 1, batch_norm, "zeros")
                found[case, epoch] = spread(each / each[:, -1:])
    return found


def key(case: tuple, epoch: int = 0) -> str:
    """A case as the page names it: "56-08-1-bn-zeros-0"."""
    depth, shortcut, branch, batch_norm, padding = case
    factors = (str(factor).replace(".", "") for factor in (shortcut, branch))
    return "-".join([str(depth), *factors, "bn" if batch_norm else "none", padding, str(epoch)])


def logs(values: Tensor) -> bytes:
    """Thousandths of the decimal logarithm, 16 bits each."""
    return values.log10().mul(1000).round().numpy().astype("<i2").tobytes()


def content(before: dict[tuple, Tensor], after: dict[tuple, Tensor], conditions: list[str]) -> dict:
    """What the script says: `curves` has the logarithms, and `at` says where each case begins."""
    at, curves = {}, b""
    for case, values in before.items():
        at[key(case)] = len(curves) // 2
        curves += logs(values)
    for (case, epoch), values in after.items():
        at[key(case, epoch)] = len(curves) // 2
        curves += logs(values)
    return {
        "seeds": SEEDS,
        "images": BATCH,
        "conditions": conditions,
        "at": at,
        "curves": packed(curves),
    }


def read_script() -> dict:
    """The script's content, with `curves` as numbers: by key, what was measured, as `measured`."""
    found = script.read("thermometer")
    numbers = 10 ** (np.frombuffer(unpacked(found["curves"]), "<i2") / 1000)
    curves = {}
    for name, start in found["at"].items():
        depth, *_, epoch = name.split("-")
        shape = (3, 2, -1) if epoch == "0" else (3, -1)
        blocks = (int(depth) - 2) // 2
        count = 3 * blocks * (2 if epoch == "0" else 1)
        curves[name] = torch.from_numpy(numbers[start : start + count]).reshape(shape)
    return found | {"curves": curves}


def table() -> str:
    """The figure that stands where there is no lab: first over last block, at depth 56."""
    curves = read_script()["curves"]
    rows = [["gradient, first over last block", "plain", *(f"λ = {each}" for each in LAMBDAS[1:])]]
    rows.append(["---"] * len(rows[0]))
    for batch_norm, branch in product((True, False), BETAS):
        row = [f"{'' if batch_norm else 'no '}BN, β = {branch}"]
        for shortcut in LAMBDAS:
            case = (56, shortcut, branch, batch_norm, "zeros")
            row.append(written(curves[key(case)][1, 1, 0].item()) if case in CASES else "–")
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def written(value: float) -> str:
    """Two digits, as a power of ten if the number is far from 1."""
    return f"{value:.2g}" if 0.01 <= value < 100 else f"{value:.1e}"


def main() -> None:
    """Measure, and write the script."""
    images, labels = batch()
    before = {case: measured(case, images, labels) for case in CASES}
    here = f"{hardware(images.device)}, float32, torch {torch.__version__}"
    there = runs.conditions(runs.recorded("gradient_norms", "hour")).splitlines()[1]
    script.write("thermometer", NOTICE, content(before, trained(), [here, there]))


if __name__ == "__main__":
    main()
