import importlib
import pkgutil
import sys
import time
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets import __main__, camvid, data, experiments, metrics, runs, scenes
from resnets.device import SCALES
from resnets.experiments import (
    bench,
    branch_scaling,
    calibration,
    context,
    curvature,
    degradation,
    degradation_110,
    dropout,
    failures,
    fashion,
    fashion_controls,
    fashion_steps,
    gradient_norms,
    growth,
    image_size,
    learning_rates,
    lesions,
    lesson_course,
    lesson_d2l,
    lesson_d2l_28,
    lesson_recipe,
    loss_surface,
    low_rates,
    net2net,
    pyramid_steps,
    receptive_fields,
    responses,
    scaling,
    shortcut_kinds,
    shortcuts,
    speed_steps,
    stochastic_depth,
    stride,
    thousand_layers,
    transformer_depth,
    transformer_lesions,
    transformer_start,
    warm_up,
    warm_up_110,
    without_batch_norm,
    without_shortcuts,
)
from resnets.experiments import camvid as camvid_experiment
from resnets.lesson import Config, OneByOne, d2l_resnet18
from resnets.models import PaddedIdentity, cifar_resnet, resnet18
from resnets.probes import blocks, parameters
from resnets.training import Execution, Recipe, evaluate, fit, predict

BUILT_ALREADY = {
    *(("learning_rates", "full"), ("fashion_steps", "full"), ("growth", "full")),
    *(("degradation_110", "full"), ("speed_steps", "hour"), ("curvature", "full")),
    *((name, scale) for name in ("bench", "scaling") for scale in ("hour", "full")),
    *(("fashion_controls", "full"), ("lesson_recipe", "full"), ("lesson_course", "full")),
    *((name, "full") for name in ("lesson_d2l", "lesson_d2l_28", "image_size", "calibration")),
    ("calibration", "hour"),
    *((f"transformer_{name}", scale) for name in ("depth", "start") for scale in ("hour", "full")),
    ("transformer_lesions", "full"),
    *((name, "full") for name in ("branch_scaling", "without_shortcuts", "shortcut_kinds")),
}
NAMES = [module.name for module in pkgutil.iter_modules(experiments.__path__)]


@pytest.fixture(scope="module")
def streets():
    return camvid.stand_in(60)


@pytest.fixture
def small(monkeypatch, drawn, streets, tmp_path):
    """Every experiment on few images and one epoch, and some with few blocks."""
    thin = {"block": "basic", "blocks": (1, 1, 1, 1), "widths": (4, 4, 8, 8)}
    smaller = {
        camvid_experiment: thin | {"height": 60, "frames": 16, "judged": 12},
        context: {
            "scenes": 16,
            "test_scenes": 10,
            "networks": context.ALL,
            "longer": 2,
            "blocks": (1, 1, 1, 1),
            "widths": (4, 4, 8, 8),
        },
        gradient_norms: {"depths": (8, 14)},
        lesions: {
            "networks": ("plain-14", "ResNet-14"),
            "several": (2,),
            "draws": 1,
            "path_images": 2,
        },
        receptive_fields: {"networks": ("ResNet-8",), "mosaics": 1},
        branch_scaling: {"depths": (8,), "rates": (0.1, 1e9)},
        shortcut_kinds: {"depth": 8},
        shortcuts: {"widths": (4, 4, 8, 8)},
        stochastic_depth: {"network": "ResNet-14", "looked_at": 20, "several": (1, 2), "draws": 1},
        thousand_layers: {"depths": (8,)},
        without_batch_norm: {"depths": (8,), "rates": (0.1, 1e9)},
        without_shortcuts: {"depths": (8,), "rates": (0.1,)},
        image_size: {"enlarged": 56, "longer": 2},
        loss_surface: {"looked_at": 20, "lines": 1, "points": 3, "grid": 2},
        transformer_depth: {"blocks": (1, 2), "rates": (0.03, 1e9)},
        transformer_lesions: {"networks": ("post-norm-2",), "several": (1, 4), "draws": 2},
    }
    for module in (
        branch_scaling,
        calibration,
        camvid_experiment,
        context,
        degradation,
        dropout,
        fashion,
        gradient_norms,
        growth,
        lesions,
        loss_surface,
        net2net,
        receptive_fields,
        shortcut_kinds,
        shortcuts,
        stochastic_depth,
        thousand_layers,
        transformer_depth,
        transformer_lesions,
        without_batch_norm,
        without_shortcuts,
    ):
        configs = {}
        for scale, config in module.CONFIGS.items():
            size = min(config.recipe.batch_size, 128)
            recipe = replace(config.recipe, epochs=1, batch_size=size)
            fewer = {"recipe": recipe} | smaller.get(module, {})
            if hasattr(config, "images"):
                fewer["images"] = 160
            configs[scale] = replace(config, **fewer)
        monkeypatch.setattr(module, "CONFIGS", configs)
    monkeypatch.setattr(loss_surface, "NETWORKS", ("plain-8", "ResNet-8"))
    monkeypatch.setattr(learning_rates, "CONFIGS", degradation.CONFIGS)
    monkeypatch.setattr(responses, "CONFIGS", gradient_norms.CONFIGS)
    monkeypatch.setattr(curvature, "NETWORKS", ("plain-8", "ResNet-8"))
    for constant, value in {"BATCH": 32, "LOOKED_AT": 32, "OTHERS": 64, "TOLERANCE": 10.0}.items():
        monkeypatch.setattr(curvature, constant, value)
    for module in (curvature, degradation_110, low_rates, warm_up, warm_up_110):
        monkeypatch.setattr(module, "CONFIGS", degradation.CONFIGS)
    for module in (low_rates, warm_up, warm_up_110):
        monkeypatch.setattr(module, "NETWORK", "plain-8")
    monkeypatch.setattr(degradation_110, "NETWORKS", ("plain-14", "ResNet-14"))
    lesson = replace(fashion.CONFIGS["quick"], recipe=Recipe(epochs=1, batch_size=64))
    monkeypatch.setattr(bench, "CONFIGS", {"quick": bench.Config(2, lesson, matrix=256)})
    monkeypatch.setattr(scaling, "CONFIGS", {"quick": scaling.Config(32, 3, "imagenet")})
    configs = {}
    for scale, config in speed_steps.CONFIGS.items():
        steps = {
            n: replace(s, recipe=replace(s.recipe, epochs=1, batch_size=64), execution=Execution())
            for n, s in list(config.steps.items())[-3:]
        }
        configs[scale] = replace(config, images=160, steps=steps)
    monkeypatch.setattr(speed_steps, "CONFIGS", configs)
    monkeypatch.setattr(pyramid_steps, "CONFIGS", context.CONFIGS)
    monkeypatch.setattr(failures, "CONFIGS", context.CONFIGS)
    monkeypatch.setattr(stride, "CONFIGS", shortcuts.CONFIGS)
    monkeypatch.setattr(transformer_start, "CONFIGS", transformer_depth.CONFIGS)
    configs = {}
    for scale, config in fashion_steps.CONFIGS.items():
        steps = {n: replace(s, recipe=replace(s.recipe, epochs=1)) for n, s in config.steps.items()}
        configs[scale] = replace(config, images=160, steps=steps)
    monkeypatch.setattr(fashion_steps, "CONFIGS", configs)
    monkeypatch.setattr(fashion_controls, "CONFIGS", configs)
    monkeypatch.setattr(lesson_recipe, "CONFIGS", configs)
    monkeypatch.setattr(lesson_course, "CONFIGS", dict.fromkeys(SCALES, lesson))
    for module in (lesson_d2l, lesson_d2l_28):
        monkeypatch.setattr(module, "CONFIGS", dict.fromkeys(SCALES, Config(28, 160, 1)))
    monkeypatch.setattr(runs, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(data, "stand_in", lambda: (drawn[0][:240], drawn[1][:100]))
    monkeypatch.setattr(camvid, "stand_in", lambda height: streets)
    return tmp_path / "recorded"


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["resnets", *words])
    __main__.main()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", SCALES)
