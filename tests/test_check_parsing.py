"""Each typical mistake of chapter 6's exercises is recognized by name."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets import check, metrics, pspnet
from resnets.data import VOID


def not_written(*args): ...


def names_the_mistake(verdict, says):
    assert not verdict
    assert says in verdict.message


# The head of a classifier, slid over the features.


def slide(features, weight, bias, side, order="chw", **options):
    kernel = weight.reshape(len(bias), -1, side, side)
    if order == "hwc":
        kernel = weight.reshape(len(bias), side, side, -1).permute(0, 3, 1, 2)
    if order == "cwh":
        kernel = kernel.transpose(2, 3)
    return F.conv2d(features, kernel, bias, **options)


def slide_by_windows(features, weight, bias, side):
    windows = F.unfold(features, side)  # (N, C·side·side, places)
    rows = features.shape[2] - side + 1
    return (weight @ windows + bias[:, None]).unflatten(2, (rows, -1))


def slide_without_gradient(features, weight, bias, side):
    return slide(features, weight.detach(), bias, side)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda f, w, b, side: slide(f, w, torch.zeros_like(b), side), "bias is missing"),
        (partial(slide, order="hwc"), "another order"),
        (partial(slide, order="cwh"), "Rows and columns"),
        (lambda *args: slide(*args).mean((2, 3)), "one answer for each image"),
        (partial(slide, padding=1), "pad the features"),
        (lambda f, w, b, side: slide(f, w, b, side, stride=side), "side by side"),
        (slide_without_gradient, "gradient at argument 2"),
        (lambda *args: slide(*args).detach(), "cut off"),
        (lambda f, w, b, side: f @ w, "RuntimeError"),
    ],
)
def test_sliding_head_names_the_mistake(answer, says):
    names_the_mistake(check.sliding_head(answer), says)


@pytest.mark.parametrize("answer", [slide, slide_by_windows])
def test_sliding_head_takes_what_is_right(answer):
    assert check.sliding_head(answer), check.sliding_head(answer)


# A stage of basic blocks, dilated.


def set_dilation(conv, dilation, padding=None):
    conv.dilation = (dilation, dilation)
    conv.padding = (dilation if padding is None else padding,) * 2


def dilate(stage, previous, own, *, first=None, second=None, stride=1, shortcut=1, padding=None):
    stage[0].downsample[0].stride = (shortcut, shortcut)
    for number, block in enumerate(stage):
        for name, conv in (("conv1", block.conv1), ("conv2", block.conv2)):
            dilation = own
            if number == 0:
                dilation = (first or previous) if name == "conv1" else (second or own)
            set_dilation(conv, dilation, padding)
    stage[0].conv1.stride = (stride, stride)


def dilate_with_whole_numbers(stage, previous, own):
    for name, conv in stage.named_modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = 1
            if "downsample" not in name:
                conv.dilation = conv.padding = previous if name == "0.conv1" else own


def dilate_with_new_layers(stage, previous, own):
    for number, block in enumerate(stage):
        for name in ("conv1", "conv2"):
            old = getattr(block, name)
            dilation = previous if (number, name) == (0, "conv1") else own
            new = nn.Conv2d(
                old.in_channels, old.out_channels, 3, 1, "same", dilation=dilation, bias=False
            )
            setattr(block, name, new)
    stage[0].downsample[0].stride = (1, 1)


def dilate_the_projection(stage, previous, own):
    dilate(stage, previous, own)
    set_dilation(stage[0].downsample[0], own)


def dilate_the_first_block_only(stage, previous, own):
    dilate(stage[:1], previous, own)


def dilate_and_shift(stage, previous, own):
    dilate(stage, previous, own)
    stage.register_forward_hook(lambda net, inputs, output: output.roll(1, 2))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda s, p, own: dilate(s, p, own, stride=2), "stride is still there: 0.conv1"),
        (lambda s, p, own: dilate(s, p, own, shortcut=2), "projection keeps its stride"),
        (lambda s, p, own: dilate(s, p, own, first=own), "the previous dilation"),
        (lambda s, p, own: dilate(s, p, own, second=p), "0.conv2 has the previous dilation"),
        (lambda s, p, own: dilate(s, p, own, padding=1), "has padding 1"),
        (lambda s, p, own: dilate(s, 1, 2), "dilation"),
        (dilate_the_projection, "needs neither dilation nor padding"),
        (dilate_the_first_block_only, "1.conv1 has dilation 1"),
        (dilate_and_shift, "the dilated stage gives at every step"),
        (lambda s, p, own: s.conv1, "AttributeError"),
    ],
)
def test_dilated_stage_names_the_mistake(answer, says):
    names_the_mistake(check.dilated_stage(answer), says)


@pytest.mark.parametrize("answer", [dilate, dilate_with_whole_numbers, dilate_with_new_layers])
def test_dilated_stage_takes_what_is_right(answer):
    assert check.dilated_stage(answer), check.dilated_stage(answer)


# The receptive field.


def field(layers):
    side, step, center = 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        side += (kernel - 1) * dilation * step
        center += ((kernel - 1) * dilation / 2 - padding) * step
        step *= stride
    return side, step, center


def field_from_behind(layers):
    """From the first output back: its first and last row, layer by layer."""
    first, last = 0, 0
    second = 1
    for kernel, stride, padding, dilation in reversed(layers):
        first, second = first * stride - padding, second * stride - padding
        last = last * stride - padding + (kernel - 1) * dilation
    return torch.tensor([last - first + 1, second - first, (first + last) / 2])


def field_wrong(
    layers, *, holes=True, far=True, early=False, shift=1, in_pixels=False, add=0, steps="product"
):
    side, step, center = 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        unit = (step * stride if early else step) if far else 1
        reach = (kernel - 1 + add) * (dilation if holes else 1)
        side += reach * unit
        center += reach * unit / 2 - shift * padding * (1 if in_pixels else unit)
        step = {"product": step * stride, "last": stride, "sum": step + stride}[steps]
    return [side, step, center]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (partial(field_wrong, holes=False), "dilation is left out"),
        (partial(field_wrong, far=False), "multiplied by the step"),
        (partial(field_wrong, early=True), "own stride is already in"),
        (partial(field_wrong, add=1), "not k·d"),
        (lambda layers: [field(layers)[0], field_wrong(layers, steps="last")[1], 0], "product"),
        (
            lambda layers: [field(layers)[0], field_wrong(layers, steps="sum")[1], 0],
            "not their sum",
        ),
        (partial(field_wrong, shift=0), "padding is left out"),
        (partial(field_wrong, shift=-1), "the wrong way"),
        (partial(field_wrong, in_pixels=True), "padding counts in pixels"),
        (lambda layers: field(layers)[:2], "3 numbers"),
        (lambda layers: 427, "3 numbers"),
        (lambda layers: [*field(layers)[:2], int(field(layers)[2])], "The center is"),
    ],
)
def test_receptive_field_names_the_mistake(answer, says):
    for _ in range(5):
        names_the_mistake(check.receptive_field(answer), says)


@pytest.mark.parametrize("answer", [field, field_from_behind])
def test_receptive_field_takes_what_is_right(answer):
    for _ in range(5):
        assert check.receptive_field(answer), check.receptive_field(answer)


# Pyramid pooling.


class Pyramid(nn.Module):
    def __init__(self, channels, bins):
        super().__init__()
        self.width = self.width_of(channels, bins)
        self.levels = nn.ModuleList(self.level(channels, count) for count in bins)

    def width_of(self, channels, bins):
        return channels // len(bins)

    def pool(self, count):
        return nn.AdaptiveAvgPool2d(count)

    def level(self, channels, count):
        conv = nn.Conv2d(channels, self.width, 1, bias=False)
        return nn.Sequential(self.pool(count), conv, nn.BatchNorm2d(self.width), nn.ReLU())

    def stretch(self, x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    def regions(self, x):
        return [self.stretch(level(x), x.shape[2:]) for level in self.levels]

    def forward(self, x):
        return torch.cat([x, *self.regions(x)], 1)


class NoForward(Pyramid):
    def forward(self, x): ...


class NoLayers(nn.Module):
    def __init__(self, channels, bins):
        super().__init__()


class Max(Pyramid):
    def pool(self, count):
        return nn.AdaptiveMaxPool2d(count)


class Nearest(Pyramid):
    def stretch(self, x, size):
        return F.interpolate(x, size, mode="nearest")


class NotAligned(Pyramid):
    def stretch(self, x, size):
        return F.interpolate(x, size, mode="bilinear")


class EightTimes(Pyramid):
    def stretch(self, x, size):
        return F.interpolate(x, (8, 8), mode="bilinear", align_corners=True)


class NoFeatures(Pyramid):
    def forward(self, x):
        return torch.cat(self.regions(x), 1)


class FeaturesLast(Pyramid):
    def forward(self, x):
        return torch.cat([*self.regions(x), x], 1)


class Reversed(Pyramid):
    def regions(self, x):
        return super().regions(x)[::-1]


class Averaged(Pyramid):
    def forward(self, x):
        return torch.cat([x, torch.stack(self.regions(x)).mean(0)], 1)


class NoReLU(Pyramid):
    def level(self, channels, count):
        return super().level(channels, count)[:3]


class NoBatchNorm(Pyramid):
    def level(self, channels, count):
        pool, conv, _, relu = super().level(channels, count)
        return nn.Sequential(pool, conv, relu)


class BatchNormUnused(Pyramid):
    def regions(self, x):
        used = [level[3](level[1](level[0](x))) for level in self.levels]
        return [self.stretch(one, x.shape[2:]) for one in used]


class WithBias(Pyramid):
    def level(self, channels, count):
        level = super().level(channels, count)
        level[1] = nn.Conv2d(channels, self.width, 1)
        return level


class OtherNames(Pyramid):
    def __init__(self, channels, bins):
        super().__init__(channels, bins)
        self.stages = self.levels
        del self.levels


class NotReduced(Pyramid):
    def width_of(self, channels, bins):
        return channels


class StretchedFirst(Pyramid):
    def regions(self, x):
        return [level[1:](self.stretch(level[0](x), x.shape[2:])) for level in self.levels]


class DetachedRegions(Pyramid):
    def regions(self, x):
        return super().regions(x.detach())


class EachInOneLine(Pyramid):
    """Honest, and another way round: pooled from the regions' borders."""

    def pool(self, count):
        return nn.Identity()

    def regions(self, x):
        found = []
        for level, count in zip(self.levels, self.counts, strict=True):
            rows, columns = (
                [(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]
                for side in x.shape[2:]
            )
            means = [[x[:, :, a:b, c:d].mean((2, 3)) for c, d in columns] for a, b in rows]
            pooled = torch.stack([torch.stack(row, -1) for row in means], -2)
            found.append(self.stretch(level(pooled), x.shape[2:]))
        return found

    def __init__(self, channels, bins):
        super().__init__(channels, bins)
        self.counts = bins


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (NoForward, "no answer so far"),
        (NoLayers, "no answer so far"),
        (Max, "maxima"),
        (Nearest, "copied to their pixels"),
        (NotAligned, "align_corners=True"),
        (EightTimes, "does not come back to their size"),
        (NoFeatures, "features themselves are missing"),
        (FeaturesLast, "`x` comes first"),
        (Reversed, "wrong order"),
        (Averaged, "averaged in your answer's last step"),
        (NoReLU, "ReLU is missing"),
        (NoBatchNorm, "no batch normalization"),
        (BatchNormUnused, "is not used"),
        (WithBias, "has a bias"),
        (OtherNames, "Each of `levels` is a Sequential"),
        (NotReduced, "levels.0.1.weight has shape"),
        (StretchedFirst, "stretch before you reduce"),
        (DetachedRegions, "gradient at input"),
    ],
)
def test_pyramid_pooling_names_the_mistake(answer, says):
    names_the_mistake(check.pyramid_pooling(answer), says)


