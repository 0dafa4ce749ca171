"""Each typical mistake of chapter 4's exercises and assignment is recognized by name."""

import math
import re
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.models import resnet

from resnets import check, models, probes
from resnets.check import bottlenecks


def refuses(verdict, says):
    assert not verdict
    assert says in verdict.message


def takes(verdict):
    assert verdict, verdict


def not_written(*args):
    return None


# Section 4.2: shortcuts.


def pad(x, before, behind):
    return F.pad(x, (0, 0, 0, 0, before, behind))


def padded(x, channels, stride):
    missing = channels - x.shape[1]
    return pad(x[:, :, ::stride, ::stride], missing // 2, missing - missing // 2)


def padded_by_hand(x, channels, stride):
    x = x[:, :, ::stride, ::stride]
    n, c, height, width = x.shape
    out = x.new_zeros(n, channels, height, width)
    start = (channels - c) // 2
    out[:, start : start + c] = x
    return out


def pads(change):
    def answer(x, channels, stride):
        return padded(change(x, stride), channels, 1)

    return answer


def padded_behind(x, channels, stride):
    return pad(x[:, :, ::stride, ::stride], 0, channels - x.shape[1])


def padded_before(x, channels, stride):
    return pad(x[:, :, ::stride, ::stride], channels - x.shape[1], 0)


def padded_one_more_before(x, channels, stride):
    missing = channels - x.shape[1]
    return pad(x[:, :, ::stride, ::stride], missing - missing // 2, missing // 2)


def tiled(x, channels, stride):
    return x.repeat(1, 4, 1, 1)[:, :channels, ::stride, ::stride]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (padded_behind, "All zeros are behind"),
        (padded_before, "All zeros are before"),
        (padded_one_more_before, "the one more goes behind"),
        (pads(lambda x, s: x), "Stride is ignored"),
        (pads(lambda x, s: x[:, :, ::s]), "Only the rows"),
        (pads(lambda x, s: x[:, :, s - 1 :: s, s - 1 :: s]), "begin with the first"),
        (pads(lambda x, s: F.avg_pool2d(x, s, ceil_mode=True)), "You average"),
        (pads(lambda x, s: F.avg_pool2d(x, s)), "You average"),
        (pads(lambda x, s: F.max_pool2d(x, s, ceil_mode=True)), "the largest"),
        (tiled, "repeat"),
        (pads(lambda x, s: x[:, :, ::s, ::s].detach()), "gradient"),
        (lambda x, channels, stride: x[:, :, ::stride, ::stride], "shape"),
    ],
)
def test_padded_shortcut_names_the_mistake(answer, says):
    refuses(check.padded_shortcut(answer), says)


@pytest.mark.parametrize("answer", [padded, padded_by_hand])
def test_padded_shortcut_takes_what_is_right(answer):
    takes(check.padded_shortcut(answer))


class Padding(nn.Module):
    def __init__(self, pad, channels, stride):
        super().__init__()
        self.pad, self.channels, self.stride = pad, channels, stride

    def forward(self, x):
        return self.pad(x, self.channels, self.stride)


def option(
    option, in_channels, channels, stride, *, pad=padded, bias=False, norm=True, shrink=True
):
    if option != "C" and stride == 1 and in_channels == channels:
        return nn.Identity()
    if option == "A":
        return Padding(pad, channels, stride)
    conv = nn.Conv2d(in_channels, channels, 1, stride if shrink else 1, bias=bias)
    return nn.Sequential(conv, *[nn.BatchNorm2d(channels)] * norm)


def option_as_in_library(name, in_channels, channels, stride):
    return models.make_shortcut(
        {"A": "identity", "B": "projection", "C": "all-projections"}[name],
        in_channels,
        channels,
        stride,
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "AttributeError"),
        (partial(option, pad=padded_behind), "All zeros are behind"),
        (partial(option, pad=tiled), "repeat"),
        (partial(option, bias=True), "has a bias"),
        (partial(option, norm=False), "no batch normalization"),
        (partial(option, shrink=False), "make the image as small"),
        (lambda o, *args: option("B", *args), "no parameters anywhere"),
        (lambda o, *args: option("A", *args), "needs a projection"),
        (lambda o, *args: option("C" if o == "B" else o, *args), "the shortcut of option B is `x`"),
        (lambda o, *args: option("B" if o == "C" else o, *args), "Option C needs a projection"),
    ],
)
def test_shortcut_options_names_the_mistake(answer, says):
    refuses(check.shortcut_options(answer), says)


