"""The course's lesson: ResNet-18 at 28×28 with a recipe chosen on held-out images (chapter 3).

After each epoch the test images are classified; nothing is chosen by them.

    python -m resnets run lesson_course --scale hour --seed 0
"""

from dataclasses import asdict
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import fashion, resumable
from resnets.models import resnet18
from resnets.runs import Run, new_run
from resnets.small_maps import specialize
from resnets.training import Execution, Recipe, evaluate, fit

FUSED = Execution(fused=True)
FOUR_EPOCHS = Recipe(
    epochs=4,
    batch_size=256,
    lr=0.05,
    momentum=0.95,
    weight_decay=1e-3,
    label_smoothing=0.1,
)
CONFIGS = {
    "quick": fashion.CONFIGS["quick"],
    "hour": fashion.Config(60_000, "imagenet", FOUR_EPOCHS),
    "full": fashion.CONFIGS["full"],
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train it whole; `final` has the last epoch's `test_accuracy` and the `seconds`.

    A row an epoch has its `test_accuracy`; `seconds` are those of training alone.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    images, test = (part.to(device) for part in data or fashion_mnist())
    train = images[: config.images]
    seed_everything(seed)
    net = resnet18(in_channels=1, num_classes=10, stem=config.stem)
    history = fit(
        specialize(net, 1, *train.images.shape[-2:]),
        train,
        config.recipe,
        seed=seed,
        execution=FUSED,
        after_epoch=lambda model: {"test_accuracy": evaluate(model, test)[1]},
        checkpoint=checkpoints and checkpoints / "ResNet-18.pt",
        label="ResNet-18",
    )
    return new_run(
        name="lesson_course",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history={"lesson_course": history},
        final={key: history[-1][key] for key in ("test_accuracy", "seconds")},
        device=device,
    )
