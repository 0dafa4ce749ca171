"""Scene parsing with a residual network: Zhao et al. (2017), "Pyramid Scene Parsing Network"."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.models import ResNet, conv1x1, conv3x3

POOLS = {"average": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, (N, C, h, w) to `(N, C, *size)`, with the corners' centers on each other.

    That is where a network of output stride s puts its outputs on an image of side sk+1.
    """
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


class RegionPool(nn.Module):
    """Average or maximum over `count`×`count` regions: (N, C, H, W) to (N, C, count, count).

    On MPS by way of the CPU, because there the regions have to divide the features.
    """

    def __init__(self, pool: str, count: int) -> None:
        super().__init__()
        self.pool = POOLS[pool](count)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "mps":
            return self.pool(x.cpu()).to(x.device)
        return self.pool(x)


class PyramidPooling(nn.Module):
    """The features, and beside them what they are like in whole regions: section 3.2.

    For each bin count b the features are pooled to b×b regions, reduced by a 1×1 convolution, and
    brought back to their size. (N, channels, H, W) to (N, `out_channels`, H, W).

    Args:
        channels: of the features.
        bins: how many regions a side; none leaves the features alone.
        pool: "average" or "max".
        reduce: bring each bin count's channels down to channels / len(bins); False leaves the
            convolution out.

    Raises:
        ValueError: no such `pool`; in `forward`, features smaller than the largest bin count.
    """

    def __init__(
        self,
        channels: int,
        bins: Sequence[int] = (1, 2, 3, 6),
        pool: str = "average",
        reduce: bool = True,
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"there is no pooling {pool!r}: choose one of {', '.join(POOLS)}")
        self.bins = tuple(bins)
        width = channels // len(bins) if reduce and bins else channels
        self.levels = nn.ModuleList()
        for count in bins:
            level = nn.Sequential(RegionPool(pool, count))
            if reduce:
                level.extend([conv1x1(channels, width), nn.BatchNorm2d(width), nn.ReLU()])
            self.levels.append(level)
        self.out_channels = channels + len(bins) * width

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        if min(size) < max(self.bins, default=0):
            raise ValueError(
                f"features of {size[0]}×{size[1]} cannot be pooled to {max(self.bins)} regions a "
                "side: give larger images, or smaller bins"
            )
        return torch.cat([x, *(resize(level(x), size) for level in self.levels)], 1)


class PSPNet(nn.Module):
    """Backbone, pyramid pooling, and a class for every pixel.

    (N, C, H, W) to logits (N, num_classes, H, W); in training with `auxiliary`, a pair of such
    logits, the second from the last stage but one (section 4). Without bins it is a fully
    convolutional network. The backbone's own linear layer is taken off.

    Args:
        backbone: a `ResNet`; with `dilated` stages its features are finer.
        num_classes: of the pixels.
        bins, pool, reduce: `PyramidPooling`'s.
        auxiliary: whether there is a second output in training.
        hidden: channels of the head's 3×3 convolution, a quarter of the backbone's if not given.
    """

    def __init__(
        self,
        backbone: ResNet,
        num_classes: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        pool: str = "average",
        reduce: bool = True,
        auxiliary: bool = True,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        *_, third, fourth = backbone.stage_channels
        self.backbone = backbone
        backbone.avgpool, backbone.fc = nn.Identity(), nn.Identity()
        self.pyramid = PyramidPooling(fourth, bins, pool, reduce)
        self.head = _head(self.pyramid.out_channels, hidden or fourth // 4, num_classes)
        self.auxiliary = _head(third, third // 4, num_classes) if auxiliary else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        *_, third, fourth = self.backbone.stage_outputs(x)
        logits = resize(self.head(self.pyramid(fourth)), x.shape[2:])
        if self.training and self.auxiliary is not None:
            return logits, resize(self.auxiliary(third), x.shape[2:])
        return logits


def _head(channels: int, hidden: int, num_classes: int) -> nn.Sequential:
    """As in the authors' code (github.com/hszhao/semseg)."""
    return nn.Sequential(
        conv3x3(channels, hidden),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Dropout2d(0.1),
        nn.Conv2d(hidden, num_classes, 1),
    )
