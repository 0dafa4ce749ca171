"""The figures' common look, and the drawings that are not the lesson itself."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor, from_numpy, nn
from torch.nn.functional import interpolate

# Okabe and Ito's colors, which color-blind readers can tell apart.
BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#5F6B76"
# Of classes in a label map: after Paul Tol's schemes "bright" and "muted", which color-blind
# readers can tell apart as far as that many colors can be. Void is white.
LABEL_COLORS = (
    "#DDDDDD", "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE",
    "#AA3377", "#332288", "#999933", "#222222", "#44AA99",
)  # fmt: skip

# The same in another order, for CamVid: sky, building, pole, road, pavement, tree, sign, fence,
# car, pedestrian, cyclist.
STREET_COLORS = (
    "#66CCEE", "#CCBB44", "#222222", "#DDDDDD", "#EE6677", "#228833",
    "#AA3377", "#999933", "#4477AA", "#332288", "#44AA99",
)  # fmt: skip


def use_style() -> None:
    """Quiet SVG figures on white, the same bytes for the same figure. Call it in a notebook."""
    set_matplotlib_formats("svg", metadata={"Date": None})
    plt.rcParams.update(
        {
            "svg.hashsalt": "resnets",
            "figure.figsize": (5.6, 3.0),
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.color": "#E3E7EB",
            "axes.axisbelow": True,
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, GRAY]),
            "legend.frameon": False,
        }
    )


def draw_block(ax: Axes, title: str, layers: Sequence[str], shortcut: str | None = None) -> None:
    """Draw a block from bottom to top.

    Args:
        layers: what the signal passes; "+" is where the shortcut arrives.
        shortcut: None for a plain block, "" for an identity, else what stands on the shortcut.
    """
    ax.set(xlim=(-1.15, 1.5), ylim=(-0.9, len(layers) + 0.4), title=title)
    ax.axis("off")
    arrow = {
        "arrowstyle": "-|>",
        "color": GRAY,
        "linewidth": 1.2,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    box = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "linewidth": 1}
    for height, layer in enumerate(layers):
        top_of_last = height - (0.72 if height else 0.85)
        ax.annotate("", (0, height - 0.28), (0, top_of_last), arrowprops=arrow)
        if layer == "+":
            ax.plot(0, height, "o", markersize=17, mfc="white", mec=BLUE)
            ax.plot(0, height, "+", markersize=11, mec=BLUE, mew=1.4)
            joins = height
        else:
            color = ORANGE if "ReLU" in layer else GRAY
            ax.add_patch(
                FancyBboxPatch((-0.75, height - 0.26), 1.5, 0.52, fc="white", ec=color, **box)
            )
            ax.text(0, height, layer, ha="center", va="center", fontsize=9)
    ax.annotate("", (0, len(layers) - 0.28 + 0.4), (0, len(layers) - 0.72), arrowprops=arrow)
    ax.text(-0.12, -0.75, "$x$", ha="right", va="center")
    if shortcut is not None:
        ax.plot([0, 1.15, 1.15], [-0.6, -0.6, joins], color=BLUE, linewidth=1.6)
        ax.annotate("", (0.22, joins), (1.15, joins), arrowprops=arrow | {"color": BLUE})
        if shortcut:
            ax.text(
                1.15, joins / 2, shortcut, rotation=90, ha="center", va="center", fontsize=9,
                bbox={"facecolor": "white", "edgecolor": BLUE, "boxstyle": "round,pad=0.3"},
            )  # fmt: skip


def bracket(ax: Axes, layers: int, name: str) -> None:
    """At the left of a drawn block: a bracket around its first `layers`, and what they compute."""
    low, high = -0.26, layers - 1 + 0.26
    ax.plot([-0.9, -1, -1, -0.9], [low, low, high, high], color=GRAY, linewidth=1)
    ax.text(-1.1, (low + high) / 2, name, ha="right", va="center")
    ax.set_xlim(left=-1.75)


def draw_shortcuts(ax: Axes, stages: Sequence[Sequence[bool]]) -> None:
    """The blocks of a network in a row, from left to right, each with its shortcut as an arc.

    `stages` has for each stage, for each block, whether it changes the shape: those arcs are
    dashed.
    """
    look = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "fc": "white", "linewidth": 1.2}
    position = 0.0
    for number, stage in enumerate(stages):
        start = position
        for changes in stage:
            height = 1.5 - 0.28 * number
            ax.add_patch(FancyBboxPatch((position, -height / 2), 0.5, height, ec=GRAY, **look))
            arc = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=-0.7", "linewidth": 1.4}
            arc |= {"color": ORANGE, "linestyle": (0, (3, 2))} if changes else {"color": BLUE}
            ends = (position + 0.72, height / 2), (position - 0.22, height / 2)
            ax.annotate("", *ends, arrowprops=arc | {"shrinkA": 0, "shrinkB": 0})
            position += 1
        middle = (start + position - 0.5) / 2
        ax.text(middle, -1.1, f"stage {number + 1}", ha="center", va="center", color=GRAY)
        position += 0.25
    ax.set(xlim=(-0.5, position), ylim=(-1.4, 1.6))
    ax.axis("off")


def draw_options(axes: Sequence[Axes], options: dict[str, Sequence[nn.Module]]) -> None:
    """For each option a panel of basic blocks, from bottom to top, and what their shortcuts do.

    `options` has, by its title, the blocks in a row. The shapes are those of an image of 56×56.
    """
    text = {"ha": "center", "va": "center", "fontsize": 8}
    look = {"boxstyle": "round,pad=0.02,rounding_size=0.1", "fc": "white", "ec": GRAY}
    for ax, (title, blocks) in zip(axes, options.items(), strict=True):
        side, y = 56, 0.0
        for block in blocks:
            ax.text(0, y, _shape((block.in_channels, side, side)), **text)
            _arrow_up(ax, 0, y + 0.25, y + 1.0)
            ax.add_patch(FancyBboxPatch((-0.85, y + 1.0), 1.7, 0.85, **look))
            ax.text(0, y + 1.43, _words(block).replace(";  ", "\n"), **text)
            _arrow_up(ax, 0, y + 1.85, y + 2.75)
            _draw_option(ax, y, block.downsample)
            side, y = side // block.stride, y + 3.0
        ax.text(0, y, _shape((block.out_channels, side, side)), **text)
        ax.set(xlim=(-1.0, 1.75), ylim=(-0.25, y + 0.2))
        ax.set_title(title, fontsize=9)
        ax.axis("off")


def _draw_option(ax: Axes, y: float, shortcut: nn.Module) -> None:
    """From the input at `y` around a block: an identity, zero padding or a projection."""
    words, color, style = "", BLUE, "-"
    if isinstance(shortcut, nn.Sequential):
        words, color, style = _words(shortcut[0]), ORANGE, (0, (3, 2))
    elif not isinstance(shortcut, nn.Identity):
        zeros, pixels = shortcut.before + shortcut.after, shortcut.stride**2
        words, color, style = f"1 of {pixels} pixels,\n{zeros} zero channels", GREEN, (0, (3, 2))
    low, high, x = y + 0.5, y + 2.3, 1.4
    ax.plot([0, x, x, 0.12], [low, low, high, high], color=color, linewidth=1.4, linestyle=style)
    ax.plot(0, high, "o", markersize=8, mfc="white", mec=color, zorder=3)
    ax.plot(0, high, "+", markersize=5.5, mec=color, zorder=4)
    if words:
        around = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        middle = {"rotation": 90, "ha": "center", "va": "center", "bbox": around}
        ax.text(x, (low + high) / 2, words, fontsize=8, color=color, **middle)


def draw_classes(ax: Axes, title: str, nested: bool) -> None:
    """Four classes of functions, each larger than the one before, as regions around a target.

    A line leads from the target, the star, to the nearest point of each class. Nested classes
    contain each other; the others do not, and the fourth lies farther away than the third.
    """
    angle = np.linspace(0, 2 * np.pi, 721)
    target = np.array([2.5, 1.25])
    centers = [(0, 0)] * 4 if nested else [(-0.6, 0.9), (-0.1, -0.9), (0.85, 0.75), (-0.9, -0.35)]
    wobble = 1 + 0.1 * np.cos(2 * angle - 0.6) + 0.06 * np.sin(3 * angle)
    radii = (0.55, 1.0, 1.5, 2.0) if nested else (0.5, 0.8, 1.1, 1.45)
    for number in reversed(range(4)):
        outline = radii[number] * wobble * [np.cos(angle), np.sin(angle)]
        outline = outline.T + centers[number]
        nearest = outline[np.square(outline - target).sum(1).argmin()]
        look = {"color": (BLUE, GREEN, GRAY, ORANGE)[number], "zorder": 2 + 3 - number}
        ax.fill(*outline.T, alpha=0.1, linewidth=0, **look)
        ax.plot(*outline.T, linewidth=1.4, **look)
        ax.plot(*zip(nearest, target, strict=True), linewidth=0.9, linestyle=":", **look)
        ax.plot(*nearest, "o", markersize=4, **look)
        low = outline[outline[:, 1].argmin()] + (0, 0.16)
        way = 2 * (110, 285, 80, 215)[number]  # in half degrees, where no other region is near
        beside = outline[way] + 0.22 * np.array([np.cos(angle[way]), np.sin(angle[way])])
        spot = low if nested else beside
        ax.text(*spot, f"$F_{number + 1}$", ha="center", va="center", fontsize=9, **look)
    ax.plot(*target, "*", color="black", markersize=11, zorder=9)
    ax.text(target[0] + 0.08, target[1] + 0.25, "$f^*$", ha="center")
    ax.set(xlim=(-2.6, 2.9), ylim=(-2.3, 2.3), aspect="equal", title=title)
    ax.axis("off")


def seeds(ax: Axes, values: dict[str, Sequence[float]], colors: Sequence[str]) -> None:
    """One row of dots for each name, a dot for each seed, and a bar at their mean."""
    for row, numbers in enumerate(values.values()):
        ax.plot(
            numbers,
            [row] * len(numbers),
            "o",
            color=colors[row],
            alpha=0.6,
            markersize=6,
        )
        ax.plot(
            [np.mean(numbers)] * 2,
            [row - 0.3, row + 0.3],
            color=colors[row],
            linewidth=2,
        )
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)


def band(ax: Axes, x: Sequence[float], curves: np.ndarray, label: str, **line) -> None:
    """The mean of several curves, (seeds, points), and the range between the lowest and highest."""
    (drawn,) = ax.plot(x, curves.mean(0), label=label, **line)
    ax.fill_between(
        x, curves.min(0), curves.max(0), color=drawn.get_color(), alpha=0.2, linewidth=0
    )


def show_images(images: Tensor, titles: Sequence[str], columns: int = 5) -> Figure:
    """Gray images (N, H, W) in a grid, a title over each."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.6, 1.45 * rows), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images.cpu(), titles, strict=False):
        ax.imshow(image, cmap="gray_r")
        ax.set_title(title, fontsize=8)
    return figure


