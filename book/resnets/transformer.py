"""A small transformer for gray images: patches as tokens, and a stream that sublayers add to.

Every sublayer, attention or MLP, is a residual block. Pre-norm, as in GPT-2, it is
x + F(norm(x)); post-norm, as in Vaswani et al. (2017), it is norm(x + F(x)).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Self-attention of `heads` heads: (N, T, width) to (N, T, width).

    Raises:
        ValueError: the heads cannot share the width equally.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"{heads} heads cannot share a width of {width} equally: choose a width that is a "
                "multiple of the number of heads"
            )
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = self.query_key_value(x).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (N, heads, T, width / heads)
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with a GELU between them, on each token by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(x)))


class Sublayer(nn.Module):
    """x + layers(norm(x)), or with `norm_first=False` norm(x + layers(x))."""

    def __init__(self, layers: Attention | MLP, width: int, norm_first: bool = True) -> None:
        super().__init__()
        self.layers, self.norm, self.norm_first = layers, nn.LayerNorm(width), norm_first

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            return x + self.layers(self.norm(x))
        return self.norm(x + self.layers(x))


class Transformer(nn.Module):
    """Images (N, 1, H, W) to logits (N, classes), by way of a token for each patch.

    A block is two of `sublayers`, first attention and then an MLP. Pre-norm, one more
    normalization follows the last block. The logits are a linear function of the tokens' mean.

    Weights start as normal random numbers of variance 1/(inputs of the layer), so that a layer
    keeps the size of what it is given; biases start at zero. With `scaled_start` the last layer of
    each of the 2N sublayers starts 1/√(2N) times as large, as in GPT-2 (Radford et al., 2019).
    """

    def __init__(
        self,
        blocks: int,
        norm_first: bool = True,
        scaled_start: bool = False,
        width: int = 32,
        heads: int = 4,
        patch: int = 7,
        size: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embedding = nn.Linear(patch**2, width)
        self.positions = nn.Parameter(torch.randn((size // patch) ** 2, width))
        self.sublayers = nn.Sequential()
        for _ in range(blocks):
            for layers in (Attention(width, heads), MLP(width)):
                self.sublayers.append(Sublayer(layers, width, norm_first))
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.head = nn.Linear(width, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)
        if scaled_start:
            with torch.no_grad():
                for sublayer in self.sublayers:
                    sublayer.layers.out.weight /= math.sqrt(2 * blocks)

    def tokens(self, images: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, T, width): a token for each patch, row by row."""
        patches = F.unfold(images, self.patch, stride=self.patch)
        return self.embedding(patches.mT) + self.positions

    def answer(self, stream: Tensor) -> Tensor:
        """What is read from the stream (N, T, width) at its end: logits (N, classes)."""
        return self.head(self.norm(stream).mean(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.sublayers(self.tokens(images)))


def states(model: Transformer, images: Tensor) -> list[Tensor]:
    """The stream before the first sublayer and after each: 2N + 1 tensors (N, T, width)."""
    found = [model.tokens(images)]
    for sublayer in model.sublayers:
        found.append(sublayer(found[-1]))
    return found


def gradient_norms(model: Transformer, images: Tensor, labels: Tensor) -> list[float]:
    """The norm, over the whole batch, of the mean cross-entropy's gradient at each of `states`."""
    stream = states(model, images)
    loss = F.cross_entropy(model.answer(stream[-1]), labels)
    return [gradient.norm().item() for gradient in torch.autograd.grad(loss, stream)]


@contextmanager
def without(model: Transformer, *numbers: int) -> Iterator[None]:
    """Within this context these sublayers add nothing, counted from 0 at the input.

    Pre-norm, they then hand their input on as it is; post-norm, it is still normalized.
    """
    before = {number: model.sublayers[number].layers for number in numbers}
    for number in numbers:
        model.sublayers[number].layers = Nothing()
    try:
        yield
    finally:
        for number, layers in before.items():
            model.sublayers[number].layers = layers


@contextmanager
def swapped(model: Transformer, *pairs: tuple[int, int]) -> Iterator[None]:
    """Within this context the two blocks of each pair have changed places, counted from 0."""
    before = model.sublayers
    order = list(range(len(before)))
    for one, two in pairs:
        for part in (0, 1):  # attention, MLP
            first, second = 2 * one + part, 2 * two + part
            order[first], order[second] = order[second], order[first]
    model.sublayers = nn.Sequential(*(before[number] for number in order))
    try:
        yield
    finally:
        model.sublayers = before


class Nothing(nn.Module):
    """Zeros in the shape of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)
