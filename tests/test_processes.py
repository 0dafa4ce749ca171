"""Several processes train one network: here two on the CPU, started by `torchrun`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import together
import torch

from resnets import device, processes
from resnets.training import Recipe, fit, read_history

TESTS = Path(__file__).parent


def torchrun(folder, kill_after=0, kind="plain"):
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", TESTS / "together.py", folder, str(kill_after), kind),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def weights(path):
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder in which two processes trained, and what they printed."""
    folder = tmp_path_factory.mktemp("pair")
    done = torchrun(folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_two_halves_of_a_batch_are_the_whole_batch(pair, tmp_path):
    folder, _ = pair
    history = together.train(tmp_path, 0, "plain")
    alone = weights(tmp_path / "process0.pt")
    for name, tensor in weights(folder / "process0.pt").items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-4, atol=1e-5)
    for row, other in zip(read_history(folder / "checkpoint.pt"), history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert row["train_accuracy"] == pytest.approx(other["train_accuracy"], abs=0.02)
    torch.manual_seed(0)
    untrained = together.cifar_resnet(8, in_channels=1, num_classes=10, stem="stride2")
    assert (alone["conv1.weight"] - untrained.conv1.weight).abs().max() > 0.01


def test_blocks_left_out_at_random_are_left_out_in_all_processes(tmp_path):
    done = torchrun(tmp_path, kind="stochastic depth")
    assert done.returncode == 0, done.stderr
    together.train(tmp_path / "alone", 0, "stochastic depth")
    alone = weights(tmp_path / "alone" / "process0.pt")
    for name, tensor in weights(tmp_path / "process0.pt").items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-4, atol=1e-5)


def test_only_the_first_process_prints_and_saves(pair):
    folder, done = pair
    assert done.stdout.count("epoch 1/3") == done.stdout.count("epoch 3/3") == 1
    names = {path.name for path in folder.iterdir()}
    assert names == {"checkpoint.pt", "process0.pt", "process1.pt"}


def test_each_process_computes_on_its_own_half(pair, monkeypatch):
    _, done = pair
    assert "process 0 saw batches of {16}" in done.stdout
    assert "process 1 saw batches of {16}" in done.stdout
    monkeypatch.setattr(processes, "count", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        x, y = processes.share(torch.arange(12), 10 * torch.arange(12))
        assert torch.equal(y, 10 * x) and len(x) == 4
        parts += x.tolist()
    assert sorted(parts) == list(range(12))


def test_all_processes_end_with_the_same_model(tmp_path):
    done = torchrun(tmp_path, kind="normalized")
    assert done.returncode == 0, done.stderr
    first, second = (weights(tmp_path / f"process{rank}.pt") for rank in (0, 1))
    assert any("running_mean" in name for name in first)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_killed_process_ends_the_job_and_the_next_one_goes_on(pair, tmp_path):
    killed = torchrun(tmp_path, kill_after=1)
    assert killed.returncode != 0 and "SIGKILL" in killed.stderr
    assert not (tmp_path / "process0.pt").exists()
    finished = len(read_history(tmp_path / "checkpoint.pt"))
    assert 1 <= finished < 3

    again = torchrun(tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{finished} of 3 epochs are in" in again.stdout
    whole = weights(pair[0] / "process0.pt")
    for name, tensor in weights(tmp_path / "process0.pt").items():
        torch.testing.assert_close(tensor, whole[name])


@pytest.fixture
def launched(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)


def test_what_processes_cannot_do_says_what_to_do(launched):
    with (
        pytest.raises(ValueError, match="on GPUs only: leave it out"),
        processes.joined(torch.device("cpu"), sync_batch_norm=True),
    ):
        pass
    with (
        pytest.raises(ValueError, match="cannot train on mps: set RESNETS_DEVICE=cpu"),
        processes.joined(torch.device("mps")),
    ):
        pass


def test_a_process_without_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert device.best_device() == torch.device("cuda")
    for own in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(own))
        assert device.best_device() == torch.device("cuda", own)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="process 2 has no GPU of its own, since 2 are found"):
        device.best_device()


def test_batches_that_cannot_be_shared_equally(monkeypatch, drawn):
    monkeypatch.setattr(processes, "count", lambda: 3)
    with pytest.raises(ValueError, match="3 processes cannot share batches of 32 equally"):
        fit(torch.nn.Flatten(), drawn[0], Recipe(epochs=1, batch_size=32))


def test_gpus_synchronize_batch_normalization_if_asked(monkeypatch):
    """As far as it goes without a GPU: what the model becomes."""
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "DistributedDataParallel", lambda model, **_: model)
    for asked, kind in ((True, torch.nn.SyncBatchNorm), (False, torch.nn.BatchNorm2d)):
        monkeypatch.setattr(processes, "_sync_batch_norm", asked)
        net = together.cifar_resnet(8)
        names = set(net.state_dict())
        wrapped = processes.averaging(net)
        assert type(wrapped.bn1) is kind and set(wrapped.state_dict()) == names
        assert ("synchronized" in processes.description()) == asked


def test_processes_that_see_different_checkpoints_do_not_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "summed", lambda number: (number + 3,))
    processes.check_same(3, torch.device("cpu"), "epochs done")
    with pytest.raises(ValueError, match=r"has 0 epochs done.*folder that all machines share"):
        processes.check_same(0, torch.device("cpu"), "epochs done")
