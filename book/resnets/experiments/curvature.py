"""Is it a minimum where training ended? Gradient, noise and curvature of chapter 2's networks.

Trains plain-20, plain-56 and ResNet-56 as `degradation` does, to the same weights, and measures
the training loss where they arrive. It is a function of the weights in two ways, `mode`:

- "training": batches of 128 images, always the same, each normalized by its own statistics. The
  mean over such batches, with the weight decay, is what training descends.
- "evaluation": the running statistics, gathered during training, count as constants. This is the
  loss of the network as it is used. Training does not descend it, so where the trained loss has a
  minimum this one need not have a gradient of zero.

The measured tables, with a column `network`:

- "gradient" (`mode`; `trained`, False at initialization, in training mode only): over all training
  images in whole batches `loss` and `gradient`, the full gradient's norm; `with_decay`, the norm
  with the weight decay's part; `noise`, the root mean square distance of a mini-batch's gradient
  from the full one, which a step of training sees beside it; `batches`, their number: noise /
  √batches is the standard error of the full gradient as an estimate for unseen images.
- "eigenvalues" of the Hessian in training mode on `LOOKED_AT` images, `which` is "smallest" or
  "largest": `value`, and `residual`, the norm of Hv - value·v, within which an eigenvalue lies; v
  has length 1 and points downhill with `slope`, v·gradient over all images. `products`: how many
  Hessian-vector products Lanczos took. `rounding`: how far v·Hv of one batch lies from the same in
  float64. v was found on a few images, which makes the extremes more extreme; so v·Hv is measured
  again on `OTHERS` other training images, in training mode (`others`) and in evaluation mode
  (`evaluation`). Over whatever images, the smallest eigenvalue is not above v·Hv: where `others`
  is negative, so is theirs; where it is not, the eigenvalue is one of the few images alone.
- "along" (`mode`, `direction`): the `loss` of the other images `step` times a direction away:
  "gradient" is minus the full gradient, as in a training step; "smallest" is v of the smallest
  eigenvalue, whose negative steps go uphill at first.

Weight decay adds its factor, 1e-4, to every eigenvalue. A ReLU's kink has no second derivative:
the Hessian is that of the smooth piece around the weights.

    python -m resnets run curvature --scale hour --seed 0
"""

import copy
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import probes
from resnets.data import ImageSet, batches, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import CONFIGS, network
from resnets.runs import Run, new_run
from resnets.training import fit

