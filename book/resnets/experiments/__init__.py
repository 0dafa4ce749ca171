"""One file an experiment; each has `run(scale, seed) -> Run`."""

import os
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path

import platformdirs
from torch import nn

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, seed_everything
from resnets.runs import Run, new_run
from resnets.training import evaluate, fit


def checkpoint_root() -> Path:
    """Where trainings save their state after each epoch, so that they can go on from there.

    `RESNETS_CHECKPOINTS` (in Colab: a folder of a mounted Drive outlives the machine), else a
    folder in the cache.
    """
    cache = platformdirs.user_cache_path("resnets") / "checkpoints"
    return Path(os.environ.get("RESNETS_CHECKPOINTS") or cache)


def checkpoint_folder(name: str, scale: str, seed: int) -> Path | None:
    """The folder of one run's checkpoints.

    None at `quick`, which is over in minutes and always starts anew.
    """
    return None if scale == "quick" else checkpoint_root() / f"{name}-{scale}-seed{seed}"


def resumable(run: Callable) -> Callable:
    """Let an experiment that is given no folder for checkpoints use `checkpoint_folder`.

    What was trained to its end stays there too: called again, it is not trained again.
    """
    name = run.__module__.rpartition(".")[2]

    @wraps(run)
    def with_checkpoints(scale, seed, data=None, checkpoints=None):
        return run(scale, seed, data, checkpoints or checkpoint_folder(name, scale, seed))

    return with_checkpoints


def run_side_by_side(
    name: str,
    scale: str,
    seed: int,
    config,
    networks: dict[str, Callable[[], nn.Module]],
    data: tuple[ImageSet, ImageSet] | None,
    checkpoints: Path | None,
) -> Run:
    """Build and train each network from the same seed, on the same images, by the same recipe.

    `config` has `images`, `test_images` and `recipe`. In the run's `final`, `train_loss` is the
    mean over the last epoch's batches; `train_error` and `test_error` are measured afterwards, in
    evaluation mode, on all the training and test images used.
    """
    device = best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    train, test = train[: config.images], test[: config.test_images]
    history, final = {}, {}
    width = max(map(len, networks))
    for network, build in networks.items():
        seed_everything(seed)
        model = build()
        history[network] = fit(
            model,
            train,
            config.recipe,
            seed=seed,
            checkpoint=checkpoints and checkpoints / f"{network}.pt",
            label=f"{network:{width}}",
        )
        final[network] = {
            "train_loss": history[network][-1]["train_loss"],
            "train_error": 1 - evaluate(model, train)[1],
            "test_error": 1 - evaluate(model, test)[1],
        }
    return new_run(
        name=name,
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        device=device,
    )
