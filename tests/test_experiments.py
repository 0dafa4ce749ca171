import importlib
import pkgutil
import sys
from dataclasses import replace

import pytest
import torch

from resnets import __main__, data, experiments, runs
from resnets.device import SCALES
from resnets.experiments import (
    degradation,
    fashion,
    fashion_steps,
    gradient_norms,
    learning_rates,
    lesions,
    loss_surface,
)
from resnets.models import BasicBlock
from resnets.training import evaluate, predict

NAMES = [module.name for module in pkgutil.iter_modules(experiments.__path__)]


@pytest.fixture
def small(monkeypatch, drawn, tmp_path):
    """Every experiment on few images and one epoch, and those of chapter 5 with few blocks."""
    smaller = {
        gradient_norms: {"depths": (8, 14)},
        lesions: {
            "networks": ("plain-14", "ResNet-14"),
            "several": (2,),
            "draws": 1,
            "path_images": 2,
        },
        loss_surface: {"looked_at": 20, "lines": 1, "points": 3, "grid": 2},
    }
    for module in (degradation, fashion, gradient_norms, lesions, loss_surface):
        configs = {}
        for scale, config in module.CONFIGS.items():
            recipe = replace(config.recipe, epochs=1)
            fewer = {"images": 160, "recipe": recipe} | smaller.get(module, {})
            configs[scale] = replace(config, **fewer)
        monkeypatch.setattr(module, "CONFIGS", configs)
    monkeypatch.setattr(loss_surface, "NETWORKS", ("plain-8", "ResNet-8"))
    monkeypatch.setattr(learning_rates, "CONFIGS", degradation.CONFIGS)
    configs = {}
    for scale, config in fashion_steps.CONFIGS.items():
        steps = {n: replace(s, recipe=replace(s.recipe, epochs=1)) for n, s in config.steps.items()}
        configs[scale] = replace(config, images=160, steps=steps)
    monkeypatch.setattr(fashion_steps, "CONFIGS", configs)
    monkeypatch.setattr(runs, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(data, "stand_in", lambda: (drawn[0][:240], drawn[1][:100]))
    return tmp_path / "recorded"


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["resnets", *words])
    __main__.main()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", SCALES)
def test_the_command_records_every_experiment_at_every_scale(
    name, scale, small, monkeypatch, capsys, own_cache
):
    if (name, scale) in {("learning_rates", "full"), ("fashion_steps", "full")}:
        pytest.skip("the same networks as degradation's and fashion's, several times over")
    call(monkeypatch, "run", name, "--scale", scale, "--seed", "2", "--stand-in")
    (path,) = small.iterdir()
    run = runs.read(path)
    assert (run.name, run.scale, run.seed, run.data) == (name, scale, 2, data.STAND_IN)
    assert "recorded in" in capsys.readouterr().out
    assert not list(own_cache.rglob("*.pt"))


def test_a_stopped_run_goes_on_from_its_checkpoints(small, monkeypatch, own_cache, capsys):
    words = ("run", "degradation", "--scale", "quick", "--stand-in")
    call(monkeypatch, *words)
    whole = runs.read(next(small.iterdir())).final

    evaluate, calls = degradation.evaluate, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(degradation, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        call(monkeypatch, *words)
    assert len(list(own_cache.rglob("*.pt"))) == 2

    capsys.readouterr()
    monkeypatch.setattr(degradation, "evaluate", evaluate)
    call(monkeypatch, *words)
    assert runs.read(next(small.iterdir())).final == whole
    trained = [line for line in capsys.readouterr().out.splitlines() if "epoch 1/1" in line]
    assert len(trained) == 2


def test_fashion_counts_its_test_images_once(small, drawn, monkeypatch):
    looked_at = []
    evaluate = fashion.evaluate

    def look(model, images):
        looked_at.append(len(images))
        return evaluate(model, images)

    monkeypatch.setattr(fashion, "evaluate", look)
    fashion.run("quick", 0, data=(drawn[0], drawn[1][:70]))
    assert looked_at == [70]


def test_fashion_steps_judges_on_images_held_out_of_the_training_set(small, drawn, monkeypatch):
    seen = {}

    def look(model, train, recipe, *, validation, **_):
        seen[recipe] = (train, validation)
        return [{"train_loss": 0.0, "validation_accuracy": 0.0, "seconds": 1.0}]

    numbered = data.ImageSet(drawn[0].images[:300], torch.arange(300), data.STAND_IN)
    monkeypatch.setattr(fashion_steps, "fit", look)
    fashion_steps.run("quick", 0, data=(numbered, None))
    assert len(seen) == 5
    for train, validation in seen.values():
        assert len(validation) == 60
        assert not set(train.labels.tolist()) & set(validation.labels.tolist())


@pytest.mark.parametrize(
    "module",
    [degradation, fashion, fashion_steps, gradient_norms, learning_rates, lesions, loss_surface],
)
def test_the_seed_reaches_the_order_of_the_images(module, small, drawn, monkeypatch):
    seeds = set()
    fit = module.fit

    def look(*arguments, seed, **options):
        seeds.add(seed)
        return fit(*arguments, seed=seed, **options)

    monkeypatch.setattr(module, "fit", look)
    module.run("quick", 7, data=(drawn[0][:200], drawn[1][:50]))
    assert seeds == {7}


def test_learning_rates_trains_each_network_at_each_rate(small, drawn, monkeypatch):
    seen = []

    def look(model, train, recipe, *, label, **_):
        seen.append((label.split(" ")[0], recipe.lr))
        return [{"train_loss": 0.0, "seconds": 1.0}]

    monkeypatch.setattr(learning_rates, "fit", look)
    learning_rates.run("quick", 0, data=(drawn[0][:200], None))
    assert set(seen) == {(n, r) for n in degradation.NETWORKS for r in (0.025, 0.05, 0.1)}


def test_fashion_steps_never_sees_the_test_images(small, drawn):
    run = fashion_steps.run("quick", 0, data=(drawn[0][:300], None))
    assert run.config["held_out"] == 60
    assert all(set(f) == {"train_loss", "validation_accuracy"} for f in run.final.values())


def test_lesions_measures_every_block_and_every_length_of_path(small, drawn):
    run = lesions.run("quick", 0, data=(drawn[0][:200], drawn[1][:50]))
    deleted = runs.measured([run], "deleted").groupby("network").block.apply(list)
    names = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]
    assert deleted["ResNet-14"] == names
    assert deleted["plain-14"] == [n for n in names if n not in ("layer2.0", "layer3.0")]
    paths = runs.measured([run], "paths")
    assert set(paths.network) == {"ResNet-14"}
    for _, rows in paths.groupby("trained"):
        assert list(rows.length) == list(range(7))
    assert set(runs.measured([run], "several").blocks) == {2}
    assert set(runs.measured([run], "swapped").pairs) == {1}  # one pair of equal shape


