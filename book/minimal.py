"""ResNet-18 on Fashion-MNIST in one file, from the images to the test accuracy.

Needs torch and torchvision alone. The recipe is that of chapter 3's lesson (section 3.9). The
course library takes the same steps: a test compares the weights.

    python book/minimal.py --runs 10

RESULT: not measured yet. The command above prints the lines that belong here.
"""

import argparse
import gzip
import platform
import re
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import download_url

EPOCHS, BATCH, RATE, MOMENTUM, WEIGHT_DECAY, SMOOTHING = 4, 256, 0.05, 0.95, 1e-3, 0.1
MEAN, SD = 0.2860, 0.3530  # of the training images, scaled to [0, 1]


def load(folder, part):
    """The images of a part ("train" or "t10k"), uint8 (N, 28, 28), and their labels (N,)."""
    raw = Path(folder, "FashionMNIST", "raw")
    for name, md5 in FashionMNIST.resources:  # 30 MB, if they are not there; checked either way
        download_url(FashionMNIST.mirrors[0] + name, raw, md5=md5)
    files = [raw / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    images, labels = (bytearray(gzip.decompress(file.read_bytes())) for file in files)
    # After headers of 16 and 8 bytes, each pixel and each label is a byte.
    images = torch.frombuffer(images, dtype=torch.uint8, offset=16).reshape(-1, 28, 28)
    return images, torch.frombuffer(labels, dtype=torch.uint8, offset=8).long()


def normalized(images):
    """uint8 (N, 28, 28) to float32 (N, 1, 28, 28)."""
    return (images.unsqueeze(1).float() / 255 - MEAN) / SD


class Block(nn.Module):
    """relu(layers(x) + shortcut(x)): two 3×3 convolutions, and a way around them."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Identity()
        if stride > 1:  # the shape changes, so the shortcut has to change it, too
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x))


def resnet18():
    """(N, 1, H, W) to logits (N, 10): a stem, four stages of two blocks, one linear layer."""
    net = nn.Sequential(
        nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        *(Block(64, 64, 1), Block(64, 64, 1)),
        *(Block(64, 128, 2), Block(128, 128, 1)),
        *(Block(128, 256, 2), Block(256, 256, 1)),
        *(Block(256, 512, 2), Block(512, 512, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):  # He et al. (2015): the signal keeps its size
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net


def train(net, images, labels, seed=0, epochs=EPOCHS):
    """SGD with Nesterov momentum; the rate rises for a quarter of the steps, then falls to zero."""
    device, steps = images.device, len(images) // BATCH
    optimizer = torch.optim.SGD(
        net.parameters(), RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, steps * epochs + 1, pct_start=0.25, cycle_momentum=False
    )
    net.train()
    for epoch in range(1, epochs + 1):
        order = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        for batch in torch.randperm(len(images), generator=order).split(BATCH)[:steps]:
            batch = batch.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = net(normalized(images[batch]))
                loss = F.cross_entropy(logits, labels[batch], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"seed {seed}, epoch {epoch}/{epochs}: last loss {loss.item():.3f}", flush=True)


@torch.inference_mode()
def accuracy(net, images, labels):
    """The share of right answers, with the running averages of batch normalization."""
    answers = [net.eval()(normalized(part)).argmax(1) for part in images.split(500)]
    return (torch.cat(answers) == labels).float().mean().item()


def hardware(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    known = Path("/proc/cpuinfo")  # where Linux has the processor's name
    name = re.search(r"model name\s*: (.+)", known.read_text() if known.exists() else "")
    return f"{name[1] if name else platform.machine()}, {torch.get_num_threads()} threads"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, from 0 on")
    parser.add_argument("--data", default="data", help="holds FashionMNIST/raw/*.gz, or gets it")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learned, tested = ([t.to(device) for t in load(options.data, p)] for p in ("train", "t10k"))
    accuracies, seconds = [], []
    for seed in range(options.runs):
        torch.manual_seed(seed)
        net = resnet18().to(device, memory_format=torch.channels_last)
        started = time.perf_counter()
        train(net, *learned, seed)
        seconds.append(time.perf_counter() - started)
        accuracies.append(accuracy(net, *tested))  # once, at the end
        print(f"seed {seed}: test accuracy {accuracies[-1]:.4f}, {seconds[-1]:.0f} s", flush=True)
    if options.runs > 1:
        figures = f"test accuracy {mean(accuracies):.4f} ± {stdev(accuracies):.4f}"
        print(f"RESULT: {figures}, {mean(seconds):.0f} ± {stdev(seconds):.0f} s of training,")
        print(f"{options.runs} runs (seeds 0 to {options.runs - 1}); {hardware(device)};")
        print(f"torch {torch.__version__}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