@pytest.mark.parametrize("answer", [option, option_as_in_library])
def test_shortcut_options_takes_what_is_right(answer):
    takes(check.shortcut_options(answer))


# Sections 4.3 and 4.5: the bottleneck.


class Block(nn.Module):
    """torchvision's bottleneck, taken apart so that each mistake changes one place."""

    expansion = 4
    bias = False
    padding = 1

    def __init__(self, in_channels, channels, stride=1, stride_on="3x3"):
        super().__init__()
        first, second = self.strides(stride, stride_on)
        out_channels = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, first, bias=self.bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, self.padding, bias=self.bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=self.bias)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if self.changes(in_channels, out_channels, stride):
            self.downsample = self.projection(in_channels, out_channels, stride)

    def strides(self, stride, stride_on):
        return (1, stride) if stride_on == "3x3" else (stride, 1)

    def changes(self, in_channels, out_channels, stride):
        return stride > 1 or in_channels != out_channels

    def projection(self, in_channels, out_channels, stride):
        conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def layers(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(F.relu(self.bn2(self.conv2(x)))))

    def shortcut(self, x):
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x))


class NotWritten(Block):
    def forward(self, x): ...


class Empty(nn.Module):
    def __init__(self, in_channels, channels, stride=1, stride_on="3x3"):
        super().__init__()


class NoExpansion(Block):
    expansion = 1


class ChannelsOfTheOutput(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv1 = nn.Conv2d(in_channels, 4 * channels, 1, bias=False)


class OnThe1x1(Block):
    def strides(self, stride, stride_on):
        return stride, 1


class OnThe3x3(Block):
    def strides(self, stride, stride_on):
        return 1, stride


class OnBoth(Block):
    def strides(self, stride, stride_on):
        return stride, stride


class WithBiases(Block):
    bias = True


class NoPadding(Block):
    padding = 0


class NoBatchNorm(Block):
    def __init__(self, *args):
        super().__init__(*args)
        self.bn3 = nn.Identity()


class ProjectionWithoutStride(Block):
    def projection(self, in_channels, out_channels, stride):
        return super().projection(in_channels, out_channels, 1)


class ProjectionWithoutNormalization(Block):
    def projection(self, in_channels, out_channels, stride):
        return super().projection(in_channels, out_channels, stride)[:1]


class ProjectionOnlyWithStride(Block):
    def changes(self, in_channels, out_channels, stride):
        return stride > 1


class ProjectionAlways(Block):
    def changes(self, in_channels, out_channels, stride):
        return True


class NoShortcut(Block):
    def forward(self, x):
        return F.relu(self.layers(x))


class AddedAfterTheReLU(Block):
    def forward(self, x):
        return F.relu(self.layers(x)) + self.shortcut(x)


class ReLUBeforeTheAddition(Block):
    def forward(self, x):
        return F.relu(F.relu(self.layers(x)) + self.shortcut(x))


class NoLastReLU(Block):
    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


class Average(Block):
    def forward(self, x):
        return F.relu((self.layers(x) + self.shortcut(x)) / 2)


class NoFirstReLU(Block):
    def layers(self, x):
        return self.bn3(self.conv3(F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))))


class NoSecondReLU(Block):
    def layers(self, x):
        return self.bn3(self.conv3(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))))


class DetachedShortcut(Block):
    def shortcut(self, x):
        return super().shortcut(x).detach()


class OwnConvolution(nn.Module):
    def __init__(self, *args):
        super().__init__()
        self.weight = nn.Conv2d(*args, 1).weight


class NoConv2d(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv1 = OwnConvolution(in_channels, channels)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Empty, "no answer so far"),
        (NotWritten, "no answer so far"),
        (NoExpansion, "expansion"),
        (ChannelsOfTheOutput, "channels of the 3×3"),
        (OnThe1x1, "that is v1."),
        (OnBoth, "that is v1."),
        (WithBiases, "A convolution has a bias"),
        (NoPadding, "needs padding 1"),
        (NoBatchNorm, "Batch normalization is missing"),
        (ProjectionWithoutStride, "projection has no stride"),
        (ProjectionWithoutNormalization, "no batch normalization behind"),
        (ProjectionOnlyWithStride, "wherever stride or channels change"),
        (ProjectionAlways, "without a projection"),
        (NoShortcut, "shortcut is missing"),
        (AddedAfterTheReLU, "added after the last ReLU"),
        (ReLUBeforeTheAddition, "ReLU between bn3 and the addition"),
        (NoLastReLU, "no ReLU behind the addition"),
        (Average, "average"),
        (NoFirstReLU, "no ReLU between bn1 and conv2"),
        (NoSecondReLU, "no ReLU between bn2 and conv3"),
        (DetachedShortcut, "gradient at input"),
        (NoConv2d, "should be an `nn.Conv2d`"),
    ],
)
def test_bottleneck_names_the_mistake(answer, says):
    refuses(check.bottleneck(answer), says)