def confusion(ax: Axes, counts: Tensor, classes: Sequence[str]) -> None:
    """A confusion matrix, (true, predicted) counts, with the numbers written in."""
    share = counts / counts.sum(1, keepdim=True)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts.numpy()):
        if count:
            color = "white" if share[row, column] > 0.5 else "black"
            ax.text(column, row, count, ha="center", va="center", fontsize=7, color=color)
    ax.set_xticks(range(len(classes)), classes, rotation=60, ha="right")
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlabel="predicted", ylabel="true")
    ax.grid(visible=False)


def show_parsed(
    rows: Sequence[tuple[str, Sequence[Tensor]]],
    classes: Sequence[str],
    colors: Sequence[str] = LABEL_COLORS,
) -> Figure:
    """Images and label maps in a grid with a legend: each row a name and its pictures.

    A picture is an image, (1, H, W) gray or (3, H, W) colors, uint8, or labels (H, W).
    """
    columns = len(rows[0][1])
    height, width = rows[0][1][0].shape[-2:]
    tall = 5.4 / columns * height / width
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(5.8, tall * len(rows) + 0.75), squeeze=False
    )
    for line, (name, pictures) in zip(axes, rows, strict=True):
        line[0].set_ylabel(name, fontsize=9)
        for ax, picture in zip(line, pictures, strict=True):
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
            ax.spines[:].set_visible(False)
            if picture.ndim == 3:
                ax.imshow(picture.permute(1, 2, 0).cpu(), cmap="gray_r", vmin=0, vmax=255)
            else:
                ax.imshow(_painted(picture.cpu(), colors))
    patches = [Patch(color=color, label=name) for color, name in zip(colors, classes, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def show_activation_maps(
    images: Tensor, maps: Tensor, labels: Mapping[str, Tensor], classes: Sequence[str]
) -> Figure:
    """Images above their class activation maps: a row of maps for each of `labels`, by its name.

    `images` are (N, H, W), `maps` (N, K, h, w) for K classes, and labels (N,). Orange is above
    zero, purple below; the largest number of all maps has the fullest color.
    """
    figure, axes = plt.subplots(
        1 + len(labels), len(images), figsize=(5.8, 1.1 + 1.1 * len(labels))
    )
    strongest = max(maps[range(len(maps)), which].abs().max().item() for which in labels.values())
    look = {"cmap": "PuOr_r", "vmin": -strongest, "vmax": strongest, "alpha": 0.8}
    height, width = images.shape[1:]
    for number, column in enumerate(axes.T):
        for ax in column:
            ax.imshow(images[number], cmap="gray_r")
            ax.set(xticks=[], yticks=[])
        for ax, which in zip(column[1:], labels.values(), strict=True):
            place = (-0.5, width - 0.5, height - 0.5, -0.5)
            ax.imshow(maps[number, which[number]], extent=place, **look)
            ax.set_title(classes[which[number]], fontsize=8)
    for ax, name in zip(axes[:, 0], ("image", *labels), strict=True):
        ax.set_ylabel(name, fontsize=9)
    return figure


def _painted(labels: Tensor, colors: Sequence[str]) -> np.ndarray:
    """A color for each label, (H, W) to (H, W, 3); white for labels without a color."""
    palette = np.ones((256, 3))
    palette[: len(colors)] = [to_rgb(color) for color in colors]
    return palette[labels.numpy()]


def heat_map(ax: Axes, title: str, influence: Tensor, squares: dict[str, int]) -> None:
    """Influence (H, W) as brightness, and squares around the middle by name and side in pixels."""
    ax.imshow((influence / influence.max()).sqrt().cpu(), cmap="magma")
    height, width = influence.shape
    for (name, side), style in zip(squares.items(), ("--", "-"), strict=False):
        corner = (width / 2 - side / 2 - 0.5, height / 2 - side / 2 - 0.5)
        ax.add_patch(
            Rectangle(corner, side, side, fill=False, color="white", linestyle=style, label=name)
        )
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(visible=False)


def pixels_read(ax: Axes, title: str, read: Tensor, color: str) -> None:
    """A grid of pixels, (H, W) of bool, in which those that are read are colored."""
    shades = np.where(read.numpy()[..., None], to_rgb(color), to_rgb("#F4F6F8"))
    ax.pcolormesh(shades, edgecolors="#C8CED4", linewidth=0.6)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.set_title(title, fontsize=9)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def draw_clue(ax: Axes, title: str, image: Tensor, labels: Tensor, top: int, shoe: int) -> None:
    """A scene, its top in a blue frame and its shoe in an orange one, with an arrow to the top.

    `image` and `labels` are (H, W); `top` and `shoe` are the numbers of two classes.
    """
    ax.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=255)
    middles = []
    for number, color in ((shoe, ORANGE), (top, BLUE)):
        rows, columns = (ends.numpy() for ends in (labels == number).nonzero(as_tuple=True))
        left, low = columns.min() - 2.5, rows.min() - 2.5
        width, height = np.ptp(columns) + 4, np.ptp(rows) + 4
        ax.add_patch(Rectangle((left, low), width, height, fill=False, ec=color, linewidth=1.8))
        middles.append((left + width / 2, low + height / 2))
    arrow = {"arrowstyle": "-|>", "color": ORANGE, "linewidth": 1.6, "shrinkA": 16, "shrinkB": 14}
    ax.annotate("", middles[1], middles[0], arrowprops=arrow)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def class_gains(ax: Axes, gains: pd.DataFrame, colors: Sequence[str]) -> None:
    """Bars of the mean over seeds for each class (row), a color a column, dots for the seeds.

    A cell of `gains` holds the values of the seeds.
    """
    middle = np.arange(len(gains))
    thick = 0.8 / len(gains.columns)
    for number, (column, color) in enumerate(zip(gains, colors, strict=True)):
        place = middle + (number - (len(gains.columns) - 1) / 2) * thick
        ax.barh(place, [np.mean(v) for v in gains[column]], thick, color=color, label=column)
        for y, values in zip(place, gains[column], strict=True):
            ax.plot(values, [y] * len(values), ".", color="black", markersize=3)
    ax.axvline(0, color=GRAY, linewidth=1)
    ax.set_yticks(middle, list(gains.index))
    ax.invert_yaxis()
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)


