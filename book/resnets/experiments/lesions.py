"""Lesions: blocks of trained networks are deleted and swapped, gradients sent down single paths.

After Veit et al. (2016), sections 4 and 5. A deleted block keeps its shortcut, and so do the
blocks that halve the image. In a plain network a deleted block hands its input on; those
that change the shape cannot be deleted and are left out. Nothing is trained after a lesion; what
batch normalization's statistics account for is told apart by estimating them anew.

The residual networks are also read as Euler's method (`euler`): how well does each block follow
its own differential equation, and what becomes of the network if its steps are made finer?

    python -m resnets run lesions --scale hour --seed 0
"""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from resnets import euler, probes
from resnets.data import ImageSet, batches, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import network
from resnets.models import ResNet
from resnets.runs import Run, new_run
from resnets.training import Recipe, evaluate, fit


@dataclass(frozen=True)
class Config:
    """`tested` images judge each lesion, after batch normalization's statistics were estimated anew
    on `renewed_on` training images and without that; `several` blocks at once are deleted or
    swapped, `draws` times at random; as many paths of each length are drawn, on `path_images`
    images. Euler's method goes from `euler_images` images, with each number of `steps`."""

    networks: tuple[str, ...]
    images: int
    stem: str
    recipe: Recipe
    tested: int
    several: tuple[int, ...]
    draws: int
    path_images: int = 32
    renewed_on: int = 1_000
    euler_images: int = 16
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)


