"""d2l's lesson as it stands: ResNet-18 on images of 96×96 pixels, ten epochs.

After each epoch the test images are classified; nothing is chosen by them.

    python -m resnets run lesson_d2l --scale hour --seed 0
"""

from pathlib import Path

from resnets import lesson
from resnets.data import ImageSet, fashion_mnist
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.runs import Run

CONFIGS = {
    "quick": lesson.Config(96, images=2_000, epochs=2),
    "hour": lesson.Config(96),
    "full": lesson.Config(96),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train it whole; `final` has the last epoch's `test_accuracy` and the `seconds`."""
    config = CONFIGS[check_scale(scale)]
    images = data or fashion_mnist()
    return lesson.run_d2l("lesson_d2l", scale, seed, config, images, checkpoints)
