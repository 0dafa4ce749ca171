from functools import partial

import pytest
import torch
import torchvision
from d2l import torch as d2l
from torch import nn

from resnets import models, probes


def same_outputs_and_gradients(ours, theirs, x):
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours(x).square().mean().backward()
    theirs(x).square().mean().backward()
    torch.testing.assert_close(ours(x), theirs(x))
    for (name, a), (other, b) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == other
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("training", [True, False])
def test_resnets_compute_what_torchvisions_do(depth, training):
    torch.manual_seed(0)
    ours = models.imagenet_resnet(depth, num_classes=7).train(training)
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=7).train(training)
    same_outputs_and_gradients(ours, theirs, torch.randn(4, 3, 64, 65))


@pytest.mark.parametrize(
    ("in_channels", "channels", "stride"), [(16, 16, 1), (16, 32, 2), (16, 32, 1), (16, 16, 2)]
)
def test_basic_block_computes_what_torchvisions_does(in_channels, channels, stride):
    torch.manual_seed(0)
    ours = models.BasicBlock(in_channels, channels, stride)
    projection = None
    if stride > 1 or in_channels != channels:
        projection = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )
    theirs = torchvision.models.resnet.BasicBlock(in_channels, channels, stride, projection)
    same_outputs_and_gradients(ours, theirs, torch.randn(4, in_channels, 9, 8))


@pytest.mark.parametrize(
    ("in_channels", "channels", "stride"), [(32, 8, 1), (16, 8, 2), (16, 8, 1), (32, 8, 2)]
)
@pytest.mark.parametrize(
    "options", [{}, {"groups": 2, "base_width": 64}, {"groups": 4, "base_width": 16}]
)
def test_bottleneck_computes_what_torchvisions_does(in_channels, channels, stride, options):
    torch.manual_seed(0)
    ours = models.Bottleneck(in_channels, channels, stride, **options)
    projection = None
    if stride > 1 or in_channels != 4 * channels:
        projection = nn.Sequential(
            nn.Conv2d(in_channels, 4 * channels, 1, stride, bias=False),
            nn.BatchNorm2d(4 * channels),
        )
    theirs = torchvision.models.resnet.Bottleneck(
        in_channels, channels, stride, projection, **options
    )
    same_outputs_and_gradients(ours, theirs, torch.randn(4, in_channels, 9, 8))


def test_resnext_computes_what_torchvisions_does():
    torch.manual_seed(0)
    block = partial(models.Bottleneck, groups=32, base_width=4)
    ours = models.imagenet_resnet(50, num_classes=7, block=block).eval()
    theirs = torchvision.models.resnext50_32x4d(num_classes=7).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 65)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_the_stride_of_v1_is_on_the_first_convolution():
    torch.manual_seed(0)
    v1 = models.Bottleneck(16, 8, stride=2, stride_on="1x1").eval()
    later = models.Bottleneck(16, 8, stride=2).eval()
    later.load_state_dict(v1.state_dict(), strict=True)
    x = torch.randn(2, 16, 9, 8)
    assert v1(x).shape == later(x).shape == (2, 32, 5, 4)
    # Halving the image first, and then a bottleneck without stride, is what v1 does.
    small = models.Bottleneck(16, 8).eval()
    small.load_state_dict(v1.state_dict(), strict=True)
    torch.testing.assert_close(v1(x), small(x[:, :, ::2, ::2]))
    assert not torch.allclose(v1(x), later(x))


# He et al. (2016a), table 1, give 1.8, 3.6, 3.8, 7.6 and 11.3 billion for the stride on the 1×1.
@pytest.mark.parametrize(
    ("depth", "parameters", "v1", "later"),
    [
        (18, 11_689_512, 1.814, 1.814),
        (34, 21_797_672, 3.664, 3.664),
        (50, 25_557_032, 3.858, 4.089),
        (101, 44_549_160, 7.570, 7.801),
        (152, 60_192_808, 11.282, 11.514),
    ],
)
def test_imagenet_family_has_its_parameters_multiply_adds_and_depth(depth, parameters, v1, later):
    with torch.device("meta"):
        net = models.imagenet_resnet(depth)
        block = partial(models.Bottleneck, stride_on="1x1") if depth >= 50 else models.BasicBlock
        papers = models.imagenet_resnet(depth, block=block)
    assert probes.parameters(net) == probes.parameters(papers) == parameters
    assert round(probes.multiply_adds(net, 3, 224, 224) / 1e9, 3) == later
    assert round(probes.multiply_adds(papers, 3, 224, 224) / 1e9, 3) == v1
    names = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len([name for name in names if "downsample" not in name]) == depth