@pytest.mark.parametrize("answer", [Pyramid, pspnet.PyramidPooling, EachInOneLine])
def test_pyramid_pooling_takes_what_is_right(answer):
    assert check.pyramid_pooling(answer), check.pyramid_pooling(answer)


# Interpolation.


def weights(h, wide, scale=lambda h, wide: (h - 1) / (wide - 1), swapped=False):
    place = (torch.arange(wide, dtype=torch.float64) * scale(h, wide)).clamp(max=h - 1)
    low = place.long().clamp(max=h - 1)
    share = place - low
    if swapped:
        share = 1 - share
    mix = torch.zeros(wide, h, dtype=torch.float64)
    mix[torch.arange(wide), low] += 1 - share
    mix[torch.arange(wide), (low + 1).clamp(max=h - 1)] += share
    return mix


def stretch(x, size, **options):
    rows, columns = (weights(h, wide, **options) for h, wide in zip(x.shape[2:], size, strict=True))
    return rows @ x @ columns.T


def stretch_by_four_corners(x, size):
    places = [
        torch.linspace(0, h - 1, wide).double() for h, wide in zip(x.shape[2:], size, strict=True)
    ]
    low = [p.long() for p in places]
    high = [p.ceil().long() for p in places]
    (u, v) = (p - lo for p, lo in zip(places, low, strict=True))
    u = u[:, None]
    top = x[:, :, low[0]][..., low[1]] * (1 - v) + x[:, :, low[0]][..., high[1]] * v
    bottom = x[:, :, high[0]][..., low[1]] * (1 - v) + x[:, :, high[0]][..., high[1]] * v
    return top * (1 - u) + bottom * u