def torchvisions(in_channels, channels, stride):
    change = stride > 1 or in_channels != 4 * channels
    shortcut = models.make_shortcut("projection", in_channels, 4 * channels, stride)
    return resnet.Bottleneck(in_channels, channels, stride, shortcut if change else None)


@pytest.mark.parametrize("answer", [Block, models.Bottleneck, torchvisions])
def test_bottleneck_takes_what_is_right(answer):
    takes(check.bottleneck(answer))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Empty, "no answer so far"),
        (OnThe3x3, "that is v1.5."),
        (OnThe1x1, "that is v1."),
        (ReLUBeforeTheAddition, "ReLU between bn3 and the addition"),
        (ProjectionWithoutStride, "projection has no stride"),
    ],
)
def test_bottleneck_versions_names_the_mistake(answer, says):
    refuses(check.bottleneck_versions(answer), says)


def test_bottleneck_versions_takes_what_is_right():
    takes(check.bottleneck_versions(Block))
    takes(
        check.bottleneck_versions(
            lambda i, c, s, stride_on: models.Bottleneck(i, c, s, stride_on=stride_on)
        )
    )


# Costs.


def cost(i, o, k, s, g, h, w):
    weights = k * k * i * o // g
    return weights, weights * -(-h // s) * -(-w // s)


def cost_counted(i, o, k, s, g, h, w):
    conv = nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False)
    return [conv.weight.numel(), conv.weight[0].numel() * conv(torch.zeros(1, i, h, w)).numel()]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda *a: cost(*a)[0], "Give 2 values"),
        (lambda *a: (None, None), "should be a number"),
        (lambda *a: (cost(*a)[0] + a[1], 1), "A bias is counted"),
        (lambda i, o, k, s, g, h, w: cost(i, o, k, s, 1, h, w), "With groups"),
        (lambda i, o, k, s, g, h, w: cost(i, o, k, s, g * g, h, w), "divide the weights once"),
        (lambda *a: (cost(*a)[0] // a[2], 1), "kernel × kernel"),
        (lambda *a: (cost(*a)[0], 2 * cost(*a)[1]), "as two"),
        (lambda i, o, k, s, g, h, w: cost(i, o, k, 1, g, h, w), "stride is ignored"),
        (
            lambda *a: (cost(*a)[0], cost(*a)[0] * (a[5] // a[3]) * (a[6] // a[3])),
            "rounded up",
        ),
        (lambda *a: (cost(*a)[0], cost(*a)[1] * a[4]), "in the multiply-adds too"),
        (lambda *a: (cost(*a)[0], cost(*a)[0] * a[5] * a[6] // a[3]), "divides both"),
        (lambda *a: (cost(*a)[0], cost(*a)[1] + 1), "is not right"),
    ],
)
def test_convolution_cost_names_the_mistake(answer, says):
    refuses(check.convolution_cost(answer), says)


@pytest.mark.parametrize("answer", [cost, cost_counted])
def test_convolution_cost_takes_what_is_right(answer):
    takes(check.convolution_cost(answer))


def parameters(
    i,
    c,
    stride,
    groups,
    base_width,
    *,
    norm=2,
    bias=0,
    project=None,
    project_norm=2,
    g=None,
    w=None,
):
    width, out = w or groups * (c * base_width // 64), 4 * c
    g = g or groups
    convs = [(i, width, 1, 1), (width, width, 3, g), (width, out, 1, 1)]
    total = sum(a * b * k * k // n + (norm + bias) * b for a, b, k, n in convs)
    if (stride > 1 or i != out) if project is None else project:
        total += i * out + (min(norm, project_norm) if norm < 2 else project_norm + bias) * out
    return total


def parameters_counted(i, c, stride, groups, base_width):
    shortcut = None
    if stride > 1 or i != 4 * c:
        shortcut = nn.Sequential(nn.Conv2d(i, 4 * c, 1, bias=False), nn.BatchNorm2d(4 * c))
    block = resnet.Bottleneck(i, c, stride, shortcut, groups=groups, base_width=base_width)
    return sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda *a: [], "should be a number"),
        (partial(parameters, norm=0), "Batch normalization is forgotten"),
        (partial(parameters, norm=4, project_norm=4), "running mean"),
        (partial(parameters, bias=1), "biases of the convolutions"),
        (partial(parameters, project=False), "projection on the shortcut is forgotten"),
        (partial(parameters, project=True), "no projection where"),
        (partial(parameters, project_norm=0), "projection's batch normalization"),
        (partial(parameters, g=1), "has groups"),
        (lambda i, c, s, g, b: parameters(i, c, s, 1, 64), "mind groups and base_width"),
    ],
)
def test_bottleneck_parameters_names_the_mistake(answer, says):
    refuses(check.bottleneck_parameters(answer), says)


@pytest.mark.parametrize("answer", [parameters, parameters_counted])
def test_bottleneck_parameters_takes_what_is_right(answer):
    takes(check.bottleneck_parameters(answer))


def width(w, r, g):
    return w * r * (18 / (2 * r + 9 / g)) ** 0.5


HIDDEN_WIDTHS = [(96, 8, 1), (64, 4, 32), (50, 3, 5)]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda w, r, g: width(w, r, g) / r, "channels of the bottleneck's 3×3"),
        (lambda w, r, g: w * r * 18 / (2 * r + 9 / g), "square"),
        (lambda w, r, g: w * 18 / (2 / r + 9 / (r * r * g)), "not the ratio of widths"),
        (lambda w, r, g: w * r * (18 / (r + 9 / g)) ** 0.5, "two 1×1"),
        (lambda w, r, g: w * r * (9 / (2 * r + 9 / g)) ** 0.5, "two convolutions"),
        (lambda w, r, g: width(w, r, 1), "Groups divide the weights of the 3×3 convolution."),
        (lambda w, r, g: width(w, r, g * g), "convolution once"),
        (lambda w, r, g: round(width(w, r, g)), "is not right"),
    ],
)
def test_equal_width_names_the_mistake(answer, says):
    refuses(check.equal_width(answer, HIDDEN_WIDTHS), says)