def draw_costs(axes: Sequence[Axes], costs: pd.DataFrame, colors: Sequence[str]) -> None:
    """A panel of bars for each column of `costs`, a bar for each row, its number at its end."""
    for ax, column in zip(axes, costs, strict=True):
        bars = ax.barh(range(len(costs)), costs[column], 0.62, color=colors)
        ax.bar_label(bars, [f"{value:.1f}" for value in costs[column]], padding=2, fontsize=8)
        ax.set_title(column, fontsize=9, loc="left")
        ax.set(xticks=[], xlim=(0, 1.3 * costs[column].max()), yticks=[])
        ax.spines["bottom"].set_visible(False)
        ax.grid(visible=False)
        ax.invert_yaxis()
    axes[0].set_yticks(range(len(costs)), list(costs.index), fontsize=9)
    axes[0].tick_params(axis="y", length=0)


def draw_network(ax: Axes, net: nn.Module, shapes: dict[str, tuple[int, ...]]) -> None:
    """A residual network from bottom to top, with the shape after each part and each shortcut.

    Args:
        net: named layers in a row, stages of basic blocks among them. Batch normalization, ReLU
            and flattening are not drawn.
        shapes: by name, the output of each layer without the batch; "image" is the input.
    """
    look = {"boxstyle": "round,pad=0.02,rounding_size=0.1", "fc": "white", "ec": GRAY}
    arrow = {"arrowstyle": "-|>", "color": GRAY, "shrinkA": 0, "shrinkB": 0}
    text = {"ha": "center", "va": "center", "fontsize": 8}
    ax.text(0, 0, "image", **text)
    ax.text(-1.25, 0, _shape(shapes["image"]), **text | {"ha": "right"})
    height, step = 0, 1.3
    for name, part in net.named_children():
        if isinstance(part, nn.BatchNorm2d | nn.ReLU | nn.Flatten):
            continue
        first = height + step
        for layer in part if isinstance(part, nn.Sequential) else [part]:
            height += step
            ax.annotate("", (0, height - 0.3), (0, height - step + 0.3), arrowprops=arrow)
            ax.add_patch(FancyBboxPatch((-1.1, height - 0.28), 2.2, 0.56, **look))
            ax.text(0, height, _words(layer), **text)
            if layer is not part:
                _draw_shortcut(ax, height, layer.downsample)
        middle = (first + height) / 2
        ax.text(-1.25, middle, _shape(shapes[name]), **text | {"ha": "right"})
        if isinstance(part, nn.Sequential):
            ax.plot([-2.55] * 2, [first - 0.28, height + 0.28], color=GRAY, linewidth=1.6)
            ax.text(-2.65, middle, name, **text | {"ha": "right", "color": GRAY})
    ax.annotate("", (0, height + step - 0.3), (0, height + 0.3), arrowprops=arrow)
    ax.text(0, height + step, "logits", **text)
    ax.set(xlim=(-3.3, 2.75), ylim=(-0.4, height + step + 0.4))
    ax.axis("off")


