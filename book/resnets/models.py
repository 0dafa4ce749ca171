"""Residual networks for images, in the shape of `torchvision.models.resnet`.

Module names are torchvision's, so that its weights load with `strict=True`. He et al. (2016a) is
"Deep Residual Learning for Image Recognition", CVPR 2016; Zhang et al. (2019) is "Fixup
Initialization: Residual Learning Without Normalization", ICLR 2019; Zhao et al. (2017) is
"Pyramid Scene Parsing Network", CVPR 2017.
"""

from collections.abc import Callable, Iterator, Sequence
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

SHORTCUTS = ("projection", "all-projections", "identity", "none")
STRIDE_ON = ("3x3", "1x1")
STEMS = ("imagenet", "stride1", "stride2")
FIRST_DILATION = ("previous", "own")


def conv3x3(
    in_channels: int, channels: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """3×3 convolution that keeps the size at stride 1. No bias: batch normalization follows."""
    return nn.Conv2d(
        in_channels, channels, 3, stride, dilation, dilation=dilation, groups=groups, bias=False
    )


def conv1x1(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """1×1 convolution. No bias: batch normalization follows."""
    return nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)


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

    `kind` is one of He et al. (2016a), section 4.1: "identity" (zero padding where the shape
    changes: option A), "projection" (1×1 convolution and batch normalization where the shape
    changes: B), "all-projections" (these in every block: C); or "none".
    """
    if kind == "none":
        return None
    if kind not in SHORTCUTS:
        raise ValueError(f"there is no shortcut {kind!r}: choose one of {', '.join(SHORTCUTS)}")
    if stride == 1 and in_channels == channels and kind != "all-projections":
        return nn.Identity()
    if kind == "identity":
        return PaddedIdentity(in_channels, channels, stride)
    return nn.Sequential(
        conv1x1(in_channels, channels, stride), normalization(channels, batch_norm)
    )


class ResidualBlock(nn.Module):
    """relu(residual(x) + shortcut(x)): what the blocks below have in common.

    (N, in_channels, H, W) to (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉), where out_channels is
    `expansion` × `channels`. A block computes `residual`; its last convolution and normalization
    are `last_layers`. `downsample` is the shortcut, None in a plain network.

    Raises:
        ValueError: in `forward`, the shapes of the two terms differ.
    """

    expansion = 1
    downsample: nn.Module | None

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, channels * self.expansion
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.residual(x)
        if self.downsample is not None:
            shortcut = self.downsample(x)
            if shortcut.shape != out.shape:
                raise ValueError(
                    f"the layers give {tuple(out.shape)} and the shortcut gives "
                    f"{tuple(shortcut.shape)}, which do not add: build the block with "
                    'shortcut="projection" or "identity", and the same stride for both'
                )
            out = out + shortcut
        return F.relu(out)

    def residual(self, x: Tensor) -> Tensor:
        """What the layers compute, before the shortcut is added."""
        raise NotImplementedError

    @property
    def last_layers(self) -> tuple[nn.Conv2d, nn.Module]:
        """The convolution and the normalization whose output is added to the shortcut."""
        raise NotImplementedError


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions and a shortcut: He et al. (2016a), figure 5, left.

    (N, in_channels, H, W) to (N, channels, ⌈H/stride⌉, ⌈W/stride⌉). `shortcut="none"` leaves the
    plain block: the same layers, nothing added. `dilations` are those of the convolution that has
    the stride and of the one behind it.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: str = "projection",
        batch_norm: bool = True,
        *,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__(in_channels, channels, stride)
        self.conv1 = conv3x3(in_channels, channels, stride, dilation=dilations[0])
        self.bn1 = normalization(channels, batch_norm)
        self.conv2 = conv3x3(channels, channels, dilation=dilations[1])
        self.bn2 = normalization(channels, batch_norm)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, batch_norm)

    def residual(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out))

    @property
    def last_layers(self) -> tuple[nn.Conv2d, nn.Module]:
        return self.conv2, self.bn2


class Bottleneck(ResidualBlock):
    """1×1 down, 3×3, 1×1 up, and a shortcut: He et al. (2016a), figure 5, right.

    (N, in_channels, H, W) to (N, 4 × channels, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        channels: of the 3×3 convolution; the block's output has four times as many.
        stride_on: which convolution has the stride, "1x1" (the first, as in the paper) or "3x3"
            (as in torchvision, known as ResNet v1.5).
        groups: of the 3×3 convolution. More than one is ResNeXt (Xie et al., 2017).
        base_width: channels of each group where `channels` is 64; scales the 3×3 convolution.
        dilations: of a 3×3 convolution that has the stride, and of one that comes after it. There
            is only one of them, so `stride_on` decides which number counts.

    Raises:
        ValueError: no such `stride_on`, or a width that comes to no channel.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: str = "projection",
        batch_norm: bool = True,
        *,
        stride_on: str = "3x3",
        groups: int = 1,
        base_width: int = 64,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__(in_channels, channels, stride)
        if stride_on not in STRIDE_ON:
            raise ValueError(
                f"the stride cannot be on {stride_on!r}: choose one of {', '.join(STRIDE_ON)}"
            )
        width = channels * base_width // 64 * groups
        if width == 0:
            raise ValueError(
                f"{channels} channels at base width {base_width} leave no channel for a group: "
                f"choose a base_width of at least {-(-64 // channels)}"
            )
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        dilation = dilations[1] if stride_on == "1x1" else dilations[0]
        self.conv1 = conv1x1(in_channels, width, first)
        self.bn1 = normalization(width, batch_norm)
        self.conv2 = conv3x3(width, width, second, groups, dilation)
        self.bn2 = normalization(width, batch_norm)
        self.conv3 = conv1x1(width, self.out_channels)
        self.bn3 = normalization(self.out_channels, batch_norm)
        self.downsample = make_shortcut(
            shortcut, in_channels, self.out_channels, stride, batch_norm
        )

    def residual(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))

    @property
    def last_layers(self) -> tuple[nn.Conv2d, nn.Module]:
        return self.conv3, self.bn3


class Shift(nn.Module):
    """Adds one number, learned, zero at the start. Any shape."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class FixupBlock(ResidualBlock):
    """A basic block without normalization: Zhang et al. (2019), figure 1, right.

    Four shifts and one factor, single numbers, stand in for what normalization learned. Shapes are
    `BasicBlock`'s. `fixup_resnet` gives the weights their start.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: str = "projection",
        batch_norm: bool = False,
    ) -> None:
        super().__init__(in_channels, channels, stride)
        if batch_norm:
            raise ValueError("a Fixup block has no normalization: pass batch_norm=False")
        self.shift1a, self.conv1 = Shift(), conv3x3(in_channels, channels, stride)
        self.shift1b = Shift()
        self.shift2a, self.conv2 = Shift(), conv3x3(channels, channels)
        self.factor = nn.Parameter(torch.ones(1))
        self.shift2b = Shift()
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, batch_norm)

    def residual(self, x: Tensor) -> Tensor:
        out = F.relu(self.shift1b(self.conv1(self.shift1a(x))))
        return self.shift2b(self.factor * self.conv2(self.shift2a(out)))

    @property
    def last_layers(self) -> tuple[nn.Conv2d, nn.Module]:
        return self.conv2, self.shift2b


