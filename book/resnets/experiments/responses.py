"""How much each layer and each block does: plain and residual networks, before and after training.

After He et al. (2016a), section 4.2 and figure 7, which has the trained networks' layers. They are
trained as in `gradient_norms`, to the same weights; plain-110 hardly trains there (its loss stays
near ln 10).

Measured in training mode on one batch of `LOOKED_AT` training images, so that batch normalization
uses the statistics of these images before training too. The measured tables, with the columns
`network` and `trained`:

- "layers": `layer`, its `number` from the stem on, and `response`, the standard deviation of its
  output over images, channels and pixels, after batch normalization and before the ReLU or the
  addition. In training mode it is decided by the normalization's own factors and shifts alone:
  before training, where they are 1 and 0, it is 1 in every layer of every network.
- "blocks": `block`, and with x for its input, F for its layers' output and h for its output:
  `residual`, the norm of F over that of x; `change`, the norm of h - x over that of x; `share`,
  the block's part of the way. Norms are over the whole batch. Where a residual block changes the
  shape, x is what its shortcut makes of the input. A plain block that changes the shape has neither
  `residual` nor `change` (None).

The way is measured within each stage, among the blocks that keep the shape. With D for the sum of
their changes h - x, which is the last one's output minus the first one's input, a block's share is
(h - x)·D / D·D. The shares of a stage add up to 1; a block that goes back has a negative one. The
first block of a later stage changes the shape and has none (None). A plain block hands nothing of
its input on: if a stage's outputs were unrelated and equally large, its first and its last block
would have half of the way each, and those between them none.

    python -m resnets run responses --scale hour --seed 0
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from resnets import probes
from resnets.data import ImageSet, batches, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import network
from resnets.experiments.gradient_norms import CONFIGS
from resnets.models import ResidualBlock, ResNet
from resnets.runs import Run, new_run
from resnets.training import fit

LOOKED_AT = 500


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Measure each network, train it, and measure it again."""
    config, device = CONFIGS[check_scale(scale)], best_device()
    train = (data or fashion_mnist())[0][: config.images].to(device)
    images, _ = next(batches(train, LOOKED_AT))
    history, final = {}, {}
    measured = {"layers": [], "blocks": []}
    for name in (f"{kind}-{depth}" for kind in ("plain", "ResNet") for depth in config.depths):
        seed_everything(seed)
        model = network(name, config.stem).to(device)
        before = responses(model, images)
        history[name] = fit(
            model,
            train,
            config.recipe,
            seed=seed,
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=f"{name:10}",
        )
        final[name] = {"train_loss": history[name][-1]["train_loss"]}
        for trained, tables in ((False, before), (True, responses(model, images))):
            for table, rows in tables.items():
                measured[table] += [{"network": name, "trained": trained, **row} for row in rows]
    return new_run(
        name="responses",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"looked_at": LOOKED_AT},
        data=train.source,
        history=history,
        final=final,
        measured=measured,
        device=device,
    )


@torch.no_grad()
def responses(model: ResNet, images: Tensor) -> dict[str, list[dict]]:
    """The rows of both tables for one network; its own running statistics stay as they are."""
    model = copy.deepcopy(model).train()
    inputs, outputs = {}, {}

    def keep(name: str) -> Callable:
        def hook(_, arguments: tuple[Tensor], output: Tensor) -> None:
            inputs[name], outputs[name] = arguments[0], output

        return hook

    layers = [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    for name in (*layers, *probes.blocks(model)):
        model.get_submodule(name).register_forward_hook(keep(name))
    model(images)
    return {
        "layers": [
            {"layer": name, "number": number, "response": outputs[name].std().item()}
            for number, name in enumerate(layers, start=1)
        ],
        "blocks": list(_blocks(model, inputs, outputs)),
    }


def _blocks(model: ResNet, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> Iterator[dict]:
    """Rows of the table "blocks", from the inputs and outputs of the modules by name."""
    for stage in model.stages:
        found = {n: b for n, b in probes.blocks(model).items() if n.startswith(f"{stage}.")}
        keeping = [name for name, block in found.items() if _keeps_shape(block)]
        way = outputs[keeping[-1]] - inputs[keeping[0]] if keeping else None
        for name, block in found.items():
            row = {"block": name, "residual": None, "change": None, "share": None}
            if _keeps_shape(block) or block.downsample is not None:
                x = inputs[name] if block.downsample is None else block.downsample(inputs[name])
                change = outputs[name] - x
                row["residual"] = (outputs[f"{name}.bn2"].norm() / x.norm()).item()
                row["change"] = (change.norm() / x.norm()).item()
                if _keeps_shape(block):
                    row["share"] = ((change * way).sum() / (way * way).sum()).item()
            yield row


def _keeps_shape(block: ResidualBlock) -> bool:
    return block.stride == 1 and block.in_channels == block.out_channels
