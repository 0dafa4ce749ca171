"""The course's own trained networks: `load("ResNet-20")`.

ResNet-20 and plain-20, those of the lab *Take a network apart*, come with the library. ResNet-18
(45 MB) does not; one command trains it, in minutes on two cores, and puts it into the cache:

    python -m resnets.weights ResNet-18

Beside a network's weights, NAME.pt, a manifest, NAME.json, says how they were made and what the
checksum of the file is. Weights are read without pickle.
"""

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs
import torch

from resnets.data import fashion_mnist
from resnets.device import best_device, hardware, seed_everything
from resnets.experiments import checkpoint_root, fashion, lesions
from resnets.experiments.degradation import network
from resnets.files import whole_file
from resnets.models import ResNet, resnet18
from resnets.training import evaluate, fit, load_weights, save_weights

PACKAGED = Path(__file__).parent / "trained"
# The experiment whose configuration a network was trained with, at `SCALE` and with `SEED`.
TRAINED_AS = {"ResNet-18": fashion, "ResNet-20": lesions, "plain-20": lesions}
SCALE, SEED = "hour", 0


@dataclass(frozen=True)
class Manifest:
    """How a network was trained, and its file's SHA-256.

    `images` are the first ones of the training set; `test_accuracy` is that of the last epoch, on
    all test images of `data`.
    """

    name: str
    sha256: str
    data: str
    images: int
    stem: str
    recipe: dict
    seed: int
    device: str
    torch: str
    test_accuracy: float


def load(name: str) -> ResNet:
    """The trained network `name`, in evaluation mode, on the CPU: (N, 1, H, W) to logits (N, 10).

    Images are normalized as `data.normalize` does.

    Raises:
        ValueError: there is no network of this name, or its file is damaged.
        FileNotFoundError: it is not here yet; the message has the command that trains it.
    """
    expected, path = manifest(name), _folder(name) / f"{name}.pt"
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected.sha256:
        raise ValueError(f"{path} is damaged: delete it, and {_how_to_make(name)}")
    model = build(name)
    load_weights(model, path)
    return model.eval()


def manifest(name: str) -> Manifest:
    """How the trained network `name` was made. Raises as `load` does."""
    path = _folder(name) / f"{name}.json"
    return Manifest(**json.loads(path.read_text(encoding="utf-8")))


def build(name: str) -> ResNet:
    """The network `name`, not trained.

    Raises:
        ValueError: there is no network of this name.
    """
    stem = _config(name).stem
    if name == "ResNet-18":
        return resnet18(in_channels=1, num_classes=10, stem=stem)
    return network(name, stem)


def make(name: str) -> Path:
    """Train the network `name`, or go on from its checkpoint, and write it into the cache.

    Returns the path of its weights.
    """
    config, device = _config(name), best_device()
    train, test = (part.to(device) for part in fashion_mnist())
    seed_everything(SEED)
    model = build(name)
    fit(
        model,
        train[: config.images],
        config.recipe,
        seed=SEED,
        checkpoint=checkpoint_root() / "weights" / f"{name}.pt",
        label=name,
    )
    return write(
        name,
        model,
        cache(),
        data=train.source,
        device=hardware(device),
        torch=torch.__version__,
        test_accuracy=evaluate(model, test)[1],
    )


def write(name: str, model: ResNet, folder: Path, **measured) -> Path:
    """Write the weights of `model` and their manifest; `measured` is what that cannot know."""
    path, config = folder / f"{name}.pt", _config(name)
    save_weights(model.cpu(), path)
    about = Manifest(
        name=name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        images=config.images,
        stem=config.stem,
        recipe=asdict(config.recipe),
        seed=SEED,
        **measured,
    )
    with whole_file(folder / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(asdict(about), indent=1) + "\n", encoding="utf-8")
    return path


def cache() -> Path:
    """Where `make` writes."""
    return platformdirs.user_cache_path("resnets") / "weights"


def _config(name: str):
    if name not in TRAINED_AS:
        raise ValueError(
            f"there are no trained weights of {name!r}: choose one of {', '.join(TRAINED_AS)}"
        )
    return TRAINED_AS[name].CONFIGS[SCALE]


def _folder(name: str) -> Path:
    _config(name)
    for folder in (PACKAGED, cache()):
        if (folder / f"{name}.json").exists() and (folder / f"{name}.pt").exists():
            return folder
    raise FileNotFoundError(f"the weights of {name} are not here yet: {_how_to_make(name)}")


def _how_to_make(name: str) -> str:
    return f"train them with `python -m resnets.weights {name}` (in Python: weights.make({name!r}))"


def main() -> None:
    parser = argparse.ArgumentParser("python -m resnets.weights", description="Train a network.")
    parser.add_argument("name", choices=list(TRAINED_AS))
    print(make(parser.parse_args().name))


if __name__ == "__main__":
    main()