def test_equal_width_takes_what_is_right():
    takes(check.equal_width(width))
    takes(check.equal_width(width, HIDDEN_WIDTHS))


@pytest.mark.parametrize(("w", "r", "g"), bottlenecks.WIDTHS + HIDDEN_WIDTHS)
def test_at_the_equal_width_the_weights_are_equal(w, r, g):
    x = width(w, r, g)
    assert math.isclose(18 * w**2, 2 * x**2 / r + 9 * (x / r) ** 2 / g)


def lines(size, stride, reach):
    return len({p + r for p in range(0, size, stride) for r in reach} & set(range(size))) / size


def share(stride_on, h, w, stride):
    reach = (-1, 0, 1) if stride_on == "3x3" else (0,)
    return lines(h, stride, reach) * lines(w, stride, reach)


def share_with_border(stride_on, h, w, stride):
    if stride_on == "1x1":
        return share(stride_on, h, w, stride)
    rows, columns = ({p + r for p in range(0, n, stride) for r in (-1, 0, 1)} for n in (h, w))
    return len(rows) * len(columns) / (h * w)


def share_by_gradient(stride_on, height, width, stride):
    block = models.Bottleneck(3, 4, stride, stride_on=stride_on).double().eval()
    for parameter in block.parameters():
        parameter.data.abs_()  # so that no ReLU hides a pixel
    x = torch.rand(1, 3, height, width, dtype=torch.float64, requires_grad=True)
    out = block.residual(x) + block.downsample(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    return (gradient.abs().sum(1) > 0).double().mean().item()


HIDDEN_SHARES = [("1x1", 7, 10, 2), ("3x3", 8, 12, 4), ("3x3", 9, 10, 4), ("1x1", 10, 11, 3)]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda v, *a: share("1x1" if v == "3x3" else "3x3", *a), "mixed up"),
        (lambda v, h, w, s: 1 / s**2 if v == "1x1" else 1.0, "does not divide"),
        (lambda v, h, w, s: lines(h, s, (0,)), "both directions"),
        (lambda v, h, w, s: 1.0 if v == "3x3" else share(v, h, w, s), "leaves gaps"),
        (
            share_with_border,
            "hangs over",
        ),
    ],
)
def test_seen_share_names_the_mistake(answer, says):
    refuses(check.seen_share(answer, bottlenecks.SHARES + HIDDEN_SHARES), says)