def _shape(shape: Sequence[int]) -> str:
    """Channels, then height and width if there are any."""
    channels, *size = shape
    return f"{channels}, {size[0]}×{size[1]}" if size else f"{channels}"


def _words(layer: nn.Module) -> str:
    """A layer or block in a few words, its kernels and strides among them."""
    if isinstance(layer, nn.Conv2d):
        side = layer.kernel_size[0]
        return f"{side}×{side} conv" + (f", stride {layer.stride[0]}" * (layer.stride[0] > 1))
    if isinstance(layer, nn.MaxPool2d):
        return f"{layer.kernel_size}×{layer.kernel_size} max pooling, stride {layer.stride}"
    if isinstance(layer, nn.Linear):
        return f"linear, {layer.in_features} to {layer.out_features}"
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return "global average pooling"
    return f"{_words(layer.conv1)};  {_words(layer.conv2)}"


def _draw_shortcut(ax: Axes, height: float, shortcut: nn.Module) -> None:
    """Around the box at `height`: an identity solid, a projection dashed and with its words."""
    same = isinstance(shortcut, nn.Identity)
    look = {"color": BLUE if same else ORANGE, "linestyle": "-" if same else (0, (3, 2))}
    low, high = height - 0.48, height + 0.52
    ax.plot([0, 1.35, 1.35, 0.06], [low, low, high, high], linewidth=1.4, **look)
    ax.plot(0, high, "o", markersize=6, mfc="white", mec=look["color"], zorder=3)
    ax.plot(0, high, "+", markersize=4, mec=look["color"], zorder=4)
    if not same:
        ax.text(1.42, height, _words(shortcut[0]), color=ORANGE, va="center", fontsize=8)


