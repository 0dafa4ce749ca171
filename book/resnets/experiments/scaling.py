"""How training speeds up with processes: ResNet-18, one batch shared by one to several processes.

The batch stays as it is, so that the training stays the same; each process has a share of it. On
GPUs there is a process for each GPU, on a CPU the cores are split among the processes. Each
arrangement is started by `torchrun`, as a user would, and a seed is a round.

    python -m resnets run scaling --scale hour --seed 0
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from resnets import processes
from resnets.data import ImageSet, fashion_mnist, stand_in
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import resnet18
from resnets.runs import Run, new_run
from resnets.training import Recipe, fit


@dataclass(frozen=True)
class Config:
    batch_size: int
    steps: int
    stem: str


CONFIGS = {
    "quick": Config(256, 10, "imagenet"),
    "hour": Config(256, 60, "imagenet"),
    "full": Config(1024, 300, "stride1"),
}


def arrangements(device: torch.device) -> list[tuple[int, int]]:
    """(processes, threads of each): one process alone, and up to one for each GPU or core."""
    threads = torch.get_num_threads()
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        return [(count, threads) for count in sorted({1, 2, 4, 8, gpus}) if count <= gpus]
    return sorted({(1, 1), (1, threads), (threads, 1)})


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """One round. `final` has for each arrangement `images_per_second`, how many times that is
    what the first one does (`speedup`), and the `exchange_seconds` in which the processes add up
    as many numbers as the network has weights. `data` only says whether the stand-in is used.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    source = (data or fashion_mnist())[0].source
    history, final = {}, {}
    for count, threads in arrangements(device):
        name = f"{count} × {threads} thread{'s' if threads > 1 else ''}"
        history[name], final[name] = _launch(count, threads, config, "stand-in" in source)
        print(name, final[name], flush=True)
    first = next(iter(final.values()))["images_per_second"]
    for figures in final.values():
        figures["speedup"] = figures["images_per_second"] / first
    return new_run(
        name="scaling",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=source,
        history=history,
        final=final,
        device=device,
    )


def _launch(count: int, threads: int, config: Config, on_stand_in: bool) -> list:
    """The history of a training by `count` processes, and the figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        options = json.dumps(asdict(config) | {"on_stand_in": on_stand_in, "out": str(out)})
        subprocess.run(
            [*torchrun, "--nproc-per-node", str(count), "-m", __name__, options],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return json.loads(out.read_text())


def measure(batch_size: int, steps: int, stem: str, on_stand_in: bool, out: str) -> None:
    """What each process does: train, then exchange; the first one writes the figures."""
    device = best_device()
    with processes.joined(device):
        with processes.first_alone():
            images, _ = stand_in() if on_stand_in else fashion_mnist()
        images = images.to(device)
        seed_everything(0)
        net = resnet18(in_channels=1, num_classes=10, stem=stem)
        recipe = Recipe(epochs=1, batch_size=batch_size, schedule="constant")
        fit(net, images[: 2 * batch_size], recipe)  # the first steps set things up
        history = fit(net, images[: steps * batch_size], recipe)
        gradient = torch.zeros(sum(p.numel() for p in net.parameters()), device=device)
        processes.summed(gradient)
        before = time.perf_counter()
        for _ in range(5):
            processes.summed(gradient)
        gradient.sum().item()  # waits for the GPU
        figures = {
            "images_per_second": len(images[: steps * batch_size]) / history[-1]["seconds"],
            "exchange_seconds": (time.perf_counter() - before) / 5,
        }
        if processes.rank() == 0:
            Path(out).write_text(json.dumps([history, figures]))


if __name__ == "__main__":
    measure(**json.loads(sys.argv[1]))
