"""The training loss around the weights that training found, plain-56 against ResNet-56.

Slices along random directions, normalized filter by filter: Li et al. (2018), section 4. The
loss is that of `looked_at` training images in evaluation mode, so that it is a function of the
weights alone. Away from the trained weights batch normalization then divides by statistics that
no longer fit; along the lines the loss is also measured with the statistics of these images.

    python -m resnets run loss_surface --scale hour --seed 0
"""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
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

NETWORKS = ("plain-56", "ResNet-56")
REACH = 1.0


@dataclass(frozen=True)
class Config:
    """`lines` directions with `points` points each, and a plane of `grid` by `grid` points.

    All reach from -1 to 1: as far as each filter is long.
    """

    images: int
    stem: str
    recipe: Recipe
    looked_at: int
    lines: int
    points: int
    grid: int


CONFIGS = {
    "quick": Config(
        images=10_000,
        stem="stride2",
        recipe=Recipe(epochs=2, lr=0.05, weight_decay=1e-4),
        looked_at=250,
        lines=3,
        points=21,
        grid=11,
    ),
    "hour": Config(
        images=10_000,
        stem="stride2",
        recipe=Recipe(epochs=10, lr=0.05, weight_decay=1e-4),
        looked_at=250,
        lines=5,
        points=41,
        grid=21,
    ),
    "full": Config(
        images=60_000,
        stem="stride1",
        recipe=Recipe(epochs=30, lr=0.05, weight_decay=1e-4),
        looked_at=5_000,
        lines=10,
        points=51,
        grid=51,
    ),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train both networks and measure the loss around where they arrived.

    The measured tables: "line" (direction, step, loss, `renewed`: the loss with the statistics of
    the images looked at) and "plane" (x, y, loss).
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    looked_at = train[: config.looked_at]
    history, final = {}, {}
    measured = {"line": [], "plane": []}
    for name in NETWORKS:
        seed_everything(seed)
        model = network(name, config.stem)
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        history[name] = fit(
            model, train, config.recipe, seed=seed, checkpoint=checkpoint, label=f"{name:9}"
        )
        loss, accuracy = evaluate(model, looked_at)
        final[name] = {
            "train_loss": history[name][-1]["train_loss"],
            "loss_looked_at": loss,
            "accuracy_looked_at": accuracy,
        }
        generator = torch.Generator().manual_seed(seed)
        tables = {
            "line": lines(model, looked_at, config, generator),
            "plane": plane(model, looked_at, config.grid, generator),
        }
        for table, rows in tables.items():
            measured[table] += [{"network": name, **row} for row in rows]
    return new_run(
        name="loss_surface",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        measured=measured,
        device=device,
    )


def lines(
    model: ResNet, images: ImageSet, config: Config, generator: torch.Generator
) -> Iterator[dict]:
    normalizing = copy.deepcopy(model).train()
    x, labels = next(batches(images, len(images)))
    for number in range(config.lines):
        direction = probes.filter_direction(model, generator)
        for step in torch.linspace(-REACH, REACH, config.points).tolist():
            row = {"direction": number, "step": step}
            with probes.moved(model, (step, direction)):
                row["loss"] = evaluate(model, images)[0]
            with probes.moved(normalizing, (step, direction)), torch.no_grad():
                row["renewed"] = F.cross_entropy(normalizing(x), labels).item()
            yield row


def plane(model: ResNet, images: ImageSet, grid: int, generator: torch.Generator) -> Iterator[dict]:
    across, up = (probes.filter_direction(model, generator) for _ in range(2))
    steps = torch.linspace(-REACH, REACH, grid).tolist()
    for y in steps:
        for x in steps:
            with probes.moved(model, (x, across), (y, up)):
                yield {"x": x, "y": y, "loss": evaluate(model, images)[0]}
