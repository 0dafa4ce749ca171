"""Convolutions without the weights that only ever multiply padding."""

import torch
from torch import Tensor, nn


def trim_kernels(net: nn.Module, *shape: int) -> nn.Module:
    """Take out of `net` the weights that meet nothing but padding in inputs of `shape` (C, H, W).

    A 3×3 kernel on a map of one pixel multiplies that pixel by its middle weight, and zeros by the
    other eight. Without them a network computes the same, and SGD trains it to the same weights;
    but it is for inputs of this size alone, and its `state_dict` fits no other. Padding has to be
    zeros. `net` is changed, and returned.
    """
    training = net.training
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    hooks = [convolution.register_forward_hook(_trim) for convolution in convolutions]
    with torch.no_grad():
        net.eval()(torch.zeros(1, *shape, device=next(net.parameters()).device))
    for hook in hooks:
        hook.remove()
    return net.train(training)


def _trim(convolution: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
    kept, padding = [], []
    for axis in (0, 1):
        stride, pad = convolution.stride[axis], convolution.padding[axis]
        apart = convolution.dilation[axis]
        pixels, starts = inputs[0].shape[2 + axis], range(output.shape[2 + axis])
        used = [
            tap
            for tap in range(convolution.kernel_size[axis])
            if any(0 <= start * stride - pad + tap * apart < pixels for start in starts)
        ]
        kept.append(slice(used[0], used[-1] + 1))
        padding.append(pad - used[0] * apart)
    if tuple(padding) != convolution.padding:
        convolution.weight = nn.Parameter(convolution.weight[:, :, *kept].detach().clone())
        convolution.kernel_size = tuple(convolution.weight.shape[2:])
        convolution.padding = tuple(padding)
