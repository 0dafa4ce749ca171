"""The checks held against the ways in which people write these things: none right is refused.

Each way is written here anew; what it follows is how public programs do it.
"""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet
from torchvision.ops import stochastic_depth

from resnets import check, models, pspnet

pytestmark = pytest.mark.usefixtures("same_inputs")

RIGHT = None  # no words: the answer is right


def expect(verdict, words):
    if words is RIGHT:
        assert verdict, verdict
    else:
        assert not verdict
        assert words in verdict.message, verdict.message


# Residual blocks and bottlenecks, in any style.


def projection(style, n, out, stride):
    conv = nn.Conv2d(n, out, 1, stride, bias=False)
    if style == "named":
        return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out)))
    if style == "norm registered first":
        block = Reversed()
        block.norm, block.conv = nn.BatchNorm2d(out), conv
        return block
    if style == "thinned first":
        conv.stride = (1, 1)
        return nn.Sequential(nn.AvgPool2d(1, stride), conv, nn.BatchNorm2d(out))
    if style == "max pooling of one pixel":
        conv.stride = (1, 1)
        return nn.Sequential(nn.MaxPool2d(1, stride), conv, nn.BatchNorm2d(out))
    if style == "lazy":
        return nn.Sequential(nn.LazyConv2d(out, 1, stride, bias=False), nn.LazyBatchNorm2d())
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class Reversed(nn.Module):
    def forward(self, x):
        return self.norm(self.conv(x))


PROJECTIONS = (
    "plain", "named", "norm registered first", "thinned first", "max pooling of one pixel", "lazy"
)  # fmt: skip


class Styled(nn.Module):
    """A basic block or bottleneck, right in every style."""

    def __init__(self, n, c, stride, style, bottleneck):
        super().__init__()
        self.style = style
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        widths = (c, c, 4 * c) if bottleneck else (c, c)
        names, channels = [], n
        for number, (kernel, width) in enumerate(zip(kernels, widths, strict=True), start=1):
            step = stride if number == (2 if bottleneck else 1) else 1
            padding = kernel // 2
            if style["padding"] == "same" and step == 1:
                padding = "same"
            elif style["padding"] == "before":
                padding = 0
            conv = nn.Conv2d(channels, width, kernel, step, padding, bias=False)
            if style["lazy"]:
                conv = nn.LazyConv2d(width, kernel, step, padding, bias=False)
            names += [(f"conv{number}", conv), (f"bn{number}", nn.BatchNorm2d(width))]
            channels = width
        if stride != 1 or n != channels:
            names.append(("downsample", projection(style["projection"], n, channels, stride)))
        elif style["empty"] is not None:
            names.append(("downsample", style["empty"]()))
        for name, module in reversed(names) if style["backward"] else names:
            setattr(self, name, module)
        self.act = nn.ReLU(inplace=style["in place"])
        self.count = len(kernels)

    def relu(self, x):
        if self.style["functional"]:
            return F.relu(x, inplace=self.style["in place"])
        return self.act(x)

    def forward(self, x):
        out = identity = x
        for number in range(1, self.count + 1):
            conv, bn = getattr(self, f"conv{number}"), getattr(self, f"bn{number}")
            if self.style["padding"] == "before" and conv.kernel_size[0] == 3:
                out = F.pad(out, (1, 1, 1, 1))
            out = bn(conv(out))
            if number < self.count:
                out = self.relu(out)
        downsample = getattr(self, "downsample", None)
        if downsample is not None:
            identity = downsample(x)
        if self.style["sum"] == "into the layers":
            out += identity
        else:
            out = torch.add(out, identity)
        return self.relu(out)


