"""How well the pixels were classified, from a table of counts."""

import torch
from torch import Tensor

from resnets.data import VOID


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many pixels of each class were given each class: (true, predicted) counts, int64, CPU.

    Both arguments have the same shape, any; pixels with label `VOID` are left out.

    Raises:
        ValueError: the shapes differ, or a class outside 0 … classes − 1.
    """
    if predicted.shape != labels.shape:
        raise ValueError(
            f"predictions of shape {tuple(predicted.shape)} do not fit labels of shape "
            f"{tuple(labels.shape)}: one class for each pixel"
        )
    known = labels != VOID
    true, given = labels[known].long(), predicted[known].long()
    for what, values in (("label", true), ("prediction", given)):
        if len(values) and (values.min() < 0 or values.max() >= classes):
            raise ValueError(
                f"a {what} lies outside the {classes} classes 0 to {classes - 1}: they go from "
                f"{values.min().item()} to {values.max().item()}"
            )
    counts = torch.bincount(true * classes + given, minlength=classes**2)
    return counts.reshape(classes, classes).cpu()


def pixel_accuracy(counts: Tensor) -> float:
    """The share of pixels that were given their class."""
    return (counts.diagonal().sum() / counts.sum()).item()


def class_iou(counts: Tensor) -> Tensor:
    """Intersection over union of each class; nan for one that no pixel has or was given."""
    intersection = counts.diagonal().double()
    union = counts.sum(0) + counts.sum(1) - intersection
    return intersection / union


def mean_iou(counts: Tensor) -> float:
    """The mean over the classes that occur of their intersection over union."""
    return class_iou(counts).nanmean().item()


def borders(labels: Tensor, classes: int) -> Tensor:
    """How often two classes touch in labels (N, H, W): symmetric (classes, classes) counts.

    int64, on the CPU. Counted are pairs of neighboring pixels, across and down, of different
    classes; not `VOID`.
    """
    counts = torch.zeros(classes, classes, dtype=torch.int64, device=labels.device)
    pairs = [(labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])]
    for one, other in pairs:
        differs = (one != other) & (one != VOID) & (other != VOID)
        index = one[differs].long() * classes + other[differs].long()
        counts += torch.bincount(index, minlength=classes**2).reshape(classes, classes)
    return (counts + counts.T).cpu()


def rare_borders(counts: Tensor, usual: Tensor, share: float = 0.01) -> float:
    """The share of borders between classes that seldom touch, in [0, 1].

    Both arguments are `borders`. Seldom means: one of the pairs of classes, starting with the
    rarest, that together make up at most `share` of the `usual` borders.
    """
    pairs = torch.triu_indices(*usual.shape, offset=1)
    frequency = usual[pairs[0], pairs[1]].double()
    order = frequency.argsort()
    rare = pairs[:, order[frequency[order].cumsum(0) <= share * frequency.sum()]]
    everything = counts[pairs[0], pairs[1]].sum()
    return (counts[rare[0], rare[1]].sum() / everything).item()