@pytest.mark.parametrize("depth", [0, 26, 50.5])
def test_a_depth_outside_the_imagenet_family_names_its_members(depth):
    with pytest.raises(ValueError, match="choose one of 18, 34, 50, 101, 152"):
        models.imagenet_resnet(depth)


def test_option_c_has_a_projection_in_every_block():
    net = models.cifar_resnet(20, shortcut="all-projections")
    for block in probes.blocks(net).values():
        assert isinstance(block.downsample[0], nn.Conv2d)
    with_some = models.cifar_resnet(20, shortcut="projection")
    kinds = [type(block.downsample) for block in probes.blocks(with_some).values()]
    assert kinds.count(nn.Sequential) == 2 and kinds.count(nn.Identity) == 7


def test_identity_block_computes_what_d2ls_does():
    torch.manual_seed(0)
    ours, theirs = models.BasicBlock(8, 8), d2l.Residual(8)
    x = torch.randn(4, 8, 6, 6)
    theirs(x)
    missing = theirs.load_state_dict(ours.state_dict(), strict=False).missing_keys
    assert missing == ["conv1.bias", "conv2.bias"]
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_plain_block_is_the_block_without_its_shortcut():
    torch.manual_seed(0)
    plain = models.BasicBlock(8, 8, shortcut="none")
    residual = models.BasicBlock(8, 8)
    residual.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(4, 8, 6, 6)
    before_relu = residual.bn2(residual.conv2(torch.relu(residual.bn1(residual.conv1(x)))))
    torch.testing.assert_close(plain(x), torch.relu(before_relu))
    torch.testing.assert_close(residual(x), torch.relu(before_relu + x))


def test_padded_identity_keeps_every_second_pixel_and_adds_zero_channels():
    x = torch.randn(2, 16, 7, 8)
    y = models.PaddedIdentity(16, 32, 2)(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


# He et al. (2016a), table 6, give these as 0.27, 0.46, 0.66, 0.85, 1.7 and 19.4 million.
@pytest.mark.parametrize(
    ("depth", "count"),
    [
        (20, 269_722),
        (32, 464_154),
        (44, 658_586),
        (56, 853_018),
        (110, 1_727_962),
        (1202, 19_421_274),
    ],
)
def test_cifar_family_has_its_parameters_and_depth(depth, count):
    net = models.cifar_resnet(depth, num_classes=10)
    assert sum(p.numel() for p in net.parameters()) == count
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth
    plain = models.cifar_resnet(depth, num_classes=10, shortcut="none")
    assert sum(p.numel() for p in plain.parameters()) == count


@pytest.mark.parametrize(
    ("stem", "sizes"), [("imagenet", (7, 4, 2)), ("stride1", (28, 14, 7)), ("stride2", (14, 7, 4))]
)
def test_stems_give_the_stages_their_sizes(stem, sizes):
    net = models.cifar_resnet(8, in_channels=1, stem=stem)
    seen = []
    for name in ("layer1", "layer2", "layer3"):
        stage = net.get_submodule(name)
        stage.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    net(torch.randn(2, 1, 28, 28))
    assert seen == [(c, s, s) for c, s in zip((16, 32, 64), sizes, strict=True)]


def test_zero_init_residual_starts_a_bottleneck_as_its_shortcut():
    net = models.imagenet_resnet(50, widths=(4, 4, 4, 4), zero_init_residual=True)
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(net.layer1[1:](x), x)
    for block in probes.blocks(net).values():
        assert not block.bn3.weight.any() and block.bn2.weight.all()


def test_zero_init_residual_starts_every_block_as_its_shortcut():
    net = models.resnet18(in_channels=1, num_classes=10, stem="stride2", zero_init_residual=True)
    x = torch.rand(2, 64, 8, 8)
    assert torch.equal(net.layer1(x), x)
    net.layer1(x).square().sum().backward()
    assert net.layer1[0].bn2.weight.grad.abs().max() > 0  # it can learn
    assert not torch.equal(models.resnet18().layer1(x), x)


@pytest.mark.parametrize("depth", [0, 2, 18, 21, 55])
def test_a_depth_outside_the_family_names_the_neighbors(depth):
    with pytest.raises(ValueError, match=r"6n\+2, and .* try") as error:
        models.cifar_resnet(depth)
    for word in str(error.value).split("try ")[1].split(" or "):
        models.cifar_resnet(int(word))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "stride3"}, "imagenet, stride1, stride2"),
        ({"shortcut": "dense"}, "projection, all-projections, identity, none"),
        ({"widths": (8, 16)}, "4 stages of blocks but 2 widths"),
    ],
)
def test_an_option_that_does_not_exist_says_which_do(options, message):
    with pytest.raises(ValueError, match=message):
        models.resnet18(**options)