STYLES = st.fixed_dictionaries(
    {
        "projection": st.sampled_from(PROJECTIONS),
        "padding": st.sampled_from(["number", "same", "before"]),
        "empty": st.sampled_from([None, nn.Identity, nn.Sequential]),
        "sum": st.sampled_from(["new", "into the layers"]),
        "lazy": st.booleans(),
        "backward": st.booleans(),
        "functional": st.booleans(),
        "in place": st.booleans(),
    }
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(STYLES, st.booleans())
def test_no_style_of_a_right_block_is_refused(style, bottleneck):
    asked = check.bottleneck if bottleneck else check.residual_block
    verdict = asked(lambda n, c, stride: Styled(n, c, stride, style, bottleneck))
    assert verdict, (style, verdict)


def basic(forward=None, change=None):
    """The library's basic block with another forward pass, or after a change."""

    def make(n, c, stride):
        block = models.BasicBlock(n, c, stride)
        if change:
            change(block, n, c, stride)
        if forward:
            block.forward = lambda x: forward(block, x)
        return block

    return make


def by_torchvision(block, expansion):
    def make(n, c, stride):
        changes = stride != 1 or n != expansion * c
        shortcut = projection("plain", n, expansion * c, stride) if changes else None
        return block(n, c, stride, shortcut)

    return make


class HomeMade(nn.Module):
    """Batch normalization by hand, without a counter."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.ones(channels)) for _ in range(2))
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, 0.1)
                self.running_var.lerp_(x.var((0, 2, 3)), 0.1)
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class OtherNames(nn.Module):
    """As in many copies: the projection under another name."""

    def __init__(self, n, c, stride):
        super().__init__()
        block = models.BasicBlock(n, c, stride)
        self.conv1, self.bn1, self.conv2, self.bn2 = (
            block.conv1, block.bn1, block.conv2, block.bn2
        )  # fmt: skip
        self.shortcut = block.downsample

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class OneSequential(nn.Module):
    def __init__(self, n, c, stride):
        super().__init__()
        block = models.BasicBlock(n, c, stride)
        self.body = nn.Sequential(block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2)
        self.downsample = block.downsample

    def forward(self, x):
        return F.relu(self.body(x) + self.downsample(x))


class InAList(nn.Module):
    def __init__(self, n, c, stride):
        super().__init__()
        self.convs = [nn.Conv2d(n, c, 3, stride, 1), nn.Conv2d(c, c, 3, 1, 1)]


class PadsChannels(OtherNames):
    def __init__(self, n, c, stride):
        super().__init__(n, c, stride)
        self.shortcut = nn.Identity()
        self.missing, self.stride = c - n, stride

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + F.pad(x[:, :, :: self.stride, :: self.stride],
                                  (0, 0, 0, 0, 0, self.missing)))  # fmt: skip


def momentum(value):
    def change(block, *_):
        block.bn1.momentum = block.bn2.momentum = value

    return basic(change=change)


def norms(make):
    return basic(change=lambda b, n, c, s: (setattr(b, "bn1", make(c)), setattr(b, "bn2", make(c))))


def in_float32(block, x):
    return F.relu(block.residual(x.float()) + block.downsample(x.float()))


def adds_to_the_input(block, x):
    out = block.residual(x)
    shortcut = block.downsample(x)
    shortcut += out
    return F.relu_(shortcut)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (models.BasicBlock, RIGHT),
        (by_torchvision(resnet.BasicBlock, 1), RIGHT),
        (basic(adds_to_the_input), "inplace operation"),
        (basic(in_float32), RIGHT),
        (norms(HomeMade), RIGHT),
        (OtherNames, "shortcut.0.weight has its shape"),
        (OneSequential, "under another name"),
        (InAList, "plain list"),
        (PadsChannels, "needs a projection"),
        (momentum(0.01), "takes 0.01 of the batch's value"),
        (momentum(0.0), "does not change in training"),
        (norms(lambda c: nn.GroupNorm(1, c)), "keep no running mean"),
        (norms(lambda c: nn.InstanceNorm2d(c, affine=True)), "keep no running mean"),
        (
            basic(lambda b, x: (F.relu(b.residual(x) + b.downsample(x)), x)),
            "should return a tensor",
        ),
        (basic(lambda b, x: F.relu6(b.residual(x) + b.downsample(x))), "is off by"),
        (basic(lambda b, x: F.relu(F.dropout(b.residual(x)) + b.downsample(x))), "is off by"),
        (models.BasicBlock(4, 4), "the class itself"),
        (lambda n, c, stride: 3, "should be an `nn.Module`"),
        (lambda n, c: models.BasicBlock(n, c), "TypeError"),
        (basic(lambda b, x: b(x) if False else b.conv3(x)), "AttributeError"),
        (basic(lambda b, x: torch.full_like(b.residual(x), torch.nan)), "not a number"),
    ],
)
def test_residual_blocks(answer, words):
    expect(check.residual_block(answer), words)


class OfTheOutput(nn.Module):
    """The other convention: `channels` is what goes out, and a quarter of it is in the middle."""

    def __init__(self, n, c, stride):
        super().__init__()
        block = models.Bottleneck(n, max(c // 4, 1), stride)
        for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"):
            setattr(self, name, getattr(block, name))
        self.downsample = block.downsample


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (models.Bottleneck, RIGHT),
        (by_torchvision(resnet.Bottleneck, 4), RIGHT),
        (lambda n, c, s: models.Bottleneck(n, c, s, stride_on="1x1"), "that is v1"),
        (models.BasicBlock, "This is the basic block"),
        (OfTheOutput, "don't divide it"),
    ],
)
def test_bottlenecks(answer, words):
    expect(check.bottleneck(answer), words)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda i, k, w: models.resnet18(in_channels=i, num_classes=k, stem="stride1",
                                         widths=[w, 2 * w, 4 * w, 8 * w]), RIGHT),
        (lambda i, k, w: models.resnet18(in_channels=i, num_classes=k, stem="imagenet",
                                         widths=[w, 2 * w, 4 * w, 8 * w]), "conv1 is 7×7"),
    ],
)  # fmt: skip
def test_small_networks(answer, words):
    expect(check.small_resnet18(answer), words)


# The pyramid.


class Pyramid(nn.Module):
    """Right in every style: whose levels hold the pooling, or do not, by place or by name."""

    def __init__(self, channels, bins, style):
        super().__init__()
        self.bins, self.style, width = bins, style, channels // len(bins)
        self.levels = nn.ModuleList()
        for count in bins:
            parts = OrderedDict(
                pool=nn.AdaptiveAvgPool2d((count, count)),
                conv=nn.Conv2d(channels, width, 1, bias=False),
                norm=nn.BatchNorm2d(width),
                relu=nn.ReLU(inplace=style["in place"]),
            )
            if style["pool outside"]:
                del parts["pool"]
            level = nn.Sequential(parts) if style["named"] else nn.Sequential(*parts.values())
            self.levels.append(level)

    def forward(self, x):
        out, size = [x], x.shape[2:]
        for count, level in zip(self.bins, self.levels, strict=True):
            y = level(F.adaptive_avg_pool2d(x, count) if self.style["pool outside"] else x)
            if self.style["module"]:
                y = nn.Upsample(tuple(size), mode="bilinear", align_corners=True)(y)
            else:
                y = F.interpolate(y, size=size, mode="bilinear", align_corners=True)
            out.append(y)
        if self.style["written into"]:
            whole = x.new_zeros(len(x), sum(y.shape[1] for y in out), *size)
            start = 0
            for y in out:
                whole[:, start : start + y.shape[1]] = y
                start += y.shape[1]
            return whole
        return torch.cat(out, dim=1)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries(
        dict.fromkeys(
            ("in place", "pool outside", "named", "module", "written into"), st.booleans()
        )
    )
)
def test_no_style_of_a_right_pyramid_is_refused(style):
    verdict = check.pyramid_pooling(lambda channels, bins: Pyramid(channels, bins, style))
    assert verdict, (style, verdict)


def pyramid(last=nn.ReLU, stages=False):
    def make(channels, bins):
        net = pspnet.PyramidPooling(channels, bins)
        for level in net.levels:
            level[3] = last()
        if stages:
            net.stages = net.levels
            del net.levels
        return net

    return make


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (pspnet.PyramidPooling, RIGHT),
        (pyramid(nn.LeakyReLU), "is off by"),
        (pyramid(stages=True), "under another name"),
    ],
)
def test_pyramids(answer, words):
    expect(check.pyramid_pooling(answer), words)


# Dilation, shortcuts, stochastic depth.


def dilate_all(stage, previous, own):
    """By the names of all convolutions, the 1×1 among them."""
    for name, module in stage.named_modules():
        if isinstance(module, nn.Conv2d):
            d = previous if name == "0.conv1" else own
            module.stride, module.dilation = 1, d
            module.padding = d * (module.kernel_size[0] // 2)


def dilate_as_for_bottlenecks(stage, previous, own):
    """The first block has the previous dilation, as is right where only one convolution looks."""
    dilate_all(stage, previous, own)
    stage[0].conv2.dilation = stage[0].conv2.padding = previous


def dilate_with_copies(stage, previous, own):
    for number, block in enumerate(stage):
        for name in ("conv1", "conv2"):
            old, d = getattr(block, name), previous if (number, name) == (0, "conv1") else own
            new = nn.Conv2d(old.in_channels, old.out_channels, 3, 1, d, d, bias=False)
            new.weight = old.weight
            setattr(block, name, new)
    stage[0].downsample[0].stride = 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (dilate_all, RIGHT),
        (dilate_with_copies, RIGHT),
        (dilate_as_for_bottlenecks, "0.conv2 has the previous dilation"),
    ],
)
def test_dilations(answer, words):
    expect(check.dilated_stage(answer), words)


def by_slices(x, channels, stride):
    x = x[:, :, ::stride, ::stride]
    out = torch.zeros(len(x), channels, *x.shape[2:])
    start = (channels - x.shape[1]) // 2
    out[:, start : start + x.shape[1]] = x
    return out


def by_one_pixel_pooling(x, channels, stride):
    x = F.max_pool2d(x, 1, stride)
    zeros = x.new_zeros(len(x), channels - x.shape[1], *x.shape[2:])
    before, after = zeros.split([zeros.shape[1] // 2, -(-zeros.shape[1] // 2)], dim=1)
    return torch.cat([before, x, after], 1)


def behind(x, channels, stride):
    x = x[:, :, ::stride, ::stride]
    return torch.cat([x, x.new_zeros(len(x), channels - x.shape[1], *x.shape[2:])], 1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(by_slices, RIGHT), (by_one_pixel_pooling, RIGHT), (behind, "All zeros come after")],
)
def test_padded_shortcuts(answer, words):
    expect(check.padded_shortcut(answer), words)


def dropped(x, g, survival, training):
    return F.relu(x + stochastic_depth(g, 1 - survival, "row", training))


def dropped_and_weighted(x, g, survival, training):
    return F.relu(x + survival * stochastic_depth(g, 1 - survival, "row", training))


@pytest.mark.parametrize(
    ("answer", "words"),
    [(dropped, "not weighted"), (dropped_and_weighted, RIGHT)],
)
def test_stochastic_depths(answer, words):
    probabilities = lambda blocks, last: np.linspace(1, last, blocks + 1)[1:]  # noqa: E731
    expect(check.stochastic_depth(probabilities, answer), words)


# Scores, counts and schedules.


def confusion(batches, classes):
    """By histogram, in NumPy."""
    table = np.zeros((classes, classes))
    for predicted, labels in batches:
        p, y = predicted.numpy().ravel(), labels.numpy().ravel().astype(int)
        known = (y >= 0) & (y < classes)
        table += np.bincount(classes * y[known] + p[known], minlength=classes**2).reshape(
            classes, classes
        )
    return table


def scores(mean=np.nanmean, add=0.0):
    def answer(batches, classes):
        table = confusion(batches, classes)
        with np.errstate(all="ignore"):
            hit = np.diag(table)
            accuracy = hit / (table.sum(1) + add)
            iou = hit / (table.sum(1) + table.sum(0) - hit + add)
        return mean(accuracy), mean(iou)

    return answer


def by_marking(batches, classes):
    """Void is marked in the predictions, in place, and falls out of the histograms."""
    i = t = p = 0
    for predicted, labels in batches:
        predicted[labels == 255] = 255
        count = lambda x: torch.bincount(x.flatten().long(), minlength=256)[:classes].double()  # noqa: E731
        i, t, p = i + count(predicted[predicted == labels]), t + count(labels), p + count(predicted)
    return torch.stack([(i / t).nanmean(), (i / (t + p - i)).nanmean()])


def class_by_class(batches, classes):
    accuracy, iou = [], []
    for k in range(classes):
        has = both = either = 0
        for predicted, labels in batches:
            p, y = predicted[labels != 255] == k, labels[labels != 255] == k
            has, both, either = has + y.sum(), both + (p & y).sum(), either + (p | y).sum()
        accuracy += [both / has] if has else []
        iou += [both / either] if either else []
    return [sum(accuracy) / len(accuracy), sum(iou) / len(iou)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (scores(), RIGHT),
        (by_marking, RIGHT),
        (class_by_class, RIGHT),
        (scores(np.mean), "is not a number"),
        (scores(np.mean, add=1e-10), "counts as 0"),
        (lambda *args: np.array(scores()(*args)), RIGHT),
        (lambda *args: dict(zip("ab", scores()(*args), strict=True)), "Return two values"),
        (lambda *args: [100 * score for score in scores()(*args)], "percent"),
        (lambda b, k: torch.histc(b[0][0], k), "convert them first"),
    ],
)
def test_scores(answer, words):
    expect(check.parsing_scores(answer), words)


def cost_by_shapes(i, c, k, s, g, h, w):
    conv = nn.Conv2d(i, c, k, s, k // 2, groups=g, bias=False)
    out = conv(torch.zeros(1, i, h, w))
    return np.array([conv.weight.numel(), conv.weight[0].numel() * out.numel()])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (cost_by_shapes, RIGHT),
        (lambda *args: [float(n) for n in cost_by_shapes(*args)], RIGHT),
        (lambda *args: cost_by_shapes(*args) + np.array([0, 1]), "which is not right"),
        (lambda i, c, k, s, g, h, w: (k * k * i * c // g, k * k * i * c // g * h // s * w // s),
         "output pixels is not whole"),
    ],
)  # fmt: skip
def test_costs(answer, words):
    expect(check.convolution_cost(answer), words)


def by_scheduler(last=0.0, **options):
    def answer(step, steps, peak):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, peak, total_steps=steps, pct_start=0.25, cycle_momentum=False, **options
        )
        for _ in range(step):
            optimizer.step()
            schedule.step()
        return optimizer.param_groups[0]["lr"]

    return answer


def by_tables(step, steps, peak):
    """All rates at once, in NumPy."""
    top = steps // 4 - 1
    up = np.linspace(np.pi, 0, top + 1)
    down = np.linspace(0, np.pi, steps - top)
    rates = np.concatenate([peak / 25 + (peak - peak / 25) * (1 + np.cos(up)) / 2,
                            peak * (1 + np.cos(down[1:])) / 2])  # fmt: skip
    return rates[step]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(by_tables, RIGHT), (lambda step, steps, peak: peak / (1 + step), "is off by")],
)
def test_schedules(answer, words):
    expect(check.one_cycle(answer), words)


def test_the_right_schedule_is_pytorchs():
    right = check.one_cycle.exercise.right
    for step in range(40):
        torch_rate = by_scheduler(final_div_factor=1e12)(step, 40, 0.3)
        assert right(step, 40, 0.3) == pytest.approx(torch_rate, abs=1e-9)


def warm_up(images, batch_size, epochs, peak, steps):
    for t in range(images // batch_size * epochs):
        total = images // batch_size * epochs
        yield (
            peak * (t + 1) / steps
            if t < steps
            else peak * (1 + np.cos(np.pi * (t - steps) / (total - steps))) / 2
        )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (warm_up, RIGHT),
        (lambda *args: torch.tensor(list(warm_up(*args))).float(), RIGHT),
        (lambda *args: np.array(list(warm_up(*args)))[::-1][::-1], RIGHT),
        (lambda *args: dict(enumerate(warm_up(*args))), "Return a list of rates"),
    ],
)
def test_warm_ups(answer, words):
    expect(check.warm_up_cosine(answer), words)


def fold_in_place(weight, bias, mean, var, gamma, beta, eps):
    scale = gamma / var.add_(eps).sqrt_()
    weight *= scale.view(-1, 1, 1, 1)
    bias -= mean
    return weight, bias.mul_(scale).add_(beta)


def fold_in_numpy(*args):
    weight, bias, mean, var, gamma, beta = (tensor.numpy() for tensor in args[:6])
    scale = gamma / np.sqrt(var + args[6])
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta


def fold_as_parameters(*args):
    return nn.utils.fuse_conv_bn_weights(*args[:4], args[6], args[4], args[5])


@pytest.mark.parametrize("answer", [fold_in_place, fold_in_numpy, fold_as_parameters])
def test_folds(answer):
    expect(check.folded_batch_norm(answer), RIGHT)


def popping(layers):
    side, step, center = 1, 1, 0
    while layers:
        kernel, stride, padding, dilation = layers.pop(0)
        side += (kernel - 1) * dilation * step
        center += ((kernel - 1) * dilation / 2 - padding) * step
        step *= stride
    return side, step, center


def from_behind(layers):
    """From the first output back: its first and last row, layer by layer, in place."""
    layers.reverse()
    first = last = 0
    second = 1
    for kernel, stride, padding, dilation in layers:
        first, second = first * stride - padding, second * stride - padding
        last = last * stride - padding + (kernel - 1) * dilation
    return torch.tensor([last - first + 1, second - first, (first + last) / 2])


@pytest.mark.parametrize("answer", [popping, from_behind])
def test_fields(answer):
    expect(check.receptive_field(answer), RIGHT)
