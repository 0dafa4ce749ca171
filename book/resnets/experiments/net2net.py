"""Net2DeeperNet: identity layers are put into a trained network, which goes on at a small rate.

After Chen et al. (2016), "Net2Net", section 2: each inserted layer has the identity as its
kernel, and its batch normalization undoes what it normalizes. Here that is plain-8, which becomes
plain-20. ResNet-8 becomes ResNet-20 by blocks whose last batch normalization has weight zero.
Both go on at a tenth of the rate, and are judged on 5,000 images held out of the training set; the
test set is not touched. Images are cropped and flipped at random, so that depth can pay.

    python -m resnets run net2net --scale hour --seed 0
"""

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from resnets.data import ImageSet, batches, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import network
from resnets.experiments.growth import HELD_OUT, grow
from resnets.models import ResNet
from resnets.runs import Run, new_run
from resnets.training import Recipe, evaluate, fit

KINDS = ("plain", "ResNet")
SHALLOW, DEEP = 8, 20
ADDED = (DEEP - SHALLOW) // 6  # blocks a stage


@dataclass(frozen=True)
class Config:
    images: int
    recipe: Recipe


CONFIGS = {
    "quick": Config(5_000, Recipe(epochs=2, batch_size=64, lr=0.05, weight_decay=1e-4)),
    "hour": Config(20_000, Recipe(epochs=6, lr=0.05, weight_decay=1e-4, augment=True)),
    "full": Config(55_000, Recipe(epochs=10, lr=0.05, weight_decay=1e-4, augment=True)),
}


@torch.no_grad()
def with_identity_layers(net: ResNet, added: int, images: ImageSet) -> ResNet:
    """A copy of a plain `net` with `added` blocks more a stage that pass their input on.

    What enters them is not negative, so a ReLU leaves it alone. Their batch normalizations get
    the means and variances of 2,000 of the `images` as statistics, and as weights and biases
    what takes them back. In training each batch has its own statistics, which differ a little.
    """
    deeper = grow(net, added, "plain")
    x, _ = next(batches(images, 2_000))
    for name, out in zip(net.stages, copy.deepcopy(net).eval().stage_outputs(x), strict=True):
        variance, mean = torch.var_mean(out, (0, 2, 3), correction=0)
        for block in deeper.get_submodule(name)[-added:]:
            for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                nn.init.dirac_(conv.weight)
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(variance)
                norm.weight.copy_((variance + norm.eps).sqrt())
                norm.bias.copy_(mean)
    return deeper


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Of each kind train depth 8 and depth 20, and go on with depth 8 as it is and deepened.

    Each of the four trainings has as many steps; the two that go on do so at a tenth of the rate,
    along a cosine. `final` has the last epoch's `train_loss` and `validation_accuracy`, and
    the training's own `seconds`. `measured["insertion"]` has the accuracies on the held-out images
    before and after the layers were inserted.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    images = (data or fashion_mnist())[0].to(device)
    train, validation = split(images, min(HELD_OUT, len(images) // 5))
    train = train[: config.images]
    slow = replace(config.recipe, lr=config.recipe.lr / 10, schedule="cosine")
    history, insertion = {}, []

    def train_on(net: ResNet, recipe: Recipe, name: str) -> None:
        checkpoint = checkpoints and checkpoints / f"{name}.pt"
        options = {"seed": seed, "validation": validation, "checkpoint": checkpoint}
        history[name] = fit(net, train, recipe, **options, label=f"{name:13}")

    for kind in KINDS:
        for depth in (DEEP, SHALLOW):
            seed_everything(seed)
            net = network(f"{kind}-{depth}", "stride2")
            train_on(net, config.recipe, f"{kind}-{depth}")
        if kind == "plain":
            deeper = with_identity_layers(net, ADDED, train)
        else:
            seed_everything(seed)
            deeper = grow(net, ADDED, "zero")
        before, after = (evaluate(each, validation)[1] for each in (net, deeper))
        insertion.append({"network": f"{kind}-8 → 20", "before": before, "after": after})
        train_on(deeper, slow, f"{kind}-8 → 20")
        train_on(net, slow, f"{kind}-8, on")

    figures = ("train_loss", "validation_accuracy", "seconds")
    return new_run(
        name="net2net",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"held_out": len(validation)},
        data=train.source,
        history=history,
        final={name: {key: rows[-1][key] for key in figures} for name, rows in history.items()},
        measured={"insertion": insertion},
        device=device,
    )
