from copy import deepcopy
from shutil import which

import pytest
import torch
from torch import nn
from torch.nn import functional

from resnets import models, probes
from resnets.small_maps import ConvolutionOf2x2, specialize

CONVOLUTIONS = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, padding=1, bias=False),
    dict(kernel_size=3, padding=1, groups=2),
    dict(kernel_size=3, padding=1, stride=2),
    dict(kernel_size=7, padding=3, stride=2),
    dict(kernel_size=3, padding=2, dilation=2, groups=2, bias=False),
    dict(kernel_size=(5, 1), padding=(2, 0), stride=(1, 2)),
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 2), (3, 1), (4, 5), (9, 9)])
def test_exactly_the_weights_that_meet_no_pixel_are_left_out(options, size):
    torch.manual_seed(0)
    whole = nn.Conv2d(4, 6, **options)
    x = torch.randn(20, 4, *size)
    whole(x).square().sum().backward()
    met = (whole.weight.grad != 0).any(0).any(0)
    small = specialize(deepcopy(whole), 4, *size)
    torch.testing.assert_close(small(x), whole(x))
    assert small.weight.shape[2:] == (met.any(1).sum(), met.any(0).sum())
    assert small.kernel_size == small.weight.shape[2:]


def test_a_specialized_network_computes_and_learns_the_same(drawn):
    torch.manual_seed(0)
    whole = models.resnet18(in_channels=1, num_classes=10)
    small = specialize(deepcopy(whole), 1, 28, 28)
    assert probes.parameters(whole) - probes.parameters(small) == 6_946_816
    products = [name for name, m in small.named_modules() if isinstance(m, ConvolutionOf2x2)]
    assert products == ["layer3.0.conv2", "layer3.1.conv1", "layer3.1.conv2"]
    x = drawn[0].images[:64, None].double() / 255
    for net in (whole.double(), small.double()):
        optimizer = torch.optim.SGD(net.parameters(), 0.05, 0.9, nesterov=True, weight_decay=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            functional.cross_entropy(net(x), drawn[0].labels[:64]).backward()
            optimizer.step()
    torch.testing.assert_close(small(x), whole(x))
    kept = small.state_dict()
    for name, values in whole.state_dict().items():
        if values.shape != kept[name].shape:
            values = values[:, :, 1:, 1:] if kept[name].shape[2] == 2 else values[:, :, 1:2, 1:2]
        torch.testing.assert_close(values, kept[name], msg=name)


@pytest.mark.parametrize("training", [True, False])
def test_where_each_weight_meets_a_pixel_nothing_changes(training):
    torch.manual_seed(0)
    net = models.resnet18(in_channels=3).train(training)
    before = deepcopy(net.state_dict())
    assert specialize(net, 3, 64, 64) is net and net.training == training
    for name, values in net.state_dict().items():
        torch.testing.assert_close(values, before[name], rtol=0, atol=0)
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.skipif(not (which("g++") or which("clang++")), reason="no compiler of C++")
def test_a_compiled_product_has_the_same_gradient():
    torch.manual_seed(0)
    net = specialize(nn.Conv2d(8, 8, 3, padding=1), 8, 2, 2)
    x, gradients = torch.randn(16, 8, 2, 2), []
    for compute in (net, torch.compile(net)):
        net.zero_grad()
        compute(x).square().sum().backward()
        gradients.append(net.weight.grad)
    torch.testing.assert_close(*gradients)
