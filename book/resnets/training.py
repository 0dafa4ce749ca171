"""Train a classifier of images or of pixels: the loop, its schedule, progress, checkpoints.

Started by `torchrun`, several processes train one network (`processes`).
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from resnets import processes
from resnets.data import VOID, ImageSet, LabeledScenes, batches
from resnets.device import autocast, hardware
from resnets.files import whole_file

SCHEDULES = ("one-cycle", "cosine", "poly", "constant")
# How many steps may pass before the losses are looked at: each look waits for the device.
LOOK_EVERY = 50


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum (plain SGD where `momentum` is 0).

    `lr` is the schedule's highest learning rate. "one-cycle" rises to it over the first quarter of
    the steps and then falls to zero along a cosine, "cosine" falls from the first step on,
    "poly" goes down as (1 - step / steps)^0.9, "constant" stays. `augment` changes the images at
    random (`batch` of the data); with `alternate_flips` each image is mirrored in every second
    epoch instead of at random. `auxiliary_weight` is that of a second output's loss, where the
    network has one. With `weight_average` above 0 the weights that are judged and kept are an
    average over the steps, in which those of the step before count `weight_average` times as much.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "one-cycle"
    label_smoothing: float = 0.0
    augment: bool = False
    auxiliary_weight: float = 0.4
    alternate_flips: bool = False
    weight_average: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"there is no schedule {self.schedule!r}: choose one of {', '.join(SCHEDULES)}"
            )
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                "training needs at least one epoch and, for batch normalization, batches of at "
                f"least two images, not epochs={self.epochs}, batch_size={self.batch_size}"
            )


@dataclass(frozen=True)
class Execution:
    """How the arithmetic of a training is done: it decides the time, and the result by rounding.

    `precision` is "float32" or "bfloat16", and by default what `device.precision` chooses.
    `channels_last` stores a pixel's channels side by side. `fused` updates all weights in one
    kernel. `compiled` has the network compiled, in a minute or so, before its first step. Several
    processes have to know if a step can leave layers out: `leaves_layers_out`.
    """

    precision: str | None = None
    channels_last: bool = True
    fused: bool = False
    compiled: bool = False
    leaves_layers_out: bool = False


def fit(
    model: nn.Module,
    train: ImageSet | LabeledScenes,
    recipe: Recipe,
    *,
    seed: int = 0,
    execution: Execution = Execution(),
    validation: ImageSet | None = None,
    after_epoch: Callable[[nn.Module], dict[str, float]] | None = None,
    checkpoint: Path | None = None,
    label: str = "training",
) -> list[dict[str, float]]:
    """Train `model` in place, on the device of `train`, and return its history.

    The history has a row an epoch: `epoch`, `lr` (at the epoch's end), `train_loss` and
    `train_accuracy` (over the epoch's batches, as they were trained), `seconds` (of training
    since the first epoch's start, interruptions left out), with `validation` also
    `validation_loss` and `validation_accuracy`, and what `after_epoch(model)` returns.

    Pixels that are `VOID` count nowhere. A network may return (logits, auxiliary logits) in
    training; the loss of the second is added with the recipe's weight, here and in `train_loss`.

    The model's weights are the caller's to seed; `seed` fixes the order of the images and their
    crops. With `checkpoint` the state is saved there after each epoch, and a call that finds the
    file goes on from it, to the same weights as without the interruption (bit for bit on a CPU).

    Of several processes each trains on its share of every batch, and all end with the same model;
    without batch normalization it is what one process makes of the whole batches, to rounding.
    Process 0 alone prints and saves.

    Raises:
        FloatingPointError: the loss is no longer finite; the message names the step.
        ValueError: fewer images than a batch, batches that the processes cannot share equally, or
            a checkpoint of another model or recipe.
        torch.OutOfMemoryError: the device's memory is full; the message says what to do.
    """
    if len(train) < recipe.batch_size:
        raise ValueError(
            f"{len(train)} images do not fill one batch of {recipe.batch_size}: lower batch_size"
        )
    if recipe.batch_size % processes.count():
        raise ValueError(
            f"{processes.count()} processes cannot share batches of {recipe.batch_size} equally: "
            "start another number of processes (--nproc-per-node), or change batch_size"
        )
    device = train.labels.device
    model.to(device, memory_format=_layout(model, execution))
    steps = len(train) // recipe.batch_size
    state = _new_state(model, recipe, execution, steps)
    made_by = {
        "recipe": asdict(recipe),
        "seed": seed,
        "images": f"{len(train)} of {train.source}",
    }
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, made_by)
    history, judged = state.history, state.judged
    done = len(history)
    processes.check_same(done, device, "epochs done in their checkpoints")
    if done and processes.rank() == 0:
        print(f"{label}: {done} of {recipe.epochs} epochs are in {checkpoint}; it goes on there")
    net = torch.compile(model) if execution.compiled else model
    net = processes.averaging(net, execution.leaves_layers_out)
    with _memory_explained(device), _progress(label, recipe.epochs * steps, done * steps) as bar:
        for epoch in range(done + 1, recipe.epochs + 1):
            images = _epoch(train, recipe, seed, epoch)
            row = _train_epoch(net, images, recipe, execution, state, bar, (epoch - 1) * steps)
            processes.copy_from_first((*model.buffers(), *judged.buffers()))
            if validation is not None:
                loss, accuracy = evaluate(judged, validation)
                row |= {"validation_loss": loss, "validation_accuracy": accuracy}
            if after_epoch is not None:
                row |= after_epoch(judged)
            before = history[-1]["seconds"] if history else 0.0
            speed = steps * recipe.batch_size / row["seconds"]
            history.append({"epoch": epoch, **row, "seconds": before + row["seconds"]})
            _show(bar, label, history[-1], recipe.epochs, speed)
            if checkpoint is not None and processes.rank() == 0:
                state.save(checkpoint, made_by)
    if state.average:
        model.load_state_dict(judged.state_dict())
    return history


def predict(model: nn.Module, data: ImageSet, batch_size: int = 500) -> Tensor:
    """Logits (N, classes) in evaluation mode, float32, on the device of `data`."""
    model.eval()
    device = data.labels.device
    with _memory_explained(device), torch.inference_mode(), autocast(device):
        return torch.cat([_forward(model, x).float() for x, _ in batches(data, batch_size)])


def predict_labels(model: nn.Module, scenes: LabeledScenes, batch_size: int = 20) -> Tensor:
    """The likeliest class of each pixel, (N, H, W) uint8, in evaluation mode."""
    model.eval()
    device = scenes.labels.device
    with _memory_explained(device), torch.inference_mode(), autocast(device):
        labels = [_forward(model, x).argmax(1) for x, _ in batches(scenes, batch_size)]
    return torch.cat(labels).to(torch.uint8)


def evaluate(model: nn.Module, data: ImageSet) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in [0, 1], in evaluation mode."""
    logits = predict(model, data)
    accuracy = (logits.argmax(1) == data.labels).float().mean()
    return F.cross_entropy(logits, data.labels).item(), accuracy.item()


def save_weights(model: nn.Module, path: Path) -> None:
    """Save the model's `state_dict`, whole or not at all."""
    with whole_file(path) as temporary:
        torch.save(model.state_dict(), temporary)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load what `save_weights` saved, without pickle.

    Raises:
        ValueError: the file is no checkpoint, or one of another model; the model is unchanged.
    """
    _load_model(model, _load(path), path)


def _layout(model: nn.Module, execution: Execution = Execution()) -> torch.memory_format:
    """Channels last, which is faster, unless oneDNN then writes past its memory on a CPU:

    for a strided 1×1 convolution of fewer channels than a vector holds
    (github.com/uxlfoundation/oneDNN/issues/6035, in torch 2.13).
    """
    if not execution.channels_last:
        return torch.contiguous_format
    for layer in model.modules():
        if (
            isinstance(layer, nn.Conv2d)
            and layer.kernel_size == (1, 1)
            and layer.stride != (1, 1)
            and layer.in_channels < 16
        ):
            return torch.contiguous_format
    return torch.channels_last


def _forward(model: nn.Module, x: Tensor) -> Tensor:
    return model(x.contiguous(memory_format=_layout(model)))


@dataclass
class _State:
    """What training changes, and what a checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: lr_scheduler.LRScheduler
    average: AveragedModel | None
    history: list[dict[str, float]]

    @property
    def judged(self) -> nn.Module:
        return self.average.module if self.average else self.model

    def save(self, path: Path, made_by: dict) -> None:
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "rng": torch.get_rng_state(),
            "history": self.history,
            "made_by": made_by,
        }
        with whole_file(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path, made_by: dict) -> None:
        content = _load(path)
        _check_made_by(content, made_by, path)
        _load_model(self.model, content["model"], path)
        self.optimizer.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        if self.average:
            self.average.load_state_dict(content["average"])
        torch.set_rng_state(content["rng"])
        self.history = content["history"]


def _new_state(model: nn.Module, recipe: Recipe, execution: Execution, steps: int) -> _State:
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
        fused=execution.fused,
    )
    average = None
    if recipe.weight_average:
        decay = get_ema_multi_avg_fn(recipe.weight_average)
        average = AveragedModel(model, multi_avg_fn=decay, use_buffers=True)
    scheduler = _schedule(optimizer, recipe, steps * recipe.epochs)
    return _State(model, optimizer, scheduler, average, [])


