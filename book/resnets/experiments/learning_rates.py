"""Is degradation a matter of the learning rate? The networks of `degradation` at three rates.

python -m resnets run learning_rates --scale quick --seed 0
"""

from dataclasses import asdict, replace
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import CONFIGS, NETWORKS, network
from resnets.runs import Run, new_run
from resnets.training import fit

RATES = (0.025, 0.05, 0.1)


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network at each rate; `final` has the last epoch's training loss."""
    config, device = CONFIGS[check_scale(scale)], best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    history, final = {}, {}
    for name in NETWORKS:
        for rate in RATES:
            key = f"{name} at {rate}"
            seed_everything(seed)
            history[key] = fit(
                network(name, config.stem),
                train,
                replace(config.recipe, lr=rate),
                seed=seed,
                checkpoint=checkpoints and checkpoints / f"{key}.pt",
                label=f"{key:18}",
            )
            final[key] = {"train_loss": history[key][-1]["train_loss"]}
    return new_run(
        name="learning_rates",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"rates": list(RATES)},
        data=train.source,
        history=history,
        final=final,
        device=device,
    )
