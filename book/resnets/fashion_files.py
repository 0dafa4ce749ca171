"""Fashion-MNIST's four files: found, checked, downloaded and read by torchvision."""

import errno
import gzip
import shutil
from pathlib import Path

from torch import Tensor
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import check_integrity, download_url

from resnets.downloads import FAILED, downloading, unpacking_folder
from resnets.files import whole_file

Part = tuple[Tensor, Tensor]  # images (N, 28, 28) uint8, labels (N,) int64
# Of the four files unpacked; torchvision has those of the packed ones.
UNPACKED = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def find(named: list[Path], cache: Path) -> list[Part]:
    """The training and the test part: of the first named folder that has the files, or the cache's.

    Raises:
        ValueError: in a named folder, a file is damaged, missing or misplaced.
        NoNetwork: none has them, and they cannot be downloaded; the message says why.
        OSError: the disk is full.
    """
    for place in named:
        raw = place / "FashionMNIST" / "raw"
        files, wrong = _published(raw)
        if not wrong:
            return _read(files)
        if any(path.exists() for path in _names(raw)):
            raise ValueError(f"{raw} {' and '.join(wrong)}: copy the published files there")
        if misplaced := _misplaced(place):
            raise ValueError(f"Fashion-MNIST is looked for in {raw}, but {misplaced}")
    raw = cache / "FashionMNIST" / "raw"
    files, wrong = _published(raw)
    return _download(raw) if wrong else _read(files)


def _names(raw: Path) -> list[Path]:
    """Where each of the four files may be, packed and unpacked."""
    packed = [raw / name for name, _ in FashionMNIST.resources]
    return packed + [path.with_suffix("") for path in packed]


def _published(raw: Path) -> tuple[list[Path], list[str]]:
    """Those of the four files that are there as published, and what is wrong with the others."""
    files, wrong = [], []
    for name, md5 in FashionMNIST.resources:
        packed = raw / name
        unpacked = packed.with_suffix("")
        sums = {packed: md5, unpacked: UNPACKED[unpacked.name]}
        good = [path for path, md5 in sums.items() if check_integrity(path, md5)]
        there = [path for path in sums if path.exists()]
        if good:
            files.append(good[0])
        elif there:
            wrong.append(f"has a damaged {there[0].name} (its md5 is not {sums[there[0]]})")
        else:
            wrong.append(f"lacks {name}")
    return files, wrong


def _misplaced(place: Path) -> str:
    """Where the files are instead, up to three folders down, and what to do; empty if nowhere."""
    packed = FashionMNIST.resources[0][0]
    for depth in range(4):
        for name in (packed, packed.removesuffix(".gz")):
            for path in place.glob("*/" * depth + name):
                if path.parts[-3:-1] == ("FashionMNIST", "raw"):
                    return f"{path} was found: name {path.parents[2]} as the folder of data"
                return f"{path} was found: move the four files"
    return ""


def _read(files: list[Path]) -> list[Part]:
    """Read the four files, packed or not."""
    with unpacking_folder("Fashion-MNIST", 130) as folder:
        raw = folder / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for path in files:
            if path.suffix == ".gz":
                with gzip.open(path) as source, (raw / path.stem).open("wb") as target:
                    shutil.copyfileobj(source, target)
            else:
                shutil.copyfile(path, raw / path.name)
        parts = [FashionMNIST(folder, train=train) for train in (True, False)]
    return [(part.data, part.targets) for part in parts]


def _download(raw: Path) -> list[Part]:
    """Download the four files to a temporary folder, read them, and copy each to `raw`, whole."""
    names = [name for name, _ in FashionMNIST.resources]
    with downloading("Fashion-MNIST", 130) as folder:
        for name, md5 in FashionMNIST.resources:
            _fetch(name, md5, folder)
        parts = _read([folder / name for name in names])
        try:
            for name in names:
                with whole_file(raw / name) as path:
                    shutil.copyfile(folder / name, path)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            print(
                f"Fashion-MNIST was downloaded for this session alone, since {raw} cannot be "
                "written. To keep it, put its four files into FashionMNIST/raw in a folder, and "
                "name that folder in RESNETS_DATA."
            )
    return parts


def _fetch(name: str, md5: str, folder: Path) -> None:
    """Download one file from the first mirror that has it."""
    for mirror in FashionMNIST.mirrors:
        try:
            return download_url(mirror + name, folder, md5=md5)
        except FAILED as error:
            last = error
    raise last
