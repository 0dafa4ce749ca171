"""Checks for chapter 6: dilation, receptive fields, pyramid pooling, loss and scores of pixels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import metrics, models
from resnets.check.asking import (
    NOT_WRITTEN,
    Mistake,
    _gradients,
    ask,
    call,
    checks,
    evaluate,
    expect,
    expect_layers,
    layers,
    random,
    random_state,
    reference,
)
from resnets.data import VOID
from resnets.pspnet import PyramidPooling, resize

HEADS = [  # images, channels, classes, rows and columns of the features, side of the window
    (2, 3, 5, 7, 9, 3),
    (1, 4, 3, 6, 5, 2),
    (2, 5, 4, 4, 6, 1),
]
STAGES = [  # in_channels, channels and number of blocks of the stage, previous dilation
    ([3, 4, 2], 1),
    ([4, 6, 3], 2),
]
LAYERS = [  # [kernel, stride, padding, dilation] of each
    [[7, 2, 3, 1], [3, 2, 1, 1], [3, 1, 2, 2], [3, 2, 0, 1], [3, 1, 4, 4]],
    [[4, 3, 1, 1], [2, 2, 0, 3], [5, 1, 1, 2]],
    [[2, 3, 0, 1], [3, 2, 1, 2]],
]
PYRAMIDS = [  # channels, bins, rows and columns of the features
    (8, (1, 2, 3, 6), 7, 9),
    (9, (1, 4), 6, 5),
    (6, (2, 3, 5), 5, 11),
]
SIZES = [  # of the features, and of what they are stretched to
    ((4, 3), (13, 9)),
    ((3, 6), (10, 8)),
    ((1, 2), (5, 7)),
    ((9, 7), (4, 5)),
]
AUXILIARY_WEIGHT = 0.4


def call_with_options(
    answer: Callable, tensors: list[Tensor], options: list, upstream: Tensor
) -> dict | None:
    """A question: what does `answer(*tensors, *options)` give, and which gradients at `tensors`?

    The gradients are those of the sum of output × `upstream`; none where the output has another
    shape than `upstream`, or does not depend on the tensors.
    """
    tensors = [x.clone().requires_grad_() for x in tensors]
    output = answer(*tensors, *options)
    if output is None:
        return None
    return {"output": output.detach(), "gradients": _gradients(output, tensors, upstream)}


def stage_of_basic_blocks(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    """A stage as chapter 3 has it: the first block has stride 2 and a projection."""
    first = models.BasicBlock(in_channels, channels, 2)
    return nn.Sequential(first, *(models.BasicBlock(channels, channels) for _ in range(blocks - 1)))


def dilated_settings(dilate: Callable, stage: list, previous: int, own: int) -> dict:
    """A question: which settings do the convolutions have after `dilate(stage, previous, own)`?"""
    net = stage_of_basic_blocks(*stage)
    dilate(net, previous, own)
    return {
        name: {kind: _both(getattr(module, kind)) for kind in ("stride", "dilation", "padding")}
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    }


def dilated_output(
    dilate: Callable, stage: list, previous: int, own: int, state: dict, x: Tensor
) -> Tensor:
    """A question: what does the stage give for `x` after `dilate(stage, previous, own)`?"""
    net = stage_of_basic_blocks(*stage)
    dilate(net, previous, own)
    net.double().eval().load_state_dict(state)
    with torch.no_grad():
        return net(x)


def _both(setting) -> list:
    return [setting] * 2 if isinstance(setting, int | str) else list(setting)


def whole(low: int, high: int, *shape: int) -> Tensor:
    """Fresh whole numbers from `low` to `high` − 1, int64: not from the global generator."""
    generator = torch.Generator()
    generator.seed()
    return torch.randint(low, high, shape, generator=generator)


def _numbers(got, count: int, what: str) -> list:
    """`got` as a list of `count` numbers."""
    if isinstance(got, Tensor):
        got = got.tolist()
    if not isinstance(got, list | tuple) or len(got) != count:
        raise Mistake(f"The answer should be {count} numbers: {what}.")
    return list(got)


def _expect_result(
    answer: Callable, tensors: list[Tensor], options: list, right: Callable, what: str, wrong: dict
) -> None:
    """Output and gradients of `answer(*tensors, *options)` are those of `right`."""
    given = [x.clone().requires_grad_() for x in tensors]
    output = right(*given, *options)
    upstream = random(*output.shape, 1)[..., 0]
    gradients = torch.autograd.grad(output, given, upstream)
    got = ask(call_with_options, answer, tensors, options, upstream)
    expect(got["output"], output, what, wrong)
    if not got["gradients"]:
        raise Mistake(
            f"{what[0].upper()}{what[1:]} is right, but it is cut off from what it was computed "
            "from: `backward` finds no way back."
        )
    for number, (one, other) in enumerate(zip(got["gradients"], gradients, strict=True), start=1):
        expect(one, other, f"the gradient at argument {number}")


@checks
def sliding_head(slide: Callable) -> str:
    """Is `slide(features, weight, bias, side)` a classifier of windows, applied at every place?

    The features are (N, C, h, w). The classifier is a linear layer, `weight` (K, C·side·side) and
    `bias` (K,), on a window (C, side, side) flattened. The answer is (N, K, h−side+1, w−side+1),
    the logits of each window that fits: Long et al. (2015), section 3.1.
    """
    for n, channels, classes, rows, columns, side in HEADS:
        x, bias = random(n, channels, rows, columns), random(classes)
        weight = random(classes, channels * side**2)
        kernel = weight.reshape(classes, channels, side, side)
        windows = F.conv2d(x, kernel, bias)
        channels_last = weight.reshape(classes, side, side, channels).permute(0, 3, 1, 2)
        wrong = {
            "The bias is missing.": windows - bias[:, None, None],
            "The weights of a window are read in another order than it is flattened in: channels "
            "first, then rows, then columns.": F.conv2d(x, channels_last, bias),
            "Rows and columns of the window have changed places.": F.conv2d(
                x, kernel.transpose(2, 3), bias
            ),
            "You give one answer for each image: leave the answers of the places apart, they are "
            "averaged only afterwards.": windows.mean((2, 3)),
            "You pad the features: only windows that lie within them have an answer.": F.conv2d(
                x, kernel, bias, padding=side // 2
            ),
            "Your windows lie side by side: they start at every place, and overlap.": F.conv2d(
                x, kernel, bias, stride=side
            ),
        }

        def right(x: Tensor, weight: Tensor, bias: Tensor, side: int) -> Tensor:
            kernel = weight.reshape(len(bias), x.shape[1], side, side)
            return F.conv2d(x, kernel, bias)

        _expect_result(slide, [x, weight, bias], [side], right, "the map of answers", wrong)
    return "Each place has the answer of the classifier for its window, and the gradients agree."


@checks
def dilated_stage(dilate: Callable) -> str:
    """Does `dilate(stage, previous, own)` trade the stride of a stage of basic blocks for dilation?

    The stage is a Sequential of `models.BasicBlock` (torchvision's names: conv1, bn1, conv2, bn2,
    downsample), whose first block has stride 2; it is changed in place. `previous` is the dilation
    of the stage before, `own` twice that. Afterwards every output of the stage with its stride is
    an output of the dilated one: Yu and Koltun (2016), applied as in chapter 6.
    """
    for stage, previous in STAGES:
        own = 2 * previous
        right = {
            name: {"stride": 1, "dilation": 1, "padding": 0}
            if "downsample" in name
            else {"stride": 1} | dict.fromkeys(("dilation", "padding"), own)
            for name, module in stage_of_basic_blocks(*stage).named_modules()
            if isinstance(module, nn.Conv2d)
        }
        right["0.conv1"] |= {"dilation": previous, "padding": previous}
        got = ask(dilated_settings, dilate, stage, previous, own)
        if got == dilated_settings(lambda *_: None, stage, previous, own):
            raise Mistake(NOT_WRITTEN)
        for setting in ("stride", "dilation", "padding"):
            for name in right:
                if name not in got:
                    raise Mistake(f"There is no convolution {name} in the stage any more.")
                _expect_setting(name, setting, got[name][setting], right[name][setting], previous)
        state = random_state(lambda stage=stage: stage_of_basic_blocks(*stage), [])
        strided = stage_of_basic_blocks(*stage).double().eval()
        strided.load_state_dict(state)
        x = random(2, stage[0], 8 * own + 1, 5 * own + 2)
        with torch.no_grad():
            sparse = strided(x[:, :, ::previous, ::previous])
        dense = ask(dilated_output, dilate, stage, previous, own, state, x)
        expect(dense[:, :, ::own, ::own], sparse, "what the dilated stage gives at every step")
    return "Every output with strides is an output of your stage, which has the others around it."


def _expect_setting(name: str, setting: str, got: list, right: int, previous: int) -> None:
    if got == [right] * 2 or (setting == "padding" and got == ["same"] * 2):
        return
    own, value = 2 * previous, next(one for one in got if one != right)
    if name.endswith("downsample.0") and setting == "stride":
        raise Mistake(
            "The projection keeps its stride, so the two branches no longer have the same size."
        )
    if name.endswith("downsample.0"):
        raise Mistake(
            f"The projection has {setting} {value}: a 1×1 convolution does not look sideways, so "
            "it needs neither dilation nor padding."
        )
    if setting == "stride":
        raise Mistake(f"The stride is still there: {name} has stride {value}.")
    if setting == "dilation" and name == "0.conv1" and value == own:
        raise Mistake(
            "0.conv1 has the stage's own dilation. It is the convolution that had the stride: it "
            "reads what the stage before wrote, and needs the previous dilation."
        )
    if setting == "dilation" and name == "0.conv2" and value == previous:
        raise Mistake(
            "0.conv2 has the previous dilation. In a basic block it stands behind the stride that "
            "is gone, and needs the stage's own."
        )
    if setting == "padding":
        raise Mistake(
            f"{name} has padding {value}, and should have {right}: a 3×3 convolution keeps the "
            "size where the padding is as large as the dilation."
        )
    raise Mistake(f"{name} has {setting} {value}, and should have {right}.")


@checks
def receptive_field(field: Callable) -> str:
    """Is `field(layers)` what an output sees: side, step, and center of the first output?

    `layers` are [kernel, stride, padding, dilation], in order. `side` is the receptive field's in
    pixels, `step` the pixels between neighboring outputs, `center` the row around which the first
    output's field lies, counted from 0 at the first pixel and a half where the side is even; it can
    be negative. Equation 6.1, and the same for the center.
    """
    drawn = [
        torch.stack(
            [whole(1, 6, 4), whole(1, 4, 4), whole(0, 4, 4), whole(1, 4, 4)], dim=1
        ).tolist()
        for _ in range(4)
    ]
    what = "side, step, and center"
    for settings in LAYERS + drawn:
        side, step, center = _numbers(ask(call, field, settings), 3, what)
        right, wrong = _field(settings), {name: _field(settings, name) for name in FIELD_MISTAKES}
        for place, (got, name) in enumerate(
            [(side, "the side"), (step, "the step"), (center, "the center")]
        ):
            mistakes = {FIELD_MISTAKES[m]: values[place] for m, values in wrong.items()}
            expect(got, right[place], name, mistakes)
    return "Side, step and center are right, with dilation, padding, and even kernels too."


FIELD_MISTAKES = {
    "dilation": "The dilation is left out: a kernel of k covers (k − 1)·d + 1 inputs.",
    "step": "The steps between the outputs are left out: what a layer adds counts in pixels, so it "
    "is multiplied by the step of its inputs.",
    "order": "A layer's own stride is already in what it adds: a layer reads its inputs, whose "
    "step is that of the layer before.",
    "last stride": "The step is the product of all strides, not the last one.",
    "sum": "The step is the product of the strides, not their sum.",
    "padding": "The padding is left out: each row of it moves the first output's center up by one "
    "step of the inputs.",
    "padding in pixels": "The padding counts in pixels: it is as wide as the step of the layer's "
    "inputs says.",
    "padding sign": "The padding moves the center the wrong way: with it the first window starts "
    "outside of the image.",
    "kernel": "A layer adds (k − 1)·d steps to the side, not k·d: the one that it stands on is "
    "already counted.",
}


def _field(settings: Sequence[Sequence[int]], mistake: str = "") -> list[float]:
    side, step, center = 1, 1, 0.0
    for kernel, stride, padding, dilation in settings:
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
        center += reach * unit / 2 - moved
        step = {"last stride": stride, "sum": step + stride}.get(mistake, step * stride)
    return [side, step, center]


@checks
def pyramid_pooling(make: Callable) -> str:
    """Is `make(channels, bins)` PSPNet's pyramid pooling with average pooling and reduction?

    Its `levels` are a ModuleList, and each level a Sequential of pooling, 1×1 convolution without
    bias to channels // len(bins), batch normalization, and ReLU, so the layers with weights are
    levels.0.1, levels.0.2, levels.1.1, …. Compared with `pspnet.PyramidPooling` in outputs and
    gradients: Zhao et al. (2017), section 3.2.
    """
    for channels, bins, rows, columns in PYRAMIDS:
        args, x = [channels, bins], random(3, channels, rows, columns)
        numbers = range(len(bins))
        named = (
            "Each of `levels` is a Sequential of pooling, convolution, batch normalization and "
            "ReLU, and nothing else has weights: levels.0.1 and levels.0.2 of the first level."
        )
        expect_layers(
            ask(layers, make, args),
            layers(PyramidPooling, args),
            missing={
                f"levels.{number}.2": "A level has no batch normalization behind its convolution."
                for number in numbers
                if f"levels.{number}.1.weight" in ask(layers, make, args)
            }
            | {"": named},
            unexpected={
                f"levels.{number}.1.bias": "A level's convolution has a bias: batch normalization "
                "has one."
                for number in numbers
            }
            | {"": named},
        )
        state = random_state(PyramidPooling, args)
        for training in (True, False):
            right, upstream = reference(PyramidPooling, args, state, x, training)
            try:
                got = ask(evaluate, make, args, state, x, upstream, training)
            except Mistake as mistake:
                if "Sizes of tensors must match" not in str(mistake):
                    raise
                raise Mistake(
                    f"A level of features of {rows}×{columns} does not come back to their size: "
                    "stretch it to `x.shape[2:]`."
                ) from mistake
            mistakes = _pyramid_mistakes(args, state, x, training)
            expect(got["output"], right["output"], "the output", mistakes)
            for name, gradient in right["gradients"].items():
                expect(got["gradients"].get(name), gradient, f"the gradient at {name}")
    return "Your pyramid is the library's, in outputs and gradients, for several bins and sizes."


def _pyramid_mistakes(args: list, state: dict, x: Tensor, training: bool) -> dict:
    net = PyramidPooling(*args).double()
    net.load_state_dict(state)
    net.train(training)
    size = x.shape[2:]

    def regions(pool=F.adaptive_avg_pool2d, layers=slice(1, None), stretch=resize) -> list[Tensor]:
        found = zip(net.bins, net.levels, strict=True)
        return [stretch(level[layers](pool(x, count)), size) for count, level in found]

    def nearest(x: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(x, size, mode="nearest")

    def not_aligned(x: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(x, size, mode="bilinear", align_corners=False)

    stretched_first = [
        level[1:](resize(F.adaptive_avg_pool2d(x, count), size))
        for count, level in zip(net.bins, net.levels, strict=True)
    ]
    levels = regions()
    return {
        "The features themselves are missing: put `x` beside its regions.": torch.cat(levels, 1),
        "The features stand behind the regions: `x` comes first.": torch.cat([*levels, x], 1),
        "The levels are in the wrong order: as `bins` says, from the first on.": torch.cat(
            [x, *reversed(levels)], 1
        ),
        "The regions are averaged in your answer's last step: put them beside `x` with "
        "`torch.cat`.": torch.cat([x, torch.stack(levels).mean(0)], 1),
        "The regions are maxima: a level averages.": torch.cat(
            [x, *regions(pool=F.adaptive_max_pool2d)], 1
        ),
        "The regions are copied to their pixels: interpolate bilinearly.": torch.cat(
            [x, *regions(stretch=nearest)], 1
        ),
        "The corners do not lie on each other: interpolate with `align_corners=True`.": torch.cat(
            [x, *regions(stretch=not_aligned)], 1
        ),
        "The ReLU is missing: each level ends with one.": torch.cat(
            [x, *regions(layers=slice(1, 3))], 1
        ),
        "Batch normalization is there, but is not used.": torch.cat(
            [x, *regions(layers=slice(1, 4, 2))], 1
        ),
        "You stretch before you reduce: first convolution, normalization and ReLU on the few "
        "regions, then back to the features' size.": torch.cat([x, *stretched_first], 1),
    }


@checks
def aligned_resize(stretch: Callable) -> str:
    """Is `stretch(x, size)` bilinear interpolation with the corners' centers on each other?

    (N, C, h, w) to `(N, C, *size)`, as `pspnet.resize`, where `size` is larger or smaller; each new
    side is 2 or more, each old one 1 or more.
    """
    for before, after in SIZES:
        x = random(2, 3, *before)
        wrong = {
            "The corners' centers do not lie on each other: first goes to first and last to last, "
            "so there are h − 1 steps before, and H − 1 after.": F.interpolate(
                x, after, mode="bilinear", align_corners=False
            ),
            "Your scale is h / H: from the first to the last there are h − 1 steps before, and "
            "H − 1 after.": _stretch(x, after, lambda h, wide: h / wide),
            "Your scale is (h − 1) / H: after stretching there are H − 1 steps from first to "
            "last.": _stretch(x, after, lambda h, wide: (h - 1) / wide),
            "You copy the nearest old value: mix the two that it lies between.": _stretch(
                x, after, nearest=round
            ),
            "You copy the old value before: mix the two that it lies between.": _stretch(
                x, after, nearest=int
            ),
            "The two old values have changed places: the nearer one gets the larger share.": (
                _stretch(x, after, swapped=True)
            ),
        }
        _expect_result(stretch, [x], [list(after)], resize, "the stretched map", wrong)
    return "Values and gradients are those of F.interpolate with align_corners=True."


def _stretch(
    x: Tensor,
    size: Sequence[int],
    scale: Callable = lambda h, wide: (h - 1) / (wide - 1),
    nearest: Callable | None = None,
    swapped: bool = False,
) -> Tensor:
    """Stretch with mistakes: another scale, copies, or shares the wrong way round."""
    for dim, wide in zip((2, 3), size, strict=True):
        h = x.shape[dim]
        mix = torch.zeros(wide, h, dtype=x.dtype)
        for row in range(wide):
            place = min(row * scale(h, wide), h - 1)
            low = min(int(place), h - 1)
            share = place - low
            if nearest is not None:
                mix[row, int(nearest(place))] = 1
                continue
            mix[row, low] += share if swapped else 1 - share
            mix[row, min(low + 1, h - 1)] += 1 - share if swapped else share
        x = (mix @ x) if dim == 2 else (x @ mix.T)
    return x


@checks
def parsing_loss(loss: Callable) -> str:
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
        wrong = _loss_mistakes(x, y, labels)
        _expect_result(loss, [x, y], [labels], _loss, "the loss", wrong)
    labels = torch.full((2, 4, 5), VOID)
    x, y = random(2, 3, 4, 5), random(2, 3, 4, 5)
    got = ask(call_with_options, loss, [x, y], [labels], random(1)[0])
    if not torch.as_tensor(got["output"]).isfinite().all():
        raise Mistake(
            "Where all pixels are void the loss is not a number: there is nothing to divide by, "
            "and it should be 0."
        )
    expect(got["output"], 0.0, "the loss where all pixels are void")
    if not got["gradients"] or not all((g == 0).all() for g in got["gradients"]):
        raise Mistake(
            "Where all pixels are void the gradients should be 0 at both logits: a sum over no "
            "pixel has these, a number made by hand has none."
        )
    return "The loss and its gradients are right, and void pixels count nowhere."


def _loss(logits: Tensor, auxiliary: Tensor, labels: Tensor) -> Tensor:
    return sum(
        weight * F.cross_entropy(x, labels, ignore_index=VOID)
        for weight, x in ((1, logits), (AUXILIARY_WEIGHT, auxiliary))
    )


def _loss_mistakes(logits: Tensor, auxiliary: Tensor, labels: Tensor) -> dict[str, Tensor]:
    known = labels != VOID
    pixels = [
        F.cross_entropy(x, labels, ignore_index=VOID, reduction="none") for x in (logits, auxiliary)
    ]
    weights = (1, AUXILIARY_WEIGHT)

    def both(reduce: Callable, weights=weights) -> Tensor:
        return sum(weight * reduce(x) for weight, x in zip(weights, pixels, strict=True))

    def right(x: Tensor) -> Tensor:
        return x.sum() / known.sum()

    as_first = [F.cross_entropy(x, torch.where(known, labels, 0)) for x in (logits, auxiliary)]
    as_last = [
        F.cross_entropy(x, torch.where(known, labels, x.shape[1] - 1)) for x in (logits, auxiliary)
    ]
    return {
        "You divide by all pixels: the mean is over those that are not void.": both(torch.mean),
        "The weight 0.4 is on the wrong loss: it is the auxiliary one's.": both(
            right, weights[::-1]
        ),
        "The auxiliary loss counts in full: its weight is 0.4.": both(right, (1, 1)),
        "The auxiliary loss is missing.": right(pixels[0]),
        "The weights are 0.6 and 0.4: the loss itself counts in full.": both(right, (0.6, 0.4)),
        "You add up the pixels: the loss is their mean.": both(torch.sum),
        "You average each image first: every pixel counts the same, whichever image it is in.": (
            both(lambda x: (x.sum((1, 2)) / known.sum((1, 2))).mean())
        ),
        "Void pixels count as class 0: leave them out.": as_first[0] + 0.4 * as_first[1],
        "Void pixels count as the last class: leave them out.": as_last[0] + 0.4 * as_last[1],
        "The sign is wrong: a loss is minus the logarithm of the probability.": -both(right),
    }


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


@checks
def parsing_scores(scores: Callable) -> str:
    """Is `scores(batches, classes)` the mean accuracy of the classes, and the mean IoU?

    `batches` are [predicted, labels], both (N, H, W) and of different sizes: int64, and uint8 with
    255 for void. Counted over all batches together. The mean accuracy is over the classes that a
    pixel has, the mean IoU over those that a pixel has or was given: `metrics.mean_iou`, and mean
    accuracy as in Long et al. (2015), section 5.
    """
    for classes, sizes in ((6, [(2, 5, 7)]), (5, [(2, 6, 9), (1, 12, 5)]), (19, [(3, 20, 30)] * 2)):
        batches = labeled_pixels(classes, sizes, absent=classes - 3, never=1)
        accuracy, iou = _numbers(
            ask(call, scores, batches, classes), 2, "the mean accuracy, and the mean IoU"
        )
        right, wrong = _from_counts(_counts(batches, classes)), _score_mistakes(batches, classes)
        for got, name, place in ((accuracy, "the mean accuracy", 0), (iou, "the mean IoU", 1)):
            if got != got:
                raise Mistake(
                    f"{name[0].upper()}{name[1:]} is not a number: a class that does not occur has "
                    "0 / 0. Leave it out of the mean."
                )
            expect(got, right[place], name, {m: v[place] for m, v in wrong.items()})
    return "Both scores are right, with void, with classes that do not occur, over several batches."


def _counts(batches: Sequence[Sequence[Tensor]], classes: int) -> Tensor:
    return sum(metrics.confusion(predicted, labels, classes) for predicted, labels in batches)


def _from_counts(counts: Tensor) -> list[float]:
    accuracy = counts.diagonal().double() / counts.sum(1)
    return [accuracy.nanmean().item(), metrics.mean_iou(counts)]


def _score_mistakes(batches: list, classes: int) -> dict[str, list[float]]:
    counts = _counts(batches, classes).double()
    correct, has, given = counts.diagonal(), counts.sum(1), counts.sum(0)
    union = has + given - correct
    accuracy, iou = correct / has, correct / union
    zeros = [values.nan_to_num(0).mean().item() for values in (accuracy, iou)]
    given_void = sum(
        torch.bincount(predicted[labels == VOID], minlength=classes)
        for predicted, labels in batches
    )
    void_given = (correct / (union + given_void)).nanmean().item()
    twice = (correct / (has + given)).nanmean().item()
    present = iou[has > 0].mean().item()
    each = [_from_counts(_counts([batch], classes)) for batch in batches]
    pictures = [pair for batch in batches for pair in zip(*batch, strict=True)]
    images = [_from_counts(_counts([pair], classes)) for pair in pictures]
    overflowing = torch.zeros(classes**2 + 255, dtype=torch.int64)
    for predicted, labels in batches:
        known = labels != VOID
        pairs = labels[known] * classes + predicted[known]
        overflowing += torch.bincount(pairs, minlength=len(overflowing))
    overflowing = overflowing[: classes**2].reshape(classes, classes)
    share = metrics.pixel_accuracy(counts)
    precision = (correct / given).nanmean().item()
    return {
        "You give the share of right pixels: that is the accuracy of pixels, not a mean over "
        "classes.": [share, share],
        "A class that does not occur counts as 0: leave it out of the mean.": zeros,
        "The union holds void pixels: where the label is void, what was predicted does not "
        "count.": [torch.nan, void_given],
        "The pixels in the intersection are counted twice in the union.": [torch.nan, twice],
        "A class that pixels were given but none has is left out: its IoU is 0, and it counts in "
        "the mean.": [torch.nan, present],
        "The table is transposed: the accuracy of a class divides by the pixels that have it, not "
        "by those that were given it.": [precision, torch.nan],
        "Your mean IoU is the mean accuracy: divide by the union.": [
            torch.nan,
            _from_counts(counts)[0],
        ],
        "You average over the batches: add up their counts, and divide at the end.": torch.tensor(
            each
        )
        .double()
        .mean(0)
        .tolist(),
        "You average over the images: add up their counts, and divide at the end.": torch.tensor(
            images
        )
        .double()
        .mean(0)
        .tolist(),
        "The labels are uint8, where 14·19 is 10: make them `long` before you multiply.": (
            _from_counts(overflowing)
        ),
        "Only the last batch counts: add up the tables of all.": each[-1],
    }