def copied(x, size, nearest):
    rows, columns = (
        torch.tensor([int(nearest(k * (h - 1) / (wide - 1))) for k in range(wide)])
        for h, wide in zip(x.shape[2:], size, strict=True)
    )
    return x[:, :, rows][..., columns]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda x, size: F.interpolate(x, size, mode="bilinear"), "centers do not lie on each"),
        (partial(stretch, scale=lambda h, wide: h / wide), "Your scale is h / H"),
        (partial(stretch, scale=lambda h, wide: (h - 1) / wide), "Your scale is (h − 1) / H"),
        (partial(stretch, swapped=True), "changed places"),
        (partial(copied, nearest=round), "nearest old value"),
        (partial(copied, nearest=int), "old value before"),
        (lambda x, size: stretch(x, size[::-1]), "has shape"),
        (lambda x, size: stretch(x.detach(), size), "cut off"),
        (lambda x, size: 1.01 * stretch(x, size), "off by up to"),
    ],
)
def test_aligned_resize_names_the_mistake(answer, says):
    names_the_mistake(check.aligned_resize(answer), says)


@pytest.mark.parametrize("answer", [stretch, stretch_by_four_corners, pspnet.resize])
def test_aligned_resize_takes_what_is_right(answer):
    assert check.aligned_resize(answer), check.aligned_resize(answer)


