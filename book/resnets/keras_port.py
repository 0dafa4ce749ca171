"""ResNet-18 in Keras, so that it computes what the course's network computes (chapter 3).

The blocks are named as in TensorFlow's edition of d2l's section 8.6. Padding, normalization and
initialization are PyTorch's, so weights can be moved in both directions. Images are channels-last.

Keras uses PyTorch here, unless `KERAS_BACKEND` names another backend before this is imported.
"""

import os

import numpy as np
import torch
from torch import nn

os.environ.setdefault("KERAS_BACKEND", "torch")
try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise
    raise ModuleNotFoundError(
        "Keras is missing: install it with `pip install keras` (in a notebook `%pip install keras`)"
    ) from error

# PyTorch's layouts in Keras's: (out, in, height, width) to (height, width, in, out), and back.
TO_KERAS = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
TO_TORCH = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}


class Residual(keras.layers.Layer):
    """`models.BasicBlock` in Keras: relu(layers(x) + shortcut(x)).

    (N, H, W, C) to (N, ⌈H/strides⌉, ⌈W/strides⌉, num_channels). With `use_1x1conv` the shortcut is
    a 1×1 convolution and batch normalization, else the identity.
    """

    def __init__(self, num_channels: int, use_1x1conv: bool = False, strides: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(num_channels, 3, strides), normalization()
        self.conv2, self.bn2 = convolution(num_channels, 3), normalization()
        self.shortcut = []
        if use_1x1conv:
            self.shortcut = [convolution(num_channels, 1, strides), normalization()]

    def call(self, x, training: bool = False):
        y = keras.ops.relu(self.bn1(self.conv1(x), training=training))
        y = self.bn2(self.conv2(y), training=training)
        for layer in self.shortcut:
            x = layer(x, training=training)
        return keras.ops.relu(y + x)


class ResnetBlock(keras.layers.Layer):
    """A stage of `num_residuals` blocks; all but the `first_block` halve height and width."""

    def __init__(self, num_channels: int, num_residuals: int, first_block: bool = False) -> None:
        super().__init__()
        self.residual_layers = []
        for number in range(num_residuals):
            smaller = number == 0 and not first_block
            strides = 2 if smaller else 1
            self.residual_layers.append(Residual(num_channels, smaller, strides))

    def call(self, x, training: bool = False):
        for layer in self.residual_layers:
            x = layer(x, training=training)
        return x


def net() -> keras.Sequential:
    """`models.resnet18(in_channels=1, num_classes=10)` in Keras: (N, H, W, 1) to logits (N, 10)."""
    return keras.Sequential(
        [
            keras.Input((None, None, 1)),
            convolution(64, 7, 2),
            normalization(),
            keras.layers.Activation("relu"),
            # Zeros, where PyTorch pads with -inf: after a ReLU the largest is the same.
            keras.layers.ZeroPadding2D(1),
            keras.layers.MaxPool2D(3, 2),
            ResnetBlock(64, 2, first_block=True),
            ResnetBlock(128, 2),
            ResnetBlock(256, 2),
            ResnetBlock(512, 2),
            keras.layers.GlobalAvgPool2D(),
            keras.layers.Dense(10),
        ]
    )


def convolution(channels: int, kernel: int, strides: int = 1) -> keras.layers.Layer:
    """A convolution padded on all sides alike, as PyTorch's, without a bias."""
    he = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    layer = keras.layers.Conv2D(
        channels, kernel, strides, padding="valid", use_bias=False, kernel_initializer=he
    )
    if kernel == 1:
        return layer
    return keras.Sequential([keras.layers.ZeroPadding2D(kernel // 2), layer])


def normalization() -> keras.layers.Layer:
    """Batch normalization with PyTorch's constants; its momentum counts the old value."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def to_keras(model: nn.Module, network: keras.Model) -> None:
    """Copy the weights and running averages of PyTorch's `model` into Keras's `network`.

    Both have the same layers in the same order, and `network` is built.

    Raises:
        ValueError: they do not; `network` is unchanged.
    """
    tensors = _tensors(model)
    _check(tensors, network)
    for tensor, variable in zip(tensors.values(), network.variables, strict=True):
        variable.assign(tensor.detach().cpu().numpy().transpose(TO_KERAS[tensor.ndim]))


def to_torch(network: keras.Model, model: nn.Module) -> None:
    """Copy the weights and running averages of Keras's `network` into PyTorch's `model`.

    Raises:
        ValueError: their layers differ, or `network` is not built; `model` is unchanged.
    """
    tensors = _tensors(model)
    _check(tensors, network)
    with torch.no_grad():
        for tensor, variable in zip(tensors.values(), network.variables, strict=True):
            values = keras.ops.convert_to_numpy(variable).transpose(TO_TORCH[tensor.ndim])
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """By name; PyTorch also counts the batches that a normalization has seen, Keras does not."""
    state = model.state_dict()
    return {name: state[name] for name in state if not name.endswith("num_batches_tracked")}


def _check(tensors: dict[str, torch.Tensor], network: keras.Model) -> None:
    expected = [
        (name, tuple(tensor.shape[axis] for axis in TO_KERAS[tensor.ndim]))
        for name, tensor in tensors.items()
    ]
    found = [(variable.path, tuple(variable.shape)) for variable in network.variables]
    for (name, shape), (path, there) in zip(expected, found, strict=False):
        if shape != there:
            raise ValueError(
                f"{name} has shape {shape} in Keras's layout, but {path} has {there}: "
                "build both networks with the same layers in the same order"
            )
    if len(expected) != len(found):
        raise ValueError(
            f"the networks have {len(expected)} and {len(found)} sets of weights: build both with "
            "the same layers, and call Keras's once, so that it has its weights"
        )
