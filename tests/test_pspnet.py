from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from resnets import models, probes
from resnets.models import BasicBlock, Bottleneck, ResNet, imagenet_resnet
from resnets.pspnet import PSPNet, PyramidPooling, resize

SMALL = {"widths": (8, 12, 16, 20), "in_channels": 1}


def small(**options):
    return ResNet((1, 1, 2, 2), **SMALL | options)


def last(net, x):
    *_, output = net.stage_outputs(x)
    return output


@pytest.mark.parametrize("training", [True, False])
def test_the_dilated_resnet_computes_what_torchvisions_does(training):
    torch.manual_seed(0)
    ours = imagenet_resnet(50, num_classes=5, dilated=(3, 4)).train(training)
    theirs = torchvision.models.resnet50(
        num_classes=5, replace_stride_with_dilation=[False, True, True]
    ).train(training)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 65, 72)
    torch.testing.assert_close(ours(x), theirs(x))
    assert [(m.dilation, m.stride) for m in ours.modules() if isinstance(m, nn.Conv2d)] == [
        (m.dilation, m.stride) for m in theirs.modules() if isinstance(m, nn.Conv2d)
    ]


BLOCKS = {
    "basic": BasicBlock,
    "v1.5": Bottleneck,
    "v1": partial(Bottleneck, stride_on="1x1"),
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("shortcut", ["projection", "identity"])
@pytest.mark.parametrize("dilated", [(4,), (3, 4), (2, 3, 4)])
def test_with_the_previous_dilation_every_strided_output_is_among_the_dilated(
    block, shortcut, dilated
):
    torch.manual_seed(0)
    options = {"block": BLOCKS[block], "shortcut": shortcut}
    net, x = small(**options).eval().double(), torch.randn(1, 1, 97, 129).double()
    dense = small(**options, dilated=dilated).eval().double()
    dense.load_state_dict(net.state_dict())
    every = 2 ** len(dilated)
    sparse = last(net, x)
    torch.testing.assert_close(last(dense, x)[:, :, ::every, ::every], sparse)

    own = small(**options, dilated=dilated, first_dilation="own").eval().double()
    own.load_state_dict(net.state_dict())
    sampled = last(own, x)[:, :, ::every, ::every]
    # In v1 the stride stands before the only 3×3 convolution, so both conventions are one.
    assert torch.allclose(sampled, sparse) == (block == "v1")


def test_the_first_dilation_alone_tells_the_conventions_apart():
    def dilations(first):
        net = imagenet_resnet(50, dilated=(3, 4), first_dilation=first)
        return [block.conv2.dilation[0] for block in probes.blocks(net).values()]

    assert dilations("previous") == [1] * 7 + [1] + [2] * 5 + [2] + [4] * 2
    assert dilations("own") == [1] * 7 + [2] * 6 + [4] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dilated": (1,)}, "choose from those that have a stride, 2 to 4"),
        ({"dilated": (5,)}, "2 to 4"),
        ({"dilated": (4,), "first_dilation": "next"}, "choose one of previous, own"),
    ],
)
def test_what_cannot_be_dilated_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_stages_outputs_have_the_channels_that_are_promised():
    net = small(block=Bottleneck, dilated=(4,))
    outputs = list(net.stage_outputs(torch.randn(2, 1, 65, 65)))
    assert [tuple(out.shape[1:]) for out in outputs] == [
        (channels, side, side)
        for channels, side in zip(net.stage_channels, (17, 9, 5, 5), strict=True)
    ]


@pytest.mark.parametrize("pool", ["average", "max"])
@pytest.mark.parametrize("bins", [(), (1,), (1, 2, 3, 6)])
@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize("size", [(6, 6), (12, 12), (13, 7), (23, 30)])
def test_the_pyramid_keeps_the_size_and_the_features(pool, bins, reduce, size):
    torch.manual_seed(0)
    pyramid, x = PyramidPooling(8, bins, pool, reduce), torch.randn(2, 8, *size)
    out = pyramid(x)
    width = 8 // len(bins) if reduce and bins else 8
    assert out.shape == (2, 8 + len(bins) * width, *size) and pyramid.out_channels == out.shape[1]
    assert torch.equal(out[:, :8], x)
    if bins and not reduce:
        pooled = x.mean((2, 3)) if pool == "average" else x.amax((2, 3))
        expected = pooled[:, :, None, None].expand(-1, -1, *size)
        torch.testing.assert_close(out[:, 8:16], expected)


