"""One file an experiment; each has `run(scale, seed) -> Run`."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from resnets.data import ImageSet
from resnets.device import seed_everything
from resnets.training import Recipe, evaluate, fit


def train_side_by_side(
    networks: dict[str, Callable[[], nn.Module]],
    train: ImageSet,
    test: ImageSet,
    recipe: Recipe,
    seed: int,
    checkpoints: Path | None,
) -> tuple[dict[str, nn.Module], dict[str, list], dict[str, dict[str, float]]]:
    """Build and train each network from the same seed; return models, histories and finals.

    `train_loss` is the mean over the last epoch's batches; `train_error` and `test_error` are
    measured afterwards, in evaluation mode, on all images of `train` and of `test`.
    """
    models, history, final = {}, {}, {}
    width = max(map(len, networks))
    for name, build in networks.items():
        seed_everything(seed)
        models[name] = build()
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        history[name] = fit(
            models[name],
            train,
            recipe,
            seed=seed,
            checkpoint=checkpoint,
            label=f"{name:{width}}",
        )
        final[name] = {
            "train_loss": history[name][-1]["train_loss"],
            "train_error": 1 - evaluate(models[name], train)[1],
            "test_error": 1 - evaluate(models[name], test)[1],
        }
    return models, history, final
