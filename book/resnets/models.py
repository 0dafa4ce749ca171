"""Residual networks for images, in the shape of `torchvision.models.resnet`.

Module names are torchvision's, so that its weights load with `strict=True`. He et al. (2016a) is
"Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHORTCUTS = ("projection", "identity", "none")
STEMS = ("imagenet", "stride1", "stride2")


def conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """3×3 convolution that keeps the size at stride 1. No bias: batch normalization follows."""
    return nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)


class PaddedIdentity(nn.Module):
    """The shortcut without parameters where the shape changes: He et al. (2016a), option A.

    Keeps every `stride`-th pixel and pads the new channels with zeros:
    (N, C, H, W) to (N, channels, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        if channels < in_channels:
            raise ValueError(
                f"zero padding cannot go from {in_channels} channels down to {channels}: "
                'use shortcut="projection"'
            )
        self.stride = stride
        self.before = (channels - in_channels) // 2
        self.after = channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


def normalization(channels: int, batch_norm: bool) -> nn.Module:
    """Batch normalization, or nothing in its place."""
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


def make_shortcut(
    kind: str, in_channels: int, channels: int, stride: int, batch_norm: bool = True
) -> nn.Module | None:
    """The module on the shortcut, or None for a plain network.

    `kind` is "projection" (1×1 convolution and batch normalization where the shape changes:
    option B), "identity" (zero padding where the shape changes: option A) or "none".
    """
    if kind == "none":
        return None
    if kind not in SHORTCUTS:
        raise ValueError(f"there is no shortcut {kind!r}: choose one of {', '.join(SHORTCUTS)}")
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    if kind == "identity":
        return PaddedIdentity(in_channels, channels, stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
        normalization(channels, batch_norm),
    )


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: He et al. (2016a), figure 5, left.

    (N, in_channels, H, W) to (N, channels, ⌈H/stride⌉, ⌈W/stride⌉). `shortcut="none"` leaves the
    plain block: the same layers, nothing added.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: str = "projection",
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = normalization(channels, batch_norm)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = normalization(channels, batch_norm)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        out = self.residual(x)
        if self.downsample is not None:
            out = out + self.downsample(x)
        return F.relu(out)

    def residual(self, x: Tensor) -> Tensor:
        """What the layers compute, before the shortcut is added."""
        out = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out))


class PreActivationBlock(nn.Module):
    """x + residual(x), with nothing before or after the sum: He et al. (2016b), figure 1b.

    (N, channels, H, W) to the same shape. He et al. (2016b) is "Identity Mappings in Deep Residual
    Networks", ECCV 2016.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)

    def residual(self, x: Tensor) -> Tensor:
        """What is added to `x`."""
        out = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(out)))


class ResNet(nn.Module):
    """Stem, stages of basic blocks, global average pooling, one linear layer.

    Args:
        blocks: how many blocks each stage has.
        widths: how many channels each stage has; stages after the first start with stride 2.
        in_channels: channels of the input images.
        num_classes: how many outputs.
        stem: "imagenet" (7×7 stride 2, then 3×3 max pooling stride 2), or for small images
            "stride1" or "stride2" (one 3×3 convolution of that stride, no pooling).
        shortcut: "projection", "identity" or "none"; see `make_shortcut`.
        batch_norm: False leaves batch normalization out everywhere.
        zero_init_residual: start each block's last layer with weights at weight 0 (the batch
            normalization, or without it the convolution), so that each block starts as its
            shortcut followed by the ReLU.

    (N, in_channels, H, W) to logits (N, num_classes).
    """

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        in_channels: int = 3,
        num_classes: int = 1000,
        stem: str = "imagenet",
        shortcut: str = "projection",
        batch_norm: bool = True,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if len(blocks) != len(widths):
            raise ValueError(f"{len(blocks)} stages of blocks but {len(widths)} widths")
        self.conv1, self.maxpool = _stem(stem, in_channels, widths[0])
        self.bn1 = normalization(widths[0], batch_norm)
        channels = widths[0]
        self.stages = []
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stage = nn.Sequential()
            for block in range(count):
                stride = 2 if number > 1 and block == 0 else 1
                stage.append(BasicBlock(channels, width, stride, shortcut, batch_norm))
                channels = width
            self.add_module(f"layer{number}", stage)
            self.stages.append(f"layer{number}")
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self._initialize(zero_init_residual)

    def _initialize(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, BasicBlock) and zero_init_residual:
                last = module.bn2 if isinstance(module.bn2, nn.BatchNorm2d) else module.conv2
                nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))

    def _check(self, x: Tensor) -> None:
        channels = self.conv1.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(
                f"this network takes images of shape (N, {channels}, H, W), not "
                f"{tuple(x.shape)}: convert the images, or build it with in_channels=…"
            )
        if self.training and len(x) == 1:
            raise ValueError(
                "batch normalization cannot learn from a batch of one image: use a larger "
                "batch, or call model.eval() to predict"
            )


def _stem(stem: str, in_channels: int, channels: int) -> tuple[nn.Conv2d, nn.Module]:
    if stem == "imagenet":
        conv = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        return conv, nn.MaxPool2d(3, stride=2, padding=1)
    if stem in STEMS:
        return conv3x3(in_channels, channels, int(stem[-1])), nn.Identity()
    raise ValueError(f"there is no stem {stem!r}: choose one of {', '.join(STEMS)}")


def resnet18(**options) -> ResNet:
    """ResNet-18; the options are `ResNet`'s. Loads torchvision's `resnet18` weights."""
    return ResNet((2, 2, 2, 2), **options)


def resnet34(**options) -> ResNet:
    """ResNet-34; the options are `ResNet`'s. Loads torchvision's `resnet34` weights."""
    return ResNet((3, 4, 6, 3), **options)


def cifar_resnet(depth: int, **options) -> ResNet:
    """The family of depth 6n+2 for small images: He et al. (2016a), section 4.2.

    Three stages of n blocks with 16, 32 and 64 channels. As in the paper, a 3×3 stride-1 stem and
    shortcuts without parameters, unless the options (`ResNet`'s) say otherwise.

    Raises:
        ValueError: `depth` is not 6n+2.
    """
    n = round((depth - 2) / 6)
    if n < 1 or depth != 6 * n + 2:
        lower = max(8, (depth - 2) // 6 * 6 + 2)
        raise ValueError(
            f"this family has depths 6n+2, and {depth} is none: try {lower} or {lower + 6}"
        )
    options = {"stem": "stride1", "shortcut": "identity"} | options
    return ResNet((n, n, n), widths=(16, 32, 64), **options)