class Factor(nn.Module):
    """Multiplies by one learned number, or by one for each of `channels`; all are `value` at first.

    (N, C, H, W) to the same shape.
    """

    def __init__(self, value: float, channels: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), value))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


class GatedBlock(BasicBlock):
    """A basic block with a trained gate: He et al. (2016b), section 3.1; figure 2c and 2d.

    The gate g(x) = sigmoid(1×1 convolution of x) has a number in (0, 1) for each channel and pixel.
    The shortcut is multiplied by 1 − g, and with `gates_layers` the layers are multiplied by g, as
    in a highway network (Srivastava et al., 2015). `gate_bias` is the convolution's bias at first:
    the lower, the more of the shortcut passes. Shapes are `BasicBlock`'s.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: str = "projection",
        batch_norm: bool = True,
        *,
        gates_layers: bool,
        gate_bias: float,
    ) -> None:
        super().__init__(in_channels, channels, stride, shortcut, batch_norm)
        self.gates_layers = gates_layers
        self.gate = nn.Conv2d(in_channels, channels, 1, stride)
        nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        g, out = torch.sigmoid(self.gate(x)), self.residual(x)
        if self.gates_layers:
            out = g * out
        return F.relu(out + (1 - g) * self.downsample(x))


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
    """Stem, stages of blocks, global average pooling, one linear layer.

    Args:
        blocks: how many blocks each stage has.
        block: `BasicBlock`, `Bottleneck`, `FixupBlock`, or `functools.partial` of one.
        widths: the blocks' `channels` in each stage; stages after the first start with stride 2.
        in_channels: channels of the input images.
        num_classes: how many outputs.
        stem: "imagenet" (7×7 stride 2, then 3×3 max pooling stride 2), or for small images
            "stride1" or "stride2" (one 3×3 convolution of that stride, no pooling).
        shortcut: "projection", "identity" or "none"; see `make_shortcut`.
        batch_norm: False leaves batch normalization out everywhere.
        zero_init_residual: start each block's last layer with weights at weight 0 (the batch
            normalization, or without it the convolution), so that each block starts as its
            shortcut followed by the ReLU.
        dilated: the stages, by number, whose stride is traded for dilation: their output keeps the
            size of the stage before, and each 3×3 convolution reads pixels that are as far apart
            as they were with the stride.
        first_dilation: what the convolution that loses its stride gets, the "previous" stage's
            dilation (as in torchvision), or the stage's "own" like the convolutions behind it (as
            in the code of Zhao et al., 2017). With "previous" each output of the network with
            strides is an output of the dilated one.

    (N, in_channels, H, W) to logits (N, num_classes).

    Raises:
        ValueError: an option names what does not exist.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        block: Callable[..., ResidualBlock] = BasicBlock,
        widths: Sequence[int] = (64, 128, 256, 512),
        in_channels: int = 3,
        num_classes: int = 1000,
        stem: str = "imagenet",
        shortcut: str = "projection",
        batch_norm: bool = True,
        zero_init_residual: bool = False,
        dilated: Sequence[int] = (),
        first_dilation: str = "previous",
    ) -> None:
        super().__init__()
        if len(blocks) != len(widths):
            raise ValueError(f"{len(blocks)} stages of blocks but {len(widths)} widths")
        if not set(dilated) <= set(range(2, len(blocks) + 1)):
            raise ValueError(
                f"stages {tuple(dilated)} cannot be dilated: choose from those that have a "
                f"stride, 2 to {len(blocks)}"
            )
        if first_dilation not in FIRST_DILATION:
            raise ValueError(
                f"the first dilation cannot be {first_dilation!r}: choose one of "
                f"{', '.join(FIRST_DILATION)}"
            )
        self.in_channels = in_channels
        self.conv1, self.maxpool = _stem(stem, in_channels, widths[0])
        self.bn1 = normalization(widths[0], batch_norm)
        channels, dilation = widths[0], 1
        self.stages, self.stage_channels = [], []
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stage = nn.Sequential()
            previous = dilation
            if number in dilated:
                dilation *= 2
            for position in range(count):
                stride = 2 if number > 1 and number not in dilated and position == 0 else 1
                options = {}
                if dilation > 1:
                    of_first = position == 0 and first_dilation == "previous"
                    options["dilations"] = (previous if of_first else dilation, dilation)
                stage.append(block(channels, width, stride, shortcut, batch_norm, **options))
                channels = stage[-1].out_channels
            self.add_module(f"layer{number}", stage)
            self.stages.append(f"layer{number}")
            self.stage_channels.append(channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self._initialize(zero_init_residual)

    def _initialize(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, ResidualBlock) and zero_init_residual:
                conv, norm = module.last_layers
                last = norm if isinstance(norm, nn.BatchNorm2d) else conv
                nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        *_, last = self.stage_outputs(x)
        return self.fc(torch.flatten(self.avgpool(last), 1))

    def stage_outputs(self, x: Tensor) -> Iterator[Tensor]:
        """Each stage's output, (N, `stage_channels[i]`, height, width), from the first on."""
        self._check(x)
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
            yield x

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"this network takes images of shape (N, {self.in_channels}, H, W), not "
                f"{tuple(x.shape)}: convert the images, or build it with in_channels=…"
            )
        if self.training and len(x) == 1 and isinstance(self.bn1, nn.BatchNorm2d):
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


