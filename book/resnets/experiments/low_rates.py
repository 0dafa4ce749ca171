"""Plain-56 at rates below those of `learning_rates`: the lowest of its three did best.

The images, the recipe and the seeds of `degradation`, so that a run compares with its runs.

    python -m resnets run low_rates --scale hour --seed 0
"""

from dataclasses import asdict, replace
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import CONFIGS, network
from resnets.runs import Run, new_run
from resnets.training import evaluate, fit

NETWORK = "plain-56"
RATES = (0.0125, 0.006)


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the network at each rate; `final` has the last epoch's training loss, and the error.

    `train_error` is measured afterwards, in evaluation mode, on all the training images used.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    history, final = {}, {}
    for rate in RATES:
        name = f"{NETWORK} at {rate}"
        seed_everything(seed)
        model = network(NETWORK, config.stem)
        history[name] = fit(
            model,
            train,
            replace(config.recipe, lr=rate),
            seed=seed,
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=f"{name:18}",
        )
        error = 1 - evaluate(model, train)[1]
        final[name] = {"train_loss": history[name][-1]["train_loss"], "train_error": error}
    return new_run(
        name="low_rates",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"rates": list(RATES)},
        data=train.source,
        history=history,
        final=final,
        device=device,
    )