NETWORKS = ("plain-20", "plain-56", "ResNet-56")
MODES = ("training", "evaluation")
BATCH = 128
LOOKED_AT, OTHERS = 1024, 1024
# Lanczos stops where its estimate of the residual is below this part of the largest eigenvalue, or
# for the smallest of their distance.
TOLERANCE = 0.003
# How many vectors it keeps: the largest eigenvalue lies far from the others and needs few.
VECTORS = {"largest": 12, "smallest": 24}
STEPS = {
    "gradient": (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "smallest": (-1.0, -0.3, -0.1, -0.03, -0.01, 0.01, 0.03, 0.1, 0.3, 1.0),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the three networks and measure the loss around where each arrived."""
    config, device = CONFIGS[check_scale(scale)], best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    decay = config.recipe.weight_decay
    history, final = {}, {}
    measured = {"gradient": [], "eigenvalues": [], "along": []}
    for name in NETWORKS:
        seed_everything(seed)
        model = network(name, config.stem).to(device)
        _, before = full_gradient(fixed(model, "training"), train, decay)
        measured["gradient"].append(
            {"network": name, "mode": "training", "trained": False, **before}
        )
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        history[name] = fit(
            model, train, config.recipe, seed=seed, checkpoint=checkpoint, label=f"{name:9}"
        )
        final[name] = {"train_loss": history[name][-1]["train_loss"]}
        for table, rows in measure(model, train, decay).items():
            measured[table] += [{"network": name, **row} for row in rows]
    return new_run(
        name="curvature",
        scale=scale,
        seed=seed,
        config=asdict(config)
        | {
            "batch": BATCH,
            "looked_at": LOOKED_AT,
            "others": OTHERS,
            "tolerance": TOLERANCE,
        },
        data=train.source,
        history=history,
        final=final,
        measured=measured,
        device=device,
    )


def fixed(model: nn.Module, mode: str) -> nn.Module:
    """A copy in training or evaluation mode whose running statistics stay as they are."""
    model = copy.deepcopy(model).train(mode == "training")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    return model


def measure(model: nn.Module, train: ImageSet, decay: float) -> dict[str, list[dict]]:
    """The rows of the three tables for one network."""
    looked_at, others = train[:LOOKED_AT], train[LOOKED_AT : LOOKED_AT + OTHERS]
    in_mode = {mode: fixed(model, mode) for mode in MODES}
    tables = {"gradient": [], "eigenvalues": [], "along": []}
    gradients = {}
    for mode, net in in_mode.items():
        gradients[mode], row = full_gradient(net, train, decay)
        tables["gradient"].append({"mode": mode, "trained": True, **row})
        rows = along(net, others, "gradient", -gradients[mode])
        tables["along"] += [{"mode": mode, **row} for row in rows]
    for row, vector in extreme_eigenvalues(in_mode["training"], looked_at):
        slope = (vector @ gradients["training"]).item()
        vector = -vector if slope > 0 else vector
        on_others = {
            "others": quotient(in_mode["training"], others, vector),
            "evaluation": quotient(in_mode["evaluation"], others, vector),
        }
        tables["eigenvalues"].append(row | {"slope": -abs(slope)} | on_others)
        if row["which"] == "smallest":
            for mode, net in in_mode.items():
                rows = along(net, others, "smallest", vector)
                tables["along"] += [{"mode": mode, **row} for row in rows]
    return tables


def along(model: nn.Module, images: ImageSet, name: str, direction: Tensor) -> Iterator[dict]:
    for step in STEPS[name]:
        with probes.moved(model, (step, named(model, direction))):
            yield {"direction": name, "step": step, "loss": mean_loss(model, images)}


def mean_loss(model: nn.Module, images: ImageSet) -> float:
    """The cross-entropy over whole batches, in the mode that the model is in."""
    with torch.no_grad():
        losses = [F.cross_entropy(model(x), y).item() for x, y in _whole_batches(images)]
    return sum(losses) / len(losses)


def full_gradient(
    model: nn.Module, images: ImageSet, decay: float
) -> tuple[Tensor, dict[str, float]]:
    """The gradient over all whole batches, flat, and its row of the table "gradient"."""
    weights = list(model.parameters())
    losses, norms, total = [], [], 0
    for x, y in _whole_batches(images):
        loss = F.cross_entropy(model(x), y)
        part = _flat(torch.autograd.grad(loss, weights))
        total = total + part
        losses.append(loss.item())
        norms.append(part.norm().item())
    count = len(losses)
    gradient = total / count
    norm = gradient.norm().item()
    variance = (sum(n**2 for n in norms) - count * norm**2) / (count - 1)
    return gradient, {
        "loss": sum(losses) / count,
        "gradient": norm,
        "with_decay": (gradient + decay * _flat(weights).detach()).norm().item(),
        "noise": max(variance, 0) ** 0.5,
        "batches": count,
    }


def hessian_product(model: nn.Module, images: ImageSet, vector: Tensor) -> Tensor:
    """The Hessian of the mean loss over whole batches, times a flat vector, by double backward."""
    weights = list(model.parameters())
    along = list(named(model, vector).values())
    total, count = 0, 0
    for x, y in _whole_batches(images):
        loss = F.cross_entropy(model(x.to(vector.dtype)), y)
        gradient = torch.autograd.grad(loss, weights, create_graph=True)
        total = total + _flat(torch.autograd.grad(gradient, weights, along))
        count += 1
    return total / count


def extreme_eigenvalues(model: nn.Module, images: ImageSet) -> Iterator[tuple[dict, Tensor]]:
    """The largest and the smallest eigenvalue of the Hessian: a row, and a flat vector of length 1.

    For the smallest the largest is subtracted from the diagonal: near zero the relative tolerance
    of Lanczos would never be met.
    """
    exact, batch = copy.deepcopy(model).to("cpu", torch.float64), images[:BATCH]
    shift = 0.0
    for which in VECTORS:
        value, vector, products = lanczos(model, images, which, shift)
        single = vector.to(next(model.parameters()))
        residual = hessian_product(model, images, single) - value * single
        rounding = quotient(exact, batch.to("cpu"), vector) - quotient(model, batch, single)
        row = {
            "which": which,
            "value": value,
            "residual": residual.norm().item(),
            "products": products,
            "rounding": abs(rounding),
        }
        yield row, single
        shift = value


def lanczos(
    model: nn.Module, images: ImageSet, which: str, shift: float
) -> tuple[float, Tensor, int]:
    """One eigenvalue, its vector in float64, and how many products it took, by ARPACK.

    `shift` is subtracted from the diagonal meanwhile. The first vector is random, always the same.
    """
    weights = _flat(model.parameters()).detach()
    products = 0

    def product(vector: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        found = hessian_product(model, images, torch.from_numpy(vector).to(weights))
        return found.cpu().double().numpy() - shift * vector

    (value,), vectors = eigsh(
        LinearOperator((len(weights),) * 2, matvec=product, dtype=np.float64),
        k=1,
        which={"largest": "LA", "smallest": "SA"}[which],
        ncv=min(VECTORS[which], len(weights)),
        tol=TOLERANCE,
        v0=np.random.default_rng(0).standard_normal(len(weights)),
    )
    return float(value + shift), torch.from_numpy(vectors[:, 0].copy()), products


def quotient(model: nn.Module, images: ImageSet, vector: Tensor) -> float:
    """v·Hv for a flat vector v of length 1."""
    return (vector @ hessian_product(model, images, vector)).item()


def named(model: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """A flat vector cut into the shapes of the model's parameters, by name."""
    parameters = dict(model.named_parameters())
    parts = vector.split([parameter.numel() for parameter in parameters.values()])
    return {n: v.view(p.shape) for (n, p), v in zip(parameters.items(), parts, strict=True)}


def _flat(tensors) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _whole_batches(images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
    return batches(images[: len(images) // BATCH * BATCH], BATCH)
