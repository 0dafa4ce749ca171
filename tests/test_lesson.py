"""d2l's lesson trained whole, what lessons are compared by, and the experiments beside them."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from resnets import data, lesson, published
from resnets.experiments import (
    bench,
    fashion_controls,
    fashion_steps,
    image_size,
    lesson_course,
    lesson_d2l,
    lesson_d2l_28,
    lesson_recipe,
)
from resnets.probes import parameters
from resnets.runs import mean_sd

SMALL = lesson.Config(28, images=200, epochs=2)


@pytest.fixture
def images(drawn):
    return drawn[0][:300], drawn[1][:70]


def test_a_lesson_of_d2l_that_was_stopped_goes_on_to_the_same_weights(
    images, tmp_path, monkeypatch, capsys
):
    whole = lesson.run_d2l("name", "quick", 3, SMALL, images, None)
    accuracy, judged = lesson.d2l_accuracy, []

    def stop(*arguments):
        judged.append(1)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return accuracy(*arguments)

    monkeypatch.setattr(lesson, "d2l_accuracy", stop)
    with pytest.raises(KeyboardInterrupt):
        lesson.run_d2l("name", "quick", 3, SMALL, images, tmp_path)
    monkeypatch.undo()
    capsys.readouterr()
    again = lesson.run_d2l("name", "quick", 3, SMALL, images, tmp_path)
    assert capsys.readouterr().out.count("'epoch'") == 1
    rows = [[{**row, "seconds": 0} for row in run.history["name"]] for run in (whole, again)]
    assert rows[0] == rows[1] and len(rows[0]) == 2
    seconds = [row["seconds"] for row in again.history["name"]]
    assert 0 < seconds[0] < seconds[1] == again.seconds == again.final["seconds"]
    with pytest.raises(ValueError, match="belongs to another training"):
        lesson.run_d2l("name", "quick", 4, SMALL, images, tmp_path)


def test_tests_do_not_count_as_training_time(images, monkeypatch):
    clock = [0.0]

    def step(*_):
        clock[0] += 1
        return 0.5

    def judge(*_):
        clock[0] += 1000
        return 0.7

    monkeypatch.setattr(lesson.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(lesson, "d2l_step", step)
    monkeypatch.setattr(lesson, "d2l_accuracy", judge)
    run = lesson.run_d2l("name", "quick", 0, SMALL, images, None)
    assert [row["seconds"] for row in run.history["name"]] == [2, 4]  # 200 images, batches of 128
    assert run.final == {"test_accuracy": 0.7, "seconds": 4}


def test_the_accuracy_is_that_of_all_images_as_d2l_loads_them(images):
    seen = []

    class Net(torch.nn.Linear):
        def forward(self, x):
            seen.append(x)
            return F.one_hot(torch.full((len(x),), 3), 10)

    share = lesson.d2l_accuracy(Net(1, 1), images[1], 32)
    assert share == (images[1].labels == 3).sum().item() / 70
    assert torch.cat(seen).shape == (70, 1, 32, 32) and torch.cat(seen).max() <= 1


def test_d2ls_two_lessons_differ_in_the_size_of_the_images_alone():
    for scale, config in lesson_d2l.CONFIGS.items():
        assert config.size == 96
        assert replace(config, size=28) == lesson_d2l_28.CONFIGS[scale]
    assert lesson_d2l.CONFIGS["hour"] == lesson.Config(96, images=60_000, epochs=10)
    assert bench.CONFIGS["hour"].lesson == lesson_course.CONFIGS["hour"]


def test_the_time_to_an_accuracy_ends_with_the_first_epoch_that_has_it():
    history = [
        {"seconds": 10.0, "test_accuracy": 0.88},
        {"seconds": 20.0, "test_accuracy": 0.90},
        {"seconds": 30.0, "test_accuracy": 0.89},
    ]
    assert lesson.seconds_to(0.90, history) == 20
    assert lesson.seconds_to(0.901, history) is None
    assert lesson.described([10.0, 20.0, 30.0]) == "20.0 ± 10.0 s"
    assert lesson.described([None, 20.0, 30.0]) == "not reached in 1 of 3"
    assert lesson.described([None, None]) == "not reached"


def test_the_courses_lesson_is_judged_after_each_epoch_and_trained_on_training_images(
    images, monkeypatch
):
    recipe = replace(lesson_course.FOUR_EPOCHS, epochs=2, batch_size=64)
    small = replace(lesson_course.CONFIGS["hour"], images=160, recipe=recipe)
    monkeypatch.setattr(lesson_course, "CONFIGS", {"quick": small})
    judged, evaluate = [], lesson_course.evaluate

    def look(model, part):
        judged.append(len(part))
        assert parameters(model) < 4.3e6  # specialized
        return evaluate(model, part)

    monkeypatch.setattr(lesson_course, "evaluate", look)
    run = lesson_course.run("quick", 0, data=images)
    assert judged == [70, 70]
    rows = run.history["lesson_course"]
    assert run.final["test_accuracy"] == rows[-1]["test_accuracy"]
    assert lesson.times_to(0.0, [run]) == [rows[0]["seconds"]]


def test_enlarged_images_are_d2ls_to_one_gray_level(images):
    mine = image_size.enlarge(images[1], 96).images.float() / 255
    theirs = torch.stack([x[0] for x, _ in lesson.OneByOne(images[1], 96)])
    assert mine.shape == (70, 96, 96)
    assert (mine - theirs).abs().max() < 1.01 / 255


def test_image_size_trains_on_the_same_images_and_judges_on_others(images, monkeypatch):
    seen = []

    def look(model, train, recipe, *, validation, **_):
        seen.append((train, recipe, validation))
        return [{"validation_accuracy": 0.5, "seconds": 1.0}]

    numbered = data.ImageSet(images[0].images, torch.arange(300), data.STAND_IN)
    monkeypatch.setattr(image_size, "fit", look)
    image_size.run("quick", 0, data=(numbered, None))
    assert [part.images.shape[-1] for part, *_ in seen] == [96, 28, 28]
    assert [recipe.epochs for _, recipe, _ in seen] == [2, 2, 16]
    assert {replace(recipe, epochs=2) for _, recipe, _ in seen} == {seen[0][1]}
    for train, _, validation in seen:
        assert train.labels.equal(seen[0][0].labels)
        assert validation.labels.equal(seen[0][2].labels) and len(validation) == 60
        assert not set(train.labels.tolist()) & set(validation.labels.tolist())


def test_a_control_differs_from_its_neighbor_in_one_thing():
    recipes = [step.recipe for step in fashion_controls.CONFIGS["quick"].steps.values()]
    plain, momentum, decay, higher, falling, both = recipes
    steps = [step.recipe for step in fashion_steps.CONFIGS["quick"].steps.values()]
    assert replace(plain, lr=0.01) == steps[0] == replace(momentum, momentum=0)
    assert decay == steps[1] == replace(momentum, weight_decay=5e-4)
    assert both == steps[2] == replace(higher, schedule="one-cycle") == replace(falling, lr=0.05)
    assert replace(decay, lr=0.05) == higher and replace(decay, schedule="one-cycle") == falling


def test_the_recipes_choices_differ_in_one_thing():
    with_, without, less, recipe = lesson_recipe.CONFIGS["hour"].steps.values()
    assert replace(with_.recipe, label_smoothing=0) == without.recipe
    assert recipe.recipe == lesson_course.FOUR_EPOCHS == replace(less.recipe, epochs=4)
    assert with_.recipe.epochs == 2 and less.recipe.epochs == 3
    assert all(step.specialized for step in (with_, without, less, recipe))


def test_d2ls_published_runs_are_each_in_the_table_once():
    table = published.d2l()
    assert len(table) == 65 and not table.duplicated("commit").any()
    assert table.test_accuracy.between(0, 1).all()
    assert set(table.read) == {"printed", "decoded from the plot"}
    settings = table[table.pooling == "average"].groupby(["rate", "batch"]).test_accuracy
    assert settings.agg(mean_sd).to_dict() == {
        (0.01, 128): "0.911 ± 0.007",
        (0.05, 256): "0.904 ± 0.024",
    }