@pytest.mark.parametrize("answer", [share, share_by_gradient])
def test_seen_share_takes_what_is_right(answer):
    takes(check.seen_share(answer))
    takes(check.seen_share(answer, HIDDEN_SHARES))


# Whole networks.


def table(blocks, bottleneck, height, width, stride_on="3x3", *, down=lambda n: (n + 1) // 2):
    h, w = down(height), down(width)
    yield "conv1", 7, 3, 64, h, w
    h, w, channels = down(h), down(w), 64
    for stage, count in enumerate(blocks):
        inner = 64 << stage
        out = inner * 4 if bottleneck else inner
        for n in range(count):
            large = h, w
            if stage and not n:
                h, w = down(h), down(w)
            if bottleneck:
                yield "layer", 1, channels, inner, *(large if stride_on == "3x3" else (h, w))
            yield "layer", 3, inner if bottleneck else channels, inner, h, w
            yield "layer", 1 if bottleneck else 3, inner, out, h, w
            if channels != out:
                yield ("first" if n == stage else "later"), 1, channels, out, h, w
            channels = out
    yield "fc", 1, channels, 1000, 1, 1


def network_cost(*args, drop=(), norm=2, bias=0, fc_bias=1, times=1, **options):
    rows = [row for row in table(*args, **options) if row[0] not in drop]
    own = {"fc": fc_bias}
    return (
        sum(k * k * i * o + own.get(kind, norm + bias) * o for kind, k, i, o, _, _ in rows),
        times * sum(k * k * i * o * h * w for _, k, i, o, h, w in rows),
    )


def macs_only(**options):
    """A mistake in the multiply-adds alone."""
    return lambda *args: (network_cost(*args)[0], network_cost(*args, **options)[1])


def other_version(blocks, bottleneck, height, width, stride_on):
    return network_cost(blocks, bottleneck, height, width, "1x1" if stride_on == "3x3" else "3x3")


HIDDEN_COSTS = [
    ((3, 4, 30, 3), True, 225, 160, "3x3"),
    ((1, 2, 1, 1), False, 97, 130, "3x3"),
    ((3, 4, 6, 3), True, 224, 224, "1x1"),
]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda *a: 3, "Give 2 values"),
        (partial(network_cost, drop=("first", "later")), "projections on the shortcuts"),
        (partial(network_cost, drop=("first",)), "projection of the first stage"),
        (partial(network_cost, norm=0), "Batch normalization is forgotten"),
        (partial(network_cost, norm=4), "running mean"),
        (partial(network_cost, bias=1), "biases of the convolutions"),
        (partial(network_cost, drop=("fc",)), "linear layer is forgotten"),
        (partial(network_cost, drop=("conv1",)), "7×7 convolution is forgotten"),
        (partial(network_cost, fc_bias=0), "linear layer's biases"),
        (partial(network_cost, times=2), "as two"),
        (partial(network_cost, down=lambda n: n // 2), "rounded up"),
        (macs_only(drop=("first", "later")), "projections' multiply-adds"),
        (macs_only(drop=("first",)), "first stage is forgotten in the multiply-adds"),
        (macs_only(drop=("fc",)), "linear layer's multiply-adds"),
        (macs_only(drop=("conv1",)), "7×7 convolution's multiply-adds"),
        (macs_only(down=lambda n: n), "size of the input"),
        (other_version, "mixed up"),
        (lambda *a: (network_cost(*a)[0] + 1, 0), "is not right"),
    ],
)
def test_resnet_cost_names_the_mistake(answer, says):
    refuses(check.resnet_cost(answer, bottlenecks.COSTS + HIDDEN_COSTS), says)


def cost_of_torchvisions(blocks, bottleneck, height, width, stride_on):
    with torch.device("meta"):
        block = resnet.Bottleneck if bottleneck else resnet.BasicBlock
        net = resnet.ResNet(block, list(blocks))
    if bottleneck and stride_on == "1x1":
        for module in net.modules():
            if isinstance(module, resnet.Bottleneck):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    return [probes.parameters(net), probes.multiply_adds(net, 3, height, width)]


@pytest.mark.parametrize("answer", [network_cost, cost_of_torchvisions])
def test_resnet_cost_takes_what_is_right(answer):
    takes(check.resnet_cost(answer, bottlenecks.COSTS + HIDDEN_COSTS))


