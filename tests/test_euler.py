import torch
from torch import nn

from resnets import euler
from resnets.experiments.degradation import network


def decay(x):
    return -x


def test_both_methods_solve_an_equation_with_a_known_solution():
    x = torch.ones(3, dtype=torch.float64)
    exact = x * torch.exp(torch.tensor(-1.0, dtype=torch.float64))
    torch.testing.assert_close(euler.euler(decay, x, 1), torch.zeros_like(x))
    torch.testing.assert_close(euler.euler(decay, x, 4), x * 0.75**4)
    torch.testing.assert_close(euler.runge_kutta(decay, x), exact, rtol=1e-7, atol=0)


def test_more_steps_follow_each_blocks_own_equation_more_closely():
    torch.manual_seed(0)
    net = network("ResNet-14", "stride2")
    net(torch.randn(64, 1, 28, 28))
    rows = list(euler.step_errors(net, torch.randn(8, 1, 28, 28), (1, 64)))
    assert [row["block"] for row in rows[::2]] == ["layer1.0", "layer1.1", "layer2.1", "layer3.1"]
    for one, many in zip(rows[::2], rows[1::2], strict=True):
        assert many["error"] < one["error"] / 20
    assert rows[0]["alike"] is not None and rows[2]["alike"] is None


def test_a_block_that_adds_nothing_can_be_refined_at_will():
    net = network("ResNet-14", "stride2").eval()
    for block in (net.layer1[0], net.layer1[1], net.layer2[1], net.layer3[1]):
        nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(euler.refined(net, 5)(x), net(x))


def test_refined_in_one_step_is_the_network_and_in_two_is_another():
    net = network("ResNet-14", "stride2").eval()
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(euler.refined(net, 1)(x), net(x))
    assert not torch.allclose(euler.refined(net, 2)(x), net(x))
