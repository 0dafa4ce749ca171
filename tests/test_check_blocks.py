"""Each typical mistake of chapter 2's exercises is recognized by name."""

import pytest
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet

from resnets import check, models


class Block(nn.Module):
    """torchvision's basic block, taken apart so that each mistake changes one place."""

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride > 1 or in_channels != channels:
            self.downsample = self.projection(in_channels, channels, stride)

    def projection(self, in_channels, channels, stride):
        conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels))

    def layers(self, x):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))

    def shortcut(self, x):
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x))


class NotWritten(Block):
    def forward(self, x): ...


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


class NoReLUInside(Block):
    def layers(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(x))))


class ProjectionWithoutStride(Block):
    def projection(self, in_channels, channels, stride):
        return super().projection(in_channels, channels, 1)


class ProjectionWithoutNormalization(Block):
    def projection(self, in_channels, channels, stride):
        return super().projection(in_channels, channels, stride)[:1]


class ProjectionAlways(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.downsample = self.projection(in_channels, channels, stride)


class NoBatchNorm(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.bn1 = self.bn2 = nn.Identity()


class DetachedShortcut(Block):
    def shortcut(self, x):
        return super().shortcut(x).detach()


class Fails(Block):
    def forward(self, x):
        return self.conv3(x)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (NotWritten, "no answer so far"),
        (NoShortcut, "shortcut is missing"),
        (AddedAfterTheReLU, "added after the last ReLU"),
        (ReLUBeforeTheAddition, "ReLU between the last batch normalization and the addition"),
        (NoLastReLU, "no ReLU behind the addition"),
        (Average, "average"),
        (NoReLUInside, "no ReLU between bn1 and conv2"),
        (ProjectionWithoutStride, "projection has no stride"),
        (ProjectionWithoutNormalization, "no batch normalization behind"),
        (ProjectionAlways, "without a projection"),
        (NoBatchNorm, "Batch normalization is missing"),
        (DetachedShortcut, "gradient at input"),
        (Fails, "AttributeError"),
    ],
)
def test_residual_block_names_the_mistake(answer, says):
    verdict = check.residual_block(answer)
    assert not verdict
    assert says in verdict.message


@pytest.mark.parametrize("answer", [Block, models.BasicBlock])
def test_residual_block_takes_what_is_right(answer):
    assert check.residual_block(answer), check.residual_block(answer)


def test_residual_block_takes_torchvisions_block():
    def make(in_channels, channels, stride):
        change = stride > 1 or in_channels != channels
        shortcut = models.make_shortcut("projection", in_channels, channels, stride)
        return resnet.BasicBlock(in_channels, channels, stride, shortcut if change else None)

    assert check.residual_block(make)
