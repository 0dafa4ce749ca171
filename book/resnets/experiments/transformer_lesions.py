"""Trained transformers are taken apart: sublayers and blocks deleted, neighbors swapped.

The lesions of `lesions`, in networks without batch normalization: there are no statistics that a
lesion makes stale. A deleted sublayer adds nothing to the stream; a deleted block is two of them,
its attention and its MLP. Nothing is trained after a lesion.

    python -m resnets run transformer_lesions --scale hour --seed 0
"""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from resnets.data import ImageSet, batches, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.transformer_depth import PLACES
from resnets.runs import Run, new_run
from resnets.training import Recipe, evaluate, fit
from resnets.transformer import Transformer, states, swapped, without


@dataclass(frozen=True)
class Config:
    """`networks` such as "pre-norm-6" are trained on `images`; `tested` images judge each lesion.

    `several` blocks at once are deleted, `draws` times at random.
    """

    networks: tuple[str, ...]
    images: int
    recipe: Recipe
    tested: int
    several: tuple[int, ...]
    draws: int


RECIPE = Recipe(epochs=4, batch_size=64, lr=0.03, weight_decay=1e-4)
CONFIGS = {
    "quick": Config(("pre-norm-6",), 5_120, replace(RECIPE, epochs=2), 500, (2, 4), 3),
    "hour": Config(
        ("post-norm-6", "pre-norm-6", "pre-norm-24"), 10_000, RECIPE, 1_000, (2, 4, 8, 16), 5
    ),
    "full": Config(
        ("post-norm-6", "pre-norm-6", "pre-norm-24"),
        60_000,
        replace(RECIPE, epochs=20),
        10_000,
        (2, 4, 8, 16),
        10,
    ),
}


def network(name: str) -> Transformer:
    """A transformer of 28×28 images by its name, such as "pre-norm-24"."""
    place, _, blocks = name.rpartition("-")
    return Transformer(int(blocks), PLACES[place])


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network, then take it apart.

    `final` has the accuracy of the whole networks on the test images; the measured tables have
    what is left of it: "deleted" (`part` "attention", "MLP" or "block" of each block, from 0),
    "several" (random blocks at once), "swapped" (each block and the next). "added" has the norm of
    what each sublayer adds, over that of the stream that it adds to.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    train, test = train[: config.images], test[: config.tested]
    history, final = {}, {}
    measured = {table: [] for table in ("deleted", "several", "swapped", "added")}
    for name in config.networks:
        seed_everything(seed)
        model, draw = network(name), random.Random(seed)
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        history[name] = fit(
            model, train, config.recipe, seed=seed, checkpoint=checkpoint, label=f"{name:11}"
        )
        final[name] = {"accuracy": evaluate(model, test)[1]}
        tables = {
            "deleted": delete_each(model, test),
            "several": delete_several(model, test, config, draw),
            "swapped": swap_neighbors(model, test),
            "added": added(model, test),
        }
        for table, rows in tables.items():
            measured[table] += [{"network": name, **row} for row in rows]
    return new_run(
        name="transformer_lesions",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        measured=measured,
        device=device,
    )


def delete_each(model: Transformer, test: ImageSet) -> Iterator[dict]:
    for block in range(_blocks(model)):
        first, second = 2 * block, 2 * block + 1
        parts = {"attention": (first,), "MLP": (second,), "block": (first, second)}
        for part, numbers in parts.items():
            with without(model, *numbers):
                yield {"block": block, "part": part, "accuracy": evaluate(model, test)[1]}


def delete_several(
    model: Transformer, test: ImageSet, config: Config, draw: random.Random
) -> Iterator[dict]:
    for count in config.several:
        if count > _blocks(model):
            continue
        for _ in range(config.draws):
            chosen = draw.sample(range(_blocks(model)), count)
            numbers = [2 * block + part for block in chosen for part in (0, 1)]
            with without(model, *numbers):
                yield {"blocks": count, "accuracy": evaluate(model, test)[1]}


def swap_neighbors(model: Transformer, test: ImageSet) -> Iterator[dict]:
    for block in range(_blocks(model) - 1):
        with swapped(model, (block, block + 1)):
            yield {"block": block, "accuracy": evaluate(model, test)[1]}


@torch.no_grad()
def added(model: Transformer, test: ImageSet) -> Iterator[dict]:
    """A row for each sublayer: `length`, the norm of F over that of x, over a batch of images.

    Post-norm, where the sum is normalized, F is what the layers give, too.
    """
    x, _ = next(batches(test, 500))
    before = states(model, x)[:-1]
    for number, (sublayer, stream) in enumerate(zip(model.sublayers, before, strict=True)):
        given = sublayer.norm(stream) if sublayer.norm_first else stream
        yield {"sublayer": number, "length": (sublayer.layers(given).norm() / stream.norm()).item()}


def _blocks(model: Transformer) -> int:
    return len(model.sublayers) // 2
