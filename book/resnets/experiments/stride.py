"""Where a bottleneck has its stride: on the first 1×1 (v1) or on the 3×3 (v1.5).

Two networks with ResNet-50's blocks, trained side by side; up to `hour` with a quarter of its
channels. The learning rate is that of `degradation`; it was not tuned here.

    python -m resnets run stride --scale hour --seed 0
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale
from resnets.experiments import train_side_by_side
from resnets.experiments.shortcuts import CONFIGS
from resnets.models import Bottleneck, imagenet_resnet
from resnets.runs import Run, new_run

VERSIONS = {"v1": "1x1", "v1.5": "3x3"}


def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the two networks; `final` has their errors, last epoch (`train_side_by_side`)."""
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    options = {"widths": config.widths, "stem": config.stem, "in_channels": 1, "num_classes": 10}
    networks = {
        name: partial(
            imagenet_resnet, 50, block=partial(Bottleneck, stride_on=stride_on), **options
        )
        for name, stride_on in VERSIONS.items()
    }
    _, history, final = train_side_by_side(
        networks,
        train[: config.images],
        test[: config.test_images],
        config.recipe,
        seed,
        checkpoints,
    )
    return new_run(
        name="stride",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        device=device,
    )
