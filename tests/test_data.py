import errno
import gzip
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.datasets import FashionMNIST
from torchvision.transforms.functional import crop, hflip, pad

from resnets import data, fashion_files

REAL_DATA = os.environ.get("RESNETS_DATA")
NAMES = [name for name, _ in FashionMNIST.resources]


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with four small files in Fashion-MNIST's format, and torchvision told their md5."""
    monkeypatch.delenv("RESNETS_DATA", raising=False)
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody answers there
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    resources, unpacked = [], {}
    for name in NAMES:
        n = 30 if name.startswith("train") else 10
        shape = (n, 28, 28) if "images" in name else (n,)
        content = idx(random.integers(10, size=shape, dtype=np.uint8))
        (raw / name).write_bytes(content)
        resources.append((name, hashlib.md5(content).hexdigest()))
        digest = hashlib.md5(gzip.decompress(content)).hexdigest()
        unpacked[name.removesuffix(".gz")] = digest
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    monkeypatch.setattr(fashion_files, "UNPACKED", unpacked)
    return tmp_path / "data"


@pytest.fixture
def serve(server, monkeypatch):
    """Make a folder the only mirror that torchvision knows: `serve(folder)`."""
    return lambda folder: monkeypatch.setattr(FashionMNIST, "mirrors", [server(folder)])


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_classes_are_those_that_torchvision_names():
    assert list(data.CLASSES) == FashionMNIST.classes


@pytest.mark.skipif(not REAL_DATA, reason="RESNETS_DATA is not set")
def test_the_real_images_are_those_that_were_published():
    train, test = data.fashion_mnist()
    assert train.source == test.source == data.REAL
    assert train.images.shape == (60_000, 28, 28) and test.images.shape == (
        10_000,
        28,
        28,
    )
    assert train.labels.bincount().tolist() == [6000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    assert train.labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert abs(train.images.float().mean() / 255 - data.MEAN) < 1e-4
    assert abs(train.images.float().std() / 255 - data.SD) < 1e-4


def test_reads_compressed_files_from_a_folder_that_it_must_not_write(small, own_cache):
    before = contents(small)
    train, test = data.fashion_mnist(small)
    assert len(train) == 30 and len(test) == 10
    assert train.images.dtype == torch.uint8 and train.labels.dtype == torch.int64
    assert contents(small) == before
    assert not own_cache.exists()


def test_looks_in_the_argument_then_the_variable_then_the_cache(
    small, tmp_path, monkeypatch, own_cache
):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("RESNETS_DATA", str(empty))
    assert data.fashion_mnist(small)[0].source == data.REAL
    assert data.fashion_mnist()[0].source == data.STAND_IN
    shutil.copytree(small, own_cache)
    assert data.fashion_mnist()[0].source == data.REAL
    (own_cache / "FashionMNIST" / "raw" / NAMES[0]).write_bytes(b"damaged")
    monkeypatch.setenv("RESNETS_DATA", str(small))
    assert data.fashion_mnist()[0].source == data.REAL


def test_downloads_into_the_cache(small, serve, monkeypatch, own_cache):
    serve(small / "FashionMNIST" / "raw")
    assert data.fashion_mnist()[0].source == data.REAL
    files = [path for path in own_cache.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == sorted(NAMES)
    umask = os.umask(0o022)
    os.umask(umask)
    assert os.name == "nt" or {p.stat().st_mode & 0o777 for p in files} == {0o666 & ~umask}
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert data.fashion_mnist()[0].source == data.REAL


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b[:50] + b"x" + b[51:]])
def test_a_truncated_or_altered_file_is_never_read(small, name, damage):
    file = small / "FashionMNIST" / "raw" / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=f"damaged {name}.*: copy the published"):
        data.fashion_mnist(small)


def test_a_missing_file_is_named(small):
    (small / "FashionMNIST" / "raw" / NAMES[2]).unlink()
    with pytest.raises(ValueError, match=f"lacks {NAMES[2]}: copy the published"):
        data.fashion_mnist(small)


def unpack(raw):
    for name in NAMES:
        unpacked = gzip.decompress((raw / name).read_bytes())
        (raw / name.removesuffix(".gz")).write_bytes(unpacked)
        (raw / name).unlink()


def test_unpacked_files_are_read_after_their_own_checksum(small):
    packed = data.fashion_mnist(small)
    unpack(small / "FashionMNIST" / "raw")
    for one, other in zip(data.fashion_mnist(small), packed, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    file = small / "FashionMNIST" / "raw" / NAMES[1].removesuffix(".gz")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=f"damaged {file.name}.*: copy the published"):
        data.fashion_mnist(small)


