"""What the rows of `fashion_steps` leave open: one change at a time, and each without the others.

Momentum alone; then a constant and a falling rate, each at 0.01 and at 0.05, with momentum and
weight decay; and plain SGD at 0.1, the step that momentum 0.9 makes of 0.01 in the long run. Judged
on the same held-out images; the test set is not touched.

    python -m resnets run fashion_controls --scale quick --seed 0
"""

from dataclasses import replace
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.experiments.fashion_steps import Config, Step, run_steps
from resnets.runs import Run
from resnets.training import Recipe


def _controls(epochs: int, stem: str) -> dict[str, Step]:
    plain = Recipe(epochs, lr=0.01, momentum=0, weight_decay=0, schedule="constant")
    momentum = replace(plain, momentum=0.9)
    decay = replace(momentum, weight_decay=5e-4)
    recipes = {
        "plain SGD, constant 0.1": replace(plain, lr=0.1),
        "momentum, constant 0.01": momentum,
        "momentum and decay, constant 0.01": decay,
        "momentum and decay, constant 0.05": replace(decay, lr=0.05),
        "momentum and decay, one-cycle 0.01": replace(decay, schedule="one-cycle"),
        "momentum and decay, one-cycle 0.05": replace(decay, lr=0.05, schedule="one-cycle"),
    }
    return {name: Step(stem, recipe) for name, recipe in recipes.items()}


CONFIGS = {
    "quick": Config(20_000, _controls(2, "imagenet")),
    "hour": Config(55_000, _controls(5, "imagenet")),
    "full": Config(55_000, _controls(30, "stride1")),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network; `final` has its last epoch's `train_loss` and `validation_accuracy`."""
    config, figures = CONFIGS[check_scale(scale)], ("train_loss", "validation_accuracy")
    return run_steps("fashion_controls", scale, seed, config, figures, data, checkpoints)