@pytest.mark.parametrize("reduce", [True, False])
def test_the_pyramid_is_pooling_reducing_and_resizing(reduce):
    torch.manual_seed(0)
    pyramid, x = PyramidPooling(8, (2, 3), "average", reduce), torch.randn(4, 8, 7, 11)
    expected = [x]
    for count, level in zip((2, 3), pyramid.levels, strict=True):
        pooled = torch.stack(
            [
                torch.stack(
                    [
                        x[:, :, 7 * i // count : -(-7 * (i + 1) // count)][
                            :, :, :, 11 * j // count : -(-11 * (j + 1) // count)
                        ].mean((2, 3))
                        for j in range(count)
                    ],
                    -1,
                )
                for i in range(count)
            ],
            -2,
        )
        if reduce:
            _, conv, norm, _ = level
            assert conv.kernel_size == (1, 1) and conv.out_channels == 4
            pooled = F.relu(norm(F.conv2d(pooled, conv.weight)))
        expected.append(F.interpolate(pooled, size=(7, 11), mode="bilinear", align_corners=True))
    torch.testing.assert_close(pyramid(x), torch.cat(expected, 1))


def test_features_smaller_than_the_largest_bin_are_refused():
    with pytest.raises(ValueError, match="features of 5×9 cannot be pooled to 6 regions a side"):
        PyramidPooling(8)(torch.randn(2, 8, 5, 9))
    with pytest.raises(ValueError, match="larger images, or smaller bins"):
        PSPNet(small(dilated=(3, 4)), 3)(torch.randn(2, 1, 33, 97))
    with pytest.raises(ValueError, match="choose one of average, max"):
        PyramidPooling(8, pool="median")


def test_resize_puts_the_features_of_a_strided_network_on_their_pixels():
    x = torch.randn(1, 2, 5, 7)
    large = resize(x, (33, 49))
    torch.testing.assert_close(large[:, :, ::8, ::8], x)


@pytest.mark.parametrize("auxiliary", [True, False])
def test_pspnet_gives_a_class_for_every_pixel_and_a_second_output_in_training_alone(auxiliary):
    torch.manual_seed(0)
    net = PSPNet(small(dilated=(3, 4)), 5, auxiliary=auxiliary)
    x = torch.randn(2, 1, 97, 106)
    outputs = net(x)
    shape = (2, 5, 97, 106)
    if auxiliary:
        assert [tuple(out.shape) for out in outputs] == [shape, shape]
        assert not torch.equal(*outputs)
        outputs[1].sum().backward()  # the second output does not reach the last stage
        assert net.backbone.layer3[0].conv1.weight.grad is not None
        assert net.backbone.layer4[0].conv1.weight.grad is None
    else:
        assert outputs.shape == shape
    assert net.eval()(x).shape == shape


def test_pspnet_without_bins_is_a_fully_convolutional_network():
    torch.manual_seed(0)
    net, x = (
        PSPNet(small(dilated=(3, 4)), 5, bins=(), auxiliary=False).eval(),
        torch.rand(1, 1, 97, 97),
    )
    conv, norm, relu, _, classify = net.head
    expected = classify(relu(norm(conv(last(net.backbone, x)))))
    torch.testing.assert_close(net(x), resize(expected, (97, 97)))
    assert conv.out_channels == 20 // 4
    assert PSPNet(small(), 5, bins=(), hidden=9).head[0].out_channels == 9


def test_imagenets_weights_are_loaded_and_read_without_pickle(monkeypatch):
    asked = {}
    state = torchvision.models.resnet18().state_dict()

    def load(url, **options):
        asked.update(options, url=url)
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    net = imagenet_resnet(18, dilated=(3, 4))
    models.load_imagenet_weights(net, 18)
    assert all(torch.equal(a, state[name]) for name, a in net.state_dict().items())
    assert "resnet18" in asked["url"] and asked["check_hash"] and asked["weights_only"]


def test_without_a_network_the_weights_stay_as_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_, **__):
        raise models.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    net = imagenet_resnet(18)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(
        ConnectionError, match=r"ResNet-18 cannot be downloaded \(no route to host\)"
    ):
        models.load_imagenet_weights(net, 18)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
