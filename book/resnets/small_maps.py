"""A network for images of one size, which multiplies less padding where its maps are small."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def specialize(net: nn.Module, *shape: int) -> nn.Module:
    """Change `net` so that it computes the same with less work, for inputs of `shape` (C, H, W).

    Weights that meet nothing but padding are taken out: a 3×3 kernel on a map of one pixel
    multiplies it by its middle weight, and zeros by the other eight. On maps of 2×2 pixels a 3×3
    convolution becomes one product of matrices, where it would multiply zeros by five of the nine.
    SGD trains what is left as it would have without this. The network is for this size alone then,
    and its `state_dict` fits no other. Padding has to be zeros. Returns `net`.
    """
    training = net.training
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    hooks = [convolution.register_forward_hook(_specialize) for convolution in convolutions]
    with torch.no_grad():
        net.eval()(torch.zeros(1, *shape, device=next(net.parameters()).device))
    for hook in hooks:
        hook.remove()
    return net.train(training)


class ConvolutionOf2x2(nn.Conv2d):
    """A 3×3 convolution of maps of 2×2 pixels as one product of matrices.

    (N, C, 2, 2) to (N, channels, 2, 2). Each pixel out meets each pixel in with one weight of the
    kernel, so each has a block of the matrix.
    """

    def forward(self, x: Tensor) -> Tensor:
        # What each pixel out takes of the kernel; with `unfold`, compiled training crashes.
        parts = [self.weight[:, :, i : i + 2, j : j + 2] for i in (1, 0) for j in (1, 0)]
        matrix = torch.stack(parts).permute(0, 1, 3, 4, 2)
        matrix = matrix.reshape(4 * self.out_channels, 4 * self.in_channels)
        out = F.linear(x.permute(0, 2, 3, 1).flatten(1), matrix)
        out = out.unflatten(1, (2, 2, self.out_channels)).permute(0, 3, 1, 2)
        return out if self.bias is None else out + self.bias[:, None, None]


def _specialize(convolution: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
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
    sizes = (*inputs[0].shape[2:], *output.shape[2:], *convolution.kernel_size)
    steps = (*convolution.stride, *convolution.dilation, convolution.groups)
    if sizes == (2, 2, 2, 2, 3, 3) and set(steps) == {1}:
        convolution.__class__ = ConvolutionOf2x2  # as PyTorch's lazy layers change theirs