def _train_epoch(
    net: nn.Module,
    images: Iterator[tuple[Tensor, Tensor]],
    recipe: Recipe,
    execution: Execution,
    state: _State,
    bar: tqdm,
    steps_before: int,
) -> dict[str, float]:
    """One epoch; its row for the history, over all processes."""
    device = next(state.model.parameters()).device
    layout = _layout(state.model, execution)
    dtype = getattr(torch, execution.precision) if execution.precision else None
    losses, started = [], time.perf_counter()
    right, known = torch.zeros(2, dtype=torch.int64, device=device)
    net.train()
    for x, y in images:
        x = x.contiguous(memory_format=layout)
        with autocast(device, dtype):
            outputs = net(x)
            logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = _cross_entropy(logits, y, recipe)
            for other in auxiliary:
                loss = loss + recipe.auxiliary_weight * _cross_entropy(other, y, recipe)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.scheduler.step()
        if state.average:
            state.average.update_parameters(state.model)
        losses.append(loss.detach())
        right += (logits.argmax(1) == y).sum()  # no logit is VOID's
        known += (y != VOID).sum()
        bar.update()
        if len(losses) % LOOK_EVERY == 0:
            _check_finite(losses, steps_before)
    _check_finite(losses, steps_before)
    loss, right, known = processes.summed(torch.stack(losses).mean(), right, known)
    return {
        "lr": state.scheduler.get_last_lr()[0],
        "train_loss": loss.item() / processes.count(),
        "train_accuracy": right.item() / known.item(),
        "seconds": time.perf_counter() - started,
    }


