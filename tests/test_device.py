import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from resnets import device


def test_scale_follows_the_hardware_and_the_variable(monkeypatch):
    monkeypatch.delenv("RESNETS_SCALE", raising=False)
    for kind, scale in (("cpu", "quick"), ("cuda", "full"), ("mps", "full")):
        monkeypatch.setattr(device, "best_device", lambda kind=kind: torch.device(kind))
        assert device.default_scale() == scale
    monkeypatch.setenv("RESNETS_SCALE", "hour")
    assert device.default_scale() == "hour"
    monkeypatch.setenv("RESNETS_SCALE", "huge")
    with pytest.raises(ValueError, match="no scale 'huge': choose one of quick, hour, full"):
        device.default_scale()


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [
        (True, False, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
        (True, True, "cuda"),
    ],
)
def test_best_device(monkeypatch, cuda, mps, expected):
    monkeypatch.delenv("RESNETS_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device.best_device().type == expected


def test_a_device_can_be_asked_for_if_it_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("RESNETS_DEVICE", "cpu")
    assert device.best_device().type == "cpu"
    monkeypatch.setenv("RESNETS_DEVICE", "mps")
    with pytest.raises(ValueError, match="no mps device is found here: choose another one"):
        device.best_device()
    monkeypatch.setenv("RESNETS_DEVICE", "tpu")
    with pytest.raises(ValueError, match="no device 'tpu': choose one of cuda, mps, cpu"):
        device.best_device()


@pytest.mark.parametrize("in_hardware", [True, False])
def test_bfloat16_only_where_the_gpu_multiplies_it(monkeypatch, in_hardware):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: in_hardware)
    expected = torch.bfloat16 if in_hardware else torch.float32
    assert device.precision(torch.device("cuda")) is expected
    assert device.precision(torch.device("cpu")) is torch.float32
    assert device.precision(torch.device("mps")) is torch.float32


def test_on_a_cpu_nothing_is_cast():
    with device.autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


def test_one_seed_for_every_generator():
    def draw():
        device.seed_everything(7)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


@pytest.mark.parametrize(("count", "words"), [(1, "1 thread"), (2, "2 threads")])
def test_hardware_has_a_name(monkeypatch, count, words):
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    name, _, threads = device.hardware(torch.device("cpu")).rpartition(", ")
    assert len(name) > 3 and threads == words


@pytest.mark.parametrize(
    ("kind", "scale", "said"),
    [
        ("cpu", "quick", "No GPU was found"),
        ("cuda", "full", "%env RESNETS_SCALE=quick"),
        ("cuda", "quick", ""),
    ],
)
def test_conditions_say_what_to_do(monkeypatch, kind, scale, said):
    monkeypatch.setattr(device, "best_device", lambda: torch.device(kind))
    monkeypatch.setattr(device, "hardware", lambda place: f"a {place.type}")
    first, *rest = device.conditions(scale).splitlines()
    assert first == f"Scale {scale!r} on a {kind}, torch {torch.__version__}."
    assert said in "".join(rest) and bool(said) == bool(rest)


def test_the_library_starts_without_torchvision():
    """It takes longer to import than all the rest, and each graded submission would pay for it."""
    code = (
        "import sys, resnets.check, resnets.data, resnets.models, resnets.training\n"
        "assert 'torchvision' not in sys.modules"
    )
    path = os.environ | {"PYTHONPATH": str(ROOT / "book")}
    subprocess.run([sys.executable, "-c", code], env=path, check=True)
