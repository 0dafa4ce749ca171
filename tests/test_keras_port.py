"""The network in Keras against PyTorch's: equal outputs, weights there and back."""

import importlib
import sys

import pytest
import torch

from resnets import keras_port, models
from resnets.keras_port import keras


def logits(network, x):
    with torch.inference_mode():
        y = network(x.permute(0, 2, 3, 1).numpy(), training=False)
    return torch.from_numpy(keras.ops.convert_to_numpy(y))


@pytest.fixture(scope="module")
def ours():
    """A network whose running averages are no longer those of its first day."""
    torch.manual_seed(0)
    model = models.resnet18(in_channels=1, num_classes=10)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 1, 28, 28) + 1)
    return model.eval()


@pytest.fixture(scope="module")
def ported(ours):
    network = keras_port.net()
    keras_port.to_keras(ours, network)
    return network


@pytest.mark.parametrize("size", [28, 29, 33])
def test_logits_are_equal_at_even_and_odd_sizes(ours, ported, size):
    x = torch.randn(4, 1, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(logits(ported, x), ours(x), rtol=0, atol=1e-5)


def test_weights_come_back_as_they_were(ours, ported):
    again = models.resnet18(in_channels=1, num_classes=10)
    keras_port.to_torch(ported, again)
    state = again.state_dict()
    for name, tensor in ours.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, state[name]), name


def test_a_block_has_the_text_s_shapes():
    x = keras.ops.zeros((1, 7, 8, 4))
    assert tuple(keras_port.Residual(4)(x).shape) == (1, 7, 8, 4)
    assert tuple(keras_port.Residual(6, use_1x1conv=True, strides=2)(x).shape) == (1, 4, 4, 6)
    assert tuple(keras_port.ResnetBlock(4, 2, first_block=True)(x).shape) == (1, 7, 8, 4)
    assert tuple(keras_port.ResnetBlock(6, 2)(x).shape) == (1, 4, 4, 6)


def test_initialization_is_he_et_al_s():
    layer = keras_port.convolution(128, 3)
    layer(keras.ops.zeros((1, 4, 4, 64)))
    (kernel,) = layer.variables
    expected = (2 / (128 * 9)) ** 0.5
    assert abs(keras.ops.convert_to_numpy(kernel).std() / expected - 1) < 0.02


def test_a_network_of_other_layers_is_refused_and_left_as_it_was(ours, ported):
    other = models.resnet18(in_channels=3, num_classes=10)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"conv1.weight has shape \(7, 7, 3, 64\)"):
        keras_port.to_torch(ported, other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    kernel = keras.ops.convert_to_numpy(ported.variables[0]).copy()
    with pytest.raises(ValueError, match="weight has shape"):
        keras_port.to_keras(other, ported)
    assert (keras.ops.convert_to_numpy(ported.variables[0]) == kernel).all()


def test_a_network_that_has_no_weights_yet_is_refused(ours):
    with pytest.raises(ValueError, match="call Keras's once"):
        keras_port.to_keras(ours, keras.Sequential([keras.layers.Dense(10)]))


def test_without_keras_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.delitem(sys.modules, "resnets.keras_port")
    with pytest.raises(ModuleNotFoundError, match="install it with `pip install keras`"):
        importlib.import_module("resnets.keras_port")
