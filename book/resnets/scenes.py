"""Fashion scenes: several garments on a canvas, in which a shoe tells which top was chosen."""

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.data import CLASSES, ImageSet, LabeledScenes

SIDE = 97  # 8·12 + 1: every eighth pixel is a feature of a backbone of output stride 8
SCENE_CLASSES = ("background", *CLASSES)
# Shoes, and the top that goes with each in an outfit.
OUTFITS = {"Ankle boot": "Coat", "Sneaker": "Pullover", "Sandal": "Shirt"}
OTHERS = ("T-shirt/top", "Trouser", "Dress", "Bag")
# Sides of the squares that garments are scaled to, in pixels, from and to.
SHOE_SIZES, TOP_SIZES, OTHER_SIZES = (24, 36), (28, 44), (12, 44)


def fashion_scenes(
    garments: ImageSet, n: int, *, outfits: bool, seed: int, noise: float = 0.2
) -> LabeledScenes:
    """Draw `n` scenes: images (n, 1, 97, 97), labels 0 for background, then `data.CLASSES`.

    Each scene has a shoe, one of the three tops that look alike, and two other garments, of
    different sizes, one in each quarter, at random places, under noise of sd `noise` (white is 1).
    With `outfits` the shoe decides the top; without, the top is drawn independently, and everything
    else, shoes, places, sizes and noise, is the same for the same seed.

    Raises:
        ValueError: a class of garments has no image.
    """
    generator = torch.Generator().manual_seed(seed)
    wardrobe = [garments.images[garments.labels == number].cpu() for number in range(len(CLASSES))]
    for name, pieces in zip(CLASSES, wardrobe, strict=True):
        if not len(pieces):
            raise ValueError(f"there is no image of class {name!r}: give more garments")
    images = torch.zeros(n, SIDE, SIDE)
    labels = torch.zeros(n, SIDE, SIDE, dtype=torch.uint8)
    for image, label in zip(images, labels, strict=True):
        _draw(image, label, wardrobe, outfits, generator)
    images += noise * torch.randn(images.shape, generator=generator)
    return LabeledScenes(
        images=(images.clamp(0, 1) * 255).to(torch.uint8).unsqueeze(1),
        labels=labels,
        classes=SCENE_CLASSES,
        source=f"scenes of {garments.source}",
        mean=(0.2,),
        sd=(0.25,),
    )


def _draw(image: Tensor, label: Tensor, wardrobe: list[Tensor], outfits: bool, generator) -> None:
    def pick(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    shoes, tops = tuple(OUTFITS), tuple(OUTFITS.values())
    shoe, other_top = shoes[pick(3)], tops[pick(3)]
    top = OUTFITS[shoe] if outfits else other_top
    others = [OTHERS[pick(len(OTHERS))] for _ in range(2)]
    wanted = [(shoe, SHOE_SIZES), (top, TOP_SIZES), *((name, OTHER_SIZES) for name in others)]
    quarters = torch.randperm(4, generator=generator).tolist()
    for (name, (smallest, largest)), quarter in zip(wanted, quarters, strict=True):
        size = smallest + pick(largest - smallest + 1)
        corner = [SIDE // 2 * offset + pick(SIDE // 2 - size + 1) for offset in divmod(quarter, 2)]
        place = tuple(slice(start, start + size) for start in corner)
        number = CLASSES.index(name)
        # A share and not an index, so that another top uses up as many random numbers.
        which = float(torch.rand((), generator=generator))
        piece = wardrobe[number][int(which * len(wardrobe[number]))]
        garment = F.interpolate(
            piece[None, None].float() / 255, size, mode="bilinear", align_corners=False
        )
        # Smoothed, so that the stand-in's grain is no garment.
        covered = (F.avg_pool2d(garment, 3, 1, 1) > 0.2)[0, 0]
        image[place] = garment[0, 0] * covered
        label[place] = (number + 1) * covered
