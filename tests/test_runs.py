import json
import shutil
import statistics
import subprocess
from dataclasses import replace

import pytest
import torch

from resnets import __version__, data, runs
from resnets.experiments import failures


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
    assert not set(run.commit) - set("0123456789abcdef")
    assert run.seconds > 1
    final = run.final if isinstance(next(iter(run.final.values())), dict) else None
    for name, rows in run.history.items():
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        figures = final[name] if final else run.final
        measured_alike = figures.keys() & rows[-1].keys()
        if run.name == "failures":  # in the history on held-out scenes, in the end on test scenes
            measured_alike -= {*failures.KINDS, "tops_iou"}
        for key in measured_alike:
            assert figures[key] == rows[-1][key]


@pytest.mark.parametrize("run", runs.recorded("failures", "hour"), ids=lambda run: str(run.seed))
def test_failures_are_counted_on_held_out_scenes_each_epoch_and_at_the_end_on_test_scenes(run):
    table = runs.measured([run], "failures").set_index(["network", "part", "scenes"])
    for name, figures in run.final.items():
        for kind in failures.KINDS:
            assert table.loc[(name, "test", "all"), kind] == figures[kind]
            assert table.loc[(name, "held out", "all"), kind] == run.history[name][-1][kind]


@pytest.mark.parametrize("run", runs.recorded("scaling", "hour"), ids=lambda run: str(run.seed))
def test_recorded_speeds_are_those_of_the_histories(run):
    images = run.config["batch_size"] * run.config["steps"]
    assert run.history.keys() == run.final.keys()
    for name, rows in run.history.items():
        speed = run.final[name]["images_per_second"]
        assert speed == pytest.approx(images / rows[-1]["seconds"])


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


@pytest.fixture
def history(tmp_path, monkeypatch, run):
    """A copy of the library with a history of its own: (its folder, a run of its first commit)."""
    package = shutil.copytree(runs.RECORDED.parent, tmp_path / "resnets", symlinks=True)
    monkeypatch.setattr(runs, "__file__", str(package / "runs.py"))
    runs._definitions.cache_clear()

    def git(*words):
        name = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        command = ["git", *name, *words]
        return subprocess.run(command, cwd=package, capture_output=True, text=True, check=True)

    git("init", "--quiet")
    git("add", "*.py")
    git("commit", "--quiet", "-m", "first")
    yield package, replace(run, commit=git("rev-parse", "--short=12", "HEAD").stdout.strip())
    runs._definitions.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("training.py", "pct_start=0.25", "pct_start=0.5", ["training"]),
        ("training.py", "from tqdm import tqdm", "from tqdm.auto import tqdm", ["training"]),
        ("experiments/__init__.py", 'if scale == "quick"', 'if scale == "hour"', ["experiments"]),
        (
            "models.py",
            "def imagenet_resnet(depth: int",
            "def imagenet_resnet(depth: float",
            ["models"],
        ),
        ("device.py", "torch.manual_seed(seed)", "torch.manual_seed(0)", ["device"]),
        ("experiments/fashion.py", "epochs=5", "epochs=6", ["experiments.fashion"]),
        ("training.py", '"""Mean cross-entropy', '"""The mean cross-entropy', []),
        ("training.py", "# How many steps", "# how many steps", []),
        ("device.py", "{threads} thread{", "{threads} core{", []),
        ("models.py", "def cifar_resnet(depth: int", "def cifar_resnet(depth: float", []),
        ("experiments/__init__.py", "device = best_device()", "device = 'cpu'", []),
        ("pspnet.py", "class PSPNet", "x = 1\n\n\nclass PSPNet", []),
        ("experiments/growth.py", "SHALLOW, DEEP = 8", "SHALLOW, DEEP = 14", []),
    ],
)
def test_a_run_knows_what_was_changed_since(history, file, old, new, changed):
    package, run = history
    assert runs.changed_since(run) == []
    text = (package / file).read_text()
    assert text.count(old) == 1
    (package / file).write_text(text.replace(old, new))
    runs._definitions.cache_clear()
    assert runs.changed_since(run) == changed


def test_a_run_on_the_stand_in_rests_on_its_drawings(history):
    package, run = history
    run = replace(run, data="drawn stand-in for Fashion-MNIST")
    assert runs.changed_since(run) == []
    text = (package / "standin.py").read_text()
    (package / "standin.py").write_text(
        text.replace("def drawn_garments", "@print\ndef drawn_garments")
    )
    runs._definitions.cache_clear()
    assert runs.changed_since(run) == ["standin"]


def refuse(*command):
    """As git does in a folder of another owner, in none of its own, or if it is not installed."""
    return b""


@pytest.mark.parametrize("git", ["knows", "refuses"])
def test_what_was_not_committed_is_known_by_its_code(history, monkeypatch, git):
    package, run = history
    if git == "refuses":
        monkeypatch.setattr(runs, "_git", refuse)
    else:
        (package / "euler.py").write_text("changed = True\n")
    run = replace(run, commit=runs._commit(run))
    assert run.commit.startswith(
        f"release {__version__}, " if git == "refuses" else run.commit[:12]
    )
    assert ("+changes, code " in run.commit) == (git == "knows")
    assert runs.changed_since(run) == []
    (package / "probes.py").write_text("not_used = True\n")
    runs._definitions.cache_clear()
    assert runs.changed_since(run) == []
    text = (package / "training.py").read_text(encoding="utf-8")
    changed = text.replace("pct_start=0.25", "pct_start=0.5")
    (package / "training.py").write_text(changed, encoding="utf-8")
    runs._definitions.cache_clear()
    assert runs.changed_since(run) is None


def test_without_its_commit_nothing_is_known_of_a_run(history):
    _, run = history
    for commit in ("0123456789ab", "release 0.1.0", run.commit + "+changes"):
        assert runs.changed_since(replace(run, commit=commit)) is None