def test_a_file_that_is_damaged_packed_and_whole_unpacked_is_read(small):
    raw = small / "FashionMNIST" / "raw"
    packed = (raw / NAMES[0]).read_bytes()
    (raw / NAMES[0].removesuffix(".gz")).write_bytes(gzip.decompress(packed))
    (raw / NAMES[0]).write_bytes(packed[:100])
    assert data.fashion_mnist(small)[0].source == data.REAL


@pytest.mark.skipif(not REAL_DATA, reason="RESNETS_DATA is not set")
def test_the_checksums_of_unpacked_files_are_those_of_the_published_ones():
    for name, digest in fashion_files.UNPACKED.items():
        packed = Path(REAL_DATA, "FashionMNIST", "raw", f"{name}.gz").read_bytes()
        assert hashlib.md5(gzip.decompress(packed)).hexdigest() == digest


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize(
    ("place", "named", "advice"),
    [
        ("", ".", "move the four files"),
        ("raw", ".", "move the four files"),
        ("FashionMNIST/raw", "FashionMNIST/raw", "name {top} as the folder of data"),
        ("one/FashionMNIST/raw", ".", "name {top}/one as the folder of data"),
    ],
)
def test_misplaced_files_are_found_and_said(
    small, tmp_path, monkeypatch, place, named, advice, unpacked
):
    if unpacked:
        unpack(small / "FashionMNIST" / "raw")
    top = tmp_path / "top"
    shutil.copytree(small / "FashionMNIST" / "raw", top / place)
    monkeypatch.setenv("RESNETS_DATA", str(top / named))
    with pytest.raises(ValueError, match=r"is looked for in .*raw, but ") as error:
        data.fashion_mnist()
    name = NAMES[0].removesuffix(".gz") if unpacked else NAMES[0]
    assert f"{top / place / name} was found: " in str(error.value)
    assert str(error.value).endswith(advice.format(top=top).replace("/", os.sep))


@pytest.mark.parametrize("harm", [lambda p: p.unlink(), lambda p: p.write_bytes(b"damaged")])
def test_a_damaged_cache_is_filled_again(small, serve, own_cache, monkeypatch, harm, capsys):
    shutil.copytree(small, own_cache)
    harmed = own_cache / "FashionMNIST" / "raw" / NAMES[2]
    harm(harmed)
    assert data.fashion_mnist()[0].source == data.STAND_IN
    assert "cannot be downloaded" in capsys.readouterr().out
    serve(small / "FashionMNIST" / "raw")
    assert data.fashion_mnist()[0].source == data.REAL
    assert harmed.read_bytes() == (small / "FashionMNIST" / "raw" / NAMES[2]).read_bytes()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_written_is_done_without(
    small, serve, monkeypatch, capsys, own_cache, code
):
    def refused(path, **_):
        raise OSError(code, os.strerror(code))

    serve(small / "FashionMNIST" / "raw")
    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(fashion_files, "_read", lambda files: [path.read_bytes() for path in files])
    read = fashion_files.find([], own_cache)
    assert read == [(small / "FashionMNIST" / "raw" / name).read_bytes() for name in NAMES]
    said = capsys.readouterr().out
    assert "for this session alone" in said and "RESNETS_DATA" in said


def test_a_folder_that_is_not_there_is_named(small, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no data folder .*nowhere"):
        data.fashion_mnist(small / "nowhere")
    monkeypatch.setenv("RESNETS_DATA", "/nowhere")
    with pytest.raises(FileNotFoundError, match=r"no data folder .*nowhere"):
        data.fashion_mnist()


def test_without_files_and_network_the_stand_in_says_so(small, capsys, own_cache):
    train, test = data.fashion_mnist()
    assert train.source == test.source == data.STAND_IN
    (line,) = capsys.readouterr().out.splitlines()
    assert "cannot be downloaded (" in line and line.endswith(f"Using the {data.STAND_IN}.")
    assert not own_cache.exists()


def test_a_download_that_arrives_damaged_is_not_kept(small, serve, tmp_path, own_cache):
    mirror = tmp_path / "mirror"
    shutil.copytree(small / "FashionMNIST" / "raw", mirror)
    (mirror / NAMES[3]).write_bytes(b"not found")
    serve(mirror)
    assert data.fashion_mnist()[0].source == data.STAND_IN
    assert not own_cache.exists()


@pytest.mark.parametrize("copied_before", [0, 2])
def test_a_full_disk_leaves_no_part_of_a_file(small, serve, monkeypatch, own_cache, copied_before):
    serve(small / "FashionMNIST" / "raw")
    copy, calls = shutil.copyfile, []

    def full(source, target):
        calls.append(target)
        if len(calls) > copied_before:
            target.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="free some") as error:
        data.fashion_mnist()
    assert error.value.errno == errno.ENOSPC
    assert len([p for p in own_cache.rglob("*") if p.is_file()]) == copied_before


