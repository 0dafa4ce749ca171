"""Plain and residual networks without batch normalization, and initializations in its place.

Each network is trained at each of several learning rates, because the best ones differ. Training
loss is compared: the question is whether the network can be trained. The rates were chosen in a
trial with another seed; in batches of 128 none of the networks without normalization came far.

    python -m resnets run without_batch_norm --scale hour --seed 0
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import cifar_resnet, fixup_resnet
from resnets.runs import Run, new_run
from resnets.training import Recipe, fit


@dataclass(frozen=True)
class Config:
    depths: tuple[int, ...]
    images: int
    stem: str
    rates: tuple[float, ...]
    recipe: Recipe


RATES = (0.03, 0.01, 0.003)
SHORT = Recipe(epochs=1, batch_size=32, weight_decay=1e-4)
LONG = Recipe(epochs=6, batch_size=32, weight_decay=1e-4)
CONFIGS = {
    "quick": Config((20,), 2_560, "stride2", RATES[:1], SHORT),
    "hour": Config((20, 56), 2_560, "stride2", RATES, LONG),
    "full": Config((20, 56, 110), 60_000, "stride1", RATES, LONG),
}


def networks(depth: int, stem: str) -> dict[str, Callable[[], nn.Module]]:
    """How to build each network of one depth, for gray images and ten classes."""
    build = partial(cifar_resnet, depth, stem=stem, in_channels=1, num_classes=10)
    without = partial(build, batch_norm=False)
    fixup = partial(fixup_resnet, depth, stem=stem, in_channels=1, num_classes=10)
    return {
        f"plain-{depth}": partial(build, shortcut="none"),
        f"plain-{depth}, no BN": partial(without, shortcut="none"),
        f"ResNet-{depth}": build,
        f"ResNet-{depth}, no BN": without,
        f"ResNet-{depth}, no BN, zero start": partial(without, zero_init_residual=True),
        f"ResNet-{depth}, no BN, Fixup": fixup,
    }


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network at each rate; `final` has the mean loss of the last epoch's batches.

    The names are such as "ResNet-20, no BN at 0.03". `measured["diverged"]` has the networks
    whose loss became infinite (network, why); they have no history.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    history, final, diverged = {}, {}, []
    builds = [networks(depth, config.stem).items() for depth in config.depths]
    for (name, build), rate in (
        (pair, r) for pairs in builds for pair in pairs for r in config.rates
    ):
        label = f"{name} at {rate:g}"
        seed_everything(seed)
        try:
            history[label] = fit(
                build(),
                train,
                replace(config.recipe, lr=rate),
                seed=seed,
                checkpoint=checkpoints and checkpoints / f"{label}.pt",
                label=f"{label:36}",
            )
        except FloatingPointError as error:
            diverged.append({"network": label, "why": str(error)})
            continue
        final[label] = {"train_loss": history[label][-1]["train_loss"]}
    return new_run(
        name="without_batch_norm",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        measured={"diverged": diverged},
        device=device,
    )
