"""Growing: train a shallow network, insert blocks into it, train on. Is it worth it?

After Chen et al. (2016), "Net2Net", section 2, with residual blocks in place of copied layers: a
block whose last batch normalization has weight zero changes nothing when it is inserted. Each
network is trained twice in a row with the same recipe, and judged on 5,000 images held out of the
training set; the test set is not touched.

    python -m resnets run growth --scale quick --seed 0
"""

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from resnets.data import ImageSet, batches, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import BasicBlock, ResNet, cifar_resnet
from resnets.runs import Run, new_run
from resnets.training import Recipe, evaluate, fit

HELD_OUT = 5_000
SHALLOW, DEEP = 8, 20
BLOCKS = ("zero", "fresh", "plain")
# For each network: its depth in the first half, and what is inserted before the second.
NETWORKS = {
    "ResNet-8 throughout": (SHALLOW, None),
    "ResNet-20 throughout": (DEEP, None),
    "8 → 20, zero residual": (SHALLOW, "zero"),
    "8 → 20, fresh residual": (SHALLOW, "fresh"),
    "8 → 20, fresh plain": (SHALLOW, "plain"),
}
ONE_CYCLE = "ResNet-20, one schedule"


@dataclass(frozen=True)
class Config:
    images: int
    recipe: Recipe


CONFIGS = {
    "quick": Config(5_000, Recipe(epochs=2, batch_size=64, lr=0.05, weight_decay=1e-4)),
    "hour": Config(10_000, Recipe(epochs=10, lr=0.05, weight_decay=1e-4)),
    "full": Config(55_000, Recipe(epochs=10, lr=0.05, weight_decay=1e-4)),
}


def grow(net: ResNet, added: int, kind: str) -> ResNet:
    """A copy of `net` with `added` blocks more at the end of each stage; `net` is unchanged.

    `kind` is "zero" (residual blocks that add nothing yet: their last batch normalization has
    weight zero), "fresh" (residual blocks as initialized) or "plain" (fresh, without shortcut).
    """
    if kind not in BLOCKS:
        raise ValueError(f"there is no kind of block {kind!r}: choose one of {', '.join(BLOCKS)}")
    net = copy.deepcopy(net)
    shortcut = "none" if kind == "plain" else "identity"
    for name in net.stages:
        stage = net.get_submodule(name)
        channels = stage[-1].conv2.out_channels
        for _ in range(added):
            block = BasicBlock(channels, channels, shortcut=shortcut)
            for conv in (block.conv1, block.conv2):
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            if kind == "zero":
                nn.init.zeros_(block.bn2.weight)
            stage.append(block.to(net.fc.weight.device).train(net.training))
    return net


@torch.no_grad()
def with_new_statistics(net: nn.Module, data: ImageSet) -> nn.Module:
    """A copy of `net` whose batch normalizations have the means and variances of `data`.

    Freshly inserted layers have none yet, and those behind them are out of date.
    """
    net = copy.deepcopy(net).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average over the batches
    for x, _ in batches(data, 500):
        net(x)
    return net.eval()


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each of `NETWORKS` for two halves, and ResNet-20 once for as long in one schedule.

    `final` has the last epoch's `train_loss` and `validation_accuracy`, and the network's own
    `seconds`; networks that begin alike share their first half. The table `insertion` in `measured`
    has the accuracy on the held-out images before and after the blocks were inserted, and after the
    batch normalizations' statistics were estimated anew.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    images = (data or fashion_mnist())[0].to(device)
    train, validation = split(images, min(HELD_OUT, len(images) // 5))
    train = train[: config.images]

    def train_on(net: ResNet, recipe: Recipe, name: str) -> list[dict[str, float]]:
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        options = {"seed": seed, "validation": validation, "checkpoint": checkpoint}
        return fit(net, train, recipe, **options, label=f"{name:22}")

    def network(depth: int) -> ResNet:
        seed_everything(seed)
        return cifar_resnet(depth, stem="stride2", in_channels=1, num_classes=10)

    first, before = {}, {}
    for depth in (SHALLOW, DEEP):
        first[depth] = network(depth)
        before[depth] = train_on(first[depth], config.recipe, f"ResNet-{depth}, first half")

    history, insertion = {}, []
    for name, (depth, kind) in NETWORKS.items():
        net = copy.deepcopy(first[depth])
        if kind is not None:
            seed_everything(seed)
            net = grow(net, (DEEP - SHALLOW) // 6, kind)
            renewed = with_new_statistics(net, train)
            row = {"network": name, "before": before[depth][-1]["validation_accuracy"]}
            row |= {"after": evaluate(net, validation)[1]}
            insertion.append(row | {"new_statistics": evaluate(renewed, validation)[1]})
        history[name] = _joined(before[depth], train_on(net, config.recipe, name))
    twice = replace(config.recipe, epochs=2 * config.recipe.epochs)
    history[ONE_CYCLE] = train_on(network(DEEP), twice, ONE_CYCLE)

    figures = ("train_loss", "validation_accuracy", "seconds")
    made = new_run(
        name="growth",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"held_out": len(validation)},
        data=train.source,
        history=history,
        final={name: {key: rows[-1][key] for key in figures} for name, rows in history.items()},
        measured={"insertion": insertion},
        device=device,
    )
    shared = [rows[len(before[SHALLOW]) - 1]["seconds"] for rows in history.values()]
    once = sum(rows[-1]["seconds"] for rows in before.values()) + shared[-1]
    return replace(made, seconds=made.seconds - sum(shared) + once)


def _joined(first: list[dict], second: list[dict]) -> list[dict]:
    """One history of two trainings, one after the other."""
    last = first[-1]
    later = [row | {key: row[key] + last[key] for key in ("epoch", "seconds")} for row in second]
    return first + later