# The loss of training.


def pixel_losses(logits, labels):
    """Cross-entropy of each pixel, 0 where it is void; and which are not."""
    known = labels != VOID
    chosen = logits.log_softmax(1).gather(1, torch.where(known, labels, 0)[:, None])[:, 0]
    return -chosen * known, known


def mean_loss(logits, labels):
    losses, known = pixel_losses(logits, labels)
    return losses.sum() / known.sum().clamp(min=1)


def loss(logits, auxiliary, labels, mean=mean_loss, first=1, second=0.4):
    return first * mean(logits, labels) + second * mean(auxiliary, labels)


def loss_with_torch(logits, auxiliary, labels):
    return sum(
        weight
        * F.cross_entropy(x, labels, ignore_index=VOID, reduction="sum")
        / max(1, (labels != VOID).sum())
        for weight, x in ((1, logits), (0.4, auxiliary))
    )


def mean_of_images(logits, labels):
    losses, known = pixel_losses(logits, labels)
    return (losses.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)).mean()


def void_as(number):
    return lambda x, labels: F.cross_entropy(x, torch.where(labels == VOID, number, labels))


def void_as_last(x, labels):
    return F.cross_entropy(x, torch.where(labels == VOID, x.shape[1] - 1, labels))


def not_a_number(x, labels):
    return F.cross_entropy(x, labels, ignore_index=VOID)


def made_by_hand(logits, auxiliary, labels):
    if (labels == VOID).all():
        return torch.tensor(0.0)
    return loss(logits, auxiliary, labels)


def nothing_but_one(logits, auxiliary, labels):
    return loss(logits, auxiliary, labels) + (labels == VOID).all()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (partial(loss, mean=lambda *a: pixel_losses(*a)[0].mean()), "divide by all pixels"),
        (partial(loss, mean=lambda *a: pixel_losses(*a)[0].sum()), "add up the pixels"),
        (partial(loss, mean=mean_of_images), "average each image first"),
        (partial(loss, first=0.4, second=1), "on the wrong loss"),
        (partial(loss, second=1), "counts in full"),
        (partial(loss, second=0), "auxiliary loss is missing"),
        (partial(loss, first=0.6), "0.6 and 0.4"),
        (partial(loss, mean=void_as(0)), "as class 0"),
        (partial(loss, mean=void_as_last), "as the last class"),
        (partial(loss, first=-1, second=-0.4), "sign is wrong"),
        (partial(loss, mean=not_a_number), "not a number"),
        (partial(loss, mean=F.cross_entropy), "IndexError"),
        (made_by_hand, "gradients should be 0"),
        (nothing_but_one, "where all pixels are void is 1"),
        (lambda logits, auxiliary, labels: loss(logits, auxiliary.detach(), labels), "argument 2"),
        (lambda *args: loss(*args).item(), "AttributeError"),
    ],
)
def test_parsing_loss_names_the_mistake(answer, says):
    names_the_mistake(check.parsing_loss(answer), says)


