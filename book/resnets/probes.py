"""What is measured on a network from outside."""

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from resnets.models import ResidualBlock


def parameters(model: nn.Module) -> int:
    """How many numbers training adjusts."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, *shape: int) -> int:
    """Multiply-adds of convolutions and linear layers for one input of `shape` (C, H, W)."""
    training = model.training
    device = next(model.parameters()).device
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, *shape, device=device))
    model.train(training)
    return counter.get_total_flops() // 2


class Memory(TorchDispatchMode):
    """Within this context, counts the bytes of the tensors that were made in it and still exist.

    `alive` is their present sum, `peak` its maximum so far. Counted from the tensors themselves,
    so it is the same on every machine; what an operation needs while it runs is left out. Works
    on the device "meta" too, where tensors have a size but no content.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._known = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [leaf.untyped_storage() for leaf in _tensors((args, kwargs))]
        result = func(*args, **(kwargs or {}))
        for leaf in _tensors(result):
            storage = leaf.untyped_storage()
            if storage in self._known or any(storage is other for other in given):
                continue
            self._known.add(storage)
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._free, storage.nbytes())
        return result

    def _free(self, count: int) -> None:
        self.alive -= count


def _tensors(tree) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def blocks(model: nn.Module) -> dict[str, ResidualBlock]:
    """The blocks of a plain or residual network by name, from the input to the output."""
    return {name: m for name, m in model.named_modules() if isinstance(m, ResidualBlock)}


def gradient_norms(model: nn.Module, x: Tensor, labels: Tensor) -> dict[str, float]:
    """For each block, the norm of the mean cross-entropy's gradient at the block's input.

    In training mode, as a training step sees it; the model's own running statistics and gradients
    stay as they are. `x` is (N, C, H, W), `labels` (N,); the norm is over the whole batch.
    """
    model = copy.deepcopy(model).train()
    inputs = {}

    def keep(name: str) -> Callable:
        def hook(block: nn.Module, arguments: tuple[Tensor]) -> None:
            arguments[0].retain_grad()
            inputs[name] = arguments[0]

        return hook

    for name, block in blocks(model).items():
        block.register_forward_pre_hook(keep(name))
    F.cross_entropy(model(x), labels).backward()
    return {name: tensor.grad.norm().item() for name, tensor in inputs.items()}


@contextmanager
def deleted(model: nn.Module, *names: str) -> Iterator[None]:
    """Within this context the named blocks compute nothing: only their shortcut is left.

    In a plain network a deleted block hands its input on (Veit et al., 2016, section 4.1).

    Raises:
        ValueError: no such block, or a block of a plain network that changes the shape.
    """

    def forward(block: ResidualBlock) -> Callable[[Tensor], Tensor]:
        if block.downsample is None:
            return lambda x: x
        return lambda x: F.relu(block.downsample(x))

    chosen = _chosen(model, names)
    for name, block in chosen.items():
        same = block.stride == 1 and block.in_channels == block.out_channels
        if block.downsample is None and not same:
            raise ValueError(
                f"{name} of this plain network changes the shape, so nothing can stand in for it: "
                "delete another block"
            )
    with _replaced({block: forward(block) for block in chosen.values()}):
        yield


@contextmanager
def swapped(model: nn.Module, *pairs: tuple[str, str]) -> Iterator[None]:
    """Within this context the two blocks of each pair have changed places.

    Raises:
        ValueError: no such block, a block in two pairs, or a pair of different shapes.
    """
    names = [name for pair in pairs for name in pair]
    chosen = _chosen(model, names)
    forwards = {}
    for first, second in pairs:
        one, two = chosen[first], chosen[second]
        shapes = [[tuple(p.shape) for p in block.parameters()] for block in (one, two)]
        if shapes[0] != shapes[1] or one.stride != two.stride:
            raise ValueError(
                f"{first} and {second} have different shapes: swap blocks within a stage, and "
                "none that changes the shape"
            )
        forwards |= {one: two.forward, two: one.forward}
    with _replaced(forwards):
        yield


@contextmanager
def only_path(model: nn.Module, *names: str) -> Iterator[None]:
    """Within this context the gradient takes one path: Veit et al. (2016), section 5.

    It flows through the layers of the named blocks, and through the shortcuts of all others. The
    forward pass is unchanged, so that the gradients of all 2^n paths add up to the whole gradient.

    Raises:
        ValueError: no such block, or a network without shortcuts.
    """

    def forward(block: ResidualBlock, through_layers: bool) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            layers, shortcut = block.residual(x), block.downsample(x)
            if through_layers:
                return F.relu(layers + shortcut.detach())
            return F.relu(layers.detach() + shortcut)

        return call

    chosen = _chosen(model, names)
    for name, block in blocks(model).items():
        if block.downsample is None:
            raise ValueError(f"{name} has no shortcut: a plain network has one path only")
    with _replaced({b: forward(b, n in chosen) for n, b in blocks(model).items()}):
        yield


