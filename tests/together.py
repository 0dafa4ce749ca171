"""What each of several processes does in `test_processes.py`: train a small network, save it.

Arguments: the folder for what is saved, the epoch after which process 1 is killed (0: never), and
the kind of training: "plain" (without batch normalization), "normalized", or "stochastic depth"
(plain, and with blocks left out at random).
"""

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import torch

from resnets import probes, processes
from resnets.data import STAND_IN, ImageSet
from resnets.models import cifar_resnet
from resnets.standin import drawn_garments
from resnets.training import Execution, Recipe, fit, save_weights

RECIPE = Recipe(epochs=3, batch_size=32, lr=0.1, augment=True)


def train(folder: Path, kill_after: int, kind: str) -> list[dict[str, float]]:
    def kill(_):
        if processes.rank() == 1 and (folder / "checkpoint.pt").exists():
            epochs.append(1)
            if len(epochs) == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
        return {}

    epochs = []
    torch.manual_seed(0)
    model = cifar_resnet(
        8,
        in_channels=1,
        num_classes=10,
        stem="stride2",
        batch_norm=kind == "normalized",
        zero_init_residual=True,
    )
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    images = ImageSet(*drawn_garments(128, 0), STAND_IN)
    stochastic = kind == "stochastic depth"
    with probes.stochastic_depth(model, 0.5) if stochastic else nullcontext():
        history = fit(
            model,
            images,
            RECIPE,
            execution=Execution(leaves_layers_out=stochastic),
            checkpoint=folder / "checkpoint.pt",
            after_epoch=kill if kill_after else None,
        )
    save_weights(model, folder / f"process{processes.rank()}.pt")
    print(f"process {processes.rank()} saw batches of {set(seen)}")
    return history


if __name__ == "__main__":
    with processes.joined(torch.device("cpu")):
        train(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
