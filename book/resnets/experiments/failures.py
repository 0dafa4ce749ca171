"""The method of Zhao et al. (2017), section 3.1: look at a network's worst images, name, count.

A fully convolutional network parses the outfits of `context`. Its failures are counted on scenes
of garments that were held out of the training set; then one thing is changed, and they are counted
again. Test scenes are counted once, after the last epoch.

    python -m resnets run failures --scale hour --seed 0
"""

from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from resnets import metrics
from resnets.data import ImageSet, LabeledScenes, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.context import CONFIGS, Config, network
from resnets.experiments.receptive_fields import measure, mosaics, receptive_field
from resnets.runs import Run, new_run
from resnets.scenes import OUTFITS, SCENE_CLASSES, SIDE, fashion_scenes
from resnets.training import fit, predict_labels

NETWORKS = ("FCN", "PSPNet")
KINDS = ("misnamed", "patchwork", "missed", "clash")
SHOES = [SCENE_CLASSES.index(shoe) for shoe in OUTFITS]
TOPS = [SCENE_CLASSES.index(top) for top in OUTFITS.values()]


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train both networks, for as long as `context` trains its longer ones.

    Each row of the history has, on held-out scenes after the epoch, the mean IoU of the three tops
    and the shares of `KINDS`. `final`: training loss, and the same figures and mIoU on test scenes.
    `measured["failures"]`: the shares on both, of all scenes and of the worst tenth.
    `measured["sides"]`: as in `receptive_fields`, on mosaics of held-out scenes.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    garments = data or fashion_mnist()
    train, held_out, test = (part.to(device) for part in draw(config, garments, seed))
    recipe = replace(config.recipe, epochs=config.longer * config.recipe.epochs)
    history, final, counted, sides = {}, {}, [], []
    for name in NETWORKS:
        seed_everything(seed)
        model = network(name, config).to(device)
        can_see = receptive_field(model.backbone)
        x = mosaics(held_out, can_see, 10, seed)
        before = measure(model.backbone, x)
        history[name] = fit(
            model,
            train,
            recipe,
            seed=seed,
            after_epoch=lambda model: figures(predict_labels(model, held_out), held_out.labels),
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=f"{name:6}",
        )
        for trained, found in ((False, before), (True, measure(model.backbone, x))):
            row = {"network": name, "trained": trained, "can_see": can_see}
            sides += [row | {"share": share, "side": side} for share, side in found.items()]
        for part, scenes in (("held out", held_out), ("test", test)):
            predicted = predict_labels(model, scenes)
            row = {"network": name, "part": part}
            for which, chosen in (
                ("all", slice(None)),
                ("worst tenth", worst(predicted, scenes.labels, -(-len(scenes) // 10))),
            ):
                shares = figures(predicted[chosen], scenes.labels[chosen])
                counted.append(row | {"scenes": which} | {kind: shares[kind] for kind in KINDS})
        counts = metrics.confusion(predicted, test.labels, len(test.classes))
        final[name] = {
            "train_loss": history[name][-1]["train_loss"],
            "miou": metrics.mean_iou(counts),
            **figures(predicted, test.labels),
        }
    return new_run(
        name="failures",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"networks": NETWORKS, "recipe": asdict(recipe)},
        data=garments[0].source,
        history=history,
        final=final,
        measured={"failures": counted, "sides": sides},
        device=device,
    )


def draw(
    config: Config, garments: tuple[ImageSet, ImageSet], seed: int
) -> tuple[LabeledScenes, LabeledScenes, LabeledScenes]:
    """Outfits of training garments, of the sixth of them that is held out, and of test garments."""
    train, held_out = split(garments[0], len(garments[0]) // 6, seed=0)
    counts = config.scenes, config.test_scenes, config.test_scenes
    return tuple(
        fashion_scenes(part, n, outfits=True, seed=3 * seed + number, noise=config.noise)
        for number, (part, n) in enumerate(zip((train, held_out, garments[1]), counts, strict=True))
    )


def worst(predicted: Tensor, labels: Tensor, count: int) -> Tensor:
    """The numbers of the scenes with the largest share of wrong pixels of garments, worst first."""
    garments = labels > 0
    wrong = garments & (predicted != labels)
    share = wrong.sum((1, 2)) / garments.sum((1, 2))
    return share.argsort(descending=True, stable=True)[:count]


def figures(predicted: Tensor, labels: Tensor) -> dict[str, float]:
    """The mean IoU of the three tops, and the share of scenes or garments with each failure."""
    iou = metrics.class_iou(metrics.confusion(predicted, labels, len(SCENE_CLASSES)))
    found = failures(predicted, labels)
    return {"tops_iou": iou[TOPS].mean().item()} | {
        kind: found[kind].float().mean().item() for kind in KINDS
    }


def failures(predicted: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What went wrong in scenes (N, 97, 97): for each of `KINDS`, where.

    "missed" (N, 4) bool, of the garments: more than half of the pixels were taken for background.
    "patchwork" (N, 4): of the pixels that were taken for a garment, less than two thirds for the
    same one. "misnamed" (N, 4): neither of these, but the class is wrong. "clash" (N,): a shoe and
    a top were seen, and do not go together; of several the one with the most pixels.
    """
    counts = given(predicted, labels)
    missed = 2 * counts[:, :, 0] > counts.sum(2)
    most, which = counts[:, :, 1:].max(2)
    patchwork = ~missed & (3 * most < 2 * counts[:, :, 1:].sum(2))
    misnamed = ~missed & ~patchwork & (most > 0) & (which + 1 != quarters(labels).amax(2))
    seen = F.one_hot(predicted.long().flatten(1), len(SCENE_CLASSES)).sum(1)
    (shoe, which_shoe), (top, which_top) = seen[:, SHOES].max(1), seen[:, TOPS].max(1)
    clash = (shoe > 0) & (top > 0) & (which_shoe != which_top)
    return {"misnamed": misnamed, "patchwork": patchwork, "missed": missed, "clash": clash}


def given(predicted: Tensor, labels: Tensor) -> Tensor:
    """For each of a scene's four garments, how many pixels were given each class: (N, 4, 11)."""
    classes = F.one_hot(quarters(predicted).long(), len(SCENE_CLASSES))
    return (classes * (quarters(labels) > 0)[..., None]).sum(2)


def quarters(labels: Tensor) -> Tensor:
    """(N, 97, 97) to (N, 4, 2304): each quarter has one garment."""
    half = SIDE // 2
    cut = labels[:, : 2 * half, : 2 * half].unflatten(2, (2, half)).unflatten(1, (2, half))
    return cut.transpose(2, 3).reshape(len(labels), 4, half * half)
