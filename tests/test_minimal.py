"""The course in one file takes the library's steps, and needs nothing of the library."""

import ast
import gzip
import re
import struct

import pytest
import torch
from conftest import ROOT

import minimal
from resnets import models
from resnets.device import seed_everything
from resnets.experiments.lesson_course import FOUR_EPOCHS, FUSED
from resnets.training import Recipe, evaluate, fit

SOURCE = (ROOT / "book" / "minimal.py").read_text(encoding="utf-8")


def test_it_has_at_most_150_lines_and_imports_nothing_of_the_course():
    assert len(SOURCE.splitlines()) <= 150
    tree = ast.walk(ast.parse(SOURCE))
    names = [n.module for n in tree if isinstance(n, ast.ImportFrom)]
    names += [
        a.name for n in ast.walk(ast.parse(SOURCE)) if isinstance(n, ast.Import) for a in n.names
    ]
    found = {name.partition(".")[0] for name in names}
    assert "torch" in found and not found & {"resnets", "d2l"}


def test_the_recipe_is_that_of_the_lesson():
    assert (
        Recipe(
            epochs=minimal.EPOCHS,
            batch_size=minimal.BATCH,
            lr=minimal.RATE,
            momentum=minimal.MOMENTUM,
            weight_decay=minimal.WEIGHT_DECAY,
            label_smoothing=minimal.SMOOTHING,
        )
        == FOUR_EPOCHS
    )


def test_it_takes_the_library_s_steps(drawn, monkeypatch):
    """Two epochs of three steps on 100 images: the same weights and running averages."""
    images = drawn[0][:100]
    monkeypatch.setattr(minimal, "BATCH", 32)
    seed_everything(3)
    ours = models.resnet18(in_channels=1, num_classes=10)
    recipe = Recipe(
        epochs=2,
        batch_size=32,
        lr=minimal.RATE,
        momentum=minimal.MOMENTUM,
        weight_decay=minimal.WEIGHT_DECAY,
        label_smoothing=minimal.SMOOTHING,
    )
    fit(ours, images, recipe, seed=3, execution=FUSED)
    torch.manual_seed(3)
    net = minimal.resnet18().to(memory_format=torch.channels_last)
    minimal.train(net, images.images, images.labels, seed=3, epochs=2)
    pairs = zip(net.state_dict().values(), ours.state_dict().values(), strict=True)
    for number, (mine, theirs) in enumerate(pairs):
        torch.testing.assert_close(mine, theirs, msg=lambda text, n=number: f"tensor {n}: {text}")
    tested = drawn[1][:200]
    assert minimal.accuracy(net, tested.images, tested.labels) == pytest.approx(
        evaluate(ours, tested)[1]
    )


def test_it_reads_the_published_files(tmp_path, monkeypatch):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    images = torch.randint(256, (3, 28, 28), dtype=torch.uint8)
    header = struct.pack(">4i", 2051, 3, 28, 28)
    content = header + bytes(images.flatten().tolist())
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    content = struct.pack(">2i", 2049, 3) + bytes([9, 0, 4])
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    asked = []
    monkeypatch.setattr(minimal, "download_url", lambda url, folder, md5: asked.append(folder))
    found, labels = minimal.load(tmp_path, "t10k")
    assert asked == [raw] * 4
    assert torch.equal(found, images) and labels.tolist() == [9, 0, 4]


def test_its_result_is_not_measured_or_of_ten_runs_with_their_conditions():
    result = re.search(r"^RESULT: (.+?)\n(\n|\"\"\")", minimal.__doc__ + "\n\n", re.M | re.S)[1]
    measured = (
        r"test accuracy 0\.9\d+ ± 0\.\d+, \d+ ± \d+ s of training, 10 runs \(seeds 0 to 9\); "
        r".+; torch .+, Python .+"
    )
    text = " ".join(result.split())
    assert text.startswith("not measured yet") or re.fullmatch(measured, text)
