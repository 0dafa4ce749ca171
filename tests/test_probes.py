from itertools import chain, combinations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets import models, probes
from resnets.models import BasicBlock, cifar_resnet, imagenet_resnet


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


def test_memory_counts_what_exists_and_the_most_there_was():
    with probes.Memory() as memory:
        x = torch.zeros(1000)
        y = x.view(10, 100).add(1)  # a view is no new memory
        assert memory.alive == 8000
        y.add_(1)
        assert memory.alive == 8000
        del y
        assert memory.alive == 4000 and memory.peak == 8000
        z = torch.zeros(10)
        assert memory.alive == 4040 and memory.peak == 8000
        del x, z
    assert memory.alive == 0


def test_memory_leaves_out_what_existed_before():
    weight = torch.zeros(50, 50, requires_grad=True)
    weight.grad = torch.zeros(50, 50)
    with probes.Memory() as memory:
        weight.view(2500).detach()
        assert memory.alive == 0
        out = (weight * 2).sum()
        assert memory.alive == 4  # the product is not kept: its factor is a constant
        out.backward()
        del out
    assert memory.alive == 0 and memory.peak >= 2500 * 4
    assert weight.grad.eq(2).all()


def test_memory_is_the_same_without_numbers():
    counts = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            net, x = cifar_resnet(8, in_channels=1, num_classes=10), torch.zeros(4, 1, 12, 12)
        with probes.Memory() as memory:
            loss = net(x).sum()
            after_forward = memory.alive
            loss.backward()
        counts.append((after_forward, memory.peak))
    assert counts[0] == counts[1]
    assert counts[0][0] > 4 * 16 * 12 * 12 * 4 * 7  # at least the stem's and a stage's outputs


def test_stochastic_depth_drops_by_its_probability_and_weighs_by_it_afterwards():
    torch.manual_seed(0)
    net = cifar_resnet(20, in_channels=1, num_classes=10)
    blocks = list(probes.blocks(net).values())
    counts = dict.fromkeys(blocks, 0)

    def count(block):
        residual = block.residual

        def counted(x):
            counts[block] += 1
            return residual(x)

        return counted

    for block in blocks:
        block.residual = count(block)
    x, steps = torch.rand(2, 1, 8, 8), 400
    with probes.stochastic_depth(net.train(), 0.4), torch.no_grad():
        for _ in range(steps):
            net(x)
    for number, found in enumerate(counts.values(), start=1):
        kept = 1 - number / 9 * 0.6
        assert abs(found / steps - kept) < 4 * (kept * (1 - kept) / steps) ** 0.5 + 1e-9

    block, z = blocks[-1].eval(), torch.rand(2, 64, 4, 4)
    with probes.stochastic_depth(net.eval(), 0.4):
        weighted = block(z)
    torch.testing.assert_close(weighted, torch.relu(0.4 * block.residual(z) + z))
    torch.testing.assert_close(block(z), torch.relu(block.residual(z) + z))


def test_a_block_deleted_within_stochastic_depth_comes_back_weighted():
    net = cifar_resnet(8, in_channels=1, num_classes=10).eval()
    block, z = net.layer3[0], torch.rand(2, 32, 4, 4)
    with probes.stochastic_depth(net, 0.5):
        weighted = block(z)
        with probes.deleted(net, "layer3.0"):
            torch.testing.assert_close(block(z), torch.relu(block.downsample(z)))
        assert torch.equal(block(z), weighted)
    assert not torch.equal(block(z), weighted)


@pytest.mark.parametrize("survival", [0, -0.1, 1.1])
def test_an_impossible_survival_is_refused(survival):
    with (
        pytest.raises(ValueError, match=r"lies in \(0, 1\]"),
        probes.stochastic_depth(cifar_resnet(8), survival),
    ):
        pass


def test_a_plain_network_cannot_be_trained_with_stochastic_depth():
    with (
        pytest.raises(ValueError, match="has no shortcut"),
        probes.stochastic_depth(cifar_resnet(8, shortcut="none"), 0.5),
    ):
        pass


def test_bottlenecks_can_be_deleted():
    net = imagenet_resnet(50, widths=(4, 4, 4, 4), in_channels=1).eval()
    z = torch.rand(1, 16, 8, 8)
    with probes.deleted(net, "layer1.1"):
        assert torch.equal(net.layer1[1](z), z)
    assert not torch.equal(net.layer1[1](z), z)


@pytest.mark.parametrize("dilated", [(), (3, 4)])
@pytest.mark.parametrize("first_dilation", ["previous", "own"])
def test_the_receptive_field_is_where_the_gradient_reaches(dilated, first_dilation):
    options = {"dilated": dilated, "first_dilation": first_dilation}
    net = models.ResNet((1, 1, 1, 1), widths=(1, 1, 1, 1), in_channels=1, **options)
    net.maxpool = nn.AvgPool2d(3, 2, 1)  # of the pixels in a window max pooling lets one through
    net.eval().double()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)  # all positive: no ReLU stops anything
    layers = [m for name, m in net.named_modules() if "downsample" not in name]
    side, step = probes.receptive_field(layers)
    assert step == (8 if dilated else 32)

    x = torch.ones(1, 1, 257, 257, dtype=torch.float64, requires_grad=True)
    *_, out = net.stage_outputs(x)
    middle = out.shape[-1] // 2
    out[0, 0, middle, middle].backward()
    reached = x.grad[0, 0].nonzero()
    low, high = reached.min(0).values, reached.max(0).values
    assert (high - low + 1).tolist() == [side, side]
    assert ((high + low) / 2).tolist() == [middle * step] * 2


def test_influence_is_where_the_middle_output_comes_from():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 21, 31)
    conv = nn.Conv2d(2, 4, 5, padding=2)
    found = probes.influence(conv, x)
    assert found.shape == (21, 31)
    assert found.sum().item() == pytest.approx(1)
    assert (found > 0).nonzero().min(0).values.tolist() == [8, 13]
    assert (found > 0).nonzero().max(0).values.tolist() == [12, 17]
    assert probes.side_of(found, 1 - 1e-6) == 5
    assert torch.equal(found, probes.influence(conv, x))
    # of a linear map the gradient is the same for every image: the weights, however signed
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    kernels = torch.einsum("no,ochw->nchw", weights, conv.weight).abs().sum((0, 1))
    torch.testing.assert_close(found[8:13, 13:18], kernels / kernels.sum())


@pytest.mark.parametrize(("share", "side"), [(0.1, 3), (0.33, 3), (0.34, 5), (1.0, 7)])
def test_the_side_is_of_the_smallest_square_with_the_share(share, side):
    influence = torch.zeros(9, 9)
    influence[4, 5] = influence[2, 4] = influence[4, 1] = 1 / 3
    assert probes.side_of(influence, share) == side