def test_normalize_takes_mean_and_sd_out():
    images = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    expected = torch.tensor([[[[-0.2860 / 0.3530, (1 - 0.2860) / 0.3530]]]])
    torch.testing.assert_close(data.normalize(images), expected)


def test_crop_and_flip_gives_what_torchvision_gives():
    images = torch.randint(256, (64, 28, 28), dtype=torch.uint8)
    out = data.crop_and_flip(images, torch.Generator().manual_seed(0))
    found = set()
    for image, cropped in zip(images, out, strict=True):
        padded = pad(image[None], [2])
        ways = {
            (top, left, flip): (hflip(part) if flip else part)[0]
            for top in range(5)
            for left in range(5)
            for part in [crop(padded, top, left, 28, 28)]
            for flip in (False, True)
        }
        matching = [way for way, expected in ways.items() if torch.equal(cropped, expected)]
        assert len(matching) == 1
        found.add(matching[0])
    assert {flip for _, _, flip in found} == {False, True}
    assert len({top for top, _, _ in found}) == len({left for _, left, _ in found}) == 5


def test_batches_in_order_give_every_image_once(drawn):
    part = drawn[1][:250]
    seen = list(data.batches(part, 100))
    assert [len(y) for _, y in seen] == [100, 100, 50]
    torch.testing.assert_close(torch.cat([x for x, _ in seen]), data.normalize(part.images))
    assert torch.equal(torch.cat([y for _, y in seen]), part.labels)


def test_shuffled_batches_are_full_and_follow_the_generator(drawn):
    def labels(seed):
        generator = torch.Generator().manual_seed(seed)
        return [y for _, y in data.batches(drawn[1][:250], 100, generator, augment=True)]

    assert [len(y) for y in labels(0)] == [100, 100]
    assert torch.equal(torch.cat(labels(0)), torch.cat(labels(0)))
    assert not torch.equal(torch.cat(labels(0)), torch.cat(labels(1)))


def test_split_leaves_no_image_out_and_none_in_both(drawn):
    numbered = data.ImageSet(drawn[1].images, torch.arange(2000), drawn[1].source)
    kept, held_out = data.split(numbered, 300)
    assert len(kept) == 1700 and len(held_out) == 300
    assert sorted(torch.cat([kept.labels, held_out.labels]).tolist()) == list(range(2000))
    with pytest.raises(ValueError, match="hold 2000 of 2000"):
        data.split(numbered, 2000)


def test_an_image_set_of_the_wrong_shape_or_type_is_refused():
    bytes_ = torch.zeros(3, 28, 28, dtype=torch.uint8)
    with pytest.raises(ValueError, match="uint8 of shape"):
        data.ImageSet(bytes_.float(), torch.zeros(3), "x")
    with pytest.raises(ValueError, match=r"3 images need labels of shape \(3,\), not \(2,\)"):
        data.ImageSet(bytes_, torch.zeros(2), "x")


def test_the_stand_in_is_the_same_every_time_and_its_parts_differ(drawn):
    again = data.stand_in()
    for one, other in zip(drawn, again, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    train, test = drawn
    assert train.images.shape == (10_000, 28, 28) and test.images.shape == (
        2_000,
        28,
        28,
    )
    assert train.labels.bincount(minlength=10).min() > 800
    assert not (train.images[:2000] == test.images).flatten(1).all(1).any()


def test_on_the_stand_in_a_small_cnn_is_far_better_than_a_linear_model(drawn):
    def accuracy(model, lr):
        torch.manual_seed(0)
        optimizer = torch.optim.SGD(model.parameters(), lr, 0.9)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            for x, y in data.batches(drawn[0], 64, generator):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        right = [(model(x).argmax(1) == y).sum().item() for x, y in data.batches(drawn[1], 500)]
        return sum(right) / len(drawn[1])

    def convolution(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))

    torch.manual_seed(0)
    linear = accuracy(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), lr=0.01)
    head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 49, 10))
    cnn = accuracy(nn.Sequential(convolution(1, 16), convolution(16, 32), head), lr=0.05)
    assert 0.4 < linear < cnn - 0.15