def from_state(state, stride_on, *, stages=None, digits=r"(\d+)", train=False, load=True):
    """The network that the weights belong to."""
    blocks = stages or [
        1 + max(int(n) for n in re.findall(rf"layer{stage}\.{digits}", " ".join(state)))
        for stage in range(1, 5)
    ]
    first, last = state["conv1.weight"], state["fc.weight"]
    net = models.ResNet(
        blocks,
        block=partial(models.Bottleneck, stride_on=stride_on),
        widths=[len(first) << stage for stage in range(4)],
        in_channels=first.shape[1],
        num_classes=len(last),
    )
    if load:
        net.load_state_dict(state)
    return net.train(train)


def from_state_by_trial(state, stride_on):
    """The same, block for block, counted until there is no more."""
    net = Network()
    width = state["conv1.weight"].shape[0]
    net.conv1 = nn.Conv2d(state["conv1.weight"].shape[1], width, 7, 2, 3, bias=False)
    net.bn1 = nn.BatchNorm2d(width)
    channels = width
    for stage in range(4):
        blocks, number = nn.Sequential(), 0
        while f"layer{stage + 1}.{number}.conv1.weight" in state:
            stride = 2 if stage and not number else 1
            blocks.append(Block(channels, width << stage, stride, stride_on))
            channels, number = 4 * (width << stage), number + 1
        setattr(net, f"layer{stage + 1}", blocks)
    net.fc = nn.Linear(channels, len(state["fc.bias"]))
    net.load_state_dict(state)
    return net.eval()


class Network(nn.Module):
    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


HIDDEN_NETWORKS = [
    ((1, 2, 11, 1), 4, 1, 5, "3x3"),
    ((1, 1, 2, 3), 6, 2, 7, "1x1"),
]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda state, stride_on: from_state(state, "3x3"), "outputs of v1.5"),
        (lambda state, stride_on: from_state(state, "1x1"), "outputs of v1."),
        (partial(from_state, train=True), "training mode"),
        (partial(from_state, load=False), "is off by"),
        (partial(from_state, stages=(3, 4, 6, 3)), "RuntimeError"),
        (partial(from_state, digits=r"(\d)"), "RuntimeError"),
    ],
)
def test_bottleneck_network_names_the_mistake(answer, says):
    refuses(check.bottleneck_network(answer, bottlenecks.NETWORKS + HIDDEN_NETWORKS), says)


@pytest.mark.parametrize("answer", [from_state, from_state_by_trial])
def test_bottleneck_network_takes_what_is_right(answer):
    takes(check.bottleneck_network(answer, bottlenecks.NETWORKS + HIDDEN_NETWORKS))


# Section 4.6: memory.


def memory(n, s, a, b):
    return a * s + b * math.ceil(n / s)


def least(n, a, b):
    s = min(range(1, n + 1), key=lambda s: memory(n, s, a, b))
    return s, memory(n, s, a, b)


def least_from_the_other_end(n, a, b):
    s = min(range(n, 0, -1), key=lambda s: memory(n, s, a, b))
    return [s, float(memory(n, s, a, b))]


