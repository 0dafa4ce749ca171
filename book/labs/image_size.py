"""What the lab *Image size* shows: ResNet-18 at any size of image, counted with PyTorch."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import models, probes, small_maps

PARTS = ("stem", "stage 1", "stage 2", "stage 3", "stage 4")


def resnet18() -> nn.Module:
    """The network of chapter 3, for gray images and ten classes, to count only."""
    with torch.device("meta"):
        return models.resnet18(in_channels=1, num_classes=10)


def part_of(name: str) -> int:
    """The place in `PARTS` of a convolution, by its name in the network."""
    return int(name[len("layer")]) if name.startswith("layer") else 0


def products(size: int) -> tuple[list[int], list[int], list[int]]:
    """For each part: the side of its map, its multiply-adds, and those that meet a pixel.

    A convolution of ones with ones counts, at each place, how many pixels the kernel meets.
    """
    sides, work, met = [0] * 5, [0] * 5, [0] * 5

    def count(part: int):
        def hook(layer: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
            pairs, kernel = layer.in_channels * layer.out_channels, layer.kernel_size
            ones = torch.ones(1, 1, *inputs[0].shape[2:])
            pixels = F.conv2d(ones, torch.ones(1, 1, *kernel), None, layer.stride, layer.padding)
            sides[part] = output.shape[-1]
            work[part] += pairs * kernel[0] * kernel[1] * pixels.numel()
            met[part] += pairs * int(pixels.sum().item())

        return hook

    net = resnet18().eval()
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count(part_of(name)))
    net(torch.zeros(1, 1, size, size, device="meta"))
    return sides, work, met


def idle(size: int) -> list[int]:
    """For each part: the weights that meet nothing but padding, which `specialize` takes out."""
    net = resnet18()
    small = small_maps.specialize(deepcopy(net), 1, size, size)
    found = [0] * 5
    for (name, before), after in zip(net.named_parameters(), small.parameters(), strict=True):
        found[part_of(name)] += before.numel() - after.numel()
    return found


def totals(size: int) -> tuple[int, int]:
    """Multiply-adds for an image, and parameters."""
    net = resnet18()
    return probes.multiply_adds(net, 1, size, size), probes.parameters(net)


def table() -> str:
    """The figure that stands where there is no lab."""
    heads = ["images", "map of stage 4", "million multiply-adds", "with padding"]
    rows = [f"| {' | '.join(heads)} | weights that meet only padding |"]
    rows.append("|---|---|---|---|---|")
    for size in (28, 32, 33, 64, 96, 224):
        sides, work, met = products(size)
        total, _ = totals(size)
        shares = f"{total / 1e6:.1f} | {100 * (sum(work) - sum(met)) / total:.1f} %"
        rows.append(f"| {size}×{size} | {sides[4]}×{sides[4]} | {shares} | {sum(idle(size)):,} |")
    return "\n".join(rows)
