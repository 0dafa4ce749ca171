"""The gradient's norm at each block, while networks with and without batch normalization train.

Norms are measured in training mode on one batch of training images, before training and after each
epoch.

    python -m resnets run gradient_norms --scale quick --seed 0
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from resnets import probes
from resnets.data import ImageSet, batches, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import ResNet, cifar_resnet
from resnets.runs import Run, new_run
from resnets.training import Recipe, fit

# Of 0.05, 0.01 and 0.002, tried with one seed, 0.01 gave ResNet-20 its lowest loss.
LR_WITHOUT = 0.01


@dataclass(frozen=True)
class Config:
    depths: tuple[int, ...]
    images: int
    stem: str
    recipe: Recipe


CONFIGS = {
    "quick": Config((20, 56), 2_560, "stride2", Recipe(epochs=8, lr=0.05, weight_decay=1e-4)),
    "hour": Config((20, 56, 110), 10_000, "stride2", Recipe(epochs=8, lr=0.05, weight_decay=1e-4)),
    "full": Config((20, 56, 110), 60_000, "stride1", Recipe(epochs=10, lr=0.05, weight_decay=1e-4)),
}


def networks(config: Config) -> dict[str, Callable[[], ResNet]]:
    """How to build each network, by a name such as "plain-20, no BN"."""

    def build(depth: int, shortcut: str, batch_norm: bool) -> Callable[[], ResNet]:
        return lambda: cifar_resnet(
            depth,
            shortcut=shortcut,
            batch_norm=batch_norm,
            stem=config.stem,
            in_channels=1,
            num_classes=10,
        )

    return {
        f"{kind}-{depth}{suffix}": build(depth, shortcut, batch_norm)
        for batch_norm, suffix in ((True, ""), (False, ", no BN"))
        for kind, shortcut in (("plain", "none"), ("ResNet", "identity"))
        for depth in config.depths
    }


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network; its history has a column "gradient BLOCK" for each block.

    `measured` has the norms before training ("initial": network, block, norm), and the networks
    whose loss became infinite ("diverged": network, why), which have no history.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    batch = next(batches(train, config.recipe.batch_size))

    def norms(model: nn.Module) -> dict[str, float]:
        found = probes.gradient_norms(model, *batch)
        return {f"gradient {block}": norm for block, norm in found.items()}

    history, final = {}, {}
    measured = {"initial": [], "diverged": []}
    for name, build in networks(config).items():
        seed_everything(seed)
        model = build().to(device)
        before = probes.gradient_norms(model, *batch)
        measured["initial"] += [
            {"network": name, "block": block, "norm": norm} for block, norm in before.items()
        ]
        without = name.endswith("no BN")
        recipe = replace(config.recipe, lr=LR_WITHOUT) if without else config.recipe
        torch.manual_seed(seed)
        try:
            history[name] = fit(
                model,
                train,
                recipe,
                seed=seed,
                after_epoch=norms,
                checkpoint=checkpoints and checkpoints / f"{name}.pt",
                label=f"{name:16}",
            )
        except FloatingPointError as error:
            measured["diverged"].append({"network": name, "why": str(error)})
            continue
        final[name] = {"train_loss": history[name][-1]["train_loss"]}
    return new_run(
        name="gradient_norms",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"lr_without_batch_norm": LR_WITHOUT},
        data=train.source,
        history=history,
        final=final,
        measured=measured,
        device=device,
    )
