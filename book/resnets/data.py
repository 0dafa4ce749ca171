"""Images as uint8 tensors that live on the device; Fashion-MNIST, and a drawn stand-in for it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import platformdirs
import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.downloads import NoNetwork
from resnets.standin import drawn_garments

REAL = "Fashion-MNIST"
STAND_IN = "drawn stand-in for Fashion-MNIST"
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# Of the 60,000 training images, scaled to [0, 1].
MEAN, SD = 0.2860, 0.3530
# The label of a pixel that has no class, as is usual; losses and metrics leave it out.
VOID = 255


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
    # Here, since it imports torchvision, which takes longer than all the rest.
    from resnets import fashion_files

    *named, cache = data_folders(folder)
    try:
        parts = fashion_files.find(named, cache)
    except NoNetwork as error:
        print(
            f"Fashion-MNIST is not on this machine and cannot be downloaded ({error}). "
            f"Using the {STAND_IN}."
        )
        return stand_in()
    return tuple(ImageSet(*part, REAL) for part in parts)


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