# He et al. (2016a), table 1: the block, and how many of it each stage has.
IMAGENET = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


def imagenet_resnet(depth: int, **options) -> ResNet:
    """The family for large images: He et al. (2016a), table 1. The options are `ResNet`'s.

    Loads torchvision's weights. Depths 50 and more have the stride on the 3×3 convolution, as
    there; for the paper's, pass `block=partial(Bottleneck, stride_on="1x1")`.

    Raises:
        ValueError: no member of the family has this depth.
    """
    if depth not in IMAGENET:
        raise ValueError(
            f"no member of this family has depth {depth}: choose one of "
            f"{', '.join(map(str, IMAGENET))}, or give ResNet the blocks of each stage"
        )
    block, blocks = IMAGENET[depth]
    return ResNet(blocks, **{"block": block} | options)


def load_imagenet_weights(net: ResNet, depth: int) -> None:
    """Load torchvision's weights of this depth, trained on ImageNet (its version `IMAGENET1K_V1`).

    They are downloaded into torch's cache (100 MB at depth 50), checked, and read without pickle.
    `net` is `imagenet_resnet(depth)` with 1000 classes; what it dilates makes no difference.

    Raises:
        ConnectionError: they cannot be downloaded; `net` is unchanged.
    """
    # Here, since torchvision takes longer to import than all the rest.
    from torchvision.models import get_model_weights

    weights = get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except URLError as error:
        raise ConnectionError(
            f"the weights of ResNet-{depth} cannot be downloaded ({error.reason}): connect to the "
            "network, or train from scratch"
        ) from error
    net.load_state_dict(state)


