"""What the lab *Shoe switch* shows: two networks' maps of scenes whose shoe and top are changed.

The FCN and PSPNet of section 6.7 are trained on outfits by the experiment `context`, for 5 epochs.
In that experiment's test scenes, the shoe and the top are then exchanged; places, sizes, noise and
everything else in the scenes stay. The script `web/shoe_switch_data.js` has some scenes and the
networks' maps of them. The recorded run beside this file says how they were trained, and what they
make of the tops of all test scenes.

    PYTHONPATH=book python -m labs.shoe_switch
"""

from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labs import script
from labs.script import packed, unpacked
from resnets import data, metrics, runs
from resnets.data import CLASSES, ImageSet, LabeledScenes
from resnets.device import best_device, seed_everything
from resnets.experiments import checkpoint_folder, context
from resnets.pspnet import PSPNet
from resnets.scenes import OUTFITS, SCENE_CLASSES, SIDE, fashion_scenes
from resnets.training import fit, predict_labels

SCALE, SEED = "hour", 0
CONFIG = context.CONFIGS[SCALE]
NETWORKS = ("FCN", "PSPNet")
SHOES, TOPS = tuple(OUTFITS), tuple(OUTFITS.values())
WORN = tuple(product(SHOES, TOPS))
SHOWN = 6  # scenes
GRAYS = 32  # that a pixel of a shown scene is rounded down to
RUN = Path(__file__).parent / f"shoe_switch-{SCALE}-seed{SEED}.json"
NOTICE = """\
Written by `python -m labs.shoe_switch`. The garments are from Fashion-MNIST, under the MIT
license that stands beside this file (fashion_mnist_license.txt).
"""


def train(name: str, scenes: LabeledScenes) -> tuple[PSPNet, list[dict[str, float]]]:
    """One of the experiment's networks, and its history; from its checkpoint if there is one."""
    seed_everything(SEED)
    model = context.network(name, CONFIG).to(scenes.labels.device)
    history = fit(
        model,
        scenes,
        CONFIG.recipe,
        seed=SEED,
        checkpoint=checkpoint_folder("context", SCALE, SEED) / f"outfits, {name}.pt",
        label=f"{name:6}",
    )
    return model, history


def switched(garments: ImageSet, shoe: str, top: str) -> LabeledScenes:
    """The experiment's test scenes, with this kind of shoe and of top in all of them.

    `fashion_scenes` draws them, from garments among which all shoes are of this kind, and all tops.
    """
    worn = {name: shoe for name in SHOES} | {name: top for name in TOPS}
    stand_ins = [
        garments[garments.labels == CLASSES.index(worn.get(name, name))] for name in CLASSES
    ]
    dressed = ImageSet(
        torch.cat([pieces.images for pieces in stand_ins]),
        torch.cat([torch.full_like(p.labels, number) for number, p in enumerate(stand_ins)]),
        garments.source,
    )
    options = {"outfits": True, "seed": 2 * SEED + 1, "noise": CONFIG.noise}
    scenes = fashion_scenes(dressed, CONFIG.test_scenes, **options)
    labels = scenes.labels.clone()
    for drawn, wanted in worn.items():
        here = scenes.labels == SCENE_CLASSES.index(drawn)
        labels[here] = SCENE_CLASSES.index(wanted)
    return replace(scenes, labels=labels)


def shares(predicted: Tensor, labels: Tensor, top: str) -> dict[str, float]:
    """Of the pixels that are `top`: the shares that were given to each of the three tops."""
    given = predicted[labels == SCENE_CLASSES.index(top)]
    return {
        f"as {name}": (given == SCENE_CLASSES.index(name)).float().mean().item() for name in TOPS
    }


