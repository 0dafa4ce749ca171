from copy import deepcopy

import pytest
import torch
from torch import nn

from resnets import models, probes
from resnets.training import Recipe, fit
from resnets.trimming import trim_kernels

CONVOLUTIONS = [
    dict(kernel_size=3, padding=1),
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
    trimmed = trim_kernels(deepcopy(whole), 4, *size)
    torch.testing.assert_close(trimmed(x), whole(x))
    assert trimmed.weight.shape[2:] == (met.any(1).sum(), met.any(0).sum())
    assert trimmed.kernel_size == trimmed.weight.shape[2:]


def test_a_trimmed_network_computes_and_learns_the_same(drawn):
    torch.manual_seed(0)
    whole = models.resnet18(in_channels=1, num_classes=10)
    trimmed = trim_kernels(deepcopy(whole), 1, 28, 28)
    assert probes.parameters(whole) - probes.parameters(trimmed) == 6_946_816
    recipe = Recipe(epochs=2, batch_size=32, lr=0.01, weight_decay=5e-3)
    histories = [fit(net, drawn[0][:128], recipe, seed=0) for net in (whole, trimmed)]
    losses = [torch.tensor([epoch["train_loss"] for epoch in history]) for history in histories]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    kept = trimmed.state_dict()
    for name, values in whole.state_dict().items():
        if values.shape != kept[name].shape:
            values = values[:, :, 1:, 1:] if kept[name].shape[2] == 2 else values[:, :, 1:2, 1:2]
        torch.testing.assert_close(values, kept[name], rtol=1e-2, atol=1e-4, msg=name)


@pytest.mark.parametrize("training", [True, False])
def test_where_each_weight_meets_a_pixel_nothing_changes(training):
    torch.manual_seed(0)
    net = models.resnet18(in_channels=3).train(training)
    before = deepcopy(net.state_dict())
    assert trim_kernels(net, 3, 64, 64) is net and net.training == training
    for name, values in net.state_dict().items():
        torch.testing.assert_close(values, before[name], rtol=0, atol=0)
    assert not any(module._forward_hooks for module in net.modules())
