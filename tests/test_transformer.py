import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets import data, transformer
from resnets.transformer import Attention, Transformer


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Transformer(3, width=16, heads=2)


@pytest.fixture
def images():
    return torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_block_is_pytorchs_encoder_layer(norm_first):
    torch.manual_seed(0)
    net = Transformer(1, norm_first, width=16, heads=4)
    attention, mlp = net.sublayers
    theirs = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0, activation="gelu", batch_first=True, norm_first=norm_first
    )
    with torch.no_grad():
        for parameter in net.sublayers.parameters():  # biases and normalization, too
            parameter.copy_(torch.randn_like(parameter) / 4)
    copies = {
        "self_attn.in_proj_": attention.layers.query_key_value,
        "self_attn.out_proj.": attention.layers.out,
        "linear1.": mlp.layers.hidden,
        "linear2.": mlp.layers.out,
        "norm1.": attention.norm,
        "norm2.": mlp.norm,
    }
    weights = {
        prefix + name: tensor
        for prefix, layer in copies.items()
        for name, tensor in layer.state_dict().items()
    }
    theirs.load_state_dict(weights)
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(net.sublayers(x), theirs(x))


def test_a_token_is_a_patch_row_by_row(net, images):
    with torch.no_grad():
        net.positions.zero_()
    patch = images[:, 0, 7:14, 21:28].flatten(1)  # of the second row of patches the fourth
    torch.testing.assert_close(net.tokens(images)[:, 7], net.embedding(patch))
    assert net.tokens(images).shape == (5, 16, 16)


def test_each_layer_starts_at_the_size_of_its_input_and_scaled_ones_smaller(images):
    starts = []
    for scaled in (False, True):
        torch.manual_seed(0)
        starts.append(Transformer(8, scaled_start=scaled))
    usual, scaled = (net.state_dict() for net in starts)
    assert usual["sublayers.1.layers.out.weight"].std().item() == pytest.approx(128**-0.5, rel=0.05)
    for name, tensor in usual.items():
        factor = 4 if name.endswith("layers.out.weight") else 1
        torch.testing.assert_close(scaled[name] * factor, tensor)


def test_the_answer_is_what_the_sublayers_added_to_the_tokens(net, images):
    stream = transformer.states(net, images)
    assert len(stream) == 7
    added = [s.layers(s.norm(x)) for s, x in zip(net.sublayers, stream, strict=False)]
    torch.testing.assert_close(net.answer(stream[0] + sum(added)), net(images))


def test_gradients_are_those_of_the_stream(net, images):
    labels = torch.arange(5)
    norms = transformer.gradient_norms(net, images, labels)
    assert len(norms) == 7 and all(parameter.grad is None for parameter in net.parameters())
    last = transformer.states(net, images)[-1].detach().requires_grad_()
    F.cross_entropy(net.answer(last), labels).backward()
    assert norms[-1] == pytest.approx(last.grad.norm().item(), rel=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
def test_what_is_deleted_adds_nothing_for_as_long_as_the_context_lasts(norm_first, images):
    torch.manual_seed(0)
    net = Transformer(2, norm_first, width=16, heads=2)
    whole, (first, *_) = net(images), net.sublayers
    with transformer.without(net, 0):
        stream = transformer.states(net, images)
        expected = stream[0] if norm_first else first.norm(stream[0])
        assert torch.equal(stream[1], expected)
        assert not torch.allclose(net(images), whole, atol=1e-3)
    assert torch.equal(net(images), whole)


def test_blocks_change_places_for_as_long_as_the_context_lasts(net, images):
    whole, sublayers = net(images), list(net.sublayers)
    with transformer.swapped(net, (0, 2)):
        assert list(net.sublayers) == [sublayers[i] for i in (4, 5, 2, 3, 0, 1)]
        assert not torch.allclose(net(images), whole, atol=1e-3)
    assert torch.equal(net(images), whole)


def test_heads_that_cannot_share_the_width_are_refused():
    with pytest.raises(ValueError, match="5 heads cannot share a width of 32"):
        Attention(32, 5)


def test_without_positions_all_orders_of_the_patches_are_the_same_image(drawn):
    torch.manual_seed(0)
    net = Transformer(1, width=16, heads=2)
    x = data.normalize(drawn[0].images[:20])
    turned = x.unfold(2, 7, 7).unfold(3, 7, 7).flip(2, 3)  # the patches in reverse order
    turned = turned.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)
    assert not torch.allclose(net(turned), net(x), atol=1e-3)
    with torch.no_grad():
        net.positions.zero_()
    torch.testing.assert_close(net(turned), net(x))
