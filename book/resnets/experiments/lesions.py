"""Lesions: blocks of trained networks are deleted and swapped, gradients sent down single paths.

After Veit et al. (2016), sections 4 and 5. A deleted block keeps its shortcut, and so do the
blocks that halve the image. In a plain network a deleted block hands its input on; those
that change the shape cannot be deleted and are left out. Nothing is trained after a lesion.

    python -m resnets run lesions --scale hour --seed 0
"""

import copy
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, islice
from pathlib import Path

import torch
from torch.nn import functional as F

from resnets import probes
from resnets.data import ImageSet, batches, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import network
from resnets.models import ResNet
from resnets.runs import Run, new_run
from resnets.training import Recipe, evaluate, fit


@dataclass(frozen=True)
class Config:
    """`tested` images judge each lesion; `several` blocks at once are deleted or swapped, `draws`
    times at random; as many paths of each length are drawn, on `path_images` images."""

    networks: tuple[str, ...]
    images: int
    stem: str
    recipe: Recipe
    tested: int
    several: tuple[int, ...]
    draws: int
    path_images: int = 32


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
        tested=2_000,
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

    `final` has the accuracy of the whole networks. The measured tables: "deleted" (one block),
    "several" (random blocks at once), "swapped" (random pairs), all with the accuracy that is
    left on the test images, and "paths" (residual networks, before and after training: the mean
    norm of the gradient that one path brings to the first block, by the number of blocks whose
    layers it goes through).
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    train, test = train[: config.images], test[: config.tested]
    history, final = {}, {}
    measured = {"deleted": [], "several": [], "swapped": [], "paths": []}
    for name in config.networks:
        seed_everything(seed)
        model = network(name, config.stem).to(device)
        draw = random.Random(seed)
        untrained = path_gradients(normalizing(model, train), test, config, draw)
        paths = [{"trained": False, **row} for row in untrained]
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        history[name] = fit(
            model, train, config.recipe, seed=seed, checkpoint=checkpoint, label=f"{name:10}"
        )
        final[name] = {"accuracy": evaluate(model, test)[1]}
        paths += [{"trained": True, **row} for row in path_gradients(model, test, config, draw)]
        tables = {
            "deleted": delete_each(model, test),
            "several": delete_several(model, test, config, draw),
            "swapped": swap_several(model, test, config, draw),
            "paths": paths,
        }
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


def normalizing(model: ResNet, train: ImageSet) -> ResNet:
    """A copy whose batch normalization has seen the statistics of some training images."""
    model = copy.deepcopy(model).train()
    with torch.no_grad():
        for x, _ in islice(batches(train, 128), 30):
            model(x)
    return model


def delete_each(model: ResNet, test: ImageSet) -> Iterator[dict]:
    for block in _deletable(model):
        with probes.deleted(model, block):
            yield {"block": block, "accuracy": evaluate(model, test)[1]}


def delete_several(
    model: ResNet, test: ImageSet, config: Config, draw: random.Random
) -> Iterator[dict]:
    candidates = _deletable(model)
    for count in config.several:
        if count > len(candidates):
            continue
        for _ in range(config.draws):
            with probes.deleted(model, *draw.sample(candidates, count)):
                yield {"blocks": count, "accuracy": evaluate(model, test)[1]}


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
