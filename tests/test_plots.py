"""Drawings that take what they show from a network, a recipe or recorded runs."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from torch import nn

from resnets import models, plots
from resnets.pspnet import PSPNet


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_a_drawn_network_has_its_own_shapes_kernels_and_strides(ax):
    net = nn.Sequential()
    net.conv1 = nn.Conv2d(3, 8, 5, stride=2)
    net.bn1, net.relu = nn.BatchNorm2d(8), nn.ReLU()
    net.maxpool = nn.MaxPool2d(3, stride=2)
    net.layer1 = nn.Sequential(models.BasicBlock(8, 8), models.BasicBlock(8, 8))
    net.layer2 = nn.Sequential(models.BasicBlock(8, 12, 2))
    net.avgpool, net.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 4)
    shapes = {"image": (3, 40, 30), "conv1": (8, 18, 13), "maxpool": (8, 8, 6)}
    shapes |= {"layer1": (8, 8, 6), "layer2": (12, 4, 3), "avgpool": (12, 1, 1), "fc": (4,)}
    plots.draw_network(ax, net, shapes)

    found = words(ax)
    for text in (
        "3, 40×30", "5×5 conv, stride 2", "8, 18×13", "3×3 max pooling, stride 2", "layer1",
        "12, 4×3", "12, 1×1", "linear, 12 to 4", "4",
    ):  # fmt: skip
        assert text in found
    assert found.count("3×3 conv;  3×3 conv") == 2
    assert found.count("3×3 conv, stride 2;  3×3 conv") == 1
    assert found.count("1×1 conv, stride 2") == 1, "the one shortcut that is a projection"


def test_learning_curves_have_a_line_a_seed_and_their_values(ax):
    histories = [
        [{"epoch": n, "train_loss": seed / n, "train_accuracy": n / 9} for n in (1, 2, 3)]
        for seed in (1, 2)
    ]
    plots.learning_curves(ax, histories, [0.5, 0.6])
    losses, (right,) = ax.lines, [other for other in ax.figure.axes if other is not ax]
    assert [list(line.get_ydata()) for line in losses] == [[1, 1 / 2, 1 / 3], [2, 1, 2 / 3]]
    *accuracies, test = right.lines
    assert [list(line.get_ydata()) for line in accuracies] == [[1 / 9, 2 / 9, 3 / 9]] * 2
    assert list(test.get_ydata()) == [0.5, 0.6] and set(test.get_xdata()) == {3}


def test_a_drawn_pspnet_has_its_own_bins_dilations_and_shapes(ax):
    backbone = models.ResNet((1, 1, 1, 1), dilated=(3, 4), widths=(8, 8, 12, 16))
    net = PSPNet(backbone, num_classes=5, bins=(1, 3)).eval()
    plots.draw_pspnet(ax, net, torch.zeros(1, 3, 97, 65))

    found = words(ax)
    for text in (
        "3, 97×65", "8, 13×9", "stage 3, dilation 2", "12, 13×9", "stage 4, dilation 4",
        "16, 1×1", "16, 3×3", "32, 13×9", "5, 13×9", "5, 97×65", "auxiliary head",
    ):  # fmt: skip
        assert text in found
    assert found.count("1×1 conv") == 2
    assert found.count("16, 13×9") == 1, "the feature map"
    assert found.count("8, 13×9") == 3, "the second stage, and each level when it is stretched"
    pooled = [image for image in ax.images if image.get_array().shape == (3, 3)]
    assert len(pooled) == 1 and len(ax.images) == 5


def test_a_bracket_reaches_from_the_first_layer_to_the_last_that_it_names(ax):
    plots.draw_block(ax, "residual", ["conv", "BN", "+", "ReLU"], shortcut="")
    plots.bracket(ax, 2, "$g(x)$")
    heights = ax.lines[-1].get_ydata()
    assert min(heights) < 0 and 1 < max(heights) < 2
    assert words(ax)[-1] == "$g(x)$"


def test_each_seed_has_a_line_of_its_own_length(ax):
    plots.each_seed(ax, [[3, 2], [3, 1, 0]], plots.BLUE, "loss", (1, 2), first=0, linestyle=":")
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 1], [0, 1, 2]]
    assert [list(line.get_ydata()) for line in ax.lines] == [[3, 2], [3, 1, 0]]
    assert {line.get_linestyle() for line in ax.lines} == {":"}
    assert words(ax) == ["loss"]


def test_labels_of_classes_that_are_not_nested_lie_beside_their_regions(ax):
    plots.draw_classes(ax, "not nested", nested=False)
    places = [text.get_position() for text in ax.texts if text.get_text().startswith("$F")]
    regions = [patch.get_path() for patch in ax.patches]
    assert len(places) == len(regions) == 4
    assert not any(region.contains_point(place) for region in regions for place in places)


def test_a_drawn_option_says_what_its_shortcut_does_where_the_shape_changes(ax):
    kinds = {"A": "identity", "C": "all-projections"}
    options = {
        name: [models.BasicBlock(8, 8, shortcut=kind), models.BasicBlock(8, 12, 2, shortcut=kind)]
        for name, kind in kinds.items()
    }
    other = ax.figure.add_subplot()
    plots.draw_options([ax, other], options)
    convolutions = ["3×3 conv\n3×3 conv", "3×3 conv, stride 2\n3×3 conv"]
    shapes = ["8, 56×56", "8, 56×56", "12, 28×28"]
    first, second = (set(words(panel)) - {*convolutions, *shapes, ""} for panel in (ax, other))
    assert first == {"1 of 4 pixels,\n4 zero channels"}
    assert second == {"1×1 conv", "1×1 conv, stride 2"}
    for panel in (ax, other):
        assert {*convolutions, *shapes} <= {*words(panel)}


def test_drawn_costs_have_their_numbers_at_their_bars(ax):
    plots.draw_costs([ax], pd.DataFrame({"cost": {"a": 1.26, "b": 2}}), [plots.BLUE] * 2)
    assert words(ax) == ["1.3", "2.0"]
    assert [bar.get_width() for bar in ax.patches] == [1.26, 2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_training_losses_are_those_of_the_named_networks(ax):
    recorded = [
        SimpleNamespace(
            history={name: [{"epoch": n, "train_loss": loss / n} for n in (1, 2)] for name in "ab"}
        )
        for loss in (4, 8)
    ]
    plots.training_losses(ax, recorded, {"b": {"color": plots.BLUE}}, {"b": 3}, ticks=(4, 8))
    assert [list(line.get_ydata()) for line in ax.lines] == [[4, 2], [8, 4]]
    (name,) = [text for text in ax.texts if text.get_text()]
    assert name.get_text() == "b" and name.xy == (2, 3)
    assert ax.get_yscale() == "log" and [*ax.get_yticks()] == [4, 8]


def test_a_dilated_kernel_reads_the_pixels_that_the_strided_one_reads():
    nets = {
        name: models.ResNet((1, 1, 2, 2), block=models.Bottleneck, dilated=stages).eval()
        for name, stages in (("strides", ()), ("dilated", (3, 4)))
    }
    figure, axes = plt.subplots(2, 4)
    with torch.no_grad():
        plots.draw_dilation(axes, nets, torch.zeros(1, 3, 65, 65))
    for above, below in zip(*axes, strict=True):
        (_, strided), (features, dilated) = above.lines, below.lines
        assert (strided.get_xydata() == dilated.get_xydata()).all()
        assert {*map(tuple, strided.get_xydata())} <= {*map(tuple, features.get_xydata())}
    assert [ax.get_xlabel() for ax in axes[1]] == [
        "17×17", "9×9", "9×9, dilation 2", "9×9, dilation 4",
    ]  # fmt: skip
    plt.close(figure)


def test_a_clue_frames_the_shoe_and_the_top(ax):
    labels = torch.zeros(20, 20, dtype=torch.uint8)
    labels[2:5, 3:9], labels[12:18, 10:14] = 7, 5
    plots.draw_clue(ax, "a scene", 100 * labels, labels, top=5, shoe=7)
    shoe, top = ax.patches[:2]
    assert (shoe.get_width(), shoe.get_height()) == (9, 6)
    assert (top.get_width(), top.get_height()) == (7, 9)
    assert shoe.get_edgecolor() != top.get_edgecolor()


def test_pixels_that_are_read_are_colored(ax):
    plots.pixels_read(ax, "two", torch.eye(2, dtype=torch.bool), plots.BLUE)
    shades = ax.collections[0].get_array().reshape(2, 2, 3)
    assert (shades[0, 0] == shades[1, 1]).all() and (shades[0, 1] == shades[1, 0]).all()
    assert (shades[0, 0] != shades[0, 1]).any()


def test_each_activation_map_is_that_of_the_label_it_names():
    maps = torch.arange(2 * 3 * 4.0).reshape(2, 3, 2, 2) - 20
    labels = {"says": torch.tensor([2, 0]), "is": torch.tensor([1, 2])}
    figure = plots.show_activation_maps(torch.rand(2, 8, 8), maps, labels, "abc")
    drawn = [ax.images[-1] for ax in figure.axes]
    assert [ax.get_title() for ax in figure.axes] == ["", "", "c", "a", "b", "c"]
    for image, (number, label) in zip(drawn[2:], ((0, 2), (1, 0), (0, 1), (1, 2)), strict=True):
        assert (image.get_array() == maps[number, label].numpy()).all()
        assert image.get_clim() == (-16, 16)  # of the maps shown, the strongest
        assert tuple(image.get_extent()) == (-0.5, 7.5, 7.5, -0.5)
    plt.close(figure)
