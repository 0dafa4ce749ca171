"""Does a warm-up help plain-56? The images, the recipe and the seeds of `degradation`.

After He et al. (2016a), section 4.2, who trained ResNet-110 at a tenth of the rate until the
training error was below 80 %, about 400 steps, and then by the usual schedule. Here as well: a
tenth of the rate, constant, until an epoch's training error is below 80 %, but for five epochs
(390 steps at `hour`) at most, and then the whole recipe, whose rate rises once more.

    python -m resnets run warm_up --scale hour --seed 0
"""

from dataclasses import asdict, replace
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import degradation, resumable
from resnets.runs import Run, new_run
from resnets.training import evaluate, fit

NETWORK = "plain-56"
CONFIGS = degradation.CONFIGS
LONGEST = 5  # epochs


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Warm the network up and train it; what is returned is `train_warmed_up`'s."""
    config = CONFIGS[check_scale(scale)]
    return train_warmed_up("warm_up", NETWORK, scale, seed, config, data, checkpoints)


def train_warmed_up(
    name: str,
    network: str,
    scale: str,
    seed: int,
    config: degradation.Config,
    data: tuple[ImageSet, ImageSet] | None,
    checkpoints: Path | None,
) -> Run:
    """Warm one network up, then train it by the recipe of `config`; its history has both.

    `final` has the last epoch's `train_loss`, the `train_error` afterwards, in evaluation mode on
    all the training images used, and the number of `warm_up_epochs`.
    """
    device = best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    seed_everything(seed)
    model = degradation.network(network, config.stem)
    slow = replace(config.recipe, epochs=1, lr=config.recipe.lr / 10, schedule="constant")
    trainings = []
    for epoch in range(1, LONGEST + 1):
        trainings.append(
            fit(
                model,
                train,
                slow,
                seed=1000 * epoch + seed,  # another order in every epoch
                checkpoint=checkpoints and checkpoints / f"{network}, warm-up {epoch}.pt",
                label=f"{network}, warm-up {epoch}",
            )
        )
        if 1 - trainings[-1][-1]["train_accuracy"] < 0.8:
            break
    warm_up_epochs = len(trainings)
    trainings.append(
        fit(
            model,
            train,
            config.recipe,
            seed=seed,
            checkpoint=checkpoints and checkpoints / f"{network}.pt",
            label=f"{network}, warmed up",
        )
    )
    history = joined(trainings)
    figures = {
        "train_loss": history[-1]["train_loss"],
        "train_error": 1 - evaluate(model, train)[1],
        "warm_up_epochs": warm_up_epochs,
    }
    return new_run(
        name=name,
        scale=scale,
        seed=seed,
        config=asdict(config) | {"longest_warm_up": LONGEST},
        data=train.source,
        history={f"{network}, warmed up": history},
        final={f"{network}, warmed up": figures},
        device=device,
    )


def joined(trainings: list[list[dict]]) -> list[dict]:
    """One history of several trainings, one after the other."""
    rows = []
    for training in trainings:
        done = rows[-1] if rows else {"epoch": 0, "seconds": 0.0}
        rows += [row | {k: row[k] + done[k] for k in ("epoch", "seconds")} for row in training]
    return rows