def deepest(m, a, b):
    return max(s * ((m - a * s) // b) for s in range(1, m // a + 1))


def deepest_by_trial(m, a, b):
    n = 1
    while least(n + 1, a, b)[1] <= m:
        n += 1
    return n


def with_memory(choose):
    def answer(n, a, b):
        s = choose(n, a, b)
        return s, memory(n, s, a, b)

    return answer


def dividing(n, a, b):
    return min((s for s in range(1, n + 1) if n % s == 0), key=lambda s: memory(n, s, a, b))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda *a: least(*a)[1], "Give 2 values"),
        (with_memory(lambda n, a, b: round((n * b / a) ** 0.5)), "for fractions"),
        (with_memory(dividing), "need not divide"),
        (with_memory(lambda n, a, b: round(n**0.5)), "only if a and b are equal"),
        (with_memory(lambda n, a, b: round((n * a / b) ** 0.5)), "a and b are mixed up"),
        (lambda n, a, b: (math.ceil(n / least(n, a, b)[0]), 0), "length of a segment"),
        (lambda n, a, b: (1, n), "are not the best"),
        (
            lambda n, a, b: (s := least(n, a, b)[0], a * s + b * n / s),
            "whole number of blocks: round up.",
        ),
        (
            lambda n, a, b: (s := least(n, a, b)[0], a * s + b * (n // s)),
            "round up, not down",
        ),
        (lambda n, a, b: (least(n, a, b)[0], 2 * (a * b * n) ** 0.5), "formula's least"),
    ],
)
def test_checkpoint_memory_names_the_mistake_in_the_memory(answer, says):
    refuses(check.checkpoint_memory(answer, deepest), says)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda m, a, b: m // b, "without checkpointing"),
        (lambda m, a, b: (m - a) // b, "one segment"),
        (lambda m, a, b: m * m // (4 * a * b), "no whole number"),
        (
            lambda m, a, b: round(m / a / 2) * ((m - a * round(m / a / 2)) // b),
            "Half of the memory",
        ),
        (
            lambda m, a, b: max(int(s * (m - a * s) / b) for s in range(1, m // a + 1)),
            "within each segment",
        ),
        (lambda m, a, b: deepest(m, a, b) + 1, "is not right"),
    ],
)
def test_checkpoint_memory_names_the_mistake_in_the_depth(answer, says):
    refuses(check.checkpoint_memory(least, answer), says)


@pytest.mark.parametrize("depth", [deepest, deepest_by_trial])
@pytest.mark.parametrize("answer", [least, least_from_the_other_end])
def test_checkpoint_memory_takes_what_is_right(answer, depth):
    takes(check.checkpoint_memory(answer, depth))


class Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, segment, x, *weights):
        ctx.segment = segment
        ctx.save_for_backward(x)
        return segment(x)

    @staticmethod
    def backward(ctx, upstream):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            y = ctx.segment(x)
        return None, *torch.autograd.grad(y, [x, *ctx.segment.parameters()], upstream)


class AddsInside(Checkpoint):
    @staticmethod
    def backward(ctx, upstream):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            y = ctx.segment(x)
        y.backward(upstream)
        return None, x.grad, *[None] * len(list(ctx.segment.parameters()))


class AddsTwice(Checkpoint):
    @staticmethod
    def backward(ctx, upstream):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            y = ctx.segment(x)
        y.backward(upstream)
        return None, x.grad, *[p.grad.clone() for p in ctx.segment.parameters()]


class Ones(Checkpoint):
    @staticmethod
    def backward(ctx, upstream):
        return Checkpoint.backward(ctx, torch.ones_like(upstream))


class NoWeights(Checkpoint):
    @staticmethod
    def backward(ctx, upstream):
        _, x, *weights = Checkpoint.backward(ctx, upstream)
        return None, x, *[None for _ in weights]


class NoInput(Checkpoint):
    @staticmethod
    def backward(ctx, upstream):
        _, _, *weights = Checkpoint.backward(ctx, upstream)
        return None, None, *weights


class Thrice(Checkpoint):
    @staticmethod
    def backward(ctx, upstream):
        Checkpoint.backward(ctx, upstream)
        return Checkpoint.backward(ctx, upstream)


class NoRecording(Checkpoint):
    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        y = ctx.segment(x)
        return None, *torch.autograd.grad(y, [x, *ctx.segment.parameters()], upstream)


def checkpointed(function=Checkpoint):
    return lambda segment, x: function.apply(segment, x, *segment.parameters())


def without_a_function(segment, x):
    with torch.no_grad():
        return segment(x)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda segment, x: segment(x), "still there"),
        (without_a_function, "wrap the two passes"),
        (checkpointed(AddsTwice), "comes twice"),
        (checkpointed(Ones), "does not use what comes in"),
        (checkpointed(NoWeights), "weights get no gradient"),
        (checkpointed(NoInput), "gradient at the input is missing"),
        (checkpointed(Thrice), "more than twice"),
        (checkpointed(NoRecording), "RuntimeError"),
        (lambda segment, x: AddsInside.apply(segment, x), "an image that needs none"),
        (lambda segment, x: checkpoint(segment, x, use_reentrant=True), "an image that needs none"),
        (lambda segment, x: checkpointed()(segment, F.relu(x)), "is off by"),
    ],
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpointing_names_the_mistake(answer, says):
    refuses(check.checkpointing(answer), says)


@pytest.mark.parametrize(
    "answer",
    [
        checkpointed(),
        checkpointed(AddsInside),
        lambda segment, x: checkpoint(segment, x, use_reentrant=False),
    ],
)
def test_checkpointing_takes_what_is_right(answer):
    takes(check.checkpointing(answer))


# Section 4.7: stochastic depth.


def survive(blocks, last):
    return [1 - n / blocks * (1 - last) for n in range(1, blocks + 1)]


def survive_as_tensor(blocks, last):
    return torch.linspace(1, last, blocks + 1, dtype=torch.float64)[1:]


def draw(x, p):
    return (torch.rand(len(x), 1, 1, 1) < p).double()


def stochastic(x, g, p, training, draw=draw):
    return F.relu(x + (draw(x, p) * g if training else p * g))


def stochastic_by_where(x, g, p, training):
    if not training:
        return torch.relu(x + g * p)
    kept = torch.bernoulli(torch.full((x.shape[0],), p)).bool()
    return torch.where(kept.view(-1, 1, 1, 1), x + g, x).clamp(min=0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda n, last: [1, *survive(n, last)[:-1]], "number 1, not 0"),
        (lambda n, last: torch.linspace(1, last, n), "input counts as layer 0"),
        (lambda n, last: [1 - p for p in survive(n, last)], "left out"),
        (lambda n, last: survive(n, last)[::-1], "order is reversed"),
        (lambda n, last: [last] * n, "falls from block to block"),
        (lambda n, last: survive(n, last)[1:], "shape"),
    ],
)
def test_stochastic_depth_names_the_mistake_in_the_probabilities(answer, says):
    refuses(check.stochastic_depth(answer, stochastic), says)


