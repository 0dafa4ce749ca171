"""What each trick for speed buys: ResNet-18 on Fashion-MNIST, a step at a time.

Each step keeps the ones above it. A network's time is that of its whole training, compilation
included, and its accuracy that on 5,000 images held out of the training set; the test set is not
touched. Sources: Goyal et al. (2017), "Accurate, Large Minibatch SGD", for the rate that grows with
the batch; Jordan (2024), "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", for alternating flips.

    python -m resnets run speed_steps --scale full --seed 0
"""

from dataclasses import replace
from pathlib import Path

import torch.compiler.config

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.experiments.fashion_steps import Config, Step, run_steps
from resnets.runs import Run
from resnets.training import Execution, Recipe


def _on_cpu(epochs: int) -> dict[str, Step]:
    plain = Execution(channels_last=False)
    fused = Execution(fused=True)
    small = Recipe(epochs, lr=0.05, label_smoothing=0.1)
    large = replace(small, batch_size=256, lr=0.1)
    first = Step("imagenet", small, plain)
    fast = Step("imagenet", large, fused)
    best = replace(fast, specialized=True)
    return {
        "batches of 128, float32": first,
        "+ channels-last": replace(first, execution=Execution()),
        "+ all weights updated at once": replace(first, execution=fused),
        "+ batches of 256, twice the rate": fast,
        "+ less padding on small maps": best,
        "and bfloat16": replace(best, execution=replace(fused, precision="bfloat16")),
        "and compiled": replace(best, execution=replace(fused, compiled=True)),
        "and blocks start as the identity": replace(best, identity_start=True),
        "and weights averaged": replace(best, recipe=replace(large, weight_average=0.98)),
        "and a 3×3 stem, stride 2": replace(best, stem="stride2"),
    }


def _on_gpu() -> dict[str, Step]:
    float32 = Execution(precision="float32", channels_last=False)
    bfloat16 = replace(float32, precision="bfloat16")
    channels_last = replace(bfloat16, channels_last=True)
    fused = replace(channels_last, fused=True)
    compiled = replace(fused, compiled=True)
    long = Recipe(30, lr=0.1, label_smoothing=0.1, augment=True)
    large = replace(long, batch_size=512, lr=0.4)
    short = replace(large, epochs=16)
    flips = replace(short, alternate_flips=True)
    average = replace(flips, weight_average=0.98)
    return {
        "30 epochs, batches of 128, float32": Step("stride1", long, float32),
        "+ bfloat16": Step("stride1", long, bfloat16),
        "+ channels-last": Step("stride1", long, channels_last),
        "+ all weights updated at once": Step("stride1", long, fused),
        "+ compiled": Step("stride1", long, compiled),
        "+ batches of 512, four times the rate": Step("stride1", large, compiled),
        "+ 16 epochs": Step("stride1", short, compiled),
        "+ flips in every second epoch": Step("stride1", flips, compiled),
        "+ weights averaged": Step("stride1", average, compiled),
        "and blocks start as the identity": Step("stride1", average, compiled, True),
        "and a stem of stride 2": Step("stride2", average, compiled),
    }


CONFIGS = {
    "quick": Config(10_000, _on_cpu(1)),
    "hour": Config(10_000, _on_cpu(2)),
    "full": Config(55_000, _on_gpu()),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each step's network; `final` has its `seconds` and its last epoch's
    `validation_accuracy`."""
    config, figures = CONFIGS[check_scale(scale)], ("seconds", "validation_accuracy")
    with torch.compiler.config.patch(force_disable_caches=True):  # compiling is part of the time
        return run_steps("speed_steps", scale, seed, config, figures, data, checkpoints)
