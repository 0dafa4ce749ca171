"""The networks of the lab *Take a network apart*: trained, folded, quantized, and written down.

ResNet-20 and plain-20 are trained by the recipe of the experiment `lesions`. Batch normalization is
folded into the convolutions, whose weights get 8 bits each and one scale for each output channel.
The script `web/take_apart_data.js` has these networks, and 500 test images. The recorded run beside
this file says how they were trained, and what they answer: whole, and after each lesion that the
lab offers, with the statistics from training and with renewed ones. What it says of the exported
networks is computed from the script, as readers get it.

    PYTHONPATH=book python -m labs.take_apart
"""

import base64
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from labs import script
from labs.script import packed, unpacked
from resnets import data, probes, runs
from resnets.data import ImageSet
from resnets.device import best_device, seed_everything
from resnets.experiments import checkpoint_root, lesions
from resnets.experiments.degradation import network
from resnets.models import ResNet
from resnets.training import evaluate, fit, predict

NETWORKS = ("ResNet-20", "plain-20")
SCALE, SEED = "hour", 0
STEM = lesions.CONFIGS[SCALE].stem
IMAGES = 500
RUN = Path(__file__).parent / f"take_apart-{SCALE}-seed{SEED}.json"
NOTICE = """\
Written by `python -m labs.take_apart`. The images are from Fashion-MNIST, under the MIT license
that stands beside this file (fashion_mnist_license.txt).
"""


def train(name: str, images: ImageSet) -> tuple[ResNet, list[dict[str, float]]]:
    """The network and the history of its training, from its checkpoint if there is one."""
    config = lesions.CONFIGS[SCALE]
    seed_everything(SEED)
    model = network(name, config.stem).to(images.labels.device)
    checkpoint = checkpoint_root() / "take_apart" / f"{name}.pt"
    history = fit(
        model,
        images[: config.images],
        config.recipe,
        seed=SEED,
        checkpoint=checkpoint,
        label=name,
    )
    return model.cpu().eval(), history


def convolutions(model: ResNet) -> list[tuple[nn.Module, str, str]]:
    """Where the convolutions are, in order: their module, their name in it, and that of the
    batch normalization after them."""
    found = [(model, "conv1", "bn1")]
    for block in probes.blocks(model).values():
        found += [(block, "conv1", "bn1"), (block, "conv2", "bn2")]
    return found


def folded(model: ResNet) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution, with batch normalization's statistics in them."""
    layers = []
    for module, conv, norm in convolutions(model):
        weight, norm = getattr(module, conv).weight.detach().double(), getattr(module, norm)
        factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double()
        bias = norm.bias.detach().double() - norm.running_mean.double() * factor
        layers.append(((weight * factor[:, None, None, None]).float(), bias.float()))
    return layers


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight in whole numbers from −127 to 127, and the scale of each output channel."""
    scale = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
    return (weight / scale[:, None, None, None]).round().to(torch.int8), scale


def described(name: str, model: ResNet) -> dict:
    """What the script says of a network; `restored` turns it back.

    `weights` are whole numbers, convolution by convolution. `numbers` are float32: of each
    convolution its scales and its biases, and the gains and shifts of the batch normalization that
    is folded into it, so that its statistics can be renewed; then the linear layer's weight and
    bias.
    """
    layers = [(*quantized(weight), bias) for weight, bias in folded(model)]
    floats = []
    for (module, _, norm), (_, scale, bias) in zip(convolutions(model), layers, strict=True):
        norm = getattr(module, norm)
        floats += [scale, bias, norm.weight.detach().abs(), norm.bias.detach()]
    floats += [model.fc.weight.detach().flatten(), model.fc.bias.detach()]
    return {
        "name": name,
        "residual": name.startswith("ResNet"),
        "stride": int(STEM[-1]),
        "layers": [[whole.shape[1], whole.shape[0]] for whole, _, _ in layers],
        "weights": packed(b"".join(whole.numpy().tobytes() for whole, _, _ in layers)),
        "numbers": packed(torch.cat(floats).numpy().astype("<f4").tobytes()),
    }


def read_networks(normalized: bool = False) -> dict[str, ResNet]:
    """The exported networks as PyTorch's, from the script."""
    return {
        content["name"]: restored(content, normalized)
        for content in script.read("take-apart")["networks"]
    }


def restored(content: dict, normalized: bool = False) -> ResNet:
    """The network that `described` wrote down: convolutions with a bias, no normalization.

    With `normalized`, batch normalization follows each convolution, with the network's gains and
    shifts. It has no statistics until they are renewed.
    """
    model = network(content["name"], STEM)
    whole = torch.from_numpy(np.frombuffer(unpacked(content["weights"]), np.int8).copy())
    numbers = torch.from_numpy(np.frombuffer(unpacked(content["numbers"]), "<f4").copy())

    def take(count: int) -> Tensor:
        nonlocal numbers
        taken, numbers = numbers[:count], numbers[count:]
        return taken

    for module, conv, norm in convolutions(model):
        convolution = getattr(module, conv)
        shape = convolution.weight.shape
        here, whole = whole[: shape.numel()], whole[shape.numel() :]
        weight = here.reshape(shape) * take(len(convolution.weight))[:, None, None, None]
        convolution.weight = nn.Parameter(weight)
        convolution.bias = nn.Parameter(take(len(weight)))
        normalization = nn.BatchNorm2d(len(weight))
        normalization.weight = nn.Parameter(take(len(weight)))
        normalization.bias = nn.Parameter(take(len(weight)))
        setattr(module, norm, normalization if normalized else nn.Identity())
    shape = model.fc.weight.shape
    model.fc.weight = nn.Parameter(take(shape.numel()).reshape(shape))
    model.fc.bias = nn.Parameter(take(len(model.fc.bias)))
    return model.eval()