def test_zero_padding_cannot_remove_channels():
    with pytest.raises(ValueError, match='shortcut="projection"'):
        models.BasicBlock(32, 16, shortcut="identity")


def test_images_of_the_wrong_kind_say_what_is_right():
    net = models.resnet18(in_channels=1, num_classes=10)
    for shape in [(4, 3, 28, 28), (4, 28, 28)]:
        with pytest.raises(ValueError, match=r"\(N, 1, H, W\)"):
            net(torch.zeros(shape))


def test_a_batch_of_one_trains_nothing():
    net = models.resnet18(in_channels=1, num_classes=10)
    with pytest.raises(ValueError, match="batch of one image"):
        net(torch.zeros(1, 1, 28, 28))
    net.eval()(torch.zeros(1, 1, 28, 28))


def test_a_pre_activation_block_adds_to_its_input_and_nothing_else():
    torch.manual_seed(0)
    block = models.PreActivationBlock(8).eval()
    x = torch.randn(2, 8, 5, 5)
    by_hand = block.conv2(block.bn2(block.conv1(block.bn1(x).relu())).relu())
    torch.testing.assert_close(block(x), x + by_hand)
    nn.init.zeros_(block.conv2.weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("shortcut", models.SHORTCUTS)
def test_batch_normalization_can_be_left_out_everywhere(shortcut):
    net = models.cifar_resnet(8, shortcut=shortcut, batch_norm=False)
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert net(torch.rand(2, 3, 16, 16)).shape == (2, 1000)


def test_without_batch_normalization_zero_init_starts_at_the_shortcut():
    net = models.cifar_resnet(8, batch_norm=False, zero_init_residual=True)
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(net.layer1(x), x)
    net.layer1(x).square().sum().backward()
    assert net.layer1[0].conv2.weight.grad.abs().max() > 0  # it can learn


def test_terms_that_do_not_add_say_what_would():
    block = models.Bottleneck(16, 8, stride=2)
    block.downsample = nn.Identity()
    with pytest.raises(ValueError, match=r'do not add.*shortcut="projection"'):
        block(torch.rand(2, 16, 8, 8))
    block.downsample = nn.Conv2d(16, 1, 1, stride=2)  # PyTorch would stretch the one channel
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\)"):
        block(torch.rand(2, 16, 8, 8))


def test_a_stride_elsewhere_and_a_group_without_channels_are_refused():
    with pytest.raises(ValueError, match="choose one of 3x3, 1x1"):
        models.Bottleneck(16, 8, stride_on="5x5")
    with pytest.raises(ValueError, match="base_width of at least 8"):
        models.Bottleneck(16, 8, groups=32, base_width=4)
    models.Bottleneck(16, 8, groups=32, base_width=8)


