"""Choices behind the recipe of `lesson_course`, repeated with seeds on held-out images.

Two short trainings at the peak rate 0.1, with label smoothing and without; and the recipe itself
for three epochs and for four. The test set is not touched.

    python -m resnets run lesson_recipe --scale hour --seed 0
"""

from dataclasses import replace
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.experiments.fashion_steps import Config, Step, run_steps
from resnets.experiments.lesson_course import FOUR_EPOCHS, FUSED
from resnets.runs import Run
from resnets.training import Recipe


def _choices(epochs: int) -> dict[str, Step]:
    """`epochs` of the recipe itself; the two short trainings have half as many."""
    rate = Recipe(epochs // 2, batch_size=256, lr=0.1, label_smoothing=0.1)
    recipe = replace(FOUR_EPOCHS, epochs=epochs)
    recipes = {
        "short, rate 0.1": rate,
        "short, rate 0.1, no label smoothing": replace(rate, label_smoothing=0.0),
        "recipe, an epoch less": replace(recipe, epochs=epochs - 1),
        "recipe": recipe,
    }
    return {n: Step("imagenet", r, FUSED, specialized=True) for n, r in recipes.items()}


CONFIGS = {
    "quick": Config(10_000, _choices(2)),
    "hour": Config(55_000, _choices(4)),
    "full": Config(55_000, _choices(8)),
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
    return run_steps("lesson_recipe", scale, seed, config, figures, data, checkpoints)