def learning_curves(
    ax: Axes, histories: Sequence[Sequence[dict]], accuracies: Sequence[float]
) -> None:
    """Each seed's training loss, on the left axis, and training accuracy, on the right, by epoch.

    `histories` are as `training.fit` returns them; `accuracies`, of the test after the last epoch,
    are crosses.
    """
    right = ax.twinx()
    for rows in histories:
        epochs = [row["epoch"] for row in rows]
        losses = [row["train_loss"] for row in rows]
        shares = [row["train_accuracy"] for row in rows]
        ax.plot(epochs, losses, "o-", color=BLUE, markersize=3, linewidth=1)
        right.plot(epochs, shares, "s--", color=ORANGE, markersize=3, linewidth=1)
    right.plot([epochs[-1]] * len(accuracies), accuracies, "x", color="black", label="test")
    ax.set(xlabel="epoch", xticks=epochs)
    ax.set_ylabel("training loss (solid)", color=BLUE)
    right.set_ylabel("accuracy (dashed: training)", color=ORANGE)
    right.spines["right"].set_visible(True)
    right.grid(visible=False)
    right.legend(loc="center right")


def training_losses(
    ax: Axes,
    recorded: Sequence,
    looks: dict[str, dict],
    nudge: dict[str, float] | None = None,
    ticks: Sequence[float] = (),
    key: str = "train_loss",
) -> None:
    """Each seed's training loss by epoch: for each network and recorded run a thin line.

    Args:
        looks: how a network's lines look, by its name in the runs' histories.
        nudge: for the names to write at the ends of their lines, by how many points higher.
        ticks: of a logarithmic axis, if the loss should have one.
        key: of what else to draw.
    """
    for name, look in looks.items():
        curves = [[row[key] for row in run.history[name]] for run in recorded]
        each_seed(ax, curves, **{"linewidth": 0.9} | look)
        if name in (nudge or {}):
            end = len(curves[0]), np.mean([values[-1] for values in curves])
            beside = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
            ax.annotate(name, end, (4, nudge[name]), fontsize=8, color=look["color"], **beside)
    if ticks:
        ax.set_yscale("log")
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    ax.set(xlabel="epoch", ylabel="training loss")


