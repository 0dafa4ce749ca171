"""Drawings that take what they show from a network, a recipe or recorded runs."""

import matplotlib.pyplot as plt
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
