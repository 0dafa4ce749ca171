import copy
import errno
import os
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from resnets import data, models, training
from resnets.pspnet import PSPNet
from resnets.scenes import fashion_scenes
from resnets.training import (
    Execution,
    Recipe,
    evaluate,
    fit,
    load_weights,
    predict,
    predict_labels,
    save_weights,
)


def network(seed=0, width=8):
    torch.manual_seed(seed)
    return nn.Sequential(
        models.ResNet((1, 1), widths=(width, 16), in_channels=1, num_classes=16, stem="stride2"),
        nn.Dropout(0.2),  # draws from the global generator, which a checkpoint must restore
        nn.Linear(16, 10),
    )


RECIPE = Recipe(epochs=4, batch_size=64, lr=0.05, augment=True, label_smoothing=0.1)


@pytest.fixture(scope="module")
def few(drawn):
    return drawn[0][:320]


def same_weights(one, other):
    assert all(torch.equal(a, other.state_dict()[name]) for name, a in one.state_dict().items())


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "poly", "constant"])
def test_fit_is_the_plain_loop(few, schedule):
    recipe = Recipe(2, 64, 0.05, 0.9, 1e-3, schedule, label_smoothing=0.1)
    ours = network(width=16)[0]
    history = fit(ours, few, recipe, seed=3)

    other = network(width=16)[0].to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(other.parameters(), 0.05, 0.9, weight_decay=1e-3, nesterov=True)
    scheduler = {
        "one-cycle": lambda: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.05, total_steps=11, pct_start=0.25, cycle_momentum=False
        ),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
        "poly": lambda: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: (1 - s / 10) ** 0.9),
        "constant": lambda: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1),
    }[schedule]()
    losses, rates = [], []
    for epoch in (1, 2):
        generator = torch.Generator().manual_seed(3_000_009 + epoch)
        for x, y in data.batches(few, 64, generator):
            x = x.contiguous(memory_format=torch.channels_last)
            loss = nn.functional.cross_entropy(other(x), y, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        rates.append(scheduler.get_last_lr()[0])
    same_weights(ours, other)
    assert [row["epoch"] for row in history] == [1, 2]
    assert [row["lr"] for row in history] == pytest.approx(rates)
    for row, part in zip(history, (losses[:5], losses[5:]), strict=True):
        assert row["train_loss"] == pytest.approx(sum(part) / 5)
    last = {"one-cycle": pytest.approx(2e-7), "cosine": 0, "poly": 0, "constant": 0.05}
    assert rates[1] == last[schedule]


def test_fit_learns_and_tells_how_well(drawn):
    torch.manual_seed(0)
    model = models.cifar_resnet(8, in_channels=1, num_classes=10, stem="stride2")
    train, test = drawn[0][:4000], drawn[1]
    history = fit(model, train, Recipe(epochs=3), validation=test)
    loss, accuracy = evaluate(model, test)
    assert history[-1]["validation_accuracy"] == accuracy > 0.6
    assert history[-1]["validation_loss"] == loss
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 1.5
    right = (predict(model, test).argmax(1) == test.labels).float().mean().item()
    assert right == accuracy


def trained_weight(few, seed=0, augment=True):
    model = network()  # seeds the dropout too
    fit(model, few, replace(RECIPE, epochs=1, augment=augment), seed=seed)
    return model[2].weight


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop_after_steps", [5, 12, 19])
def test_resume_gives_the_weights_of_an_uninterrupted_run(few, tmp_path, stop_after_steps):
    whole = network()
    expected = fit(whole, few, RECIPE, seed=1)

    stopped, steps = network(), []

    def stop(*_):
        steps.append(1)
        if len(steps) > stop_after_steps:
            raise Stopped

    stopped.register_forward_pre_hook(stop)
    with pytest.raises(Stopped):
        fit(stopped, few, RECIPE, seed=1, checkpoint=tmp_path / "c.pt")

    resumed = network(seed=99)
    history = fit(resumed, few, RECIPE, seed=1, checkpoint=tmp_path / "c.pt")
    same_weights(resumed, whole)
    for row, other in zip(history, expected, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}

    seconds = [row["seconds"] for row in history]
    assert seconds == sorted(seconds) and seconds[0] > 0

    again = network(seed=98)
    assert fit(again, few, RECIPE, seed=1, checkpoint=tmp_path / "c.pt") == history
    same_weights(again, whole)


def test_augment_changes_what_is_learned(few):
    assert not torch.equal(trained_weight(few, augment=True), trained_weight(few, augment=False))


def test_an_image_is_predicted_alike_in_any_company_and_nothing_is_learned(few):
    model = network()
    fit(model, few, replace(RECIPE, epochs=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = predict(model, few)
    torch.testing.assert_close(predict(model, few[:3]), whole[:3])
    torch.testing.assert_close(predict(model, few, batch_size=7), whole)
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())


def test_different_seeds_see_the_images_in_different_order(few):
    assert torch.equal(trained_weight(few, seed=0), trained_weight(few, seed=0))
    assert not torch.equal(trained_weight(few, seed=0), trained_weight(few, seed=1))


@pytest.mark.parametrize("bad_step", [1, 3, 7])
def test_a_loss_that_turns_nan_names_the_step(few, tmp_path, bad_step):
    model, steps = network(), []

    def spoil(_, __, logits):
        steps.append(1)
        return logits * float("nan") if len(steps) == bad_step else logits

    model.register_forward_hook(spoil)
    with pytest.raises(FloatingPointError, match=f"nan at step {bad_step}: lower"):
        fit(model, few, RECIPE, checkpoint=tmp_path / "c.pt")
    assert (tmp_path / "c.pt").exists() == (bad_step > 5)


@pytest.mark.parametrize(("width", "last"), [(8, False), (16, True)])
def test_channels_last_only_where_onednn_bears_it(few, width, last):
    model = network(width=width)
    projection = model[0].layer2[0].downsample[0]
    assert (projection.kernel_size, projection.in_channels) == ((1, 1), width)
    layouts = []
    model[0].layer2.register_forward_hook(
        lambda _, inputs, output: layouts.extend(
            part.is_contiguous(memory_format=torch.channels_last) for part in (*inputs, output)
        )
    )
    fit(model, few, replace(RECIPE, epochs=1))
    predict(model, few)
    assert set(layouts) == {last}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 20.00 MiB."),
        (RuntimeError, "MPS backend out of memory (MPS allocated: 8 GB)."),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
@pytest.mark.parametrize("use", [lambda model, few: fit(model, few, RECIPE), predict])
def test_a_full_memory_says_what_to_do(few, kind, message, use):
    def fill(*_):
        raise kind(message)

    model = network()
    handle = model.register_forward_hook(fill)
    with pytest.raises(torch.OutOfMemoryError, match=r"is full: restart.*RESNETS_SCALE=quick"):
        use(model, few)
    handle.remove()
    model.register_forward_hook(lambda *_: torch.ones(2, 3) @ torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        use(model, few)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": network(width=4)}, "holds another model.*Build the model"),
        ({"recipe": replace(RECIPE, lr=0.1)}, "belongs to another training"),
        ({"seed": 5}, "belongs to another training"),
    ],
)
def test_a_checkpoint_of_another_training_changes_nothing(few, tmp_path, change, message):
    path = tmp_path / "c.pt"
    fit(network(), few, replace(RECIPE, epochs=1), checkpoint=path)
    saved = path.read_bytes()
    call = {
        "model": network(),
        "train": few,
        "recipe": replace(RECIPE, epochs=1),
        "seed": 0,
    }
    call |= change
    before = {name: tensor.clone() for name, tensor in call["model"].state_dict().items()}
    with pytest.raises(ValueError, match=message):
        fit(**call, checkpoint=path)
    after = call["model"].state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert path.read_bytes() == saved


def test_weights_come_back_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    saved, loaded = network(), network(seed=1)
    save_weights(saved, path)
    load_weights(loaded, path)
    same_weights(saved, loaded)

    with pytest.raises(ValueError, match="another model"):
        load_weights(network(width=4), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="no checkpoint that can be read: delete it"):
        load_weights(network(), path)
    torch.save(saved, path)  # a pickled object, which could run code
    with pytest.raises(ValueError, match="no checkpoint that can be read"):
        load_weights(network(), path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="no checkpoint that can be read"):
        load_weights(network(), path)
    with pytest.raises(FileNotFoundError):
        load_weights(network(), tmp_path / "nothing.pt")


class Payload:
    """What a malicious checkpoint would hold: unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_cannot_run_code(tmp_path):
    torch.save({"weight": Payload(tmp_path / "made")}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="no checkpoint that can be read"):
        load_weights(network(), tmp_path / "weights.pt")
    assert not (tmp_path / "made").exists()


def test_a_file_is_replaced_whole_and_not_written_over(tmp_path):
    path = tmp_path / "weights.pt"
    save_weights(network(), path)
    before = path.read_bytes()
    with path.open("rb") as reader:
        save_weights(network(seed=1), path)
        assert reader.read() == before != path.read_bytes()


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    save_weights(network(), path)
    before = path.read_bytes()

    def full(_, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"weights.pt could not be written \(No space left"):
        save_weights(network(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_too_few_images_for_a_batch(few):
    with pytest.raises(ValueError, match="63 images do not fill one batch of 64"):
        fit(network(), few[:63], RECIPE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schedule": "linear"}, "one-cycle, cosine, poly, constant"),
        ({"epochs": 0}, "at least one epoch"),
        ({"batch_size": 1}, "batches of at least two images"),
    ],
)
def test_a_recipe_that_cannot_be_followed(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **wrong)


def test_a_log_has_a_line_an_epoch(few, capsys):
    fit(network(), few, replace(RECIPE, epochs=2), validation=few, label="small")
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()] == [
        "small: epoch 1/2",
        "small: epoch 2/2",
    ]
    assert "validation accuracy" in out and "\r" not in out and not err


def test_what_is_measured_after_an_epoch_stands_in_its_row(few, tmp_path):
    def first_weight(model):
        return {"weight": model.conv1.weight.flatten()[0].item()}

    recipe, checkpoint = replace(RECIPE, epochs=2), tmp_path / "checkpoint.pt"
    model = network()[0]
    history = fit(model, few, recipe, after_epoch=first_weight, checkpoint=checkpoint)
    assert history[1]["weight"] == first_weight(model)["weight"] != history[0]["weight"]
    assert fit(network()[0], few, recipe, checkpoint=checkpoint) == history


@pytest.fixture
def parsing(drawn):
    """A small PSPNet and scenes, some of whose pixels are void."""
    torch.manual_seed(0)
    backbone = models.ResNet((1, 1, 1, 1), widths=(4, 8, 8, 16), in_channels=1, dilated=(3, 4))
    scenes = fashion_scenes(drawn[0], 8, outfits=True, seed=0)
    labels = scenes.labels.clone()
    labels[:, :20] = data.VOID
    return PSPNet(backbone, len(scenes.classes)), replace(scenes, labels=labels)


def test_pixels_are_learned_with_the_auxiliary_loss_and_void_left_out(parsing):
    model, scenes = parsing
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    other = copy.deepcopy(model).to(memory_format=torch.channels_last).train()
    recipe = Recipe(1, 8, 0.1, momentum=0, weight_decay=0, schedule="constant")
    (row,) = fit(model, scenes, recipe)

    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    x, y = scenes.batch(order)
    outputs = other(x.contiguous(memory_format=torch.channels_last))
    known = y != data.VOID
    losses = [nn.functional.cross_entropy(o.movedim(1, -1)[known], y[known]) for o in outputs]
    loss = losses[0] + 0.4 * losses[1]
    loss.backward()
    assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
    right = (outputs[0].argmax(1) == y)[known].float().mean().item()
    assert row["train_accuracy"] == pytest.approx(right)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two - 0.1 * two.grad, rtol=1e-3, atol=1e-5)


def test_the_weight_of_the_auxiliary_loss_is_the_recipes(parsing):
    model, scenes = parsing
    losses = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)  # the dropout's
        recipe = Recipe(1, 8, 1e-9, auxiliary_weight=weight)
        losses.append(fit(copy.deepcopy(model), scenes, recipe)[0]["train_loss"])
    assert losses[1] > losses[0] + 1


def test_labels_are_predicted_alike_in_any_company(parsing):
    model, scenes = parsing
    whole = predict_labels(model, scenes)
    assert whole.shape == scenes.labels.shape and whole.dtype == torch.uint8
    assert torch.equal(whole, predict_labels(model, scenes, batch_size=3))
    assert not model.training
    x, _ = scenes.batch(torch.arange(8))
    assert (model(x).argmax(1) == whole).float().mean() > 0.999


def test_a_weight_average_is_that_of_the_weights_after_each_step(few):
    recipe = replace(RECIPE, epochs=2, augment=False, weight_average=0.8)
    averaged, kept = network(), []
    step = torch.optim.SGD.step

    def look(optimizer, *arguments):
        step(optimizer, *arguments)
        kept.append(
            [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
        )

    fit(averaged, few, recipe)
    plain = network()  # seeds the dropout as well
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", look)
        fit(plain, few, replace(recipe, weight_average=0.0))
    expected = kept[0]
    for weights in kept[1:]:
        expected = [0.8 * old + 0.2 * new for old, new in zip(expected, weights, strict=True)]
    for parameter, value in zip(averaged.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value)
    assert not torch.equal(averaged[2].weight, plain[2].weight)


def test_the_averaged_weights_are_the_ones_that_are_judged(few):
    recipe = replace(RECIPE, epochs=2, weight_average=0.9)
    model = network()
    history = fit(model, few, recipe, validation=few)
    assert history[-1]["validation_loss"] == evaluate(model, few)[0]


def test_a_weight_average_goes_on_from_a_checkpoint(few, tmp_path):
    recipe = replace(RECIPE, epochs=3, weight_average=0.9)
    whole, resumed = network(), network()
    fit(whole, few, recipe)

    def stop(_):
        raise Stopped

    with pytest.raises(Stopped):
        fit(network(), few, recipe, checkpoint=tmp_path / "c.pt", after_epoch=second(stop))
    fit(resumed, few, recipe, checkpoint=tmp_path / "c.pt")
    same_weights(whole, resumed)


def second(call):
    """Do nothing when called first, then `call`."""
    calls = []

    def counted(model):
        calls.append(1)
        return call(model) if len(calls) == 2 else {}

    return counted


def test_alternate_flips_mirror_each_image_in_every_second_epoch():
    bright_left = torch.zeros(200, 16, 16, dtype=torch.uint8)
    bright_left[:, :, :6] = 255
    images = data.ImageSet(bright_left, torch.arange(200), data.STAND_IN)
    recipe = Recipe(epochs=4, batch_size=20, augment=True, alternate_flips=True)
    mirrored = []
    for epoch in (1, 2, 3):
        sides = torch.zeros(200, dtype=torch.bool)
        for x, y in training._epoch(images, recipe, 5, epoch):
            sides[y] = x[..., 8:].sum((1, 2, 3)) > x[..., :8].sum((1, 2, 3))
        mirrored.append(sides)
    assert torch.equal(mirrored[0], ~mirrored[1]) and torch.equal(mirrored[0], mirrored[2])
    assert 60 < mirrored[0].sum() < 140


def test_an_execution_does_what_it_says(few, monkeypatch):
    seen = {}

    def look(_, inputs, output):
        seen["layout"] = inputs[0].is_contiguous(memory_format=torch.channels_last)
        seen["dtype"] = output.dtype

    model = network(width=16)
    model[0].layer2[0].conv1.register_forward_hook(look)
    recipe = replace(RECIPE, epochs=1)
    fit(model, few, recipe, execution=Execution("bfloat16", channels_last=False))
    assert seen == {"layout": False, "dtype": torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    fit(model, few, recipe, execution=Execution("float32"))
    assert seen == {"layout": True, "dtype": torch.float32}

    optimizers = []
    sgd = torch.optim.SGD
    monkeypatch.setattr(
        torch.optim, "SGD", lambda *a, **options: optimizers.append(options) or sgd(*a, **options)
    )
    monkeypatch.setattr(torch, "compile", lambda model: optimizers.append("compiled") or model)
    fit(model, few, recipe, execution=Execution(fused=True, compiled=True))
    assert optimizers[0]["fused"] and optimizers[1] == "compiled"


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("execution", [Execution(fused=True), Execution(compiled=True)])
def test_another_execution_trains_the_same_network_to_rounding(few, execution):
    torch.manual_seed(0)
    one = models.ResNet((1,), widths=(8,), in_channels=1, num_classes=10, stem="stride2")
    other = copy.deepcopy(one)
    recipe = Recipe(epochs=1, batch_size=64, lr=0.05)
    fit(one, few, recipe)
    fit(other, few, recipe, execution=execution)
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-3, atol=1e-4)
