from itertools import chain, combinations

import pytest
import torch
from torch.nn import functional as F

from resnets import probes
from resnets.models import BasicBlock, cifar_resnet


def network(shortcut="identity", depth=8):
    """A small network in float64 whose batch normalization has seen some images."""
    torch.manual_seed(0)
    net = cifar_resnet(depth, shortcut=shortcut, in_channels=1, num_classes=10, stem="stride2")
    net.double()
    for _ in range(5):
        net(torch.randn(16, 1, 12, 12, dtype=torch.float64))
    return net.eval()


@pytest.fixture
def images():
    return torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(1)).double()


def by_hand(net, x, blocks):
    x = F.relu(net.bn1(net.conv1(x)))
    for block in blocks:
        x = block(x)
    return net.fc(x.mean((2, 3)))


def test_blocks_are_listed_from_input_to_output():
    names = list(probes.blocks(network(depth=14)))
    assert names == [f"layer{s}.{b}" for s in (1, 2, 3) for b in (0, 1)]


def test_gradient_norms_are_those_of_the_block_inputs(images):
    net, labels = network(), torch.tensor([1, 2, 3, 4])
    found = probes.gradient_norms(net, images, labels)

    net.train()
    x = F.relu(net.bn1(net.conv1(images)))
    inputs = []
    for block in probes.blocks(net).values():
        inputs.append(x)
        x = block(x)
    loss = F.cross_entropy(net.fc(x.mean((2, 3))), labels)
    for norm, gradient in zip(found.values(), torch.autograd.grad(loss, inputs), strict=True):
        assert norm == pytest.approx(gradient.norm().item(), rel=1e-9)


def test_gradient_norms_leave_the_network_as_it_was(images):
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    probes.gradient_norms(net, images, torch.tensor([1, 2, 3, 4]))
    assert not net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("shortcut", ["identity", "projection"])
@pytest.mark.parametrize("name", ["layer1.0", "layer2.0"])
def test_a_deleted_block_leaves_its_shortcut(name, shortcut, images):
    net = network(shortcut)
    whole = net(images)
    rest = [
        (lambda x, block=block: F.relu(block.downsample(x))) if n == name else block
        for n, block in probes.blocks(net).items()
    ]
    with probes.deleted(net, name):
        torch.testing.assert_close(net(images), by_hand(net, images, rest))
        assert not torch.allclose(net(images), whole)
    assert torch.equal(net(images), whole)


def test_a_deleted_plain_block_hands_its_input_on(images):
    net = network("none")
    rest = [block for name, block in probes.blocks(net).items() if name != "layer1.0"]
    with probes.deleted(net, "layer1.0"):
        torch.testing.assert_close(net(images), by_hand(net, images, rest))


def test_blocks_come_back_after_an_error(images):
    net = network()
    whole = net(images)
    with pytest.raises(KeyError), probes.deleted(net, "layer1.0"):
        raise KeyError
    assert torch.equal(net(images), whole)


def test_swapped_blocks_have_changed_places(images):
    net = network(depth=14)
    first, second, *rest = probes.blocks(net).values()
    expected = by_hand(net, images, [second, first, *rest])
    assert not torch.allclose(net(images), expected)
    with probes.swapped(net, ("layer1.0", "layer1.1")):
        torch.testing.assert_close(net(images), expected)


def test_the_gradients_of_all_paths_add_up_and_the_forward_pass_stays(images):
    net, labels = network(), torch.tensor([1, 2, 3, 4])
    images.requires_grad_()

    def gradient():
        logits = net(images)
        return logits, torch.autograd.grad(F.cross_entropy(logits, labels), images)[0]

    logits, whole = gradient()
    names = list(probes.blocks(net))
    total = torch.zeros_like(whole)
    for taken in chain.from_iterable(combinations(names, k) for k in range(4)):
        with probes.only_path(net, *taken):
            same, part = gradient()
        torch.testing.assert_close(same, logits)
        total += part
    torch.testing.assert_close(total, whole, rtol=1e-9, atol=1e-12)


def test_a_path_through_the_layers_ignores_the_shortcut(images):
    block = BasicBlock(1, 1).double().eval()
    images.requires_grad_()
    with probes.only_path(block, ""):
        through_layers = torch.autograd.grad(block(images).sum(), images)[0]
    out = F.relu(block.residual(images) + images.detach())
    torch.testing.assert_close(through_layers, torch.autograd.grad(out.sum(), images)[0])


@pytest.mark.parametrize(
    ("probe", "shortcut", "arguments", "message"),
    [
        (probes.deleted, "identity", ["layer1.7"], "no block 'layer1.7'.*blocks are layer1.0"),
        (probes.deleted, "identity", ["layer1.0", "layer1.0"], "named twice"),
        (probes.deleted, "none", ["layer2.0"], "changes the shape"),
        (probes.swapped, "identity", [("layer1.0", "layer2.0")], "different shapes"),
        (probes.swapped, "identity", [("layer1.0", "layer9.0")], "no block 'layer9.0'"),
        (probes.only_path, "none", ["layer1.0"], "no shortcut.*one path only"),
        (probes.only_path, "identity", ["layer4.0"], "no block 'layer4.0'"),
    ],
)
def test_bad_input_is_a_clear_error(probe, shortcut, arguments, message):
    net = network(shortcut)
    with pytest.raises(ValueError, match=message), probe(net, *arguments):
        pass
    assert all("forward" not in vars(module) for module in net.modules())


def test_a_direction_is_as_long_as_each_filter_and_leaves_the_rest():
    net = network()
    direction = probes.filter_direction(net, torch.Generator().manual_seed(0))
    parameters = dict(net.named_parameters())
    assert set(direction) == {name for name, p in parameters.items() if p.ndim > 1}
    for name, step in direction.items():
        torch.testing.assert_close(
            step.flatten(1).norm(dim=1), parameters[name].flatten(1).norm(dim=1)
        )
    other = probes.filter_direction(net, torch.Generator().manual_seed(1))
    assert not torch.allclose(direction["conv1.weight"], other["conv1.weight"])


def test_moved_weights_come_back_bit_for_bit():
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    step = {"fc.weight": torch.full_like(net.fc.weight, 0.1)}
    with pytest.raises(KeyError), probes.moved(net, (2, step), (1, step)):
        torch.testing.assert_close(net.fc.weight, before["fc.weight"] + 0.3)
        raise KeyError
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