@pytest.mark.parametrize("answer", [loss, loss_with_torch])
def test_parsing_loss_takes_what_is_right(answer):
    assert check.parsing_loss(answer), check.parsing_loss(answer)


# The scores.


def table(batches, classes):
    return sum(metrics.confusion(predicted, labels, classes) for predicted, labels in batches)


def parts(counts):
    correct = counts.diagonal().double()
    return correct, counts.sum(1), counts.sum(0)


def scores_of(counts):
    correct, has, given = parts(counts)
    return [(correct / has).nanmean(), (correct / (has + given - correct)).nanmean()]


def scores(batches, classes):
    return scores_of(table(batches, classes))


def scores_by_masks(batches, classes):
    predicted = torch.cat([p.flatten() for p, _ in batches])
    labels = torch.cat([y.flatten() for _, y in batches])
    predicted, labels = predicted[labels != VOID], labels[labels != VOID]
    accuracy, iou = [], []
    for k in range(classes):
        both, either = (predicted == k) & (labels == k), (predicted == k) | (labels == k)
        if (labels == k).any():
            accuracy.append((both.sum() / (labels == k).sum()).item())
        if either.any():
            iou.append((both.sum() / either.sum()).item())
    return sum(accuracy) / len(accuracy), sum(iou) / len(iou)


def pixels(batches, classes):
    share = metrics.pixel_accuracy(table(batches, classes))
    return [share, share]


def absent_as_zero(batches, classes):
    correct, has, given = parts(table(batches, classes))
    union = has + given - correct
    return [(correct / x.clamp(min=1)).mean().item() for x in (has, union)]


def not_left_out(batches, classes):
    correct, has, _ = parts(table(batches, classes))
    return [(correct / has).mean().item(), 0.0]


def second(change):
    """The mean accuracy is right, and the mean IoU is `change`'s."""
    return lambda batches, classes: [scores(batches, classes)[0], change(batches, classes)]


def with_void(batches, classes):
    inter, union = torch.zeros(classes).double(), torch.zeros(classes).double()
    for predicted, labels in batches:
        for k in range(classes):
            inter[k] += ((predicted == k) & (labels == k)).sum()
            union[k] += ((predicted == k) | (labels == k)).sum()
    return (inter / union).nanmean().item()


def twice(batches, classes):
    correct, has, given = parts(table(batches, classes))
    return (correct / (has + given)).nanmean().item()


def only_of_labels(batches, classes):
    correct, has, given = parts(table(batches, classes))
    return (correct / (has + given - correct))[has > 0].mean().item()


def mean_over_batches(batches, classes):
    each = torch.tensor([scores([batch], classes) for batch in batches])
    return each.mean(0).tolist()


def mean_over_images(batches, classes):
    return mean_over_batches([pair for b in batches for pair in zip(*b, strict=True)], classes)


def overflowing(batches, classes):
    counts = torch.zeros(classes**2 + 255).long()
    for predicted, labels in batches:
        known = labels != VOID
        counts += torch.bincount(labels[known] * classes + predicted[known], minlength=len(counts))
    return scores_of(counts[: classes**2].reshape(classes, classes))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (pixels, "share of right pixels"),
        (absent_as_zero, "does not occur counts as 0"),
        (not_left_out, "not a number"),
        (lambda *args: scores_of(table(*args).T), "transposed"),
        (second(with_void), "union holds void pixels"),
        (second(twice), "counted twice"),
        (second(only_of_labels), "its IoU is 0"),
        (second(lambda *args: scores(*args)[0]), "divide by the union"),
        (lambda batches, classes: scores(batches[-1:], classes), "Only the last batch"),
        (mean_over_batches, "average over the batches"),
        (mean_over_images, "average over the images"),
        (overflowing, "uint8"),
        (lambda *args: scores(*args)[1], "2 numbers"),
    ],
)
def test_parsing_scores_names_the_mistake(answer, says):
    for _ in range(3):
        names_the_mistake(check.parsing_scores(answer), says)


@pytest.mark.parametrize("answer", [scores, scores_by_masks])
def test_parsing_scores_takes_what_is_right(answer):
    assert check.parsing_scores(answer), check.parsing_scores(answer)
