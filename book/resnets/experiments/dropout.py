"""Does batch normalization replace dropout? ResNet-20 with and without each.

Ioffe and Szegedy (2015), section 4.2.1, removed dropout from Inception once it had batch
normalization. There it stood before the linear layer, at the rate 0.4 (Szegedy et al., 2015, table
1), and so it does here. Judged on 5,000 images held out of the training set after every epoch; the
test set is not touched. Batches are small and the rates differ, because without normalization the
network does not train otherwise: at depth 20 these have the lowest loss in `without_batch_norm`.

    python -m resnets run dropout --scale hour --seed 0
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from resnets.data import ImageSet, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import ResNet, cifar_resnet
from resnets.runs import Run, new_run
from resnets.training import Recipe, fit

HELD_OUT = 5_000
DROPOUT = 0.4
# Whether each has batch normalization, and whether it has dropout.
NETWORKS = {
    "BN": (True, False),
    "BN and dropout": (True, True),
    "neither": (False, False),
    "dropout": (False, True),
}


@dataclass(frozen=True)
class Config:
    images: int
    lr_without_batch_norm: float
    recipe: Recipe


SHORT = Recipe(epochs=2, batch_size=32, lr=0.03, weight_decay=1e-4)
CONFIGS = {
    "quick": Config(5_000, 0.01, SHORT),
    "hour": Config(5_000, 0.01, replace(SHORT, epochs=20)),
    "full": Config(55_000, 0.01, replace(SHORT, epochs=20)),
}


def network(batch_norm: bool, dropout: bool) -> ResNet:
    """A ResNet-20 for gray images and ten classes, with dropout before its linear layer or not."""
    net = cifar_resnet(20, stem="stride2", in_channels=1, num_classes=10, batch_norm=batch_norm)
    if dropout:
        net.avgpool = nn.Sequential(net.avgpool, nn.Dropout(DROPOUT))
    return net


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the four networks; `final` has the last epoch's `train_loss`, `validation_accuracy`.

    With dropout `train_loss` is that of the thinned network, as it was trained.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    images = (data or fashion_mnist())[0].to(device)
    train, validation = split(images, min(HELD_OUT, len(images) // 5))
    train = train[: config.images]
    without = replace(config.recipe, lr=config.lr_without_batch_norm)
    history = {}
    for name, (batch_norm, dropout) in NETWORKS.items():
        seed_everything(seed)
        history[name] = fit(
            network(batch_norm, dropout),
            train,
            config.recipe if batch_norm else without,
            seed=seed,
            validation=validation,
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=f"{name:14}",
        )
    figures = ("train_loss", "validation_accuracy")
    return new_run(
        name="dropout",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"held_out": len(validation)},
        data=train.source,
        history=history,
        final={name: {key: rows[-1][key] for key in figures} for name, rows in history.items()},
        device=device,
    )
