"""What is measured on a network from outside."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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
