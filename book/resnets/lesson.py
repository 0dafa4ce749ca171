"""d2l's lesson on ResNet-18 (section 8.6), trained as it stands, and what lessons are compared by.

Network, initialization, loader and recipe are those of edition 1.0.3: SGD at a constant rate of
0.01, batches of 128, float32, images loaded one by one in four workers, or as many as there are
cores. Its plots, which are drawn while it trains, are left out.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

from resnets.data import ImageSet
from resnets.device import best_device, seed_everything
from resnets.files import whole_file
from resnets.runs import Run, mean_sd, new_run

D2L_SIZE, D2L_BATCH, D2L_IMAGES, D2L_EPOCHS, D2L_RATE = 96, 128, 60_000, 10, 0.01


@dataclass(frozen=True)
class Config:
    """`images` of the training set, enlarged to `size` × `size` pixels."""

    size: int
    images: int = D2L_IMAGES
    epochs: int = D2L_EPOCHS


class OneByOne(torch.utils.data.Dataset):
    """Loads as `d2l.FashionMNIST` does: each image to PIL, resized, to a float tensor."""

    def __init__(self, images: ImageSet, size: int) -> None:
        self.images, self.labels = images.images.cpu().numpy(), images.labels.cpu()
        self.transform = transforms.Compose(
            [transforms.Resize((size, size)), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def d2l_loader(images: ImageSet, size: int, **options) -> torch.utils.data.DataLoader:
    workers = min(4, os.cpu_count())
    return torch.utils.data.DataLoader(
        OneByOne(images, size), D2L_BATCH, num_workers=workers, **options
    )


def d2l_resnet18() -> nn.Sequential:
    """The network of d2l's section 8.6, initialized as there; (N, 1, H, W) to (N, 10)."""
    from d2l import torch as d2l  # here, since it takes seconds

    net = nn.Sequential(
        nn.LazyConv2d(64, 7, stride=2, padding=3),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
    for number, channels in enumerate((64, 128, 256, 512)):
        smaller = number > 0
        net.append(d2l.Residual(channels, use_1x1conv=smaller, strides=1 + smaller))
        net.append(d2l.Residual(channels))
    net.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.LazyLinear(10))
    net(torch.zeros(2, 1, D2L_SIZE, D2L_SIZE))  # lazy layers take their shapes from a batch
    return net.apply(d2l.init_cnn)


def d2l_step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """One step of training; returns the loss, and so waits for the device."""
    device = next(net.parameters()).device
    loss = F.cross_entropy(net(x.to(device)), y.to(device))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def run_d2l(
    name: str,
    scale: str,
    seed: int,
    config: Config,
    data: tuple[ImageSet, ImageSet],
    checkpoints: Path | None,
) -> Run:
    """Train d2l's lesson on the first of `data`; a row an epoch has its `test_accuracy`.

    `seconds` are those of training, since the first epoch's start: tests and interruptions are
    left out. After each epoch the state is saved in `checkpoints`, and a run that finds it goes on
    there, to the same weights (bit for bit on a CPU).

    Raises:
        ValueError: the checkpoint is one of another seed, configuration or set of images.
    """
    train, test = data[0][: config.images], data[1]
    seed_everything(seed)
    net = d2l_resnet18().to(best_device())
    optimizer = torch.optim.SGD(net.parameters(), lr=D2L_RATE)
    made_by = asdict(config) | {"seed": seed, "source": train.source}
    checkpoint = checkpoints and checkpoints / "d2l.pt"
    history = _load(checkpoint, net, made_by) if checkpoint and checkpoint.exists() else []
    for epoch in range(len(history) + 1, config.epochs + 1):
        order = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        losses, started = [], time.perf_counter()
        net.train()
        for x, y in d2l_loader(train, config.size, shuffle=True, generator=order):
            losses.append(d2l_step(net, optimizer, x, y))
        seconds = time.perf_counter() - started
        row = {
            "epoch": epoch,
            "train_loss": sum(losses) / len(losses),
            "test_accuracy": d2l_accuracy(net, test, config.size),
            "seconds": seconds + (history[-1]["seconds"] if history else 0.0),
        }
        history.append(row)
        print(f"{name}: {row}", flush=True)
        if checkpoint:
            with whole_file(checkpoint) as path:
                content = {"model": net.state_dict(), "history": history, "made_by": made_by}
                torch.save(content, path)
    run = new_run(
        name=name,
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history={name: history},
        final={key: history[-1][key] for key in ("test_accuracy", "seconds")},
        device=best_device(),
    )
    return replace(run, precision="float32")  # on a GPU, too


def d2l_accuracy(net: nn.Module, images: ImageSet, size: int) -> float:
    """The share of right answers, in evaluation mode, on images loaded and enlarged as d2l does."""
    device, right = next(net.parameters()).device, 0
    net.eval()
    with torch.inference_mode():
        for x, y in d2l_loader(images, size):
            right += (net(x.to(device)).argmax(1).cpu() == y).sum().item()
    return right / len(images)


def seconds_to(accuracy: float, history: Sequence[dict[str, float]]) -> float | None:
    """Seconds to the end of the first epoch with this test accuracy or more; None without one."""
    return next((row["seconds"] for row in history if row["test_accuracy"] >= accuracy), None)


def times_to(accuracy: float, runs: Sequence[Run]) -> list[float | None]:
    """`seconds_to` of each run of a lesson."""
    return [seconds_to(accuracy, *run.history.values()) for run in runs]


def described(times: Sequence[float | None]) -> str:
    """`193.1 ± 3.7 s`, or in how many runs the accuracy was not reached."""
    missed = times.count(None)
    if missed:
        return "not reached" if missed == len(times) else f"not reached in {missed} of {len(times)}"
    return f"{mean_sd(times)} s"


def _load(path: Path, net: nn.Module, made_by: dict) -> list[dict[str, float]]:
    content = torch.load(path, weights_only=True, map_location="cpu")
    if content["made_by"] != made_by:
        raise ValueError(
            f"{path} belongs to another training, {content['made_by']}, not to {made_by}: "
            "choose another folder, or delete this file to start anew"
        )
    net.load_state_dict(content["model"])
    return content["history"]
