"""Fashion-MNIST as uint8 tensors that live on the device, and a drawn stand-in for it."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import platformdirs
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import check_integrity

from resnets.files import whole_file
from resnets.standin import drawn_garments

REAL = "Fashion-MNIST"
STAND_IN = "drawn stand-in for Fashion-MNIST"
CLASSES = tuple(FashionMNIST.classes)
# Of the 60,000 training images, scaled to [0, 1].
MEAN, SD = 0.2860, 0.3530


@dataclass(frozen=True)
class ImageSet:
    """Gray images and their classes: `images` (N, H, W) uint8, `labels` (N,) int64.

    `source` is `REAL` or `STAND_IN`, and belongs into every sentence about a result.
    """

    images: Tensor
    labels: Tensor
    source: str

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 3:
            raise ValueError(
                f"images must be uint8 of shape (N, H, W), not {self.images.dtype} of shape "
                f"{tuple(self.images.shape)}"
            )
        if self.labels.shape != (len(self.images),):
            raise ValueError(
                f"{len(self.images)} images need labels of shape ({len(self.images)},), not "
                f"{tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | Tensor) -> "ImageSet":
        return ImageSet(self.images[index], self.labels[index], self.source)

    def to(self, device: torch.device | str) -> "ImageSet":
        return ImageSet(self.images.to(device), self.labels.to(device), self.source)


def split(data: ImageSet, held_out: int, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Two random parts without overlap: all but `held_out` images, and `held_out` images."""
    if not 0 < held_out < len(data):
        raise ValueError(f"cannot hold {held_out} of {len(data)} images out")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    order = order.to(data.labels.device)
    return data[order[held_out:]], data[order[:held_out]]


def normalize(images: Tensor) -> Tensor:
    """uint8 (N, H, W) to float32 (N, 1, H, W) with Fashion-MNIST's mean and sd taken out."""
    return (images.unsqueeze(1).float() / 255 - MEAN) / SD


def crop_and_flip(images: Tensor, generator: torch.Generator, padding: int = 2) -> Tensor:
    """Shift each image by up to `padding` pixels either way, and mirror half of them.

    (N, H, W) to (N, H, W), on the images' device. The random numbers come from `generator` on the
    CPU, so that every device sees the same crops.
    """
    n, height, width = images.shape
    top = torch.randint(2 * padding + 1, (n, 1), generator=generator)
    left = torch.randint(2 * padding + 1, (n, 1), generator=generator)
    columns = torch.arange(width).expand(n, width)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.where(mirrored, columns.flip(1), columns)).to(images.device)
    image = torch.arange(n, device=images.device)
    padded = F.pad(images, (padding,) * 4)
    return padded[image[:, None, None], rows[:, :, None], columns[:, None, :]]


def batches(
    data: ImageSet,
    batch_size: int,
    generator: torch.Generator | None = None,
    augment: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalized batches: images (B, 1, H, W) float32, labels (B,), on the device of `data`.

    With a generator the images come in random order, and the last ones that do not fill a batch
    are left out; `augment` crops and flips them. Without one they come in order, and all of them.
    """
    n = len(data)
    if generator is None:
        order = torch.arange(n)
    else:
        order = torch.randperm(n, generator=generator)[: n - n % batch_size]
    for index in order.to(data.labels.device).split(batch_size):
        images = data.images[index]
        if augment:
            images = crop_and_flip(images, generator)
        yield normalize(images), data.labels[index]


def fashion_mnist(folder: str | Path | None = None) -> tuple[ImageSet, ImageSet]:
    """Fashion-MNIST's training and test images (60,000 and 10,000), or the stand-in's.

    Looks for the four `.gz` files under `FashionMNIST/raw/` in `folder`, in `RESNETS_DATA` and in
    the cache, and reads the first that has them, after checking their md5. Where none has,
    torchvision downloads them into the cache. Where that fails too, says so and gives the stand-in.
    Nothing is written outside the cache.

    Raises:
        ValueError: a file is damaged, or one of the four is missing.
        FileNotFoundError: `folder` or `RESNETS_DATA` names no folder.
        OSError: the disk is full or cannot be written.
    """
    cache = platformdirs.user_cache_path("resnets")
    named = [Path(f) for f in (folder, os.environ.get("RESNETS_DATA")) if f]
    for place in named:
        if not place.is_dir():
            raise FileNotFoundError(f"there is no data folder {place}: correct its name")
    for place in (*named, cache):
        raw = place / "FashionMNIST" / "raw"
        if any((raw / name).exists() for name, _ in FashionMNIST.resources):
            return _read(raw)
    try:
        return _read(_download(cache / "FashionMNIST" / "raw"))
    except _NoNetwork:
        print(
            f"Fashion-MNIST is not on this machine and cannot be downloaded: using the {STAND_IN}."
        )
        return stand_in()


def stand_in() -> tuple[ImageSet, ImageSet]:
    """10,000 training and 2,000 test images of the ten classes, drawn by code."""
    return tuple(
        ImageSet(*drawn_garments(n, seed), STAND_IN) for n, seed in ((10_000, 0), (2_000, 1))
    )


def _read(raw: Path) -> tuple[ImageSet, ImageSet]:
    for name, md5 in FashionMNIST.resources:
        if not (raw / name).exists():
            raise ValueError(f"{raw} lacks {name}: add the file, or remove the other three")
        if not check_integrity(raw / name, md5):
            raise ValueError(
                f"{raw / name} is damaged (its md5 is not {md5}): delete the file and run again"
            )
    with _unpacking_folder() as folder:
        copy = folder / "FashionMNIST" / "raw"
        copy.mkdir(parents=True)
        for name, _ in FashionMNIST.resources:
            shutil.copyfile(raw / name, copy / name)
        parts = [FashionMNIST(folder, train=train, download=True) for train in (True, False)]
    return tuple(ImageSet(part.data, part.targets, REAL) for part in parts)


class _NoNetwork(Exception):
    pass


def _download(raw: Path) -> Path:
    """Download the four files to a temporary folder, then copy each to `raw`, whole."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # torchvision sets none, and a silent network would hang it
    try:
        with _unpacking_folder() as folder:
            try:
                FashionMNIST(folder, download=True)
            except (RuntimeError, URLError, TimeoutError, ConnectionError) as error:
                raise _NoNetwork from error
            for name, _ in FashionMNIST.resources:
                with whole_file(raw / name) as path:
                    shutil.copyfile(folder / "FashionMNIST" / "raw" / name, path)
    finally:
        socket.setdefaulttimeout(timeout)
    return raw


@contextmanager
def _unpacking_folder() -> Iterator[Path]:
    """A temporary folder; a disk that is full says what to do."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"the disk is full: Fashion-MNIST needs 100 MB in {tempfile.gettempdir()} and "
                "30 MB in the cache; free some space, or set TMPDIR to a folder on a larger disk",
            ) from error