def test_blocks_are_deleted_from_the_network_that_was_trained(drawn, small):
    net = degradation.network("ResNet-14", "stride2")
    for block in (net.layer1[1], net.layer2[1]):  # already adds nothing
        torch.nn.init.zeros_(block.bn2.weight)
    whole = evaluate(net, drawn[1][:200])[1]
    left = {row["block"]: row["accuracy"] for row in lesions.delete_each(net, drawn[1][:200])}
    assert left["layer1.1"] == left["layer2.1"] == whole


def test_the_surface_is_measured_around_the_trained_weights(small, drawn):
    run = loss_surface.run("quick", 0, data=(drawn[0][:200], None))
    lines, descent = runs.measured([run], "line"), runs.measured([run], "descent")
    for name, figures in run.final.items():
        center = lines[(lines.network == name) & (lines.step.abs() < 1e-6)]
        first = descent[(descent.network == name) & (descent.step == 0)]
        assert center.loss.item() == first.loss.item() == figures["loss_looked_at"]
        assert lines[lines.network == name].loss.nunique() == 3


def test_a_step_down_the_gradient_lowers_the_loss_by_its_square(drawn):
    torch.manual_seed(0)
    net = degradation.network("ResNet-8", "stride2").eval()
    images = drawn[0][:64]
    losses = {row["step"]: row["loss"] for row in loss_surface.descent(net, images)}
    loss = torch.nn.functional.cross_entropy(predict(net, images), images.labels)
    assert losses[0] == pytest.approx(loss.item())
    square = sum(p.grad.square().sum().item() for p in net.parameters())
    assert losses[0] - losses[1e-3] == pytest.approx(1e-3 * square, rel=0.2)


def test_a_network_that_diverges_is_recorded_as_such(small, drawn, monkeypatch):
    fit = gradient_norms.fit

    def diverge(model, train, recipe, *, label, **options):
        if label.startswith("ResNet-14, no BN"):
            raise FloatingPointError("the loss is nan at step 3")
        return fit(model, train, recipe, label=label, **options)

    monkeypatch.setattr(gradient_norms, "fit", diverge)
    run = gradient_norms.run("quick", 0, data=(drawn[0][:200], None))
    assert [row["network"] for row in run.measured["diverged"]] == ["ResNet-14, no BN"]
    assert len(run.history) == len(run.final) == 7
    initial = runs.measured([run], "initial")
    assert initial.network.nunique() == 8 and (initial.norm > 0).all()
    blocks = [key for key in run.history["plain-8"][0] if key.startswith("gradient")]
    assert blocks == [f"gradient layer{stage}.0" for stage in (1, 2, 3)]


@pytest.mark.parametrize("name", degradation.NETWORKS)
def test_the_compared_networks_differ_in_depth_and_shortcuts_alone(name):
    kind, depth = name.split("-")
    net = degradation.network(name, "stride2")
    blocks = [module for module in net.modules() if isinstance(module, BasicBlock)]
    assert 2 * len(blocks) + 2 == int(depth)
    assert all((block.downsample is None) == (kind == "plain") for block in blocks)
    plain = degradation.network(f"plain-{depth}", "stride2")
    assert net.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_scale_is_refused(name):
    module = importlib.import_module(f"resnets.experiments.{name}")
    with pytest.raises(ValueError, match="choose one of quick, hour, full"):
        module.run("huge", 0)


@pytest.mark.parametrize("words", [("run", "nothing"), ("run", "fashion", "--scale", "huge"), ()])
def test_an_unknown_word_names_the_choices(words, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, *words)
    assert "run" in capsys.readouterr().err