def test_the_command_records_every_experiment_at_every_scale(
    name, scale, small, monkeypatch, capsys, own_cache
):
    if (name, scale) in BUILT_ALREADY:
        pytest.skip("networks that the smaller scales or other experiments have built already")
    call(monkeypatch, "run", name, "--scale", scale, "--seed", "2", "--stand-in")
    (path,) = small.iterdir()
    run = runs.read(path)
    source = camvid.STAND_IN if name == "camvid" else data.STAND_IN
    assert (run.name, run.scale, run.seed, run.data) == (name, scale, 2, source)
    assert "recorded in" in capsys.readouterr().out
    assert not list(own_cache.rglob("*.pt"))


def test_a_stopped_run_goes_on_from_its_checkpoints(small, monkeypatch, own_cache, capsys):
    words = ("run", "degradation", "--scale", "quick", "--stand-in")
    call(monkeypatch, *words)
    whole = runs.read(next(small.iterdir())).final

    evaluate, calls = experiments.evaluate, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(experiments, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        call(monkeypatch, *words)
    assert len(list(own_cache.rglob("*.pt"))) == 2

    capsys.readouterr()
    monkeypatch.setattr(experiments, "evaluate", evaluate)
    call(monkeypatch, *words)
    assert runs.read(next(small.iterdir())).final == whole
    trained = [line for line in capsys.readouterr().out.splitlines() if "epoch 1/1" in line]
    assert len(trained) == 2


def test_what_is_stopped_keeps_its_history_marked_incomplete(small, monkeypatch, own_cache, capsys):
    evaluate, calls = experiments.evaluate, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(experiments, "evaluate", stop)
    words = ("run", "degradation", "--scale", "quick", "--stand-in")
    with pytest.raises(KeyboardInterrupt):
        call(monkeypatch, *words)
    (path,) = own_cache.rglob("*.json")
    assert str(path) in capsys.readouterr().out
    run = runs.read(path)
    assert not run.complete and run.final == {}
    assert set(run.history) == {"plain-20", "plain-56"}
    assert all(rows[-1]["train_loss"] > 0 for rows in run.history.values())
    assert not small.exists()

    monkeypatch.setattr(experiments, "evaluate", evaluate)
    call(monkeypatch, *words)
    assert runs.read(next(small.iterdir())).complete
    assert not list(own_cache.rglob("*.json"))


def test_record_goes_on_with_what_is_not_recorded_with_this_code(small, monkeypatch, capsys):
    monkeypatch.setattr(__main__, "SEEDS", 2)
    monkeypatch.setattr(__main__.pkgutil, "iter_modules", lambda _: [Named("fashion")])
    changed = {0: [], 1: []}
    monkeypatch.setattr(runs, "changed_since", lambda run: changed[run.seed])
    words = ("record", "--scale", "quick", "--stand-in")
    call(monkeypatch, *words)
    assert {path.name for path in small.iterdir()} == {
        f"fashion-quick-standin-seed{seed}.json" for seed in (0, 1)
    }
    capsys.readouterr()
    changed[1] = ["training"]
    call(monkeypatch, *words)
    printed = capsys.readouterr().out
    assert "fashion, seed 0: recorded already" in printed
    assert "fashion, seed 1\n" in printed and printed.count("recorded in") == 1


class Named:
    def __init__(self, name):
        self.name = name


def test_bench_prints_its_ratios_beside_those_recorded_last(small, monkeypatch, capsys):
    figures = {name: dict.fromkeys(bench.RATIOS, 2.0) for name in bench.LESSONS}

    class Pool:
        def __init__(self, *_): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def submit(self, lesson, *_):
            (name,) = (name for name, function in bench.LESSONS.items() if function is lesson)
            return Named(name)

    monkeypatch.setattr(Named, "result", lambda self: dict(figures[self.name]), raising=False)
    monkeypatch.setattr(bench, "ProcessPoolExecutor", Pool)
    words = ("bench", "--scale", "quick", "--stand-in")
    call(monkeypatch, *words)
    assert "recorded last" not in capsys.readouterr().out
    figures["d2l's lesson"].update(seconds=60.0, images_per_second=1.0)
    call(monkeypatch, *words)
    printed = capsys.readouterr().out
    last, now = printed[printed.index("recorded last") :].split("now: ")
    assert "30.0 ± 0.0" not in last and "30.0 ± 0.0" in now
    run = runs.read(next(small.iterdir()))
    assert run.final["times better"]["seconds"] == 30
    assert run.final["times better"]["images_per_second"] == 2
    assert len(list(small.iterdir())) == __main__.SEEDS


@pytest.mark.parametrize("named", [True, False])
def test_a_chapter_that_lost_its_machine_goes_on_but_at_quick(
    small, drawn, monkeypatch, own_cache, tmp_path, capsys, named
):
    """As a chapter calls it, without a folder for checkpoints."""
    folder = own_cache / "checkpoints"
    if named:
        folder = tmp_path / "drive"
        monkeypatch.setenv("RESNETS_CHECKPOINTS", str(folder))
    first = degradation.run("hour", 0, data=drawn)
    assert len(list((folder / "degradation-hour-seed0").glob("*.pt"))) == 4
    capsys.readouterr()
    assert degradation.run("hour", 0, data=drawn).final == first.final
    assert capsys.readouterr().out.count("it goes on there") == 4
    fashion.train("full", 1, drawn[0])
    assert (folder / "fashion-full-seed1" / "ResNet-18.pt").exists()
    before = set(folder.rglob("*"))
    degradation.run("quick", 0, data=drawn)
    assert set(folder.rglob("*")) == before


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


def test_calibration_smooths_labels_alone_and_is_judged_on_held_out_images(
    small, drawn, monkeypatch
):
    trained, judged, weights = [], [], []

    def look(net, train, recipe, *, seed, **_):
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
        trained.append((train, recipe, seed))
        return [{"train_loss": 0.0, "seconds": 1.0}]

    def see(net, validation):
        judged.append(validation)
        return torch.zeros(len(validation), 10)

    images = drawn[0].images[:300].clone()
    images[:, 0, 0], images[:, 0, 1] = torch.arange(300) // 256, torch.arange(300) % 256
    numbered = data.ImageSet(images, drawn[0].labels[:300], data.STAND_IN)
    monkeypatch.setattr(calibration, "fit", look)
    monkeypatch.setattr(calibration, "predict", see)
    run = calibration.run("quick", 7, data=(numbered, None))
    assert torch.equal(*weights)
    (plain, recipe, seed), (_, smoothed, other) = trained
    assert (recipe.label_smoothing, smoothed.label_smoothing) == (0.0, 0.1)
    assert replace(recipe, label_smoothing=0.1) == smoothed and seed == other == 7
    known, held_out = (
        {tuple(image[0, :2].tolist()) for image in part.images} for part in (plain, judged[0])
    )
    assert len(held_out) == 60 and len(known) == 160 and not known & held_out
    assert run.final["label smoothing 0.0"]["accuracy"] == pytest.approx(
        (judged[0].labels == 0).float().mean().item()
    )
    assert {row["images"] for row in run.measured["bins"]} == {60}


@pytest.mark.parametrize(
    "module",
    [
        branch_scaling,
        calibration,
        camvid_experiment,
        context,
        curvature,
        degradation,
        degradation_110,
        dropout,
        failures,
        fashion,
        fashion_controls,
        fashion_steps,
        gradient_norms,
        growth,
        image_size,
        learning_rates,
        lesions,
        lesson_course,
        lesson_recipe,
        loss_surface,
        low_rates,
        net2net,
        pyramid_steps,
        receptive_fields,
        responses,
        shortcut_kinds,
        shortcuts,
        speed_steps,
        stochastic_depth,
        stride,
        thousand_layers,
        transformer_depth,
        transformer_lesions,
        transformer_start,
        without_batch_norm,
        without_shortcuts,
    ],
)
def test_the_seed_reaches_the_order_of_the_images(module, small, drawn, streets, monkeypatch):
    seeds = set()
    by_steps = (speed_steps, fashion_controls, lesson_recipe)
    caller = fashion_steps if module in by_steps else module  # `run_steps`
    caller = transformer_depth if module is transformer_start else caller  # `compare`
    by_rate = (without_shortcuts, without_batch_norm)
    caller = branch_scaling if module in by_rate else caller  # `at_each_rate`
    caller = caller if hasattr(caller, "fit") else experiments  # `run_side_by_side`
    fit = caller.fit

    def look(*arguments, seed, **options):
        seeds.add(seed)
        return fit(*arguments, seed=seed, **options)

    monkeypatch.setattr(caller, "fit", look)
    images = (drawn[0][:200], drawn[1][:50])
    module.run("quick", 7, data=streets if module is camvid_experiment else images)
    assert seeds == {7}


def test_learning_rates_trains_each_network_at_each_rate(small, drawn, monkeypatch):
    seen = []

    def look(model, train, recipe, *, label, **_):
        seen.append((label.split(" ")[0], recipe.lr))
        return [{"train_loss": 0.0, "seconds": 1.0}]

    monkeypatch.setattr(learning_rates, "fit", look)
    learning_rates.run("quick", 0, data=(drawn[0][:200], None))
    assert set(seen) == {(n, r) for n in degradation.NETWORKS for r in (0.025, 0.05, 0.1)}


@pytest.mark.parametrize(("accuracies", "epochs"), [((0.1, 0.19, 0.21), 3), ([0.1] * 9, 5)])
def test_a_warm_up_ends_below_80_percent_error_or_after_five_epochs(
    accuracies, epochs, small, drawn, monkeypatch
):
    seen, left = [], list(accuracies)

    def look(model, train, recipe, *, seed, **_):
        seen.append((recipe.schedule, recipe.lr, seed))
        return [{"train_loss": 0.0, "train_accuracy": left.pop(0), "epoch": 1, "seconds": 2.0}]

    monkeypatch.setattr(warm_up, "fit", look)
    left.append(0.9)
    run = warm_up.run("quick", 7, data=(drawn[0][:200], None))
    slow = [("constant", 0.005, 1000 * epoch + 7) for epoch in range(1, epochs + 1)]
    assert seen == [*slow, ("one-cycle", 0.05, 7)]
    (rows,), (figures,) = run.history.values(), run.final.values()
    assert [row["epoch"] for row in rows] == list(range(1, epochs + 2))
    assert run.seconds == rows[-1]["seconds"] == 2 * (epochs + 1)
    assert figures["warm_up_epochs"] == epochs


def test_identity_layers_change_nothing_and_can_learn(drawn):
    torch.manual_seed(0)
    net = degradation.network("plain-8", "stride2")
    images = drawn[0][:200]
    fit(net, images, Recipe(epochs=1, batch_size=50, lr=0.05))
    deeper = net2net.with_identity_layers(net, 2, images)
    torch.testing.assert_close(predict(deeper, images), predict(net, images), rtol=1e-3, atol=1e-3)
    x, y = next(data.batches(images, 100))
    F.cross_entropy(deeper.train()(x), y).backward()
    for name, block in blocks(deeper).items():
        assert all(p.grad.abs().max() > 0 for p in block.parameters()), name


def test_net2net_goes_on_with_the_shallow_network_as_it_is_and_deepened(small, drawn, monkeypatch):
    seen = {}

    def look(model, train, recipe, *, label, validation, **options):
        blocks_ = len(blocks(model))
        seen[label.strip()] = (blocks_, recipe.lr, len(train), len(validation))
        return fit(model, train, recipe, label=label, validation=validation, **options)

    monkeypatch.setattr(net2net, "fit", look)
    run = net2net.run("quick", 0, data=(drawn[0][:300], None))
    for kind in net2net.KINDS:
        assert seen[f"{kind}-8"] == (3, 0.05, 160, 60)
        assert seen[f"{kind}-20"] == (9, 0.05, 160, 60)
        assert seen[f"{kind}-8, on"] == (3, 0.005, 160, 60)
        assert seen[f"{kind}-8 → 20"] == (9, 0.005, 160, 60)
    assert set(run.final) == set(seen)
    (zero,) = (row for row in run.measured["insertion"] if row["network"] == "ResNet-8 → 20")
    assert zero["before"] == zero["after"]


def test_dropout_is_before_the_linear_layer_with_and_without_normalization():
    x = torch.rand(2, 1, 28, 28)
    for name, (batch_norm, dropped) in dropout.NETWORKS.items():
        torch.manual_seed(0)
        net = dropout.network(batch_norm, dropped)
        assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == name.startswith("BN")
        kinds = [type(m) for m in net.modules() if not list(m.children())]
        assert (kinds[-2] is nn.Dropout) == name.endswith("dropout") and kinds[-1] is nn.Linear
        torch.manual_seed(0)
        other = dropout.network(batch_norm, False)
        assert torch.equal(net.eval()(x), other.eval()(x))


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
    euler, refined = (runs.measured([run], table) for table in ("euler", "refined"))
    assert list(euler.block.unique()) == [n for n in names if n not in ("layer2.0", "layer3.0")]
    assert list(refined.steps) == [1, 2, 4, 8]
    assert refined.accuracy[0] == run.final["ResNet-14"]["accuracy"]


def test_renewed_statistics_are_those_of_the_images_and_do_not_last(drawn):
    net = degradation.network("ResNet-8", "stride2").eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = drawn[0][:300]
    with lesions.renewed(net, images):
        assert not net.training
        x, _ = images.batch(torch.arange(300))
        seen = net.conv1(x)
        torch.testing.assert_close(net.bn1.running_mean, seen.mean((0, 2, 3)))
        torch.testing.assert_close(net.bn1.running_var, seen.transpose(0, 1).flatten(1).var(1))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.bn1.momentum == 0.1


def test_blocks_are_deleted_from_the_network_that_was_trained(drawn, small):
    net = degradation.network("ResNet-14", "stride2")
    for block in (net.layer1[1], net.layer2[1]):  # already adds nothing
        torch.nn.init.zeros_(block.bn2.weight)
    whole = evaluate(net, drawn[1][:200])[1]
    known = drawn[0][:100]
    left = {row["block"]: row for row in lesions.delete_each(net, drawn[1][:200], known)}
    assert left["layer1.1"]["accuracy"] == left["layer2.1"]["accuracy"] == whole
    with lesions.renewed(net, known):
        renewed = evaluate(net, drawn[1][:200])[1]
    assert left["layer1.1"]["renewed"] == left["layer2.1"]["renewed"] == renewed


def test_the_surface_is_measured_around_the_trained_weights(small, drawn):
    run = loss_surface.run("quick", 0, data=(drawn[0][:200], None))
    lines = runs.measured([run], "line")
    for name, figures in run.final.items():
        center = lines[(lines.network == name) & (lines.step.abs() < 1e-6)]
        assert center.loss.item() == figures["loss_looked_at"]
        assert lines[lines.network == name].loss.nunique() == 3


def test_the_surface_with_renewed_statistics_does_not_see_the_length_of_a_filter(drawn):
    config = replace(loss_surface.CONFIGS["quick"], lines=1, points=3)
    net, images = degradation.network("plain-8", "stride2"), drawn[0][:50]
    longer = degradation.network("plain-8", "stride2")
    longer.load_state_dict(net.state_dict())
    with torch.no_grad():
        longer.layer2[0].conv1.weight.mul_(10)
    both = []
    for model in (net, longer):
        generator = torch.Generator().manual_seed(0)
        rows = loss_surface.lines(model, images, config, generator)
        both.append([row["renewed"] for row in rows])
    assert both[0] == pytest.approx(both[1], rel=1e-3) and len(set(both[0])) == 3


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
    found = blocks(net).values()
    assert 2 * len(found) + 2 == int(depth)
    assert all((block.downsample is None) == (kind == "plain") for block in found)
    plain = degradation.network(f"plain-{depth}", "stride2")
    assert net.state_dict().keys() == plain.state_dict().keys()


@pytest.fixture
def trained(drawn):
    """A small network in evaluation mode that has seen some images, and images it has not seen."""
    torch.manual_seed(0)
    net = cifar_resnet(8, stem="stride2", in_channels=1, num_classes=10)
    fit(net, drawn[0][:640], Recipe(epochs=1, batch_size=64))
    return net.eval(), data.normalize(drawn[1].images[:20])


def test_zero_blocks_change_nothing_until_they_are_trained(trained):
    net, x = trained
    grown = growth.grow(net, 2, "zero")
    assert len(blocks(net)) == 3 and len(blocks(grown)) == 9
    with torch.no_grad():
        assert torch.equal(grown(x), net(x))
    F.cross_entropy(grown.train()(x), torch.arange(20) % 10).backward()
    for stage in grown.stages:
        for block in grown.get_submodule(stage)[1:]:
            assert block.bn2.weight.grad.abs().max() > 0
            assert block.conv1.weight.grad.abs().max() == 0


@pytest.mark.parametrize("kind", ["fresh", "plain"])
def test_other_blocks_change_the_function_at_once(trained, kind):
    net, x = trained
    grown = growth.grow(net, 1, kind)
    inserted = grown.layer2[1]
    assert (inserted.downsample is None) == (kind == "plain")
    with torch.no_grad():
        assert not torch.allclose(grown(x), net(x), atol=0.1)


def test_an_unknown_kind_of_block_is_refused(trained):
    with pytest.raises(ValueError, match="choose one of zero, fresh, plain"):
        growth.grow(trained[0], 1, "dirac")


def test_new_statistics_are_those_of_the_images(trained, drawn):
    net, _ = trained
    renewed = growth.with_new_statistics(net, drawn[0][:300])
    with torch.no_grad():
        stem = net.conv1(data.normalize(drawn[0].images[:300]))
    assert torch.allclose(renewed.bn1.running_mean, stem.mean((0, 2, 3)), atol=1e-5)
    assert not torch.allclose(net.bn1.running_mean, renewed.bn1.running_mean, atol=1e-3)


def test_growth_trains_each_network_alike_and_never_on_the_held_out_images(
    small, drawn, monkeypatch
):
    seen = []

    def look(model, train, recipe, *, validation, label, **_):
        seen.append((label.strip(), len(blocks(model)), recipe, train, validation))
        row = {"train_loss": 0.0, "validation_accuracy": 0.0, "seconds": 1.0}
        return [row | {"epoch": epoch + 1} for epoch in range(recipe.epochs)]

    numbered = data.ImageSet(drawn[0].images[:300], torch.arange(300), data.STAND_IN)
    monkeypatch.setattr(growth, "fit", look)
    monkeypatch.setattr(growth, "evaluate", lambda *_: (0.0, 0.0))
    run = growth.run("quick", 0, data=(numbered, None))
    assert [count for _, count, *_ in seen] == [3, 9, 3, 9, 9, 9, 9, 9]
    recipe = growth.CONFIGS["quick"].recipe
    assert {r for _, _, r, *_ in seen} == {recipe, replace(recipe, epochs=2 * recipe.epochs)}
    for *_, train, validation in seen:
        assert (len(train), len(validation)) == (160, 60)
        assert not set(train.labels.tolist()) & set(validation.labels.tolist())
    assert {len(rows) for rows in run.history.values()} == {2 * recipe.epochs}
    assert run.seconds == len(seen)


def test_growth_keeps_the_accuracy_at_insertion_for_zero_blocks_alone(small, drawn):
    run = growth.run("quick", 0, data=(drawn[0][:600], None))
    rows = {row["network"]: row for row in run.measured["insertion"]}
    zero = rows["8 → 20, zero residual"]
    assert zero["after"] == zero["before"]
    assert len(rows) == 3


def test_networks_trained_side_by_side_start_alike_and_are_judged_on_both_sets(small, drawn):
    train, test = drawn[0][:160], drawn[1][:50]
    build = partial(cifar_resnet, 8, in_channels=1, num_classes=10, stem="stride2")
    models = dict.fromkeys(("one", "two"))

    def kept(name):
        def rebuild():
            models[name] = build()
            return models[name]

        return rebuild

    config = replace(degradation.CONFIGS["quick"], recipe=Recipe(epochs=1, lr=0.05))
    run = experiments.run_side_by_side(
        "pair", "quick", 3, config, {name: kept(name) for name in models}, (train, test), None
    )
    history, final = run.history, run.final
    assert history["one"][0]["train_loss"] == history["two"][0]["train_loss"]
    assert final["one"] == final["two"]
    assert final["one"]["train_error"] == 1 - evaluate(models["one"], train)[1]
    assert final["one"]["test_error"] == 1 - evaluate(models["one"], test)[1]


def test_stochastic_depth_is_judged_with_every_block_weighted(small, drawn, monkeypatch):
    seen = {}

    def look(model, images):
        block = blocks(model.eval())["layer3.1"]
        z = torch.rand(1, 64, 3, 3)
        plain = torch.relu(block.residual(z) + z)
        seen.setdefault(len(images), []).append(torch.equal(block(z), plain))
        return 0.0, 0.0

    monkeypatch.setattr(stochastic_depth, "evaluate", look)
    stochastic_depth.run("quick", 0, data=(drawn[0][:300], drawn[1][:50]))
    assert seen[160] == seen[50] == [True, False]


@pytest.fixture
def built(small, drawn, monkeypatch):
    """The networks that an experiment of chapter 4 trains, by name, not trained."""

    def build(module, scale):
        networks = {}

        def look(name, scale, seed, config, builds, *_):
            networks.update({name: build() for name, build in builds.items()})

        monkeypatch.setattr(module, "run_side_by_side", look)
        module.run(scale, 0, data=(drawn[0][:200], drawn[1][:50]))
        return {name: list(blocks(net).values()) for name, net in networks.items()}

    return build


def test_shortcuts_compares_the_options_of_the_paper(built):
    kinds = {
        n: [type(b.downsample) for b in network] for n, network in built(shortcuts, "hour").items()
    }
    same, changed = [nn.Identity] * 13, 3
    assert sorted(kinds["A"], key=str) == sorted(same + [PaddedIdentity] * changed, key=str)
    assert sorted(kinds["B"], key=str) == sorted(same + [nn.Sequential] * changed, key=str)
    assert kinds["C"] == [nn.Sequential] * 16


def test_stride_compares_the_first_convolution_with_the_second(built):
    for name, network in built(stride, "hour").items():
        strides = [(b.conv1.stride[0], b.conv2.stride[0]) for b in network if b.stride == 2]
        assert strides == [(2, 1) if name == "v1" else (1, 2)] * 3


def test_thousand_layers_compares_zero_with_random_starts(built):
    found = built(thousand_layers, "hour")
    assert set(found) == {"ResNet-8, zero start", "ResNet-8, random start"}
    for name, network in found.items():
        assert [block.bn2.weight.any().item() for block in network] == ["random" in name] * 3


def test_without_batch_norm_records_what_diverged_and_goes_on(small, drawn):
    run = without_batch_norm.run("quick", 0, data=(drawn[0][:200], None))
    names = without_batch_norm.networks(8, "stride2")
    assert len(names) == 6
    diverged = [row["network"] for row in run.measured["diverged"]]
    assert diverged and all(name.endswith("at 1e+09") for name in diverged)
    assert set(run.final) | set(diverged) == {
        f"{n} at {r}" for n in names for r in ("0.1", "1e+09")
    }
    assert set(run.history) == set(run.final)


@pytest.mark.parametrize("module", [transformer_depth, transformer_start])
def test_transformers_are_compared_from_the_same_start_on_images_held_out(
    module, small, drawn, monkeypatch
):
    seen, weights, fit_ = [], {}, transformer_depth.fit

    def look(model, train, recipe, *, validation, label, **options):
        seen.append((recipe.schedule, recipe.lr, train, validation))
        weights[label.strip()] = {n: t.clone() for n, t in model.state_dict().items()}
        return fit_(model, train, recipe, validation=validation, label=label, **options)

    monkeypatch.setattr(transformer_depth, "fit", look)
    numbered = data.ImageSet(drawn[0].images[:300], torch.arange(300) % 10, data.STAND_IN)
    run = module.run("quick", 0, data=(numbered, None))
    networks = ["pre-norm-2", "post-norm-2"]
    if module is transformer_depth:
        networks = ["pre-norm-1", "post-norm-1", *networks]
    trainings = [f"{w} at {r}" for w in ("no warm-up", "warm-up") for r in ("0.03", "1e+09")]
    assert list(weights) == [f"{n}, {t}" for n in networks for t in trainings]
    assert {(s, r) for s, r, *_ in seen} == {
        (s, r) for s in ("cosine", "one-cycle") for r in (0.03, 1e9)
    }
    train, held_out = ({image.numpy().tobytes() for image in seen[0][i].images} for i in (2, 3))
    assert (len(train), len(held_out)) == (160, 60) and not train & held_out
    pre, post = (weights[f"{n}, warm-up at 0.03"] for n in networks[-2:])
    assert set(pre) - set(post) == {"norm.weight", "norm.bias"}
    assert all(torch.equal(pre[name], tensor) for name, tensor in post.items())
    scaled = transformer_depth.Transformer(2, scaled_start=True).sublayers[1].layers.out.weight
    expected = scaled.std().item() * (1 if module is transformer_start else 2)
    assert pre["sublayers.1.layers.out.weight"].std().item() == pytest.approx(expected, rel=0.1)
    diverged = {row["training"] for row in run.measured["diverged"]}
    assert diverged and all(label.endswith("at 1e+09") for label in diverged)
    assert set(run.final) | diverged == set(weights) and set(run.final) == set(run.history)
    stream = runs.measured([run], "stream")
    assert set(stream.training) == {"", *(label.split(", ")[1] for label in run.final)}
    before = stream[(stream.network == "pre-norm-2") & (stream.training == "")]
    assert list(before.state) == [0, 1, 2, 3, 4] and (before.gradient > 0).all()


def test_transformers_lose_each_part_several_blocks_and_the_order_of_neighbors(small, drawn):
    run = transformer_lesions.run("quick", 0, data=(drawn[0][:200], drawn[1][:50]))
    deleted, several, swapped, added = (
        runs.measured([run], table) for table in ("deleted", "several", "swapped", "added")
    )
    assert list(deleted.block) == [0, 0, 0, 1, 1, 1] and list(several.blocks) == [1, 1]
    assert list(deleted.part[:3]) == ["attention", "MLP", "block"]
    assert list(swapped.block) == [0] and list(added.sublayer) == [0, 1, 2, 3]
    assert set(several.accuracy) <= set(deleted[deleted.part == "block"].accuracy)
    net = transformer_lesions.network("pre-norm-1")
    with torch.no_grad():
        for parameter in net.sublayers[0].layers.out.parameters():  # already adds nothing
            parameter.zero_()
    whole = evaluate(net, drawn[1][:50])[1]
    rows = list(transformer_lesions.delete_each(net, drawn[1][:50]))
    assert rows[0]["accuracy"] == whole and rows[1] | {"part": "block"} == rows[2]
    assert next(transformer_lesions.added(net, drawn[1][:50]))["length"] == 0


def test_branch_scaling_differs_in_the_branches_of_one_network(small, drawn):
    x = torch.rand(4, 1, 28, 28)
    outputs, counts = {}, {}
    for name, build in branch_scaling.networks(8, "stride2").items():
        torch.manual_seed(0)
        net = build()
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        assert bool(norms) == name.endswith("BN"), name
        outputs[name.removeprefix("8, ")], counts[name] = net.eval()(x), parameters(net)
    # At factors of zero, and all but zero, only the shortcuts are left.
    torch.manual_seed(0)
    start = cifar_resnet(
        8, stem="stride2", in_channels=1, batch_norm=False, zero_init_residual=True, num_classes=10
    )
    assert torch.equal(outputs["SkipInit"], start(x))
    torch.testing.assert_close(outputs["LayerScale"], start(x))
    assert not torch.allclose(outputs["1/√n"], start(x))
    usual = counts["8, usual"]
    assert counts["8, SkipInit"] == counts["8, 1/√n"] == usual + 3
    assert counts["8, LayerScale"] == usual + 16 + 32 + 64

    run = branch_scaling.run("quick", 0, data=(drawn[0][:200], None))
    diverged = {row["network"] for row in run.measured["diverged"]}
    assert diverged and all(name.endswith("at 1e+09") for name in diverged)
    expected = {f"8, {name} at {r}" for name in outputs for r in ("0.1", "1e+09")}
    assert set(run.final) | diverged == expected and set(run.history) == set(run.final)


def test_without_shortcuts_differs_in_initialization_normalization_and_tanh():
    x = torch.rand(4, 1, 28, 28)
    nets = {}
    for name, build in without_shortcuts.networks(8, "stride2").items():
        torch.manual_seed(0)
        nets[name] = build()
        assert any(isinstance(m, nn.BatchNorm2d) for m in nets[name].modules()) == ("BN" in name)
        assert any(isinstance(m, nn.Tanh) for m in nets[name].modules()) == ("tanh" in name)
        shortcut = [block.downsample is not None for block in blocks(nets[name]).values()]
        assert all(shortcut) if name == "BN, shortcuts" else not any(shortcut)
    for kind in ("", "BN, "):  # the same function, learned by other numbers
        dirac, parametrized = nets[f"{kind}Dirac"], nets[f"{kind}DiracNet"]
        torch.testing.assert_close(dirac(x), parametrized(x))
        assert parameters(parametrized) - parameters(dirac) == 2 * 2 * (16 + 32 + 64)
    assert not nets["usual"].conv1.weight.equal(nets["BN, Dirac"].layer1[0].conv1.weight)
    weight = nets["tanh, delta-orthogonal"][3].weight
    assert weight.square().sum().item() == pytest.approx(16)
    assert weight.count_nonzero() == weight[:, :, 1, 1].count_nonzero()
    weight = nets["delta-orthogonal"].layer1[0].conv1.weight
    assert weight.square().sum().item() == pytest.approx(32)


def test_shortcut_kinds_differ_in_the_shortcut(small, drawn):
    x = torch.rand(4, 16, 9, 9)
    kinds = {}
    for name, build in shortcut_kinds.networks(14, "stride2").items():
        torch.manual_seed(0)
        kinds[name] = build()
    block = {n: net.layer1[1] for n, net in kinds.items() if n != "DenseNet"}
    state = block["identity"].state_dict()
    for one in block.values():
        target = one.state_dict()
        shared = {key.replace("bn2.0", "bn2"): key for key in target}
        one.load_state_dict({shared[k]: v for k, v in state.items() if k in shared}, strict=False)
    layers = block["identity"].residual(x)
    torch.testing.assert_close(block["identity"](x), F.relu(layers + x))
    torch.testing.assert_close(block["none"](x), F.relu(layers))
    torch.testing.assert_close(block["half"](x), F.relu(layers + x / 2))
    torch.testing.assert_close(block["half, half the layers"](x), F.relu(layers + x) / 2)
    for name, (gates_layers, bias) in {
        "gates on both, bias 0": (True, 0),
        "gates on both, bias -6": (True, -6),
        "gate, bias 0": (False, 0),
        "gate, bias -6": (False, -6),
    }.items():
        gate = torch.sigmoid(block[name].gate(x))
        assert (block[name].gate.bias == bias).all()
        expected = F.relu((gate if gates_layers else 1) * layers + (1 - gate) * x)
        torch.testing.assert_close(block[name](x), expected)
    assert isinstance(block["1×1 convolution"].downsample[0], nn.Conv2d)
    torch.testing.assert_close(block["dropout"].eval().downsample(x), x)
    assert (block["dropout"].train().downsample(x + 1) == 0).float().mean() == pytest.approx(
        0.5, abs=0.1
    )
    counts = {name: parameters(net) for name, net in kinds.items()}
    same = ("none", "half", "half, half the layers", "dropout")
    assert {counts[name] for name in same} == {counts["identity"]}
    layers = [m for m in kinds["DenseNet"].modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 14 + 2  # and the two transitions

    run = shortcut_kinds.run("quick", 0, data=(drawn[0][:200], drawn[1][:50]))
    gates = runs.measured([run], "gates")
    assert len(gates) == 4 * 2 * 3 and gates.open.between(0, 1).all()
    before = gates[~gates.trained].groupby("network").open.mean()
    assert before["gate, bias -6"] > 0.9 and before["gate, bias 0"] < 0.7


def test_stochastic_depth_trains_one_network_whole_and_deletes_the_same_blocks(small, drawn):
    run = stochastic_depth.run("quick", 0, data=(drawn[0][:300], drawn[1][:50]))
    assert set(run.final) == set(stochastic_depth.TRAININGS)
    rows = runs.measured([run], "deleted").groupby("network").blocks.apply(list)
    assert rows["whole"] == rows["stochastic depth"] == [1, 2]


def test_context_trains_every_network_in_both_worlds_on_training_garments(
    small, drawn, monkeypatch
):
    seen, fit_ = {}, context.fit

    def look(model, train, recipe, *, label, **options):
        seen[label.strip()] = (train, recipe.epochs, model)
        return fit_(model, train, recipe, label=label, **options)

    monkeypatch.setattr(context, "fit", look)
    run = context.run("quick", 1, data=(drawn[0][:300], drawn[1][:200]))
    assert set(run.final) == set(seen) == {f"{w}, {n}" for w in context.WORLDS for n in context.ALL}
    for name, (train, epochs, model) in seen.items():
        expected = scenes.fashion_scenes(
            drawn[0][:300], 16, outfits=name.startswith("outfits"), seed=2, noise=0.15
        )
        assert torch.equal(train.images, expected.images)
        assert epochs == (2 if name.endswith("longer") else 1)
        pooled = {"PSPNet": (1, 2, 3, 6), "global average": (1,)}
        kind = name.split(", ")[1]
        assert model.pyramid.bins == pooled.get(kind, ())
    iou = runs.measured([run], "iou")
    assert len(iou) == 12 * 11
    top = iou[(iou.world == "outfits") & (iou.network == "PSPNet")].set_index("class").iou
    assert run.final["outfits, PSPNet"]["tops_iou"] == pytest.approx(
        top[list(scenes.OUTFITS.values())].mean()
    )
    assert set(runs.measured([run], "follows").network) == set(context.ALL)


def test_test_scenes_show_test_garments_in_other_places(drawn):
    config = replace(context.CONFIGS["quick"], scenes=12, test_scenes=12)
    train, test = context.draw(config, drawn, True, seed=4)
    for part, pieces, seed in ((train, drawn[0], 8), (test, drawn[1], 9)):
        expected = scenes.fashion_scenes(pieces, 12, outfits=True, seed=seed, noise=0.15)
        assert torch.equal(part.images, expected.images)
        assert torch.equal(part.labels, expected.labels)


@pytest.mark.parametrize("scale", SCALES)
def test_the_networks_compared_in_context_differ_in_what_their_names_say(scale):
    config = context.CONFIGS[scale]
    if scale == "full":
        config = replace(config, widths=(32, 64, 128, 256))  # the same shapes, faster
    count = {n: parameters(context.network(n, config)) for n in ("FCN", "wide FCN", "PSPNet")}
    assert 0 <= count["wide FCN"] - count["PSPNet"] < 0.003 * count["PSPNet"]
    assert count["FCN"] < count["PSPNet"]
    for name in context.ALL:
        net = context.network(name, config)
        assert net.auxiliary is not None
        assert net.backbone.layer4[-1].conv2.dilation == (4, 4)


def test_who_follows_the_shoe_is_told_from_who_follows_the_pixels(drawn, monkeypatch):
    worlds = [
        scenes.fashion_scenes(drawn[1][:400], 60, outfits=outfits, seed=0)
        for outfits in (True, False)
    ]

    def shares(predicted):
        monkeypatch.setattr(context, "predict_labels", lambda *_: predicted)
        return context.follows_shoe(None, worlds[1])

    assert shares(worlds[1].labels) == {"pixels": 1, "shoe": 0}
    expected = torch.zeros_like(worlds[1].labels)
    for label, outfit in zip(expected, worlds[0].labels, strict=True):
        (top,) = [t for t in context.TOPS if (outfit == t).any()] or [0]
        label.fill_(top)
    assert shares(expected)["pixels"] == 0 and shares(expected)["shoe"] > 0.9


def test_pyramid_steps_adds_one_thing_after_the_other(small, drawn, monkeypatch):
    seen, fit_ = {}, pyramid_steps.fit

    def look(model, train, recipe, *, label, **options):
        seen[label.strip()] = model
        return fit_(model, train, recipe, label=label, **options)

    monkeypatch.setattr(pyramid_steps, "fit", look)
    run = pyramid_steps.run("quick", 0, data=(drawn[0][:300], drawn[1][:200]))
    assert list(seen) == list(run.final) == list(pyramid_steps.STEPS)
    for name, net in seen.items():
        assert (net.auxiliary is None) == (name in ("FCN", "dilated"))
        assert net.backbone.layer4[-1].conv2.dilation == ((1, 1) if name == "FCN" else (4, 4))
        levels = net.pyramid.levels
        assert len(levels) == {"B1 ": 1, "B12": 4}.get(name[:3], 0)
        kind = nn.AdaptiveMaxPool2d if "max" in name else nn.AdaptiveAvgPool2d
        assert all(type(level[0].pool) is kind for level in levels)
        assert all((len(level) == 4) == ("reduced" in name) for level in levels)


def test_camvid_keeps_what_was_predicted_and_judges_on_frames_not_trained_on(
    small, streets, monkeypatch
):
    train, validation, test = streets
    kept, trained = {}, []
    predict, fit_ = camvid_experiment.predict_labels, camvid_experiment.fit

    def look(model, train, *arguments, **options):
        trained.append(train)
        return fit_(model, train, *arguments, **options)

    def keep(model, scenes_):
        labels = predict(model, scenes_)
        kept[len(kept)] = (scenes_, labels)
        return labels

    monkeypatch.setattr(camvid_experiment, "fit", look)
    monkeypatch.setattr(camvid_experiment, "predict_labels", keep)
    run = camvid_experiment.run("quick", 0, data=streets)
    chosen = torch.linspace(0, 29, 12).round().long()
    for number, part in enumerate((validation, test) * 2):
        assert torch.equal(kept[number][0].images, part.images[chosen])
    every = torch.linspace(0, 119, 16).round().long()
    assert all(torch.equal(t.images, train.images[every]) for t in trained)

    table = runs.measured([run], "confusion")
    fcn = torch.tensor(table[table.network == "FCN"][list(camvid.CLASSES)].to_numpy())
    scenes_, labels = kept[0]
    assert torch.equal(fcn, metrics.confusion(labels, scenes_.labels, 11))
    assert run.final["FCN"]["validation_miou"] == metrics.mean_iou(fcn)
    maps = [row for row in run.measured["maps"] if row["network"] == "FCN"]
    assert [row["frame"] for row in maps] == [0, 2, 4, 7, 9, 11]
    for row in maps:
        assert torch.equal(camvid_experiment.label_map(row["png"]), labels[row["frame"]])
    assert [row["network"] for row in run.measured["neighbors"]] == ["truth", "FCN", "PSPNet"]


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


@pytest.mark.parametrize("scale", SCALES)
def test_each_step_of_speed_changes_one_thing(scale):
    def leaves(step):
        parts = asdict(step)
        return parts.pop("recipe") | parts.pop("execution") | parts

    kept, *steps = speed_steps.CONFIGS[scale].steps.items()
    kept = leaves(kept[1])
    for name, step in steps:
        changed = {key for key, value in leaves(step).items() if value != kept[key]}
        assert len(changed) == 1 or changed == {"batch_size", "lr"}, name
        if name.startswith("+"):
            kept = leaves(step)


def test_speed_steps_never_sees_the_test_images(small, drawn):
    run = speed_steps.run("quick", 0, data=(drawn[0][:300], None))
    assert run.config["held_out"] == 60
    assert all("test" not in key for figures in run.final.values() for key in figures)


def test_only_steps_that_say_so_are_specialized(small, drawn, monkeypatch):
    counts = []

    def look(net, *_, **__):
        counts.append(parameters(net))
        return [{"seconds": 1.0, "validation_accuracy": 0.5}]

    step = fashion_steps.Step("imagenet", Recipe(1))
    config = fashion_steps.Config(160, {"whole": step, "small": replace(step, specialized=True)})
    monkeypatch.setattr(speed_steps, "CONFIGS", {"quick": config})
    monkeypatch.setattr(fashion_steps, "fit", look)
    speed_steps.run("quick", 0, data=(drawn[0][:300], None))
    assert counts == [parameters(resnet18(in_channels=1, num_classes=10)), 4_228_554]


def test_each_step_compiles_anew_and_from_no_cache(small, drawn, monkeypatch):
    resets, cached = [], []

    def look(*_, **__):
        cached.append(not torch.compiler.config.force_disable_caches)
        return [{"seconds": 1.0, "validation_accuracy": 0.5}]

    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(len(cached)))
    monkeypatch.setattr(fashion_steps, "fit", look)
    speed_steps.run("quick", 0, data=(drawn[0][:300], None))
    assert cached == [False] * 3 and resets == [0, 1, 2]
    assert not torch.compiler.config.force_disable_caches


def test_the_other_lesson_is_d2ls(drawn):
    assert parameters(d2l_resnet18()) == 11_178_378
    x, y = OneByOne(drawn[0], 96)[5]
    assert x.shape == (1, 96, 96) and x.dtype == torch.float32 and 0 <= x.min() < x.max() <= 1
    assert y == drawn[0].labels[5]
    assert abs(x.mean() - drawn[0].images[5].float().mean() / 255) < 0.02


def test_the_courses_lesson_is_trained_on_training_images_and_judged_once(
    small, drawn, monkeypatch
):
    trained, judged = [], []

    def look_at_training(model, train, recipe, **options):
        assert parameters(model) < parameters(resnet18()) / 2  # specialized
        trained.append(set(train.labels.tolist()))
        return fit(model, train, recipe, **options)

    def look_at_judging(model, images):
        judged.append((len(trained), set(images.labels.tolist())))
        return evaluate(model, images)

    train = data.ImageSet(drawn[0].images[:160], torch.arange(160) % 5, data.STAND_IN)
    test = data.ImageSet(drawn[1].images[:50], torch.arange(50) % 5 + 5, data.STAND_IN)
    fit, evaluate = bench.fit, bench.evaluate
    monkeypatch.setattr(bench, "stand_in", lambda: (train, test))
    monkeypatch.setattr(bench, "fit", look_at_training)
    monkeypatch.setattr(bench, "evaluate", look_at_judging)
    figures = bench.time_course(bench.CONFIGS["quick"], 0, True, time.time())
    assert trained == [set(range(5))] * 2  # the second one is timed
    assert judged == [(2, set(range(5, 10)))]
    assert figures["test_accuracy"] == 0  # of classes that it has not seen
    assert 0 < figures["seconds"] < 60 and figures["startup_seconds"] > 0


def test_synchronizing_one_process_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "run", "fashion", "--scale", "quick", "--sync-batch-norm")
    assert "start them with torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(("device", "again"), [("another CPU", True), (None, False)])
def test_record_repeats_what_other_hardware_recorded(small, monkeypatch, device, again):
    call(monkeypatch, "run", "fashion", "--scale", "quick", "--stand-in")
    monkeypatch.setattr(runs, "changed_since", lambda run: [])
    if device:
        monkeypatch.setattr(__main__, "hardware", lambda _: device)
    recorded = []
    monkeypatch.setattr(__main__, "record", recorded.append)
    monkeypatch.setattr(__main__, "SEEDS", 1)
    monkeypatch.setattr(__main__.pkgutil, "iter_modules", lambda _: [Named("fashion")])
    call(monkeypatch, "record", "--scale", "quick", "--stand-in")
    assert bool(recorded) == again
