"""d2l's lesson with the images at their own 28×28 pixels, and nothing else changed.

After each epoch the test images are classified; nothing is chosen by them.

    python -m resnets run lesson_d2l_28 --scale hour --seed 0
"""

from pathlib import Path

from resnets import lesson
from resnets.data import ImageSet, fashion_mnist
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.runs import Run

CONFIGS = {
    "quick": lesson.Config(28, images=2_000, epochs=2),
    "hour": lesson.Config(28),
    "full": lesson.Config(28),
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
    return lesson.run_d2l("lesson_d2l_28", scale, seed, config, images, checkpoints)
