import json
import statistics
from dataclasses import replace

import pytest
import torch

from resnets import data, runs


@pytest.fixture
def run():
    return runs.new_run(
        name="fashion",
        scale="quick",
        seed=3,
        config={"images": 10},
        data=data.REAL,
        history={"ResNet-18": [{"epoch": 1, "train_loss": 0.5, "seconds": 60.0}]},
        final={"test_accuracy": 0.9},
        device=torch.device("cpu"),
    )


def test_a_run_comes_back_as_it_was_written(run, tmp_path):
    path = run.write(tmp_path)
    assert path.name == "fashion-quick-seed3.json"
    assert runs.read(path) == run
    assert run.seconds == 60
    assert run.torch == torch.__version__ and run.precision == "float32"
    stand_in = replace(run, data=data.STAND_IN)
    assert stand_in.write(tmp_path).name == "fashion-quick-standin-seed3.json"
    assert runs.recorded("fashion", "quick", folder=tmp_path) == [run]
    assert runs.recorded("fashion", "quick", data.STAND_IN, tmp_path) == [stand_in]


def test_nothing_recorded_says_how_to_record_it(tmp_path):
    with pytest.raises(LookupError, match="python -m resnets run fashion --scale full"):
        runs.recorded("fashion", "full", folder=tmp_path)


def test_a_number_that_is_not_finite_is_not_written(run, tmp_path):
    with pytest.raises(ValueError, match="nan"):
        replace(run, final={"test_accuracy": float("nan")}).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "is not JSON"),
        (lambda text: "[1, 2]", "is not a recorded run of schema 1"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "of schema 1"),
        (lambda text: text.replace('"seed"', '"sead"'), "no valid entry 'seed'"),
        (
            lambda text: text.replace('"seed": 3', '"seed": "3"'),
            "no valid entry 'seed'",
        ),
        (
            lambda text: text.replace('"schema"', '"note": 1, "schema"'),
            r"unknown entries \['note",
        ),
    ],
)
def test_a_malformed_file_says_what_and_what_to_do(run, tmp_path, change, message):
    path = run.write(tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message + ".*record it again"):
        runs.read(path)


def test_mean_and_sd():
    values = [0.90, 0.91, 0.95]
    expected = f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"
    assert runs.mean_sd(values) == expected
    assert runs.mean_sd(values[:1]) == "0.900 (one run)"


def test_summary_has_a_row_a_network(run):
    several = [
        replace(run, seed=s, final={"a": {"loss": s}, "b": {"loss": 2 * s}}) for s in (1, 2, 3)
    ]
    table = runs.summary(several)
    assert table.loss.to_dict() == {"a": "2.000 ± 1.000", "b": "4.000 ± 2.000"}
    assert list(runs.summary([run]).index) == ["fashion"]


def test_conditions_name_data_hardware_and_versions(run):
    text = runs.conditions([run, replace(run, device="another", seconds=120.0)])
    for part in (
        "2 seeds on Fashion-MNIST",
        "1.5 minutes each",
        "and another",
        torch.__version__,
    ):
        assert part in text


@pytest.mark.parametrize("path", sorted(runs.RECORDED.glob("*.json")), ids=lambda p: p.stem)
def test_the_recorded_runs_are_whole_and_agree_with_themselves(path):
    run = runs.read(path)
    assert path.name == run.filename
    assert not run.commit.endswith("+changes") and not run.commit.startswith("release")
    assert run.seconds > 1
    final = run.final if isinstance(next(iter(run.final.values())), dict) else None
    for name, rows in run.history.items():
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        figures = final[name] if final else run.final
        for key in figures.keys() & rows[-1].keys():
            assert figures[key] == rows[-1][key]


def test_every_recorded_group_has_its_seeds():
    groups = {}
    for path in runs.RECORDED.glob("*.json"):
        run = runs.read(path)
        groups.setdefault((run.name, run.scale, run.data), []).append(run)
    assert groups
    for group in groups.values():
        assert len({json.dumps(run.config) for run in group}) == 1
        seeds = sorted(run.seed for run in group)
        assert seeds == list(range(len(seeds)))


def test_measured_tables_come_with_the_seed(run):
    rows = [{"block": "layer1.0", "accuracy": 0.5}, {"block": "layer1.1", "accuracy": 0.25}]
    taken_apart = [replace(run, seed=seed, measured={"deleted": rows}) for seed in (3, 4)]
    table = runs.measured(taken_apart, "deleted")
    assert list(table.seed) == [3, 3, 4, 4]
    assert list(table.accuracy) == [0.5, 0.25] * 2


def test_a_run_that_measured_nothing_need_not_say_so(run, tmp_path):
    path = run.write(tmp_path)
    content = json.loads(path.read_text())
    del content["measured"]
    path.write_text(json.dumps(content))
    assert runs.read(path) == run
