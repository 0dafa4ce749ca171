"""Images as uint8 tensors that live on the device; Fashion-MNIST, and a drawn stand-in for it."""

import errno
import gzip
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from zipfile import BadZipFile

import platformdirs
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import check_integrity, download_url

from resnets import downloads
from resnets.files import whole_file
from resnets.standin import drawn_garments

REAL = "Fashion-MNIST"
STAND_IN = "drawn stand-in for Fashion-MNIST"
CLASSES = tuple(FashionMNIST.classes)
# Of the 60,000 training images, scaled to [0, 1].
MEAN, SD = 0.2860, 0.3530
# The label of a pixel that has no class, as is usual; losses and metrics leave it out.
VOID = 255


# Of the four files unpacked; torchvision has those of the packed ones.
UNPACKED = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
# How a download fails.
FAILED = (RuntimeError, URLError, HTTPException, TimeoutError, ConnectionError, BadZipFile)


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

    def batch(
        self,
        index: Tensor,
        generator: torch.Generator | None = None,
        mirrored: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Normalized images (B, 1, H, W) and labels (B,); with a generator cropped and flipped.

        `mirrored` (B,) bool, on the CPU, says which ones to flip in place of the generator.
        """
        images = self.images[index]
        if generator is not None:
            images = crop_and_flip(images, generator, mirrored=mirrored)
        return normalize(images), self.labels[index]


@dataclass(frozen=True)
class LabeledScenes:
    """Images with a class for every pixel.

    `images` (N, C, H, W) uint8 and `labels` (N, H, W) uint8, which index `classes` or are `VOID`.
    `mean` and `sd`, of each channel scaled to [0, 1], are what `batch` normalizes with. `source`
    says where the images come from, and belongs into every sentence about a result.

    Raises:
        ValueError: images and labels of different sizes, or a label that no class has.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    source: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 of shape (N, C, H, W), not {self.images.dtype} of shape "
                f"{tuple(self.images.shape)}"
            )
        expected = (len(self.images), *self.images.shape[2:])
        if self.labels.dtype != torch.uint8 or self.labels.shape != expected:
            raise ValueError(
                f"these images need labels that are uint8 of shape {expected}, not "
                f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        known = self.labels[self.labels != VOID]
        if len(known) and known.max() >= len(self.classes):
            raise ValueError(
                f"a pixel has label {known.max().item()}, but the {len(self.classes)} classes are "
                f"0 to {len(self.classes) - 1}: correct it, or mark pixels without class {VOID}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | Tensor) -> "LabeledScenes":
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> "LabeledScenes":
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batch(
        self,
        index: Tensor,
        generator: torch.Generator | None = None,
        mirrored: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Normalized images (B, C, H, W) and labels (B, H, W) int64.

        With a generator these are random crops, scaled and flipped (`scale_crop_and_flip`), of the
        largest size 8k+1 by 8m+1 that an image has room for. `mirrored` (B,) bool, on the CPU, says
        which ones to flip in place of the generator.
        """
        images, labels = self.normalize(self.images[index]), self.labels[index]
        if generator is not None:
            height, width = ((n - 1) // 8 * 8 + 1 for n in images.shape[2:])
            size = (height, width)
            images, labels = scale_crop_and_flip(images, labels, size, generator, mirrored=mirrored)
        return images, labels.long()

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 to float32 of the same shape (N, C, H, W), with mean and sd taken out."""
        mean, sd = (images.new_tensor(v, dtype=torch.float32) for v in (self.mean, self.sd))
        return (images.float() / 255 - mean[:, None, None]) / sd[:, None, None]


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


def crop_and_flip(
    images: Tensor,
    generator: torch.Generator,
    padding: int = 2,
    mirrored: Tensor | None = None,
) -> Tensor:
    """Shift each image by up to `padding` pixels either way, and mirror half or those `mirrored`.

    (N, H, W) to (N, H, W), on the images' device; `mirrored` (N,) bool. The random numbers come
    from `generator` on the CPU, so that every device sees the same crops.
    """
    n, height, width = images.shape
    top = torch.randint(2 * padding + 1, (n, 1), generator=generator)
    left = torch.randint(2 * padding + 1, (n, 1), generator=generator)
    columns = torch.arange(width).expand(n, width)
    if mirrored is None:
        mirrored = torch.rand(n, generator=generator) < 0.5
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.where(mirrored[:, None], columns.flip(1), columns)).to(images.device)
    image = torch.arange(n, device=images.device)
    padded = F.pad(images, (padding,) * 4)
    return padded[image[:, None, None], rows[:, :, None], columns[:, None, :]]


def scale_crop_and_flip(
    images: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    generator: torch.Generator,
    scales: tuple[float, float] = (0.5, 2.0),
    mirrored: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Scale each image by a random factor, take a random crop of `size`, and mirror half of them,
    or those `mirrored`.

    As Zhao et al. (2017), section 5.1, but without turning and blurring. Images (N, C, H, W)
    float, read between pixels; labels (N, H, W) uint8, read at the nearest pixel; `mirrored` (N,)
    bool. Outside the image a crop is 0 and `VOID`. The random numbers come from `generator` on the
    CPU.
    """
    n, _, height, width = images.shape
    factor = scales[0] + (scales[1] - scales[0]) * torch.rand(n, generator=generator)
    if mirrored is None:
        mirrored = torch.rand(n, generator=generator) < 0.5
    mirror = torch.where(mirrored, -1.0, 1.0)
    extent = torch.tensor(size) / factor[:, None] / torch.tensor([height, width])  # of the crop
    center = (1 - extent) * (2 * torch.rand(n, 2, generator=generator) - 1)
    zero = torch.zeros(n)
    rows = [
        torch.stack([mirror * extent[:, 1], zero, center[:, 1]], 1),
        torch.stack([zero, extent[:, 0], center[:, 0]], 1),
    ]
    matrix = torch.stack(rows, 1).to(images.device)
    grid = F.affine_grid(matrix, (n, 1, *size), align_corners=False)
    read = partial(F.grid_sample, grid=grid, align_corners=False)
    marked = (labels.unsqueeze(1).float() - VOID).contiguous()  # so that 0 outside becomes VOID
    cropped = read(marked, mode="nearest")[:, 0] + VOID
    return read(images), cropped.to(torch.uint8)


def batches(
    data: ImageSet | LabeledScenes,
    batch_size: int,
    generator: torch.Generator | None = None,
    augment: bool = False,
    mirrored: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """`data.batch` over all of `data`, on its device.

    With a generator the images come in random order, and the last ones that do not fill a batch
    are left out; `augment` changes them at random, and `mirrored` (of all of `data`, on the CPU)
    then says which ones are flipped. Without one they come in order, and all of them.
    """
    n = len(data)
    if generator is None:
        order = torch.arange(n)
    else:
        order = torch.randperm(n, generator=generator)[: n - n % batch_size]
    on_device = order.to(data.labels.device).split(batch_size)
    for index, number in zip(on_device, order.split(batch_size), strict=True):
        flips = None if mirrored is None else mirrored[number]
        yield data.batch(index, generator if augment else None, flips)


def fashion_mnist(folder: str | Path | None = None) -> tuple[ImageSet, ImageSet]:
    """Fashion-MNIST's training and test images (60,000 and 10,000), or the stand-in's.

    Looks for the four published files, packed (`.gz`) or unpacked, under `FashionMNIST/raw/` in
    `folder`, in `RESNETS_DATA` and in the cache, and reads the first that has them, after checking
    their md5. Where none has, torchvision downloads them into the cache, or for this session alone
    if that cannot be written. Where that fails too, says why and gives the stand-in. Nothing is
    written outside the cache.

    Raises:
        ValueError: in a folder that was named, a file is damaged, missing or misplaced.
        FileNotFoundError: `folder` or `RESNETS_DATA` names no folder.
        OSError: the disk is full.
    """
    *named, cache = data_folders(folder)
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
    if not wrong:
        return _read(files)
    try:
        return _download(raw)
    except NoNetwork as error:
        print(
            f"Fashion-MNIST is not on this machine and cannot be downloaded ({error}). "
            f"Using the {STAND_IN}."
        )
        return stand_in()


def data_folders(folder: str | Path | None) -> list[Path]:
    """Where data is looked for, in this order: `folder`, `RESNETS_DATA`, the cache.

    Raises:
        FileNotFoundError: one of the first two is named but does not exist.
    """
    named = [Path(f) for f in (folder, os.environ.get("RESNETS_DATA")) if f]
    for place in named:
        if not place.is_dir():
            raise FileNotFoundError(f"there is no data folder {place}: correct its name")
    return [*named, platformdirs.user_cache_path("resnets")]


def stand_in() -> tuple[ImageSet, ImageSet]:
    """10,000 training and 2,000 test images of the ten classes, drawn by code."""
    return tuple(
        ImageSet(*drawn_garments(n, seed), STAND_IN) for n, seed in ((10_000, 0), (2_000, 1))
    )


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


def _read(files: list[Path]) -> tuple[ImageSet, ImageSet]:
    """Read the four files, packed or not."""
    with _unpacking_folder("Fashion-MNIST", 130) as folder:
        raw = folder / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for path in files:
            if path.suffix == ".gz":
                with gzip.open(path) as source, (raw / path.stem).open("wb") as target:
                    shutil.copyfileobj(source, target)
            else:
                shutil.copyfile(path, raw / path.name)
        parts = [FashionMNIST(folder, train=train) for train in (True, False)]
    return tuple(ImageSet(part.data, part.targets, REAL) for part in parts)


class NoNetwork(Exception):
    """What should be downloaded cannot be."""


def _download(raw: Path) -> tuple[ImageSet, ImageSet]:
    """Download the four files to a temporary folder, read them, and copy each to `raw`, whole."""
    names = [name for name, _ in FashionMNIST.resources]
    with downloading("Fashion-MNIST", 130) as folder:
        for name, md5 in FashionMNIST.resources:
            _fetch(name, md5, folder)
        images = _read([folder / name for name in names])
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
    return images


def _fetch(name: str, md5: str, folder: Path) -> None:
    """Download one file from the first mirror that has it."""
    for mirror in FashionMNIST.mirrors:
        try:
            return download_url(mirror + name, folder, md5=md5)
        except FAILED as error:
            last = error
    raise last


@contextmanager
def downloading(what: str, megabytes: int) -> Iterator[Path]:
    """A temporary folder in which torchvision downloads `what`.

    Raises:
        NoNetwork: the download failed; the message says why.
        OSError: the disk is full.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # torchvision sets none, and a silent network would hang it
    try:
        with _unpacking_folder(what, megabytes) as folder:
            try:
                yield folder
            except FAILED as error:
                raise NoNetwork(downloads.cause(error, folder)) from error
    finally:
        socket.setdefaulttimeout(timeout)


@contextmanager
def _unpacking_folder(what: str, megabytes: int) -> Iterator[Path]:
    """A temporary folder; a disk that is full says what to do."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"the disk is full: {what} needs {megabytes} MB in {tempfile.gettempdir()} and in "
                "the cache; free some space, or set TMPDIR to a folder on a larger disk",
            ) from error