def content(scenes: list[LabeledScenes], maps: list[list[Tensor]], run: runs.Run) -> dict:
    """What the script says; `read_script` turns it back.

    `scenes` are those of `WORN`, in its order, and `maps` each network's of them. To take little
    room, of the nine pictures of a scene five are written: the first, and what changes in it with
    the second and third shoe and top, as exclusive or. Maps are written as exclusive or with the
    truth.
    """

    def changes(pictures: list[Tensor]) -> bytes:
        first, *others = (pictures[index] for index in (0, 3, 6, 1, 2))
        return torch.stack([first, *(first ^ other for other in others)]).numpy().tobytes()

    truth = [each.labels for each in scenes]
    wrong = [found ^ true for network in maps for found, true in zip(network, truth, strict=True)]
    return {
        "networks": NETWORKS,
        "shoes": SHOES,
        "tops": TOPS,
        "classes": SCENE_CLASSES,
        "scenes": len(truth[0]),
        "side": SIDE,
        "grays": GRAYS,
        "tested": CONFIG.test_scenes,
        "conditions": runs.conditions([run]).splitlines()[1],
        "shares": [[round(r[f"as {top}"], 4) for top in TOPS] for r in run.measured["tops"]],
        "images": packed(changes([each.images[:, 0] // (256 // GRAYS) for each in scenes])),
        "truth": packed(changes(truth)),
        "maps": packed(torch.stack(wrong).numpy().tobytes()),
    }


def read_script() -> dict:
    """The script's content, with what is packed as pictures.

    `images` and `truth` (WORN, scenes, SIDE, SIDE) and `maps` (networks, WORN, scenes, SIDE, SIDE),
    uint8.
    """
    found = script.read("shoe-switch")

    def pictures(name: str) -> Tensor:
        flat = torch.from_numpy(np.frombuffer(unpacked(found[name]), np.uint8).copy())
        return flat.reshape(-1, SHOWN, SIDE, SIDE)

    for name in ("images", "truth"):
        first, *changes = pictures(name)
        shoes, tops = ([torch.zeros_like(first), *two] for two in (changes[:2], changes[2:]))
        found[name] = torch.stack([first ^ shoe ^ top for shoe, top in product(shoes, tops)])
    wrong = pictures("maps").reshape(len(NETWORKS), *found["truth"].shape)
    return found | {"maps": wrong ^ found["truth"]}


def table() -> str:
    """The figure that stands where there is no lab: what tops are taken for, of all test scenes."""
    heads = [f"{name}: {what}" for name in NETWORKS for what in ("right", "as the shoe's top")]
    rows = [["shoe", "top", *heads], ["---"] * (2 + len(heads))]
    measured = {(r["network"], r["shoe"], r["top"]): r for r in runs.read(RUN).measured["tops"]}
    for shoe, top in WORN:
        row = [shoe, top]
        for name in NETWORKS:
            found = measured[name, shoe, top]
            row.append(f"{100 * found[f'as {top}']:.0f} %")
            followed = OUTFITS[shoe] != top
            row.append(f"{100 * found[f'as {OUTFITS[shoe]}']:.0f} %" if followed else "–")
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Train, unless that is done, and write the script and the run."""
    garments = data.fashion_mnist()
    if garments[0].source != data.REAL:
        raise SystemExit("The lab shows Fashion-MNIST: name its folder in RESNETS_DATA.")
    device = best_device()
    training, test = context.draw(CONFIG, garments, outfits=True, seed=SEED)
    dressed = {worn: switched(garments[1], *worn) for worn in WORN}
    history, final, tops, maps = {}, {}, [], []
    for name in NETWORKS:
        model, history[name] = train(name, training)
        counts = metrics.confusion(predict_labels(model, test), test.labels, len(SCENE_CLASSES))
        iou = metrics.class_iou(counts)
        final[name] = {
            "train_loss": history[name][-1]["train_loss"],
            "pixel_accuracy": metrics.pixel_accuracy(counts),
            "miou": metrics.mean_iou(counts),
            "tops_iou": iou[list(context.TOPS)].mean().item(),
        }
        maps.append([])
        for (shoe, top), scenes in dressed.items():
            predicted = predict_labels(model, scenes.to(device)).cpu()
            maps[-1].append(predicted[:SHOWN])
            row = {"network": name, "shoe": shoe, "top": top}
            tops.append(row | shares(predicted, scenes.labels, top))
    run = runs.new_run(
        name="shoe_switch",
        scale=SCALE,
        seed=SEED,
        config=asdict(CONFIG) | {"networks": NETWORKS, "shown": SHOWN},
        data=garments[0].source,
        history=history,
        final=final,
        measured={"tops": tops},
        device=device,
    )
    assert run.write(RUN.parent) == RUN
    shown = [scenes[:SHOWN] for scenes in dressed.values()]
    script.write("shoe-switch", NOTICE, content(shown, maps, run))
    print(runs.finals([run]).to_string(index=False))


if __name__ == "__main__":
    main()
