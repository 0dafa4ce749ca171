"""What the pyramid is worth in a world where objects tell of each other, and in one where not.

Networks that parse fashion scenes (`scenes`): outfits, in which the shoe decides the top, and the
same garments drawn independently. The recipe was chosen on scenes of held-out garments.

    python -m resnets run context --scale hour --seed 0
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from resnets import metrics, probes
from resnets.data import ImageSet, LabeledScenes, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import ResNet
from resnets.pspnet import PSPNet
from resnets.runs import Run, new_run
from resnets.scenes import OUTFITS, SCENE_CLASSES, fashion_scenes
from resnets.training import Recipe, fit, predict_labels


@dataclass(frozen=True)
class Config:
    networks: tuple[str, ...]
    longer: int  # how many times as many epochs the networks that are trained longer get
    scenes: int
    test_scenes: int
    noise: float
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    recipe: Recipe


RECIPE = Recipe(epochs=5, batch_size=8, lr=0.05, weight_decay=1e-4, schedule="poly")
SMALL = {"noise": 0.15, "blocks": (1, 1, 1, 1), "widths": (32, 64, 64, 128), "recipe": RECIPE}
ALL = ("FCN", "wide FCN", "global average", "PSPNet", "FCN, longer", "PSPNet, longer")
CONFIGS = {
    "quick": Config(("FCN", "PSPNet"), 1, 1_000, 300, **SMALL),
    "hour": Config(ALL, 3, 1_500, 500, **SMALL),
    "full": Config(
        ALL,
        3,
        4_000,
        1_000,
        **SMALL | {"blocks": (2, 2, 2, 2), "widths": (64, 128, 256, 512)},
    ),
}
WORLDS = ("outfits", "independent")
TOPS = tuple(SCENE_CLASSES.index(top) for top in OUTFITS.values())


def network(name: str, config: Config) -> PSPNet:
    """One of `ALL`: dilated backbone, auxiliary loss, and the pyramid that the name stands for."""
    kind = name.removesuffix(", longer")
    bins = {"PSPNet": (1, 2, 3, 6), "global average": (1,)}.get(kind, ())
    backbone = ResNet(config.blocks, widths=config.widths, in_channels=1, dilated=(3, 4))
    hidden = None
    if kind == "wide FCN":
        hidden = _width_with_as_many_parameters(config)
    return PSPNet(backbone, len(SCENE_CLASSES), bins=bins, hidden=hidden)


def _width_with_as_many_parameters(config: Config) -> int:
    """Channels that the FCN's head needs to have at least PSPNet's parameters."""
    missing = probes.parameters(network("PSPNet", config)) - probes.parameters(
        network("FCN", config)
    )
    # Of a channel of the head: 3×3 convolution, normalization's two numbers, its share of the 1×1.
    each = 9 * config.widths[-1] + 2 + len(SCENE_CLASSES)
    return config.widths[-1] // 4 + -(-missing // each)


def draw(
    config: Config, garments: tuple[ImageSet, ImageSet], outfits: bool, seed: int
) -> tuple[LabeledScenes, LabeledScenes]:
    """Training scenes of training garments, test scenes of test garments, on the best device."""
    counts = config.scenes, config.test_scenes
    return tuple(
        fashion_scenes(part, n, outfits=outfits, seed=2 * seed + number, noise=config.noise).to(
            best_device()
        )
        for number, (part, n) in enumerate(zip(garments, counts, strict=True))
    )


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network in each world.

    `final`, for "world, network": training loss and, on the world's test scenes after the last
    epoch, pixel accuracy, mIoU and the mean IoU of the three tops. `measured["iou"]`: of each
    class. `measured["follows"]`: what networks trained on outfits make of a top whose shoe is
    another top's (`follows_shoe`). `measured["influence"]`: side of the square that has 95 % of
    the influence on the backbone's middle feature, before and after training.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    garments = data or fashion_mnist()
    worlds = {world: draw(config, garments, world == "outfits", seed) for world in WORLDS}
    history, final, ious, follows, influences = {}, {}, [], [], []
    for world, (train, test) in worlds.items():
        for name in config.networks:
            seed_everything(seed)
            model = network(name, config).to(device)
            before = features_see(model, test)
            longer = config.longer if name.endswith("longer") else 1
            key = f"{world}, {name}"
            history[key] = fit(
                model,
                train,
                replace(config.recipe, epochs=longer * config.recipe.epochs),
                seed=seed,
                checkpoint=checkpoints and checkpoints / f"{key}.pt",
                label=f"{key:27}",
            )
            counts = metrics.confusion(predict_labels(model, test), test.labels, len(test.classes))
            iou = metrics.class_iou(counts)
            final[key] = {
                "train_loss": history[key][-1]["train_loss"],
                "pixel_accuracy": metrics.pixel_accuracy(counts),
                "miou": metrics.mean_iou(counts),
                "tops_iou": iou[list(TOPS)].mean().item(),
            }
            where = {"world": world, "network": name}
            ious += [
                where | {"class": c, "iou": i}
                for c, i in zip(test.classes, iou.tolist(), strict=True)
            ]
            influences.append(where | {"before": before, "after": features_see(model, test)})
            if world == "outfits":
                follows.append({"network": name} | follows_shoe(model, worlds["independent"][1]))
    return new_run(
        name="context",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=garments[0].source,
        history=history,
        final=final,
        measured={"iou": ious, "follows": follows, "influence": influences},
        device=device,
    )


def follows_shoe(model: PSPNet, scenes: LabeledScenes) -> dict[str, float]:
    """Of the pixels of tops that do not go with the scene's shoe: the shares of what was predicted.

    "pixels" is the share that was given the top it is, "shoe" the top that goes with the shoe.
    """
    predicted, labels = predict_labels(model, scenes).cpu(), scenes.labels.cpu()
    expected = torch.zeros(len(labels), 1, 1, dtype=torch.uint8)
    for shoe, top in OUTFITS.items():
        worn = (labels == SCENE_CLASSES.index(shoe)).any(2).any(1)
        expected[worn] = SCENE_CLASSES.index(top)
    tops = torch.isin(labels, torch.tensor(TOPS))
    mismatched = tops & (labels != expected)
    return {
        "pixels": (predicted == labels)[mismatched].float().mean().item(),
        "shoe": (predicted == expected)[mismatched].float().mean().item(),
    }


def features_see(model: PSPNet, scenes: LabeledScenes) -> int:
    """Side of the square that has 95 % of the influence on the middle feature, over ten scenes."""

    def features(x: torch.Tensor) -> torch.Tensor:
        *_, last = model.backbone.stage_outputs(x)
        return last

    x, _ = scenes.batch(torch.arange(10, device=scenes.labels.device))
    model.eval()
    return probes.side_of(probes.influence(features, x))
