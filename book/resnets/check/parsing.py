"""Checks for chapter 6: dilation, receptive fields, pyramid pooling, loss and scores of pixels."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import metrics, models
from resnets.check.asking import NOT_WRITTEN, Mistake, ask, random, random_state, same, whole
from resnets.check.exercise import Case, Exercise, Network, changed, computing, exercise
from resnets.data import VOID
from resnets.pspnet import PyramidPooling, resize


def _slide(x: Tensor, weight: Tensor, bias: Tensor, side: int, turn=lambda k: k, **options):
    kernel = turn(weight.reshape(len(bias), -1, side, side))
    return F.conv2d(x, kernel, bias, **options)


def _channels_last(x: Tensor, weight: Tensor, bias: Tensor, side: int) -> Tensor:
    kernel = weight.reshape(len(bias), side, side, -1).permute(0, 3, 1, 2)
    return F.conv2d(x, kernel, bias)


@exercise(
    right=_slide,
    what="the map of answers",
    gradients=["the features", "the weight", "the bias"],
    says="Each position has the classifier's answer for its window, and the gradients agree.",
    wrong={
        "The bias is missing.": lambda x, w, b, side: _slide(x, w, 0 * b, side),
        "You read the weights in another order than the window is flattened in: channels first, "
        "then rows, then columns.": _channels_last,
        "Rows and columns of the window are swapped.": partial(
            _slide, turn=lambda k: k.transpose(2, 3)
        ),
        "You flip the windows: here a convolution does not flip its kernel.": partial(
            _slide, turn=lambda k: k.flip(2, 3)
        ),
        "Rows and columns of the map of answers are swapped.": (
            lambda *args: _slide(*args).transpose(2, 3)
        ),
        "You return one answer for each image: keep the answers of the positions separate, since "
        "they are averaged only afterwards.": lambda *args: _slide(*args).mean((2, 3)),
        "You pad the features: only windows that lie inside them have an answer.": (
            lambda x, w, b, side: _slide(x, w, b, side, padding=side // 2)
        ),
        "Your windows lie side by side: start one at every position, so that they overlap.": (
            lambda x, w, b, side: _slide(x, w, b, side, stride=side)
        ),
        "The answers are logits: leave the softmax to the loss.": (
            lambda *args: _slide(*args).softmax(1)
        ),
        "The positions lie in one row: return (N, K, rows, columns).": (
            lambda *args: _slide(*args).flatten(2)
        ),
        "The weight is detached: let its gradient flow back (no `detach`, no `.data`).": (
            lambda x, w, b, side: _slide(x, w.detach(), b, side)
        ),
    },
)
def sliding_head(slide: Callable):
    """Is `slide(features, weight, bias, side)` a classifier of windows, applied at every position?

    The features are (N, C, h, w). The classifier is a linear layer, `weight` (K, C·side·side) and
    `bias` (K,), on a window (C, side, side) flattened. The answer is (N, K, h−side+1, w−side+1),
    the logits of each window that fits: Long et al. (2015), section 3.1.
    """
    for n, c, k, rows, columns, side in (
        (2, 3, 5, 7, 9, 3),
        (1, 4, 3, 6, 5, 2),
        (2, 5, 4, 4, 6, 1),
    ):
        yield random(n, c, rows, columns), random(k, c * side**2), random(k), side


def stage_of_basic_blocks(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    """A stage as chapter 3 has it: the first block has stride 2 and a projection."""
    first = models.BasicBlock(in_channels, channels, 2)
    return nn.Sequential(first, *(models.BasicBlock(channels, channels) for _ in range(blocks - 1)))


def dilated(
    dilate: Callable, stage: list, previous: int, own: int, state: dict, x: Tensor
) -> dict[str, object]:
    """A question: what does the stage with these weights output after `dilate(…, previous, own)`?

    What it gives at every `own`-th place; whether its branches fit, and its weights are the same;
    and the settings of its convolutions.
    """
    net = stage_of_basic_blocks(*stage).double()
    net.load_state_dict(state)
    before = _settings(net)
    dilate(net, previous, own)
    if _settings(net) == before and _keeps(net, state):
        raise Mistake(NOT_WRITTEN)
    told = {
        "the weights": "kept" if _keeps(net, state) else "lost",
        "settings": str(_settings(net)),
    }
    try:
        with torch.no_grad():
            dense = net.double().eval()(x)
    except ValueError:  # the library's block found branches that do not add
        return told | {"the sizes of the branches": "not the same"}
    return told | {
        "the sizes of the branches": "the same",
        "the dilated stage's output at every step": dense[:, :, ::own, ::own],
    }


def _keeps(net: nn.Module, state: dict) -> bool:
    after = net.state_dict()
    return set(after) == set(state) and all(same(after[name], state[name]) for name in state)


def _settings(net: nn.Module) -> dict[str, dict]:
    return {
        name: {k: str(getattr(module, k)) for k in ("stride", "dilation", "padding")}
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    }


class _Dilated(Exercise):
    def parts(self, answer, *inputs) -> dict:
        told = dict(ask(dilated, answer, *inputs))
        if answer is self.right:
            del told["settings"]  # which need not be the same
        return told


def _dilate(stage, previous, own, first=None, second=None, stride=1, shortcut=1, padding=None):
    stage[0].downsample[0].stride = (shortcut, shortcut)
    for number, block in enumerate(stage):
        for conv in (block.conv1, block.conv2):
            dilation = own
            if number == 0 and conv is block.conv1:
                dilation = first or previous
            elif number == 0:
                dilation = second or own
            conv.dilation = (dilation, dilation)
            conv.padding = (dilation if padding is None else padding,) * 2
    stage[0].conv1.stride = (stride, stride)


def _also(change: Callable) -> Callable:
    """After the right change another one, `change(stage, own)`."""

    def dilate(stage: nn.Sequential, previous: int, own: int) -> None:
        _dilate(stage, previous, own)
        change(stage, own)

    return dilate


def _dilate_projection(stage: nn.Sequential, own: int) -> None:
    stage[0].downsample[0].dilation = stage[0].downsample[0].padding = (own, own)


def _renew(stage: nn.Sequential, own: int) -> None:
    for block in stage:
        for name in ("conv1", "conv2"):
            old = getattr(block, name)
            new = nn.Conv2d(
                old.in_channels, old.out_channels, 3, 1, old.padding, old.dilation, bias=False
            )
            setattr(block, name, new)


@exercise(
    kind=_Dilated,
    right=_dilate,
    says="Every output of the stage with its stride is an output of yours, which has others in "
    "between.",
    wrong={
        "The weights are lost, since new convolutions draw new ones: change the settings of the "
        "old ones, or copy their weights.": _also(_renew),
        "0.conv1 still has its stride: set it to 1.": partial(_dilate, stride=2),
        "The projection keeps its stride, so the two branches no longer have the same size.": (
            partial(_dilate, shortcut=2)
        ),
        "0.conv1 and the projection still have their stride: set both to 1.": partial(
            _dilate, stride=2, shortcut=2
        ),
        "0.conv1 has the stage's own dilation. As the convolution that had the stride, it reads "
        "the output of the stage before, and needs the previous dilation.": (
            lambda stage, previous, own: _dilate(stage, previous, own, first=own)
        ),
        "0.conv2 has the previous dilation. In a basic block it comes after the stride that is "
        "gone, and needs the stage's own.": (
            lambda stage, previous, own: _dilate(stage, previous, own, second=previous)
        ),
        "All convolutions have the previous dilation: after the stride that is gone, use the "
        "stage's own.": lambda stage, previous, own: _dilate(stage, previous, previous),
        "The padding is still 1: a 3×3 convolution keeps the size where the padding equals the "
        "dilation.": partial(_dilate, padding=1),
        "The projection is padded: a 1×1 convolution does not look sideways, so it needs neither "
        "dilation nor padding.": _also(_dilate_projection),
        "You dilate only the first block: dilate everything after the stride that is gone.": (
            lambda stage, previous, own: _dilate(stage[:1], previous, own)
        ),
        "You only remove the strides: dilate what comes after them.": (
            lambda stage, previous, own: _dilate(stage, 1, 1)
        ),
        "Your dilations are 1 and 2, whatever is asked for: use `previous` and `own`.": (
            lambda stage, previous, own: _dilate(stage, 1, 2)
        ),
    },
)
def dilated_stage(dilate: Callable):
    """Does `dilate(stage, previous, own)` trade the stride of a stage of basic blocks for dilation?

    The stage is a Sequential of `models.BasicBlock` (torchvision's names: conv1, bn1, conv2, bn2,
    downsample), whose first block has stride 2; it is changed in place, and keeps its weights.
    `previous` is the dilation of the stage before, `own` twice that. Afterwards every output of the
    stage with its stride is an output of the dilated one: Yu and Koltun (2016), applied as in
    chapter 6.
    """
    for stage, previous in (([4, 6, 3], 2), ([3, 4, 2], 1)):
        own = 2 * previous
        state = random_state(partial(stage_of_basic_blocks, *stage), [])
        yield stage, previous, own, state, random(2, stage[0], 8 * own + 1, 5 * own + 2)


def _field(layers: Sequence[Sequence[int]], mistake: str = "", start: float = 0.0) -> list[float]:
    side, step, center = 1, 1, start
    for kernel, stride, padding, dilation in layers:
        reach = (kernel if mistake == "kernel" else kernel - 1) * (
            1 if mistake == "dilation" else dilation
        )
        unit = {"step": 1, "order": step * stride}.get(mistake, step)
        moved = {
            "padding": 0,
            "padding sign": -padding * unit,
            "padding in pixels": padding,
        }.get(mistake, padding * unit)
        side += reach * unit
        center += (0 if mistake == "left" else reach * unit / 2) - moved
        step = {"last stride": stride, "sum": step + stride}.get(mistake, step * stride)
    return [side, step, int(center) if mistake == "whole" else center]


@exercise(
    right=_field,
    what=["side", "step", "center"],
    says="Side, step and center are right, even with dilation, padding, and even kernels.",
    wrong={
        sentence: partial(_field, mistake=mistake)
        for sentence, mistake in {
            "You left out the dilation: a kernel of k covers (k − 1)·d + 1 inputs.": "dilation",
            "You left out the steps between the outputs: what a layer adds counts in pixels, so "
            "multiply it by the step of its inputs.": "step",
            "You use a layer's own stride in what it adds: the layer reads its inputs, whose step "
            "is that of the layer before.": "order",
            "A layer adds (k − 1)·d steps to the side, not k·d: the first input is already "
            "counted.": "kernel",
            "The step is the product of all strides, not the last one.": "last stride",
            "The step is the product of the strides, not their sum.": "sum",
            "You left out the padding: each row of it moves the first output's center up by one "
            "step of the inputs.": "padding",
            "You count the padding in pixels: each row of it is as wide as the step of the layer's "
            "inputs.": "padding in pixels",
            "Your padding moves the center the wrong way: with padding, the first window starts "
            "outside the image.": "padding sign",
            "This is the first row of the field: its center is half a side further on.": "left",
            "The center of an even side lies between two rows: return the half.": "whole",
        }.items()
    }
    | {
        "You count rows from the edge of the image: the center of the first pixel is 0, not "
        "0.5.": partial(_field, start=0.5),
        "You count rows from 1: the first pixel is row 0.": partial(_field, start=1.0),
        "You go through the layers from the last one on: start with the first, at the image.": (
            lambda layers: _field(layers[::-1])
        ),
    },
)
def receptive_field(field: Callable):
    """Is `field(layers)` what an output sees: side, step, and center of the first output?

    `layers` are [kernel, stride, padding, dilation], in order. `side` is the receptive field's in
    pixels, `step` the pixels between neighboring outputs, `center` the row around which the first
    output's field lies, counted from 0 at the first pixel and a half where the side is even; it can
    be negative. Equation 6.1, and the same for the center.
    """
    yield ([[7, 2, 3, 1], [3, 2, 1, 1], [3, 1, 2, 2], [3, 2, 0, 1], [3, 1, 4, 4]],)
    yield ([[4, 3, 1, 1], [2, 2, 0, 3], [5, 1, 1, 2]],)
    yield ([[2, 3, 0, 1], [3, 2, 1, 2]],)
    for _ in range(4):
        columns = [whole(1, 6, 4), whole(1, 4, 4), whole(0, 4, 4), whole(1, 4, 4)]
        yield (torch.stack(columns, dim=1).tolist(),)


def _regions(
    pool: Callable = F.adaptive_avg_pool2d,
    layers: slice = slice(1, None),
    stretch: Callable = resize,
    join: Callable = lambda x, regions: [x, *regions],
    first: bool = False,
) -> Callable:
    """The pyramid with another step in its forward pass; `first` stretches before the layers."""

    def forward(net: nn.Module, x: Tensor) -> Tensor:
        size, found = x.shape[2:], []
        for count, level in zip(net.bins, net.levels, strict=True):
            pooled = pool(x, count)
            if first:
                found.append(level[layers](stretch(pooled, size)))
            else:
                found.append(stretch(level[layers](pooled), size))
        return torch.cat(join(x, found), 1)

    return computing(PyramidPooling, forward)


def _level(change: Callable) -> Callable:
    """The pyramid with each level changed by `change(level, channels, width)`."""

    def every(net: nn.Module) -> None:
        for number, level in enumerate(net.levels):
            net.levels[number] = nn.Sequential(
                *change(list(level), level[1].in_channels, level[1].out_channels)
            )

    return changed(PyramidPooling, every)


def _windows(x: Tensor, count: int) -> Tensor:
    sides = [size // count for size in x.shape[2:]]
    return F.avg_pool2d(x, sides, sides)


def _interpolated(**options) -> Callable:
    return lambda x, size: F.interpolate(x, tuple(size), **options)


@exercise(
    kind=Network,
    right=PyramidPooling,
    renamed=r"levels\.\d+\.",
    says="Your pyramid matches the library's in outputs and gradients, for several bins and sizes.",
    wrong={
        "A level has no batch normalization after its convolution.": _level(
            lambda level, n, w: [level[0], level[1], level[3]]
        ),
        "A level's convolution has a bias: leave it out, since batch normalization has "
        "one.": _level(lambda level, n, w: [level[0], nn.Conv2d(n, w, 1), *level[2:]]),
        "A level is not reduced: its convolution should output channels // len(bins) channels.": (
            _level(
                lambda level, n, w: [
                    level[0],
                    nn.Conv2d(n, n, 1, bias=False),
                    nn.BatchNorm2d(n),
                    level[3],
                ]
            )
        ),
        "A level's convolution looks sideways: make it 1×1.": _level(
            lambda level, n, w: [level[0], nn.Conv2d(n, w, 3, 1, 1, bias=False), *level[2:]]
        ),
        "The features themselves are missing: concatenate `x` with its regions.": _regions(
            join=lambda x, regions: regions
        ),
        "The features come after the regions: put `x` first.": _regions(
            join=lambda x, regions: [*regions, x]
        ),
        "The levels are in the wrong order: follow `bins`, from the first on.": _regions(
            join=lambda x, regions: [x, *reversed(regions)]
        ),
        "You average the regions in the last step: concatenate them with `x`, by "
        "`torch.cat`.": _regions(join=lambda x, regions: [x, torch.stack(regions).mean(0)]),
        "The regions are detached from `x`: let their gradient flow back (no `detach`).": _regions(
            pool=lambda x, count: F.adaptive_avg_pool2d(x.detach(), count)
        ),
        "Your regions are maxima: a level averages.": _regions(pool=F.adaptive_max_pool2d),
        "Windows of size // count leave pixels out where the count does not divide the size: use "
        "`nn.AdaptiveAvgPool2d`.": _regions(pool=_windows),
        "All levels have the first one's number of regions: give each its own.": computing(
            PyramidPooling,
            lambda net, x: torch.cat(
                [x]
                + [
                    resize(level[1:](F.adaptive_avg_pool2d(x, net.bins[0])), x.shape[2:])
                    for level in net.levels
                ],
                1,
            ),
        ),
        "You copy the regions to their pixels: interpolate bilinearly.": _regions(
            stretch=_interpolated(mode="nearest")
        ),
        "You use bicubic interpolation: interpolate bilinearly.": _regions(
            stretch=_interpolated(mode="bicubic", align_corners=True)
        ),
        "The corners are not aligned: interpolate with `align_corners=True`.": _regions(
            stretch=_interpolated(mode="bilinear", align_corners=False)
        ),
        "A level does not return to the features' size: stretch it to `x.shape[2:]`.": _regions(
            stretch=lambda x, size: resize(x, (8, 8))
        ),
        "The ReLU is missing: each level ends with one.": _regions(layers=slice(1, 3)),
        "Batch normalization is there, but you do not use it.": _regions(layers=slice(1, 4, 2)),
        "You stretch before you reduce: apply convolution, normalization and ReLU to the few "
        "regions first, then stretch to the features' size.": _regions(first=True),
    },
)
def pyramid_pooling(make: Callable):
    """Is `make(channels, bins)` PSPNet's pyramid pooling with average pooling and reduction?

    Its `levels` are a ModuleList, and each level a Sequential of pooling, 1×1 convolution without
    bias to channels // len(bins), batch normalization, and ReLU, however it names these. Compared
    with `pspnet.PyramidPooling` in outputs, gradients and running statistics: Zhao et al. (2017),
    section 3.2.
    """
    for c, bins, *size in ((8, (1, 2, 3, 6), 7, 9), (9, (1, 4), 6, 5), (6, (2, 3, 5), 5, 11)):
        yield [c, bins], (3, c, *size)


def _stretch(
    x: Tensor,
    size: Sequence[int],
    place: Callable = lambda row, h, wide: row * (h - 1) / (wide - 1),
    share: Callable = lambda share: share,
) -> Tensor:
    """By matrices; `place` says where a new row lies among the old ones."""
    for dim, wide in zip((2, 3), size, strict=True):
        h = x.shape[dim]
        mix = torch.zeros(wide, h, dtype=x.dtype)
        for row in range(wide):
            at = min(max(place(row, h, wide), 0), h - 1)
            low = min(int(at), h - 1)
            part = share(at - low)
            mix[row, low] += 1 - part
            mix[row, min(low + 1, h - 1)] += part
        x = (mix @ x) if dim == 2 else (x @ mix.T)
    return x


_BY_TORCH = "`F.interpolate` does all of it: write the two matrices yourself."


@exercise(
    right=_stretch,
    what="the stretched map",
    gradients=["x"],
    forbids={"torch.nn.functional.interpolate": _BY_TORCH},
    says="Values and gradients match F.interpolate with align_corners=True.",
    wrong={
        _BY_TORCH: resize,
        "The corners' centers are not aligned: first goes to first and last to last, so there are "
        "h − 1 steps before, and H − 1 after.": partial(
            _stretch, place=lambda row, h, wide: (row + 0.5) * h / wide - 0.5
        ),
        "Your scale is h / H: from the first to the last there are h − 1 steps before, and H − 1 "
        "after.": partial(_stretch, place=lambda row, h, wide: row * h / wide),
        "Your scale is (h − 1) / H: after stretching there are H − 1 steps from first to "
        "last.": partial(_stretch, place=lambda row, h, wide: row * (h - 1) / wide),
        "Your scale is h / (H − 1): there are h − 1 steps between the old values.": partial(
            _stretch, place=lambda row, h, wide: row * h / (wide - 1)
        ),
        "You copy the nearest old value: mix the two on either side.": partial(
            _stretch, share=round
        ),
        "You copy the previous old value: mix the two on either side.": partial(
            _stretch, share=lambda share: 0
        ),
        "The two old values are swapped: the nearer one gets the larger share.": partial(
            _stretch, share=lambda share: 1 - share
        ),
        "The two old values have equal shares: the nearer one gets the larger.": partial(
            _stretch, share=lambda share: 0.5 if share else 0
        ),
        "You stretch only the rows: stretch the columns, too.": (
            lambda x, size: _stretch(x, (size[0], x.shape[3]))
        ),
        "Rows and columns are swapped: `size` is (H, W).": lambda x, size: _stretch(x, size[::-1]),
        "The map is detached from `x`: compute with tensors, and without `detach`.": (
            lambda x, size: _stretch(x.detach(), size)
        ),
    },
)
def aligned_resize(stretch: Callable):
    """Is `stretch(x, size)` bilinear interpolation with the corners' centers aligned?

    (N, C, h, w) to `(N, C, *size)`, as `pspnet.resize`, where `size` is larger or smaller; each new
    side is 2 or more, each old one 1 or more.
    """
    for before, after in (((4, 3), [13, 9]), ((3, 6), [10, 8]), ((1, 2), [5, 7]), ((9, 7), [4, 5])):
        yield random(2, 3, *before), after


def _mean(x: Tensor, labels: Tensor) -> Tensor:
    known = (labels != VOID).sum().clamp(min=1)
    return F.cross_entropy(x, labels, ignore_index=VOID, reduction="sum") / known


def _loss(logits, auxiliary, labels, mean: Callable = _mean, weights=(1, 0.4)) -> Tensor:
    return weights[0] * mean(logits, labels) + weights[1] * mean(auxiliary, labels)


def _by_image(x: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([_mean(x[n : n + 1], labels[n : n + 1]) for n in range(len(x))]).mean()


def _void_as(label: Callable) -> Callable:
    return lambda x, y: F.cross_entropy(x, torch.where(y == VOID, label(x), y))


def _constant(logits: Tensor, auxiliary: Tensor, labels: Tensor) -> Tensor:
    if (labels == VOID).all():
        return torch.tensor(0.0, dtype=torch.double)
    return _loss(logits, auxiliary, labels)


@exercise(
    right=_loss,
    what="the loss",
    gradients=["the logits", "the auxiliary logits"],
    says="The loss and its gradients are right, and void pixels count nowhere.",
    wrong={
        "You divide by all pixels: the mean is over those that are not void.": partial(
            _loss,
            mean=lambda x, y: F.cross_entropy(x, y, ignore_index=VOID, reduction="none").mean(),
        ),
        "You divide by the number of images: the mean is over the pixels that are not "
        "void.": partial(_loss, mean=lambda x, y: _mean(x, y) * (y != VOID).sum() / len(x)),
        "You divide by the number of images as well: the mean over pixels already covers all "
        "images.": partial(_loss, mean=lambda x, y: _mean(x, y) / len(x)),
        "The weight 0.4 is on the wrong loss: put it on the auxiliary one.": partial(
            _loss, weights=(0.4, 1)
        ),
        "The auxiliary loss counts in full: give it the weight 0.4.": partial(
            _loss, weights=(1, 1)
        ),
        "The auxiliary loss has the weight 0.5 (as in torchvision): here it is 0.4.": partial(
            _loss, weights=(1, 0.5)
        ),
        "The auxiliary loss is missing.": partial(_loss, weights=(1, 0)),
        "The auxiliary loss is detached: let its gradient flow back (no `detach`).": (
            lambda x, aux, y: _loss(x, aux.detach(), y)
        ),
        "Your weights are 0.6 and 0.4: the main loss counts in full.": partial(
            _loss, weights=(0.6, 0.4)
        ),
        "You add up the pixels: the loss is their mean.": partial(
            _loss, mean=lambda x, y: F.cross_entropy(x, y, ignore_index=VOID, reduction="sum")
        ),
        "You average each image first: every pixel counts the same, whichever image it is "
        "in.": partial(_loss, mean=_by_image),
        "Void pixels count as class 0: leave them out.": partial(_loss, mean=_void_as(lambda x: 0)),
        "Void pixels count as the last class: leave them out.": partial(
            _loss, mean=_void_as(lambda x: x.shape[1] - 1)
        ),
        "You treat void pixels as a class, but the label 255 has no logit: leave them out, for "
        "example with `ignore_index=255`.": partial(_loss, mean=F.cross_entropy),
        "The sign is wrong: a loss is minus the logarithm of the probability.": partial(
            _loss, weights=(-1, -0.4)
        ),
        "You add the logits of both: each has a loss of its own.": (
            lambda x, aux, y: _mean(x + 0.4 * aux, y)
        ),
        "Where all pixels are void, your loss is not a number, since there is nothing to divide "
        "by: it should be 0.": partial(
            _loss, mean=lambda x, y: F.cross_entropy(x, y, ignore_index=VOID)
        ),
        "Where all pixels are void, the gradients at both logits should be 0: a sum over no pixels "
        "has these, a number made by hand has none.": _constant,
        "Where all pixels are void, the loss should be 0: don't count pixels that are not "
        "there.": lambda x, aux, y: _loss(x, aux, y) + (y == VOID).all(),
    },
)
def parsing_loss(loss: Callable):
    """Is `loss(logits, auxiliary, labels)` PSPNet's loss in training?

    Both logits are (N, K, H, W), labels (N, H, W) int64 with 255 where a pixel is void. The answer
    is one number: the mean cross-entropy over the pixels that are not void, and 0.4 times the same
    of the auxiliary logits (Zhao et al., 2017, section 4); 0, with gradients of 0, where all pixels
    are void.
    """
    for n, classes, rows, columns in ((2, 4, 5, 7), (3, 3, 6, 4)):
        x, y = random(n, classes, rows, columns), random(n, classes, rows, columns)
        labels = whole(0, classes, n, rows, columns)
        labels[:, :2] = labels[0, :, 1:3] = VOID  # not as many in each image
        labels[:, -1, 0] = 0  # a class that is the same everywhere
        yield x, y, labels
    yield Case((random(2, 3, 4, 5), random(2, 3, 4, 5), torch.full((2, 4, 5), VOID)))


def labeled_pixels(
    classes: int, sizes: Sequence[Sequence[int]], absent: int, never: int
) -> list[list[Tensor]]:
    """Fresh [predicted, labels] of each size (N, H, W): int64 and uint8, some pixels `VOID`.

    No pixel has or is given class `absent`; none has `never`, but some are given it. Later batches
    have more of the last classes than the first ones.
    """
    batches = []
    for number, size in enumerate(sizes):
        usual = torch.tensor([k for k in range(classes) if k not in (absent, never)])
        drawn = whole(0, len(usual) ** 2, *size).double().sqrt().long()
        labels = usual[drawn if number else len(usual) - 1 - drawn]
        others = torch.tensor([k for k in range(classes) if k != absent])
        predicted = torch.where(
            whole(0, 10, *size) < 6, labels, others[whole(0, len(others), *size)]
        )
        predicted[0, 0, 0] = never
        labels[:, 1] = labels[0, :, -1] = VOID
        batches.append([predicted, labels.to(torch.uint8)])
    return batches


def _table(batches: Sequence, classes: int) -> Tensor:
    return sum(metrics.confusion(predicted, labels, classes) for predicted, labels in batches)


def _pair(accuracy: Tensor, iou: Tensor) -> list[float]:
    return [accuracy.nanmean().item(), iou.nanmean().item()]


def _from_table(counts: Tensor, change: Callable = _pair) -> list[float]:
    """Both scores, `change` of the accuracy and IoU of each class."""
    correct, has, given = counts.diagonal().double(), counts.sum(1), counts.sum(0)
    return change(correct / has, correct / (has + given - correct))


def _scores(batches: Sequence, classes: int, change: Callable = _pair) -> list[float]:
    return _from_table(_table(batches, classes), change)


def _of_counts(iou: Callable) -> Callable:
    """The mean accuracy is right, and the IoU `iou(correct, has, given, batches)` of each class."""

    def scores(batches: Sequence, classes: int) -> list[float]:
        counts = _table(batches, classes)
        correct, has, given = counts.diagonal().double(), counts.sum(1), counts.sum(0)
        return [_from_table(counts)[0], iou(correct, has, given, batches).nanmean().item()]

    return scores


def _given_void(batches: Sequence, classes: int) -> Tensor:
    return sum(torch.bincount(p[y == VOID], minlength=classes) for p, y in batches)


def _void_is(label: Callable, more: int = 0) -> Callable:
    def scores(batches: Sequence, classes: int) -> list[float]:
        moved = [
            [p, torch.where(y == VOID, torch.tensor(label(classes)), y.long())] for p, y in batches
        ]
        return _scores(moved, classes + more)

    return scores


def _overflowing(batches: Sequence, classes: int) -> list[float]:
    counts = torch.zeros(classes**2 + 255).long()
    for predicted, labels in batches:
        known = labels != VOID
        pairs = labels[known] * classes + predicted[known]
        counts += torch.bincount(pairs, minlength=len(counts))
    return _from_table(counts[: classes**2].reshape(classes, classes))


def _averaged(split: Callable) -> Callable:
    def scores(batches: Sequence, classes: int) -> list[float]:
        each = torch.tensor([_scores([part], classes) for part in split(batches)])
        return each.double().mean(0).tolist()

    return scores


@exercise(
    right=_scores,
    what=["the mean accuracy", "the mean IoU"],
    says="Both scores are right, with void pixels, absent classes, and several batches.",
    wrong={
        "You return the share of right pixels: that is the accuracy of pixels, not a mean over "
        "classes.": lambda b, k: [metrics.pixel_accuracy(_table(b, k))] * 2,
        "A class that does not occur counts as 0: leave it out of the mean.": partial(
            _scores, change=lambda a, i: [v.nan_to_num(0).mean().item() for v in (a, i)]
        ),
        "A class that does not occur counts as 1: leave it out of the mean.": partial(
            _scores, change=lambda a, i: [v.nan_to_num(1).mean().item() for v in (a, i)]
        ),
        "The mean is not a number: a class that does not occur has 0 / 0. Leave it out of the "
        "mean.": partial(_scores, change=lambda a, i: [a.mean().item(), i.mean().item()]),
        "You leave out a class that pixels were given but none has: its IoU is 0, and it counts in "
        "the mean.": partial(
            _scores, change=lambda a, i: [a.nanmean().item(), i[~a.isnan()].mean().item()]
        ),
        "You count the accuracy of a class that no pixel has but some were given as 0: take that "
        "mean over the classes that a pixel has.": partial(
            _scores, change=lambda a, i: [(a.nan_to_num(0)[~i.isnan()]).mean().item(), 0.0]
        ),
        "Your union includes void pixels: where the label is void, the prediction does not "
        "count.": _of_counts(lambda c, h, g, b: c / (h + g - c + _given_void(b, len(c)))),
        "You count the intersection twice in the union: subtract it once.": _of_counts(
            lambda c, h, g, b: c / (h + g)
        ),
        "This is the F1 score, 2·I / (has + given): the IoU divides by the union.": _of_counts(
            lambda c, h, g, b: 2 * c / (h + g)
        ),
        "Your mean IoU is the mean accuracy: divide by the union.": _of_counts(
            lambda c, h, g, b: c / h
        ),
        "The table is transposed: the accuracy of a class divides by the pixels that have it, not "
        "by those that were given it.": lambda b, k: _from_table(_table(b, k).T),
        "The two are swapped: the mean accuracy comes first.": lambda b, k: _scores(b, k)[::-1],
        "These are in percent: scores lie between 0 and 1.": (
            lambda b, k: [100 * score for score in _scores(b, k)]
        ),
        "Void pixels count as class 0: leave them out.": _void_is(lambda classes: 0),
        "Void pixels are a class of their own: leave them out.": _void_is(
            lambda classes: classes, 1
        ),
        "You average over the batches: add up their counts, and divide at the end.": _averaged(
            lambda batches: batches
        ),
        "You average over the images: add up their counts, and divide at the end.": _averaged(
            lambda batches: [pair for batch in batches for pair in zip(*batch, strict=True)]
        ),
        "The labels are uint8, where 14·19 is 10: make them `long` before you multiply.": (
            _overflowing
        ),
        "You count only the last batch: add up the tables of all.": lambda b, k: _scores(b[-1:], k),
        "You count only the first batch: add up the tables of all.": lambda b, k: _scores(b[:1], k),
    },
)
def parsing_scores(scores: Callable):
    """Is `scores(batches, classes)` the mean accuracy of the classes, and the mean IoU?

    `batches` are [predicted, labels], both (N, H, W) and of different sizes: int64, and uint8 with
    255 for void. Counted over all batches together. The mean accuracy is over the classes that a
    pixel has, the mean IoU over those that a pixel has or was given: `metrics.mean_iou`, and mean
    accuracy as in Long et al. (2015), section 5.
    """
    for classes, sizes in ((5, [(2, 6, 9), (1, 12, 5)]), (6, [(2, 5, 7)]), (19, [(3, 20, 30)] * 2)):
        yield labeled_pixels(classes, sizes, absent=classes - 3, never=1), classes
