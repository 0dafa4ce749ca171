"""From a fully convolutional network to PSPNet, one step after the other, on outfits.

The steps of Zhao et al. (2017), section 5.2, on the scenes of `context`, with its recipe.

    python -m resnets run pyramid_steps --scale hour --seed 0
"""

from dataclasses import asdict
from pathlib import Path

from resnets import metrics
from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.context import CONFIGS, draw
from resnets.models import ResNet
from resnets.pspnet import PSPNet
from resnets.runs import Run, new_run
from resnets.scenes import SCENE_CLASSES
from resnets.training import fit, predict_labels

# What the backbone dilates, and the options of `PSPNet`.
STEPS = {
    "FCN": ((), {"bins": (), "auxiliary": False}),
    "dilated": ((3, 4), {"bins": (), "auxiliary": False}),
    "auxiliary loss": ((3, 4), {"bins": ()}),
    "B1 max": ((3, 4), {"bins": (1,), "pool": "max", "reduce": False}),
    "B1 average": ((3, 4), {"bins": (1,), "reduce": False}),
    "B1236 max": ((3, 4), {"pool": "max", "reduce": False}),
    "B1236 average": ((3, 4), {"reduce": False}),
    "B1236 max, reduced": ((3, 4), {"pool": "max"}),
    "B1236 average, reduced": ((3, 4), {}),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each step; `final` has pixel accuracy and mIoU on test scenes after the last epoch."""
    config, device = CONFIGS[check_scale(scale)], best_device()
    garments = data or fashion_mnist()
    train, test = draw(config, garments, True, seed)
    history, final = {}, {}
    for name, (dilated, options) in STEPS.items():
        seed_everything(seed)
        backbone = ResNet(config.blocks, widths=config.widths, in_channels=1, dilated=dilated)
        model = PSPNet(backbone, len(SCENE_CLASSES), **options)
        history[name] = fit(
            model,
            train,
            config.recipe,
            seed=seed,
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=f"{name:22}",
        )
        counts = metrics.confusion(predict_labels(model, test), test.labels, len(test.classes))
        final[name] = {
            "train_loss": history[name][-1]["train_loss"],
            "pixel_accuracy": metrics.pixel_accuracy(counts),
            "miou": metrics.mean_iou(counts),
        }
    return new_run(
        name="pyramid_steps",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"networks": tuple(STEPS)},
        data=garments[0].source,
        history=history,
        final=final,
        device=device,
    )