def read_images() -> ImageSet:
    """The images of the script, with their labels."""
    content = script.read("take-apart")
    pixels = np.frombuffer(unpacked(content["images"]), np.uint8).reshape(-1, 28, 28)
    labels = np.frombuffer(base64.b64decode(content["labels"]), np.uint8)
    tensors = (torch.from_numpy(array.copy()) for array in (pixels, labels))
    images, labels = tensors
    return ImageSet(images, labels.long(), source=data.REAL)


def deletable(name: str) -> list[str]:
    """The blocks that the lab can switch off: in a plain network those that keep the shape."""
    blocks = probes.blocks(network(name, STEM))
    residual = name.startswith("ResNet")
    return [block for block in blocks if residual or block not in ("layer2.0", "layer3.0")]


def swappable(name: str) -> list[tuple[str, str]]:
    """The pairs of blocks that can change places."""
    pairs = combinations(probes.blocks(network(name, STEM)), 2)
    return [
        (one, two)
        for one, two in pairs
        if one[:6] == two[:6] and one not in ("layer2.0", "layer3.0")
    ]


def right(model: ResNet, images: ImageSet) -> int:
    """How many images the network answers correctly."""
    return int((predict(model, images).argmax(1) == images.labels).sum())


def lesions_of(name: str, images: ImageSet) -> dict[str, list[dict]]:
    """Right answers of the exported network, whole, without each block, and with each pair swapped.

    "right" has the statistics from training, "renewed" those of the same images.
    """
    model, normalized = (read_networks(kind)[name] for kind in (False, True))

    def row(off: tuple[str, ...] = (), pairs: tuple[tuple[str, str], ...] = (), **what) -> dict:
        found = {"network": name} | what
        with probes.deleted(model, *off), probes.swapped(model, *pairs):
            found["right"] = right(model, images)
        with (
            probes.deleted(normalized, *off),
            probes.swapped(normalized, *pairs),
            lesions.renewed(normalized, images),
        ):
            return found | {"renewed": right(normalized, images)}

    return {
        "whole": [row()],
        "deleted": [row((block,), block=block) for block in deletable(name)],
        "swapped": [row((), (pair,), one=pair[0], two=pair[1]) for pair in swappable(name)],
    }


def table() -> str:
    """The figure that stands where there is no lab: right answers in percent, after each lesion."""
    measured = runs.read(RUN).measured
    found = {}
    for row in [row for rows in measured.values() for row in rows]:
        if "one" in row:
            what = (
                f"{row['one'].removeprefix('layer')} and {row['two'].removeprefix('layer')} swapped"
            )
        else:
            what = f"without {row['block'].removeprefix('layer')}" if "block" in row else "whole"
        for kind in ("right", "renewed"):
            found.setdefault(what, {})[row["network"], kind] = f"{100 * row[kind] / IMAGES:.1f}"
    columns = list(product(NETWORKS, ("right", "renewed")))
    heads = [name + ", renewed" * (kind == "renewed") for name, kind in columns]
    rows = [["right answers, %", *heads], ["---"] * (1 + len(heads))]
    rows += [[what, *(each.get(column, "–") for column in columns)] for what, each in found.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Train, unless that is done, and write the script and the run."""
    train_images, test_images = data.fashion_mnist()
    if train_images.source != data.REAL:
        raise SystemExit("The lab shows Fashion-MNIST: name its folder in RESNETS_DATA.")
    history, final, contents = {}, {}, []
    device = best_device()
    for name in NETWORKS:
        model, history[name] = train(name, train_images.to(device))
        final[name] = {"float32": evaluate(model, test_images)[1]}
        contents.append(described(name, model))
    shown = test_images[:IMAGES]
    for content in contents:
        content["right"] = right(restored(content), shown)
    content = {
        "networks": contents,
        "images": packed(shown.images.numpy().tobytes()),
        "labels": base64.b64encode(bytes(shown.labels.tolist())).decode(),
    }
    script.write("take-apart", NOTICE, content)
    measured = {"whole": [], "deleted": [], "swapped": []}
    for name, model in read_networks().items():
        final[name]["exported"] = evaluate(model, test_images)[1]
        for table, rows in lesions_of(name, read_images()).items():
            measured[table] += rows
    run = runs.new_run(
        name="take_apart",
        scale=SCALE,
        seed=SEED,
        config=asdict(lesions.CONFIGS[SCALE]) | {"networks": NETWORKS, "tested": IMAGES},
        data=train_images.source,
        history=history,
        final=final,
        measured=measured,
        device=device,
    )
    assert run.write(RUN.parent) == RUN
    print(runs.finals([run]).to_string(index=False))


if __name__ == "__main__":
    main()