def in_training(change):
    return lambda x, g, p, training: change(x, g, p) if training else stochastic(x, g, p, False)


def in_evaluation(change):
    return lambda x, g, p, training: stochastic(x, g, p, True) if training else change(x, g, p)


def seeded(x, g, p):
    kept = torch.rand(len(x), 1, 1, 1, generator=torch.Generator().manual_seed(0)) < p
    return F.relu(x + kept * g)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (in_evaluation(lambda x, g, p: F.relu(x + g)), "not weighted"),
        (in_evaluation(lambda x, g, p: F.relu(x)), "the layers are missing"),
        (in_evaluation(lambda x, g, p: F.relu(p * (x + g))), "shortcut is weighted too"),
        (in_evaluation(lambda x, g, p: F.relu(x + (1 - p) * g)), "being left out"),
        (in_evaluation(lambda x, g, p: F.relu(x + g / p)), "other way round"),
        (in_evaluation(lambda x, g, p: x + p * g), "no ReLU"),
        (in_evaluation(lambda x, g, p: F.relu(x + p * g.detach())), "gradient at layers"),
        (
            in_evaluation(lambda x, g, p: stochastic(x.detach(), g.detach(), p, False)),
            "No gradient",
        ),
        (
            in_evaluation(
                lambda x, g, p: F.relu(x + torch.tensor([1, 0, 1, 0]).view(-1, 1, 1, 1) * g)
            ),
            "nothing is drawn",
        ),
        (in_training(lambda x, g, p: F.relu(x + draw(x, p) * g / p)), "divided by the probability"),
        (in_training(lambda x, g, p: F.relu(x + p * g)), "weighted instead"),
        (in_training(lambda x, g, p: F.relu(x + p * draw(x, p) * g)), "as well as the draw"),
        (in_training(lambda x, g, p: F.relu(draw(x, p) * (x + g))), "shortcut is gone too"),
        (in_training(lambda x, g, p: x + draw(x, p) * g), "no ReLU"),
        (in_training(lambda x, g, p: F.relu(x + draw(x, 1 - p) * g)), "turned round"),
        (in_training(lambda x, g, p: F.relu(x + draw(x, 0.5) * g)), "of the images"),
        (in_training(lambda x, g, p: F.relu(x + draw(x[:1], p) * g)), "share one fate"),
        (in_training(lambda x, g, p: F.relu(x + (torch.rand(x.shape) < p) * g)), "a whole image"),
        (
            in_training(lambda x, g, p: F.relu(x + (torch.rand(len(x), 2, 1, 1) < p) * g)),
            "a whole image",
        ),
        (in_training(seeded), "don't set a seed"),
        (in_training(lambda x, g, p: F.relu(x + draw(x, p) * g.detach())), "gradient at layers"),
        (in_training(lambda x, g, p: F.relu(x - draw(x, p) * g)), "are neither"),
        (in_training(lambda x, g, p: stochastic(x, g, p, True).sum(1)), "shape"),
    ],
)
def test_stochastic_depth_names_the_mistake_in_the_sum(answer, says):
    refuses(check.stochastic_depth(survive, answer), says)


@pytest.mark.parametrize("answer", [stochastic, stochastic_by_where])
@pytest.mark.parametrize("probabilities", [survive, survive_as_tensor])
def test_stochastic_depth_takes_what_is_right(probabilities, answer):
    for _ in range(5):
        takes(check.stochastic_depth(probabilities, answer))
