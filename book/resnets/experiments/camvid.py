"""PSPNet and a fully convolutional network on CamVid's street scenes, from scratch.

Both have the same dilated backbone and the auxiliary loss; one has the pyramid. The learning rate
is that of `context`; nothing was tuned here.

    python -m resnets run camvid --scale hour --seed 0
"""

import base64
import io
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets import metrics
from resnets.camvid import CLASSES, camvid
from resnets.data import LabeledScenes
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.context import features_see
from resnets.models import BasicBlock, Bottleneck, ResNet
from resnets.pspnet import PSPNet
from resnets.runs import Run, new_run
from resnets.training import Recipe, fit, predict_labels


@dataclass(frozen=True)
class Config:
    height: int  # of the frames, in pixels
    frames: int
    judged: int  # how many of the validation and of the test frames
    block: str
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    recipe: Recipe


SMALL = {"block": "basic", "blocks": (1, 1, 1, 1), "widths": (32, 64, 64, 128)}
RECIPE = Recipe(epochs=25, batch_size=8, lr=0.05, weight_decay=1e-4, schedule="poly", augment=True)
CONFIGS = {
    "quick": Config(180, 96, 40, **SMALL, recipe=replace(RECIPE, epochs=4)),
    "hour": Config(180, 367, 233, **SMALL, recipe=RECIPE),
    "full": Config(
        360,
        367,
        233,
        "bottleneck",
        (3, 4, 6, 3),
        (64, 128, 256, 512),
        replace(RECIPE, epochs=200, batch_size=16),
    ),
}
BINS = {"FCN": (), "PSPNet": (1, 2, 3, 6)}
SHOWN = 6


def network(name: str, config: Config) -> PSPNet:
    """One of `BINS`, for frames (N, 3, H, W)."""
    block = {"basic": BasicBlock, "bottleneck": Bottleneck}[config.block]
    backbone = ResNet(config.blocks, block=block, widths=config.widths, dilated=(3, 4))
    return PSPNet(backbone, len(CLASSES), bins=BINS[name])


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[LabeledScenes, LabeledScenes, LabeledScenes] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train both networks.

    `final`: training loss, pixel accuracy and mIoU on validation and test frames, after the last
    epoch. `measured`, on the validation frames: "confusion", pixels of each class by predicted
    class; "neighbors", the share of borders between classes that rarely touch in the training
    frames (`metrics.rare_borders`), with a row for the truth; "maps", what was predicted for
    `SHOWN` frames at even distances, to be read with `label_map`; "influence" as in `context`.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    parts = data or camvid(height=config.height)
    train, validation, test = (part.to(device) for part in parts)
    train, validation, test = (
        train[even(len(train), config.frames)],
        validation[even(len(validation), config.judged)],
        test[even(len(test), config.judged)],
    )
    history, final = {}, {}
    usual = metrics.borders(train.labels, len(CLASSES))
    truth = {"network": "truth", "rare": _rare(validation.labels, usual)}
    tables = {"confusion": [], "neighbors": [truth], "maps": [], "influence": []}
    for name in BINS:
        seed_everything(seed)
        model = network(name, config).to(device)
        before = features_see(model, validation)
        history[name] = fit(
            model,
            train,
            config.recipe,
            seed=seed,
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=f"{name:6}",
        )
        after = features_see(model, validation)
        final[name] = {"train_loss": history[name][-1]["train_loss"]}
        for part, scenes in (("validation", validation), ("test", test)):
            predicted = predict_labels(model, scenes)
            counts = metrics.confusion(predicted, scenes.labels, len(CLASSES))
            final[name] |= {
                f"{part}_pixel_accuracy": metrics.pixel_accuracy(counts),
                f"{part}_miou": metrics.mean_iou(counts),
            }
            if part == "validation":
                tables["confusion"] += [
                    {"network": name, "class": c} | dict(zip(CLASSES, row, strict=True))
                    for c, row in zip(CLASSES, counts.tolist(), strict=True)
                ]
                tables["neighbors"].append({"network": name, "rare": _rare(predicted, usual)})
                tables["maps"] += [
                    {"network": name, "frame": i, "png": _png(predicted[i])}
                    for i in even(len(predicted), SHOWN).tolist()
                ]
        tables["influence"].append({"network": name, "before": before, "after": after})
    return new_run(
        name="camvid",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        measured=tables,
        device=device,
    )


def _rare(labels: Tensor, usual: Tensor) -> float:
    return metrics.rare_borders(metrics.borders(labels, len(CLASSES)), usual)


def label_map(png: str) -> Tensor:
    """Labels (H, W) uint8 from a row of "maps"."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return torch.from_numpy(np.array(image))


def _png(labels: Tensor) -> str:
    file = io.BytesIO()
    Image.fromarray(labels.cpu().numpy()).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def even(n: int, wanted: int) -> Tensor:
    """At most `wanted` of the numbers below n, at even distances: neighboring frames are alike."""
    return torch.linspace(0, n - 1, min(n, wanted)).round().long()