def draw_dilation(axes: np.ndarray, nets: dict[str, nn.Module], image: Tensor) -> None:
    """Where each stage's features lie on the image, and which of them one 3×3 kernel reads.

    The kernel, of the stage's last block, is that of the middle feature.

    Args:
        axes: (networks, stages).
        nets: by name; of bottlenecks, in evaluation mode.
        image: (1, C, H, H), from which each stage has an odd number of features a side. On "meta"
            nothing is computed but shapes.
    """
    for line, (name, net) in zip(axes, nets.items(), strict=True):
        for ax, stage, out in zip(line, net.stages, net.stage_outputs(image), strict=True):
            dilation, side = net.get_submodule(stage)[-1].conv2.dilation[0], out.shape[-1]
            places = np.linspace(0, image.shape[-1] - 1, side)
            reads = places[side // 2 + dilation * np.array([-1, 0, 1])]
            for some, look in ((places, (GRAY, 1.6)), (reads, (ORANGE, 5))):
                rows, columns = np.meshgrid(some, some)
                ax.plot(columns.ravel(), rows.ravel(), "o", color=look[0], markersize=look[1])
            words = f"{side}×{side}" + f", dilation {dilation}" * (dilation > 1)
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.set_xlabel(words, fontsize=8)
            ax.margins(0.05)
            ax.spines[:].set(visible=True, color="#C8CED4")
            ax.grid(visible=False)
        line[0].set_ylabel(name, fontsize=9)
    for number, ax in enumerate(axes[0], start=1):
        ax.set_title(f"stage {number}", fontsize=9)


def each_seed(
    ax: Axes,
    curves: Sequence[Sequence[float]],
    color: str,
    label: str = "",
    place: tuple[float, float] = (0, 0),
    first: int = 1,
    **line,
) -> None:
    """A thin line for each seed, over `first`, `first` + 1, and so on; the label at its place."""
    for values in curves:
        x = range(first, first + len(values))
        ax.plot(x, values, color=color, **{"linewidth": 1} | line)
    ax.text(*place, label, color=color, fontsize=9)


def draw_pspnet(ax: Axes, net: nn.Module, image: Tensor) -> None:
    """A `pspnet.PSPNet` from bottom to top, with the shape of what each part outputs.

    The shades of the maps are one made-up channel, pooled and stretched as the pyramid does it.

    Args:
        net: with bins, averages, a reduction and an auxiliary head; in evaluation mode.
        image: (1, C, H, W), on the network's device. On "meta" nothing is computed but shapes.
    """
    *_, before, third, features = net.backbone.stage_outputs(image)
    joined, logits = net.pyramid(features), net(image)
    ax.text(0, 0, "image", ha="center", va="center", fontsize=8)
    _shape_beside(ax, 0, image)
    parts = {f"stem, first {len(net.backbone.stages) - 2} stages": before}
    for name, out in zip(net.backbone.stages[-2:], (third, features), strict=True):
        dilation = net.backbone.get_submodule(name)[-1].conv2.dilation[0]
        parts[f"stage {name[-1]}" + f", dilation {dilation}" * (dilation > 1)] = out
    for y, (words, out) in enumerate(parts.items(), start=1):
        _box(ax, (0, 0.8 * y), words, before=0.8 * y - 0.55)
        _shape_beside(ax, 0.8 * y, out)
    to_the_right = {"arrowstyle": "-|>", "color": ORANGE, "linestyle": (0, (3, 2)), "shrinkB": 0}
    ax.annotate("", (1.98, 1.6), (1.22, 1.6), arrowprops=to_the_right)
    _box(ax, (3.2, 1.6), "auxiliary head", color=ORANGE)
    ax.text(4.5, 1.6, "in training only", va="center", fontsize=8, color=ORANGE)

    top = _draw_pyramid(ax, net.pyramid, features)
    width = 1.6 * len(net.pyramid.levels)
    _box(ax, (width / 2, top), "concatenated", width=width + 1.0)
    _shape_beside(ax, top, joined)
    _box(ax, (0, top + 0.8), f"{_words(net.head[0])}, {_words(net.head[-1])}", before=top + 0.25)
    _shape_beside(ax, top + 0.8, net.head(joined))
    _box(ax, (0, top + 1.6), "stretched", before=top + 1.05)
    _shape_beside(ax, top + 1.6, logits)
    _arrow_up(ax, 0, top + 1.85, top + 2.2)
    ax.text(0, top + 2.4, "logits for each pixel", ha="center", va="center", fontsize=8)
    ax.set(xlim=(-2.9, width + 1.3), ylim=(-0.3, top + 2.65), aspect="equal")
    ax.axis("off")


def _draw_pyramid(ax: Axes, pyramid: nn.Module, features: Tensor) -> float:
    """Above the backbone: the feature map and, beside its way up, each level's. Where they join."""
    size = features.shape[2:]
    rows, columns = np.linspace(0, 1, size[0])[:, None], np.linspace(0, 1, size[1])
    patches = ((0.25, 0.75, 0.03), (0.75, 0.2, 0.08))  # row, column, width
    channel = sum(np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / w) for r, c, w in patches)
    channel = from_numpy(channel)[None, None]
    y, top = 3.5, 8.1
    _arrow_up(ax, 0, 2.65, y - 0.5)
    _map(ax, (0, y), channel)
    _arrow_up(ax, 0, y + 0.5, top - 0.25, BLUE)
    ax.text(-0.2, 5.8, "unchanged", rotation=90, va="center", ha="center", fontsize=8, color=BLUE)
    ax.plot([0.5, 1.6 * len(pyramid.levels)], [y, y], color=GRAY, linewidth=1.2)
    for number, (pool, conv, *_) in enumerate(pyramid.levels, start=1):
        x, pooled = 1.6 * number, pool(channel)
        _arrow_up(ax, x, y, 4.15)
        _map(ax, (x, 4.65), pooled, regions=True)
        ax.text(x + 0.1, 3.85, _shape(pool(features).shape[1:]), va="center", fontsize=7)
        _box(ax, (x, 5.75), _words(conv), width=1.3, before=5.15)
        _arrow_up(ax, x, 6.0, 6.5)
        stretched = interpolate(pooled, size, mode="bilinear", align_corners=True)
        _map(ax, (x, 7.0), stretched)
        words = _shape((conv.out_channels, *size))
        ax.text(x + 0.1, 7.66, words, va="center", fontsize=7)
        _arrow_up(ax, x, 7.5, top - 0.25)
    for height, words in ((y, "feature map"), (4.65, "means of\nregions"), (7.0, "stretched")):
        ax.text(-1.35, height, words, ha="right", va="center", fontsize=8, color=GRAY)
    return top