def _epoch(
    train: ImageSet | LabeledScenes, recipe: Recipe, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share of every batch of an epoch."""
    mirrored = None
    if recipe.alternate_flips:
        first = torch.rand(len(train), generator=torch.Generator().manual_seed(seed)) < 0.5
        mirrored = first ^ (epoch % 2 == 0)
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    # Changed at random as a whole and shared then, so that the number of processes does not matter.
    for batch in batches(train, recipe.batch_size, generator, recipe.augment, mirrored):
        yield processes.share(*batch)


def _cross_entropy(logits: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
    return F.cross_entropy(logits, y, ignore_index=VOID, label_smoothing=recipe.label_smoothing)


@contextmanager
def _memory_explained(device: torch.device) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # MPS and the CPU have no type of their own for it
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise torch.OutOfMemoryError(
            f"the memory of {hardware(device)} is full: restart this notebook's kernel, close "
            "other notebooks that hold some of it (in Colab: Runtime, Manage sessions), or train "
            "at a smaller scale (%env RESNETS_SCALE=quick) or in smaller batches"
        ) from error


def _check_finite(losses: list[Tensor], steps_before: int) -> None:
    finite = torch.isfinite(torch.stack(losses))
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise FloatingPointError(
            f"the loss is {losses[first].item()} at step {steps_before + first + 1}: lower the "
            "learning rate (lr=…), and check that the images and the weights are finite"
        )


def _schedule(optimizer, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    if recipe.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(
            optimizer,
            recipe.lr,
            total_steps=steps + 1,
            pct_start=0.25,
            cycle_momentum=False,
        )
    if recipe.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, steps)
    if recipe.schedule == "poly":
        return lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    return lr_scheduler.ConstantLR(optimizer, factor=1)


def _progress(label: str, total: int, initial: int) -> tqdm:
    """A bar that rewrites its line in a terminal or notebook; in a log, none (see `_show`)."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    live = (sys.stdout.isatty() or in_notebook) and processes.rank() == 0
    return tqdm(
        desc=label,
        total=total,
        initial=initial,
        file=sys.stdout,
        disable=not live,
        mininterval=0.5,
        bar_format="{desc}: {percentage:3.0f}%|{bar:20}| {n}/{total} steps, {elapsed}{postfix}",
    )


def _show(bar: tqdm, label: str, row: dict[str, float], epochs: int, speed: float) -> None:
    text = f"epoch {row['epoch']}/{epochs}, training loss {row['train_loss']:.3f}"
    if "validation_accuracy" in row:
        text += f", validation accuracy {row['validation_accuracy']:.3f}"
    if processes.rank() > 0:
        return
    if bar.disable:
        print(f"{label}: {text}, {speed:.0f} images/s", flush=True)
    else:
        bar.set_postfix_str(text)


def read_history(checkpoint: Path) -> list[dict[str, float]]:
    """The history that a checkpoint of `fit` holds: a row for each epoch that was finished."""
    return _load(checkpoint)["history"]


def _load(path: Path) -> dict:
    unreadable = f"{path} is no checkpoint that can be read: delete it, and train or copy it again"
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is cut or is not its own
        raise ValueError(unreadable) from error
    if not isinstance(state, dict):
        raise ValueError(unreadable)
    return state


def _load_model(model: nn.Module, state: dict, path: Path) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in state.items()}
    if own != found:
        differing = sorted(set(own.items()) ^ set(found.items()))
        raise ValueError(
            f"{path} holds another model: it differs in {len(differing)} entries, first "
            f"{differing[0][0]!r}. Build the model that was saved, or choose another file"
        )
    model.load_state_dict(state)


def _check_made_by(state: dict, made_by: dict, path: Path) -> None:
    found = state.get("made_by")
    if found != made_by:
        raise ValueError(
            f"{path} belongs to another training, {found}, not to {made_by}: choose another file, "
            "or delete this one to start anew"
        )
