"""From d2l's way of training ResNet-18 on Fashion-MNIST to ours, a step at a time.

Each step changes one thing and is judged on 5,000 images held out of the training set; the test
set is not touched.

    python -m resnets run fashion_steps --scale quick --seed 0
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from resnets.data import ImageSet, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import resnet18
from resnets.runs import Run, new_run
from resnets.small_maps import specialize
from resnets.training import Execution, Recipe, fit

HELD_OUT = 5_000
AS_USUAL = Execution()


@dataclass(frozen=True)
class Step:
    """`identity_start`: each block starts as its shortcut. `specialized`: less padding is
    multiplied on small maps."""

    stem: str
    recipe: Recipe
    execution: Execution = AS_USUAL
    identity_start: bool = False
    specialized: bool = False


@dataclass(frozen=True)
class Config:
    images: int
    steps: dict[str, Step]


def _steps(epochs: int, stem: str) -> dict[str, Step]:
    d2l = Recipe(epochs, lr=0.01, momentum=0, weight_decay=0, schedule="constant")
    momentum = replace(d2l, momentum=0.9, weight_decay=5e-4)
    one_cycle = replace(momentum, lr=0.05, schedule="one-cycle")
    smoothing = replace(one_cycle, label_smoothing=0.1)
    recipes = {
        "d2l: SGD, constant rate 0.01": d2l,
        "+ momentum, weight decay": momentum,
        "+ one-cycle up to 0.05": one_cycle,
        "+ label smoothing 0.1": smoothing,
        "+ crop and flip": replace(smoothing, augment=True),
    }
    return {name: Step(stem, recipe) for name, recipe in recipes.items()}


CONFIGS = {
    "quick": Config(20_000, _steps(2, "imagenet")),
    "hour": Config(55_000, _steps(5, "imagenet")),
    "full": Config(55_000, _steps(30, "stride1")),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each step's network; `final` has its last epoch's `train_loss` and
    `validation_accuracy`."""
    config, figures = CONFIGS[check_scale(scale)], ("train_loss", "validation_accuracy")
    return run_steps("fashion_steps", scale, seed, config, figures, data, checkpoints)


def run_steps(
    name: str,
    scale: str,
    seed: int,
    config: Config,
    figures: tuple[str, ...],
    data: tuple[ImageSet, ImageSet] | None,
    checkpoints: Path | None,
) -> Run:
    """Train the network of each step from the same seed; `final` has `figures` of its last epoch.

    `HELD_OUT` of the training images, or a fifth where they are few, are left out to judge on.
    """
    device = best_device()
    images = (data or fashion_mnist())[0].to(device)
    train, validation = split(images, min(HELD_OUT, len(images) // 5))
    train = train[: config.images]
    history = {}
    for label, step in config.steps.items():
        seed_everything(seed)
        torch.compiler.reset()  # so that each step compiles its own network
        net = resnet18(
            in_channels=1, num_classes=10, stem=step.stem, zero_init_residual=step.identity_start
        )
        if step.specialized:
            specialize(net, 1, *train.images.shape[-2:])
        history[label] = fit(
            net,
            train,
            step.recipe,
            seed=seed,
            execution=step.execution,
            validation=validation,
            checkpoint=checkpoints and checkpoints / f"{label}.pt",
            label=label,
        )
    return new_run(
        name=name,
        scale=scale,
        seed=seed,
        config=asdict(config) | {"held_out": len(validation)},
        data=train.source,
        history=history,
        final={n: {key: rows[-1][key] for key in figures} for n, rows in history.items()},
        device=device,
    )