CONFIGS = {
    "quick": Config(
        networks=("plain-20", "ResNet-20"),
        images=10_000,
        stem="stride2",
        recipe=Recipe(epochs=3, lr=0.05, weight_decay=1e-4),
        tested=1_000,
        several=(2, 3, 4),
        draws=5,
    ),
    "hour": Config(
        networks=("plain-20", "ResNet-110"),
        images=20_000,
        stem="stride2",
        recipe=Recipe(epochs=6, lr=0.05, weight_decay=1e-4),
        tested=1_000,
        several=(2, 4, 8, 16, 24),
        draws=5,
    ),
    "full": Config(
        networks=("plain-20", "plain-110", "ResNet-20", "ResNet-110"),
        images=60_000,
        stem="stride1",
        recipe=Recipe(epochs=30, lr=0.05, weight_decay=1e-4),
        tested=10_000,
        several=(2, 4, 8, 16, 24),
        draws=10,
    ),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network, then take it apart.

    `final` has the accuracy of the whole networks, and with `renewed` statistics. The measured
    tables have the accuracy that is left on the test images after a lesion: "deleted" (one block)
    and "several" (random blocks at once), both also with `renewed` statistics, and "swapped"
    (random pairs). Of residual networks "paths" has, before and after training, the mean norm of
    the gradient that one path brings to the first block, by the number of blocks whose layers it
    goes through; "euler" is `euler.step_errors`; and "refined" has the accuracy with each
    block's step replaced by several shorter ones.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    train, test = train[: config.images], test[: config.tested]
    history, final = {}, {}
    known = train[: config.renewed_on]
    measured = {t: [] for t in ("deleted", "several", "swapped", "paths", "euler", "refined")}
    for name in config.networks:
        seed_everything(seed)
        model = network(name, config.stem).to(device)
        draw = random.Random(seed)
        with renewed(model, known):
            untrained = list(path_gradients(model, test, config, draw))
        paths = [{"trained": False, **row} for row in untrained]
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        history[name] = fit(
            model, train, config.recipe, seed=seed, checkpoint=checkpoint, label=f"{name:10}"
        )
        final[name] = accuracies(model, test, known)
        paths += [{"trained": True, **row} for row in path_gradients(model, test, config, draw)]
        tables = {
            "deleted": delete_each(model, test, known),
            "several": delete_several(model, test, known, config, draw),
            "swapped": swap_several(model, test, config, draw),
            "paths": paths,
        }
        if name.startswith("ResNet"):
            images, _ = next(batches(test, config.euler_images))
            tables["euler"] = euler.step_errors(model, images, config.steps)
            tables["refined"] = refine(model, test, known)
        for table, rows in tables.items():
            measured[table] += [{"network": name, **row} for row in rows]
    return new_run(
        name="lesions",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        measured=measured,
        device=device,
    )


@contextmanager
def renewed(model: ResNet, images: ImageSet) -> Iterator[None]:
    """Within this context batch normalization has the mean and variance of `images`.

    They are the plain average over batches of 500, as the network computes them within the
    context: a lesion that is made before is part of it.
    """
    before = copy.deepcopy(model.state_dict())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for x, _ in batches(images, 500):
            model(x)
    model.eval()
    try:
        yield
    finally:
        model.load_state_dict(before)
        for norm in norms:
            norm.momentum = momentum


def accuracies(model: ResNet, test: ImageSet, known: ImageSet) -> dict[str, float]:
    """The `accuracy`, and that with the statistics of `known`, `renewed`."""
    with_old = evaluate(model, test)[1]
    with renewed(model, known):
        return {"accuracy": with_old, "renewed": evaluate(model, test)[1]}


def delete_each(model: ResNet, test: ImageSet, known: ImageSet) -> Iterator[dict]:
    for block in _deletable(model):
        with probes.deleted(model, block):
            yield {"block": block, **accuracies(model, test, known)}


def delete_several(
    model: ResNet, test: ImageSet, known: ImageSet, config: Config, draw: random.Random
) -> Iterator[dict]:
    candidates = _deletable(model)
    for count in config.several:
        if count > len(candidates):
            continue
        for _ in range(config.draws):
            with probes.deleted(model, *draw.sample(candidates, count)):
                yield {"blocks": count, **accuracies(model, test, known)}


def swap_several(
    model: ResNet, test: ImageSet, config: Config, draw: random.Random
) -> Iterator[dict]:
    """Disjoint pairs of equal shape; as many as asked for, where the network has so many."""
    blocks = probes.blocks(model)
    for count in (1, *config.several):
        for _ in range(config.draws):
            pairs = [
                (one, two)
                for one, two in combinations(blocks, 2)
                if one.split(".")[0] == two.split(".")[0] and _keeps_shape(blocks[one])
            ]
            chosen = []
            while pairs and len(chosen) < count:
                chosen.append(draw.choice(pairs))
                pairs = [pair for pair in pairs if not set(pair) & set(chosen[-1])]
            if len(chosen) == count:
                with probes.swapped(model, *chosen):
                    yield {"pairs": count, "accuracy": evaluate(model, test)[1]}


def refine(model: ResNet, test: ImageSet, known: ImageSet) -> Iterator[dict]:
    for steps in (1, 2, 4, 8):
        yield {"steps": steps, **accuracies(euler.refined(model, steps), test, known)}


def path_gradients(
    model: ResNet, test: ImageSet, config: Config, draw: random.Random
) -> Iterator[dict]:
    """`norm`: the mean over random paths of the gradient's norm, in evaluation mode."""
    blocks = list(probes.blocks(model))
    if probes.blocks(model)[blocks[0]].downsample is None:
        return
    images, labels = next(batches(test, config.path_images))
    for length in range(len(blocks) + 1):
        norms = []
        for _ in range(config.draws):
            with probes.only_path(model, *draw.sample(blocks, length)):
                norms.append(path_gradient_norm(model, images, labels))
        yield {"length": length, "norm": sum(norms) / len(norms)}


def path_gradient_norm(model: ResNet, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The norm of the mean loss's gradient at the first block's input."""
    kept = []
    first = next(iter(probes.blocks(model).values()))
    handle = first.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    loss = F.cross_entropy(model.eval()(images), labels)
    handle.remove()
    (gradient,) = torch.autograd.grad(loss, kept[0])
    return gradient.norm().item()


def _keeps_shape(block) -> bool:
    return block.conv1.stride == (1, 1) and block.conv1.in_channels == block.conv1.out_channels


def _deletable(model: ResNet) -> list[str]:
    return [
        name
        for name, block in probes.blocks(model).items()
        if block.downsample is not None or _keeps_shape(block)
    ]
