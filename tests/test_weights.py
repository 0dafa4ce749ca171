"""The course's own trained networks: they are those of the lab, and a file is what it says."""

import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from labs import script, take_apart
from resnets import data, runs, weights
from resnets.experiments import lesions
from resnets.training import predict


@pytest.mark.parametrize("name", take_apart.NETWORKS)
def test_they_are_the_networks_that_the_lab_takes_apart(name):
    """Folded and in 8 bits they are, number by number, what its page has."""
    model = weights.load(name)
    assert not model.training
    (written,) = (n for n in script.read("take-apart")["networks"] if n["name"] == name)
    found = take_apart.described(name, model)
    for key, kind in (("weights", np.int8), ("numbers", "<f4")):
        numbers, expected = (
            np.frombuffer(take_apart.unpacked(content[key]), kind) for content in (found, written)
        )
        np.testing.assert_allclose(numbers, expected, rtol=1e-6)


@pytest.mark.parametrize("name", take_apart.NETWORKS)
def test_the_manifest_says_what_was_recorded(name):
    run, about = runs.read(take_apart.RUN), weights.manifest(name)
    assert about.recipe == run.config["recipe"] == asdict(lesions.CONFIGS["hour"].recipe)
    assert (about.images, about.stem) == (run.config["images"], run.config["stem"])
    assert (about.device, about.torch, about.seed) == (run.device, run.torch, run.seed)
    assert (about.data, about.test_accuracy) == (run.data, run.final[name]["float32"])


@pytest.fixture
def few(drawn, monkeypatch, tmp_path):
    """Nothing comes with the library; what is trained is trained on a few images."""
    config = lesions.CONFIGS["hour"]
    few = replace(config, images=128, recipe=replace(config.recipe, epochs=1, batch_size=64))
    monkeypatch.setattr(lesions, "CONFIGS", {"hour": few})
    monkeypatch.setattr(weights, "fashion_mnist", lambda: (drawn[0][:200], drawn[1][:100]))
    monkeypatch.setattr(weights, "PACKAGED", tmp_path / "none")


def test_what_is_not_here_is_made_by_one_command(few, drawn, monkeypatch, own_cache, capsys):
    with pytest.raises(FileNotFoundError, match=r"`python -m resnets.weights plain-20`"):
        weights.load("plain-20")
    monkeypatch.setattr("sys.argv", ["weights", "plain-20"])
    weights.main()
    path = own_cache / "weights" / "plain-20.pt"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    model, about = weights.load("plain-20"), weights.manifest("plain-20")
    assert (about.data, about.images, about.recipe["epochs"]) == (data.STAND_IN, 128, 1)
    right = predict(model, drawn[1][:100]).argmax(1) == drawn[1].labels[:100]
    assert about.test_accuracy == pytest.approx(right.float().mean().item())


def test_a_damaged_file_is_not_read(monkeypatch, tmp_path):
    folder = tmp_path / "trained"
    shutil.copytree(weights.PACKAGED, folder)
    monkeypatch.setattr(weights, "PACKAGED", folder)
    path = folder / "ResNet-20.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"is damaged: delete it, and train them with `python -m"):
        weights.load("ResNet-20")


def test_resnet_18_is_the_chapter_s_network_and_is_not_committed():
    assert weights.build("ResNet-18").conv1.weight.shape == (64, 1, 7, 7)
    with pytest.raises(FileNotFoundError, match=r"`python -m resnets.weights ResNet-18`"):
        weights.load("ResNet-18")
    assert sum(file.stat().st_size for file in weights.PACKAGED.iterdir()) < 5e6


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="choose one of ResNet-18, ResNet-20, plain-20"):
        weights.load("ResNet-56")


def test_weights_are_loaded_without_pickle(monkeypatch):
    load, asked = torch.load, []

    def look(*arguments, **options):
        asked.append(options["weights_only"])
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", look)
    weights.load("ResNet-20")
    assert asked == [True]
