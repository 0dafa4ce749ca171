"""A residual network trained with blocks deleted at random, and one trained whole.

After Huang et al. (2016), "Deep Networks with Stochastic Depth", ECCV 2016. The learning rate is
that of `degradation`; it was not tuned here.

    python -m resnets run stochastic_depth --scale hour --seed 0
"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from resnets import probes
from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import network
from resnets.runs import Run, new_run
from resnets.training import Execution, Recipe, evaluate, fit


@dataclass(frozen=True)
class Config:
    network: str
    survival: float
    images: int
    stem: str
    recipe: Recipe
    looked_at: int
    several: tuple[int, ...]
    draws: int


CONFIGS = {
    "quick": Config(
        "ResNet-56", 0.5, 2_560, "stride2", Recipe(epochs=2, lr=0.05), 500, (1, 3, 6, 9), 2
    ),
    "hour": Config(
        "ResNet-56", 0.5, 10_000, "stride2", Recipe(epochs=8, lr=0.05), 2_000, (1, 3, 6, 9), 5
    ),
    "full": Config(
        "ResNet-110", 0.5, 60_000, "stride1", Recipe(epochs=20, lr=0.05), 10_000, (1, 3, 6, 9), 5
    ),
}
TRAININGS = ("whole", "stochastic depth")


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train both ways; `final` has errors after the last epoch and the seconds of training.

    `measured["deleted"]`: accuracy on the first `looked_at` test images after `blocks` blocks,
    drawn at random, were deleted from the trained network (network, blocks, draw, accuracy).
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    train = train[: config.images]
    history, final, deleted = {}, {}, []
    for name in TRAININGS:
        seed_everything(seed)
        model = network(config.network, config.stem)
        context = nullcontext()
        if name == "stochastic depth":
            context = probes.stochastic_depth(model, config.survival)
        with context:
            history[name] = fit(
                model,
                train,
                config.recipe,
                seed=seed,
                execution=Execution(leaves_layers_out=name == "stochastic depth"),
                checkpoint=checkpoints and checkpoints / f"{name}.pt",
                label=f"{name:16}",
            )
            final[name] = {
                "train_error": 1 - evaluate(model, train)[1],
                "test_error": 1 - evaluate(model, test)[1],
                "seconds": history[name][-1]["seconds"],
            }
            deleted += _accuracies_after_deletion(model, test[: config.looked_at], config, name)
    return new_run(
        name="stochastic_depth",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        measured={"deleted": deleted},
        device=device,
    )


def _accuracies_after_deletion(model, images: ImageSet, config: Config, name: str) -> list[dict]:
    names = list(probes.blocks(model))
    generator = torch.Generator().manual_seed(0)  # the same blocks for both networks
    rows = []
    for count in config.several:
        for draw in range(config.draws):
            chosen = torch.randperm(len(names), generator=generator)[:count]
            with probes.deleted(model, *(names[i] for i in chosen)):
                accuracy = evaluate(model, images)[1]
            rows.append({"network": name, "blocks": count, "draw": draw, "accuracy": accuracy})
    return rows