@contextmanager
def stochastic_depth(model: nn.Module, survival: float) -> Iterator[None]:
    """Within this context training deletes blocks at random: Huang et al. (2016), section 3.

    In each training step the layers of block l of L take part with probability
    p_l = 1 − l/L (1 − `survival`), so the last block's is `survival`; else only its shortcut is
    left, and its layers cost nothing. In evaluation mode all take part, weighted by p_l. The draws
    come from torch's global generator on the CPU.

    Raises:
        ValueError: `survival` is not in (0, 1], or a network without shortcuts.
    """
    if not 0 < survival <= 1:
        raise ValueError(f"a probability of survival lies in (0, 1], and {survival} does not")
    found = blocks(model)

    def forward(block: ResidualBlock, kept: float) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            shortcut = block.downsample(x)
            if not block.training:
                return F.relu(kept * block.residual(x) + shortcut)
            if torch.rand(()) < kept:
                return F.relu(block.residual(x) + shortcut)
            return F.relu(shortcut)

        return call

    forwards = {}
    for number, (name, block) in enumerate(found.items(), start=1):
        if block.downsample is None:
            raise ValueError(f"{name} has no shortcut: without its layers nothing would be left")
        forwards[block] = forward(block, 1 - number / len(found) * (1 - survival))
    with _replaced(forwards):
        yield


def _chosen(model: nn.Module, names) -> dict[str, ResidualBlock]:
    found = blocks(model)
    for name in names:
        if name not in found:
            raise ValueError(
                f"there is no block {name!r}: this network's blocks are {', '.join(found)}"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"a block is named twice: {', '.join(names)}")
    return {name: found[name] for name in names}


@contextmanager
def _replaced(forwards: dict[nn.Module, Callable]) -> Iterator[None]:
    """Other forward functions for some modules, for as long as the context lasts."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:  # an outer context's
                module.forward = forward


def filter_direction(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A random direction in weight space, normalized filter by filter: Li et al. (2018), section 4.

    Each filter of a convolution, and each row of a linear layer, gets a random direction as long
    as the filter itself. Biases and batch normalization stay where they are.
    """
    direction = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        random = torch.randn(parameter.shape, generator=generator).to(parameter.device)
        dims = tuple(range(1, parameter.ndim))
        lengths = [torch.linalg.vector_norm(t, dim=dims, keepdim=True) for t in (parameter, random)]
        direction[name] = (random * lengths[0] / lengths[1]).detach()
    return direction


@contextmanager
def moved(model: nn.Module, *steps: tuple[float, dict[str, Tensor]]) -> Iterator[None]:
    """Within this context the weights lie elsewhere: each step is a factor and a direction."""
    parameters = dict(model.named_parameters())
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with torch.no_grad():
        for factor, direction in steps:
            for name, tensor in direction.items():
                parameters[name].add_(tensor, alpha=factor)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in kept.items():
                parameters[name].copy_(tensor)


def receptive_field(layers: Iterable[nn.Module]) -> tuple[int, int]:
    """Side of the square of input pixels behind one output, and how far apart outputs' squares lie.

    `layers` are passed one after the other; those that are no convolution or pooling leave both as
    they are. In a residual network the shortcuts see less than the layers, so they do not count.
    """
    side = step = 1
    for layer in layers:
        if not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            continue
        kernel, stride, dilation = (
            size if isinstance(size, int) else size[0]
            for size in (layer.kernel_size, layer.stride, getattr(layer, "dilation", 1))
        )
        side += (kernel - 1) * dilation * step
        step *= stride
    return side, step


def influence(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """How much each pixel moves the middle of the output: (H, W), adding up to 1.

    The mean over `images` (N, C, H, W) of the absolute gradient of a random combination of the
    middle output's channels: Luo et al. (2016), section 3. `model` gives (N, K, h, w).
    """
    x = images.clone().requires_grad_()
    out = model(x)
    middle = out[:, :, out.shape[2] // 2, out.shape[3] // 2]
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(middle.shape, generator=generator).to(middle.device)
    (gradient,) = torch.autograd.grad((middle * weights).sum(), x)
    total = gradient.abs().sum((0, 1))
    return total / total.sum()


def side_of(influence: Tensor, share: float = 0.95) -> int:
    """Side of the smallest square around the middle that has this share of the influence (H, W)."""
    height, width = influence.shape
    for reach in range(max(height, width)):
        rows = slice(max(0, height // 2 - reach), height // 2 + reach + 1)
        columns = slice(max(0, width // 2 - reach), width // 2 + reach + 1)
        if influence[rows, columns].sum() >= share:
            break
    return 2 * reach + 1