def _box(
    ax: Axes,
    center: tuple[float, float],
    words: str,
    width: float = 2.4,
    color: str = GRAY,
    before: float | None = None,
) -> None:
    """A layer, with an arrow from `before` up to it if that is given."""
    x, y = center
    look = {"boxstyle": "round,pad=0.02,rounding_size=0.1", "fc": "white", "ec": color}
    ax.add_patch(FancyBboxPatch((x - width / 2, y - 0.24), width, 0.48, **look))
    ax.text(x, y, words, ha="center", va="center", fontsize=8, color="black")
    if before is not None:
        _arrow_up(ax, x, before, y - 0.25)


def _arrow_up(ax: Axes, x: float, low: float, high: float, color: str = GRAY) -> None:
    """An arrow from `low` to `high`."""
    arrow = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (x, high), (x, low), arrowprops=arrow)


def _shape_beside(ax: Axes, y: float, x: Tensor) -> None:
    """At the left, what comes out at the height `y`."""
    ax.text(-1.35, y, _shape(x.shape[1:]), ha="right", va="center", fontsize=8)


def _map(ax: Axes, center: tuple[float, float], x: Tensor, regions: bool = False) -> None:
    """One channel (1, 1, h, w) as a square of side 1, with lines between its `regions`."""
    left, low = center[0] - 0.5, center[1] - 0.5
    extent = (left, left + 1, low, low + 1)
    look = {"cmap": "Blues", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    ax.imshow(x[0, 0].numpy(), extent=extent, **look)
    ax.add_patch(Rectangle((left, low), 1, 1, fill=False, color=GRAY, linewidth=1))
    for share in np.linspace(0, 1, len(x[0, 0]) + 1)[1:-1] if regions else ():
        ax.plot([left, left + 1], [low + share] * 2, color=GRAY, linewidth=0.6)
        ax.plot([left + share] * 2, [low, low + 1], color=GRAY, linewidth=0.6)
