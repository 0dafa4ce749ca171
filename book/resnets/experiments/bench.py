"""d2l's lesson on ResNet-18 and the course's, on the same machine in turns.

d2l's (section 8.6) is run as it stands for a few hundred steps: 96×96, batches of 128, SGD at 0.01,
float32, images loaded one by one in four workers, or as many as there are cores. Its `seconds` are
those of its published ten epochs at the measured speed. The course's is trained whole, with less
padding multiplied on small maps, and tested once, at its end. Each runs in a process of its own,
and a seed is a round.

    python -m resnets bench
"""

import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from resnets.data import ImageSet, batches, fashion_mnist, stand_in
from resnets.device import best_device, check_scale, precision, seed_everything
from resnets.experiments import fashion, lesson_course, resumable
from resnets.lesson import (
    D2L_BATCH,
    D2L_EPOCHS,
    D2L_IMAGES,
    D2L_RATE,
    D2L_SIZE,
    d2l_loader,
    d2l_resnet18,
    d2l_step,
)
from resnets.models import resnet18
from resnets.probes import multiply_adds
from resnets.runs import Run, new_run
from resnets.small_maps import specialize
from resnets.training import Execution, evaluate, fit


@dataclass(frozen=True)
class Config:
    """`steps` of d2l's lesson are timed; `lesson` is the course's, executed as `execution` says.

    The arithmetic peak is that of products of two matrices with `matrix` rows and columns.
    """

    steps: int
    lesson: fashion.Config
    execution: Execution = lesson_course.FUSED
    matrix: int = 4096


CONFIGS = {
    "quick": Config(10, lesson_course.CONFIGS["quick"]),
    "hour": Config(100, lesson_course.CONFIGS["hour"]),
    "full": Config(300, lesson_course.CONFIGS["full"]),
}


def time_d2l(config: Config, seed: int, on_stand_in: bool, started: float) -> dict[str, float]:
    """What d2l's lesson takes, in a process that was started at `started` (`time.time()`)."""
    device = best_device()
    seed_everything(seed)
    images, _ = stand_in() if on_stand_in else fashion_mnist()
    loader = d2l_loader(images, D2L_SIZE, shuffle=True, drop_last=True)
    net = d2l_resnet18().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=D2L_RATE)
    batches = _endless(loader)
    d2l_step(net, optimizer, *next(batches))
    ready, waited = time.time(), 0.0
    for _ in range(config.steps):
        before = time.time()
        batch = next(batches)
        waited += time.time() - before
        d2l_step(net, optimizer, *batch)
    seconds = time.time() - ready
    speed = config.steps * D2L_BATCH / seconds
    return {
        "startup_seconds": ready - started,
        "images_per_second": speed,
        "loading_share": waited / seconds,
        "memory_gib": _peak_memory(device),  # before the large matrices
        "peak_share": _peak_share(net, D2L_SIZE, speed, config, torch.float32),
        "seconds": D2L_EPOCHS * D2L_IMAGES / speed,
    }


def time_course(config: Config, seed: int, on_stand_in: bool, started: float) -> dict[str, float]:
    """What the course's training takes, in a process that was started at `started`."""
    device = best_device()
    images, test = (p.to(device) for p in (stand_in() if on_stand_in else fashion_mnist()))
    lesson = config.lesson
    recipe, train = lesson.recipe, images[: lesson.images]

    def network() -> nn.Module:
        seed_everything(seed)
        net = resnet18(in_channels=1, num_classes=10, stem=lesson.stem)
        return specialize(net, 1, *train.images.shape[-2:])

    one_step = train[: recipe.batch_size]
    one = replace(recipe, epochs=1, schedule="constant")
    fit(network(), one_step, one, execution=config.execution)
    _synchronize(device)
    startup = time.time() - started
    model = network()
    history = fit(model, train, recipe, seed=seed, execution=config.execution)
    speed = len(train) * recipe.epochs / history[-1]["seconds"]
    named = config.execution.precision
    dtype = getattr(torch, named) if named else precision(device)
    before = time.time()
    for _ in batches(train, recipe.batch_size, torch.Generator(), recipe.augment):
        pass
    _synchronize(device)
    return {
        "startup_seconds": startup,
        "images_per_second": speed,
        "loading_share": (time.time() - before) / (len(train) / speed),
        "memory_gib": _peak_memory(device),  # before the large matrices
        "peak_share": _peak_share(model, 28, speed, config, dtype),
        "seconds": history[-1]["seconds"],
        "test_accuracy": evaluate(model, test)[1],
    }


LESSONS = {"d2l's lesson": time_d2l, "the course's": time_course}
# What the two are compared by: whether more of it is better.
RATIOS = {
    "startup_seconds": False,
    "images_per_second": True,
    "peak_share": True,
    "memory_gib": False,
    "seconds": False,
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """One round. In `final` each lesson has, of its own process:

    `startup_seconds` from its start to the end of its first step; `images_per_second` of training;
    `loading_share`, of that time, in which the training waits for images or makes them;
    `peak_share` of the arithmetic that the device does in a large matrix product, in the precision
    that the lesson computes in; `memory_gib` at most, on a GPU the GPU's; `seconds` of the whole
    training; the course's has `test_accuracy`. The row "times better" has the ratios. `data` only
    says whether the stand-in is used.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    source = (data or fashion_mnist())[0].source
    final = {}
    for name, lesson in LESSONS.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            options = (config, seed, "stand-in" in source, time.time())
            final[name] = pool.submit(lesson, *options).result()
        print(name, {key: float(f"{value:.4g}") for key, value in final[name].items()}, flush=True)
    theirs, ours = final.values()
    final["times better"] = {
        key: ours[key] / theirs[key] if more else theirs[key] / ours[key]
        for key, more in RATIOS.items()
    }
    return new_run(
        name="bench",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=source,
        history={"the course's": [{"epoch": 1, "seconds": ours["seconds"]}]},
        final=final,
        device=device,
    )


def peak_flops(device: torch.device, size: int, dtype: torch.dtype) -> float:
    """Floating-point operations a second in a product of two matrices: the median of five."""
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    times = []
    for _ in range(5):
        _synchronize(device)
        before = time.perf_counter()
        a @ b
        _synchronize(device)
        times.append(time.perf_counter() - before)
    return 2 * size**3 / sorted(times)[2]


def _peak_share(net: nn.Module, size: int, speed: float, config: Config, dtype) -> float:
    """Backward takes twice the arithmetic of forward, and a multiply-add is two operations."""
    needed = 3 * 2 * multiply_adds(net, 1, size, size) * speed
    return needed / peak_flops(best_device(), config.matrix, dtype)


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**30
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _endless(loader) -> Iterator:
    while True:
        yield from loader