def resnet18(**options) -> ResNet:
    """ResNet-18, for short; the options are `ResNet`'s."""
    return imagenet_resnet(18, **options)


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


def fixup_resnet(depth: int, **options) -> ResNet:
    """`cifar_resnet` without normalization, initialized as in Zhang et al. (2019), section 3.

    Each block starts as its shortcut, with the last convolution at zero and the first scaled down
    by √(number of blocks); the linear layer starts at zero. The paper also gives the shifts and
    factors a tenth of the learning rate, which is the trainer's to do.

    Raises:
        ValueError: `depth` is not 6n+2.
    """
    net = cifar_resnet(
        depth, block=FixupBlock, batch_norm=False, zero_init_residual=True, **options
    )
    net.bn1 = Shift()
    net.avgpool = nn.Sequential(net.avgpool, Shift())
    blocks = [module for module in net.modules() if isinstance(module, FixupBlock)]
    with torch.no_grad():
        for block in blocks:
            block.conv1.weight /= len(blocks) ** 0.5
        nn.init.zeros_(net.fc.weight)
        nn.init.zeros_(net.fc.bias)
    return net


def scaled_resnet(depth: int, factor: float, per_channel: bool = False, **options) -> ResNet:
    """`cifar_resnet` without normalization, with a learned factor on what the layers add.

    Each block computes relu(x + a · layers(x)), and a is `factor` at first. One factor a block at 0
    is SkipInit (De and Smith, 2020) and ReZero (Bachlechner et al., 2021); one a channel, near 0,
    is LayerScale (Touvron et al., 2021).

    Raises:
        ValueError: `depth` is not 6n+2.
    """
    net = cifar_resnet(depth, batch_norm=False, **options)
    for block in net.modules():
        if isinstance(block, BasicBlock):
            block.bn2 = Factor(factor, block.out_channels if per_channel else 1)
    return net


def block_convolutions(net: ResNet) -> list[nn.Conv2d]:
    """The two 3×3 convolutions of each basic block, from the input to the output."""
    blocks = [module for module in net.modules() if isinstance(module, BasicBlock)]
    return [conv for block in blocks for conv in (block.conv1, block.conv2)]


@torch.no_grad()
def delta_orthogonal_(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Fill a kernel (out, in, k, k) with a random orthogonal matrix at its center and 0 elsewhere.

    After Xiao et al. (2018): at stride 1 the convolution keeps the length of each
    pixel's channels, times `gain`. From torch's global generator.

    Raises:
        ValueError: fewer output than input channels: no such matrix keeps lengths.
    """
    out, into, height, width = weight.shape
    if out < into:
        raise ValueError(f"{into} channels do not fit into {out} with their lengths kept")
    weight.zero_()
    matrix = torch.empty(out, into, dtype=weight.dtype, device=weight.device)
    weight[:, :, height // 2, width // 2] = nn.init.orthogonal_(matrix, gain)
    return weight


class DiracWeight(nn.Module):
    """The kernel of a Dirac network: Zagoruyko and Komodakis (2017).

    (out, in, k, k) to diag(a) δ + diag(b) v, where v is the given kernel with each filter divided
    by its length, and δ passes each input channel on (twice if there are twice as many outputs).
    a and b are learned, a number for each filter, 1 and 0.1 at first.
    """

    def __init__(self, out_channels: int, in_channels: int, size: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(out_channels, 1, 1, 1))
        self.b = nn.Parameter(torch.full((out_channels, 1, 1, 1), 0.1))
        delta = torch.empty(out_channels, in_channels, size, size)
        self.register_buffer("delta", nn.init.dirac_(delta, groups=out_channels // in_channels))

    def forward(self, weight: Tensor) -> Tensor:
        return self.a * self.delta + self.b * F.normalize(weight.flatten(1)).view_as(weight)


def add_dirac_weights(net: ResNet) -> ResNet:
    """Give each convolution of the basic blocks a `DiracWeight`, in place."""
    for conv in block_convolutions(net):
        out, into, size, _ = conv.weight.shape
        parametrize.register_parametrization(conv, "weight", DiracWeight(out, into, size))
    return net


def fold_dirac_weights(net: ResNet) -> ResNet:
    """Make each kernel that a `DiracWeight` computes a plain one, in place: the same function."""
    for conv in block_convolutions(net):
        parametrize.remove_parametrizations(conv, "weight")
    return net