def test_a_fixup_network_starts_as_its_shortcuts_and_can_learn():
    torch.manual_seed(0)
    net = models.fixup_resnet(20, in_channels=1, num_classes=10)
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len([m for m in net.modules() if isinstance(m, models.Shift)]) == 9 * 4 + 2
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(net.layer1(x), x)
    assert not net(torch.rand(2, 1, 28, 28)).any()
    usual = models.cifar_resnet(20, in_channels=1, num_classes=10, batch_norm=False)
    shrunk = net.layer2[1].conv1.weight.std() / usual.layer2[1].conv1.weight.std()
    torch.testing.assert_close(shrunk.item(), 9**-0.5, rtol=0.05, atol=0)
    net.fc.weight.data.normal_()
    net(torch.rand(2, 1, 28, 28)).square().sum().backward()
    for block in probes.blocks(net).values():
        assert block.conv2.weight.grad.any()


def test_a_fixup_block_is_the_basic_block_with_shifts_and_a_factor():
    torch.manual_seed(0)
    block = models.FixupBlock(8, 8)
    basic = models.BasicBlock(8, 8, batch_norm=False)
    basic.load_state_dict(block.state_dict(), strict=False)
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(block(x), basic(x))
    with torch.no_grad():
        for number, shift in enumerate(m for m in block.modules() if isinstance(m, models.Shift)):
            shift.bias += 0.1 * number + 0.1
        block.factor *= 3
    inner = torch.relu(block.conv1(x + 0.1) + 0.2) + 0.3
    torch.testing.assert_close(block(x), torch.relu(3 * block.conv2(inner) + 0.4 + x))
    with pytest.raises(ValueError, match="batch_norm=False"):
        models.FixupBlock(8, 8, batch_norm=True)


def test_without_batch_normalization_one_image_is_a_batch():
    net = models.fixup_resnet(8, in_channels=1, num_classes=10)
    assert net(torch.rand(1, 1, 28, 28)).shape == (1, 10)


def test_a_scaled_network_at_factor_one_is_the_network_without_normalization():
    x = torch.randn(2, 3, 16, 16)
    torch.manual_seed(0)
    bare = models.cifar_resnet(14, batch_norm=False)
    for per_channel in (False, True):
        torch.manual_seed(0)
        scaled = models.scaled_resnet(14, 1.0, per_channel)
        torch.testing.assert_close(scaled(x), bare(x))
        factors = [m.weight.numel() for m in scaled.modules() if isinstance(m, models.Factor)]
        assert factors == [16, 16, 32, 32, 64, 64] if per_channel else [1] * 6
        scaled(x).square().mean().backward()
        assert all(p.grad.abs().max() > 0 for p in scaled.parameters())


@pytest.mark.parametrize(("out", "into"), [(16, 16), (32, 16)])
def test_delta_orthogonal_kernels_keep_the_length_of_each_pixels_channels(out, into):
    torch.manual_seed(0)
    conv = models.conv3x3(into, out)
    assert models.delta_orthogonal_(conv.weight, gain=3.0) is conv.weight
    x = torch.randn(2, into, 5, 6)
    torch.testing.assert_close(conv(x).norm(dim=1), 3 * x.norm(dim=1))


def test_delta_orthogonal_kernels_cannot_have_fewer_outputs():
    with pytest.raises(ValueError, match="16 channels do not fit into 8"):
        models.delta_orthogonal_(torch.empty(8, 16, 3, 3))


def test_a_dirac_network_adds_to_the_identity_and_folds_into_a_plain_one():
    torch.manual_seed(0)
    net = models.cifar_resnet(8, shortcut="none")
    raw = {name: conv.weight.detach().clone() for name, conv in _convolutions(net)}
    models.add_dirac_weights(net)
    delta = nn.init.dirac_(torch.empty(32, 16, 3, 3), groups=2)
    v = raw["layer2.0.conv1"]
    expected = delta + 0.1 * v / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(net.layer2[0].conv1.weight, expected)
    x = torch.rand(2, 16, 6, 6)
    passed = nn.functional.conv2d(x, delta, padding=1)
    assert torch.equal(passed, torch.cat([x, x], 1))

    images = torch.randn(2, 3, 16, 16)
    net(images).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())
    outputs = net(images)
    models.fold_dirac_weights(net)
    torch.testing.assert_close(net(images), outputs)
    plain = models.cifar_resnet(8, shortcut="none")
    plain.load_state_dict(net.state_dict(), strict=True)


def _convolutions(net):
    return [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d)]
