"""The figures' common look, and the drawings that are not the lesson itself."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor

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
        spot = low if nested else np.add(centers[number], (-0.1, -0.05))
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
