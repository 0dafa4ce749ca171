"""Residual networks without normalization, each with another factor on what its blocks add.

The usual initialization, Fixup (Zhang et al., 2019), a learned factor at 0 (SkipInit: De and Smith,
2020; ReZero: Bachlechner et al., 2021), one at 1/√n for n blocks, one a channel at 10⁻⁶
(LayerScale: Touvron et al., 2021), and batch normalization for comparison. Each is trained at each
of several learning rates, since the best ones differ. Training loss is compared: the question is
whether the network can be trained. The stem reduces the images to 7×7, as in `thousand_layers`, so
that a depth of 110 fits into minutes; rates and the size of a batch are `without_batch_norm`'s.

    python -m resnets run branch_scaling --scale hour --seed 0
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import cifar_resnet, fixup_resnet, scaled_resnet
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
LONG = replace(SHORT, epochs=7)
CONFIGS = {
    "quick": Config((56,), 1_280, "imagenet", RATES[1:2], SHORT),
    "hour": Config((56, 110), 1_280, "imagenet", RATES, LONG),
    "full": Config((56, 110), 60_000, "stride1", RATES, LONG),
}
LAYER_SCALE = 1e-6  # Touvron et al., section 2, for networks deeper than 24 layers


def networks(depth: int, stem: str) -> dict[str, Callable[[], nn.Module]]:
    """How to build each network of one depth, for gray images and ten classes."""
    blocks = (depth - 2) // 2
    options = {"stem": stem, "in_channels": 1, "num_classes": 10}
    scaled = partial(scaled_resnet, depth, **options)
    return {
        f"{depth}, usual": partial(cifar_resnet, depth, batch_norm=False, **options),
        f"{depth}, Fixup": partial(fixup_resnet, depth, **options),
        f"{depth}, SkipInit": partial(scaled, 0.0),
        f"{depth}, 1/√n": partial(scaled, blocks**-0.5),
        f"{depth}, LayerScale": partial(scaled, LAYER_SCALE, per_channel=True),
        f"{depth}, BN": partial(cifar_resnet, depth, **options),
    }


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network at each rate; `final` has the mean loss of the last epoch's batches.

    The names are such as "56, SkipInit at 0.03". `measured["diverged"]` has the networks whose loss
    became infinite (network, why); they have no history.
    """
    config = CONFIGS[check_scale(scale)]
    builds = [pair for depth in config.depths for pair in networks(depth, config.stem).items()]
    return at_each_rate("branch_scaling", scale, seed, config, dict(builds), data, checkpoints)


def at_each_rate(
    name: str,
    scale: str,
    seed: int,
    config,
    networks: dict[str, Callable[[], nn.Module]],
    data: tuple[ImageSet, ImageSet] | None,
    checkpoints: Path | None,
) -> Run:
    """Train each network from the same seed at each of `config.rates`, as `run` describes.

    `config` has `images` and `recipe` as well.
    """
    device = best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    history, diverged = {}, []
    width = max(map(len, networks)) + len(" at 0.003")
    for network, rate in ((n, rate) for n in networks for rate in config.rates):
        label = f"{network} at {rate:g}"
        seed_everything(seed)
        try:
            history[label] = fit(
                networks[network](),
                train,
                replace(config.recipe, lr=rate),
                seed=seed,
                checkpoint=checkpoints and checkpoints / f"{label.replace('/', ' over ')}.pt",
                label=f"{label:{width}}",
            )
        except FloatingPointError as error:
            diverged.append({"network": label, "why": str(error)})
    return new_run(
        name=name,
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final={label: {"train_loss": rows[-1]["train_loss"]} for label, rows in history.items()},
        measured={"diverged": diverged},
        device=device,
    )
