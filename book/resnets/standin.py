"""Ten garment silhouettes, drawn by code: what the lessons run on where Fashion-MNIST is not."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

SIZE = 28
CANVAS = 112

# Right half of each outline in a unit square, from top to bottom; the left half mirrors it.
_MIRRORED = {
    "T-shirt/top": [(0.58, 0.12), (0.70, 0.14), (0.95, 0.34), (0.84, 0.46), (0.72, 0.38), (0.72, 0.88)],
    "Trouser": [(0.68, 0.08), (0.72, 0.92), (0.57, 0.92), (0.51, 0.35)],
    "Pullover": [(0.57, 0.12), (0.70, 0.14), (0.88, 0.36), (0.95, 0.84), (0.82, 0.85), (0.73, 0.42), (0.73, 0.86)],
    "Dress": [(0.60, 0.08), (0.66, 0.20), (0.60, 0.42), (0.78, 0.93)],
    "Coat": [(0.58, 0.08), (0.71, 0.10), (0.87, 0.32), (0.92, 0.82), (0.80, 0.83), (0.74, 0.42), (0.77, 0.95)],
    "Shirt": [(0.57, 0.11), (0.70, 0.14), (0.90, 0.36), (0.94, 0.66), (0.82, 0.68), (0.73, 0.42), (0.74, 0.90)],
    "Bag": [(0.88, 0.42), (0.92, 0.90)],
}  # fmt: skip
_OUTLINES = {
    "Sandal": [(0.05, 0.72), (0.30, 0.62), (0.95, 0.76), (0.95, 0.84), (0.05, 0.84)],
    "Sneaker": [(0.05, 0.52), (0.16, 0.44), (0.30, 0.54), (0.55, 0.50), (0.92, 0.68), (0.95, 0.82), (0.05, 0.82)],
    "Ankle boot": [(0.10, 0.16), (0.42, 0.16), (0.46, 0.50), (0.90, 0.66), (0.95, 0.86), (0.10, 0.86)],
}  # fmt: skip
# Bright (1) and dark (0) strokes over the outline: (brightness, width, points).
_STROKES = {
    "Coat": [(0, 3, [(0.50, 0.10), (0.50, 0.95)]), (0, 2, [(0.42, 0.10), (0.50, 0.34), (0.58, 0.10)])],
    "Shirt": [(0, 2, [(0.50, 0.14), (0.50, 0.90)]), (0, 3, [(0.42, 0.11), (0.50, 0.22), (0.58, 0.11)])],
    "Pullover": [(0, 2, [(0.28, 0.80), (0.72, 0.80)]), (0, 4, [(0.43, 0.12), (0.50, 0.16), (0.57, 0.12)])],
    "T-shirt/top": [(0, 4, [(0.42, 0.12), (0.50, 0.19), (0.58, 0.12)])],
    "Dress": [(0, 2, [(0.40, 0.42), (0.60, 0.42)])],
    "Sandal": [(1, 5, [(0.20, 0.66), (0.34, 0.40), (0.62, 0.68)]), (1, 4, [(0.08, 0.70), (0.20, 0.46), (0.42, 0.54)])],
    "Sneaker": [(0, 2, [(0.05, 0.75), (0.95, 0.75)]), (0, 2, [(0.42, 0.55), (0.50, 0.68)])],
    "Ankle boot": [(0, 3, [(0.10, 0.79), (0.95, 0.79)])],
    "Bag": [(1, 5, [(0.30, 0.42), (0.34, 0.18), (0.66, 0.18), (0.70, 0.42)]), (0, 2, [(0.10, 0.56), (0.90, 0.56)])],
}  # fmt: skip
_ORDER = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def drawn_garments(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw `n` garments: images (n, 28, 28) uint8, labels (n,) int64; the same for the same seed.

    Each is one of ten outlines, turned, sheared, scaled, shifted and bent, with a brightness and a
    weave of its own, sometimes half hidden, under noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    labels = torch.randint(len(_ORDER), (n,), generator=generator)
    grid = F.affine_grid(_random_affine(uniform), (n, 1, SIZE, SIZE), align_corners=False)
    bend = F.interpolate(uniform(-0.12, 0.12, 2, 4, 4), SIZE, mode="bicubic")
    grid = grid + bend.permute(0, 2, 3, 1)
    shape = F.grid_sample(_outlines()[labels].unsqueeze(1), grid, align_corners=False)[:, 0]

    x, y = grid.unbind(-1)
    phase, pitch = uniform(0, 2 * math.pi, 1, 1), uniform(4, 20, 1, 1)
    angle = uniform(0, math.pi, 1, 1)
    weave = torch.sin(pitch * (x * angle.cos() + y * angle.sin()) + phase)
    image = shape * (uniform(0.35, 1, 1, 1) + uniform(0, 0.25, 1, 1) * weave)
    image = image * ~_hiding_bar(uniform)
    image = image + uniform(0, 0.18, 1, 1) * torch.randn(n, SIZE, SIZE, generator=generator)
    return (image.clamp(0, 1) * 255).to(torch.uint8), labels


def _outlines() -> Tensor:
    """The ten outlines, (10, CANVAS, CANVAS) in [0, 1], in the order of the classes."""
    drawn = []
    for name in _ORDER:
        picture = Image.new("L", (CANVAS, CANVAS))
        pen = ImageDraw.Draw(picture)
        right = _MIRRORED.get(name)
        outline = right + [(1 - x, y) for x, y in reversed(right)] if right else _OUTLINES[name]
        pen.polygon([(x * CANVAS, y * CANVAS) for x, y in outline], fill=255)
        for brightness, width, points in _STROKES.get(name, ()):
            line = [(x * CANVAS, y * CANVAS) for x, y in points]
            pen.line(line, fill=255 * brightness, width=width, joint="curve")
        drawn.append(torch.from_numpy(np.array(picture)).float() / 255)
    return F.avg_pool2d(torch.stack(drawn), 3, stride=1, padding=1)


def _random_affine(uniform) -> Tensor:
    """(n, 2, 3) matrices from output to input coordinates: turn, shear, scale, shift."""
    angle, shear = uniform(-0.45, 0.45), uniform(-0.25, 0.25)
    wide, high = uniform(1.0, 1.5), uniform(1.0, 1.5)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    row_x = torch.stack(
        [mirror * wide * angle.cos(), -mirror * wide * (angle.sin() + shear), uniform(-0.25, 0.25)],
        1,
    )
    row_y = torch.stack([high * angle.sin(), high * angle.cos(), uniform(-0.25, 0.25)], 1)
    return torch.stack([row_x, row_y], 1)


def _hiding_bar(uniform) -> Tensor:
    """(n, 28, 28) True on a bar that hides part of some garments."""
    across = torch.arange(SIZE)
    start, width = uniform(0, SIZE, 1), uniform(-6, 8, 1)
    bar = (across >= start) & (across < start + width)
    upright = uniform(0, 1, 1, 1) < 0.5
    return torch.where(upright, bar[:, None, :], bar[:, :, None]).expand(-1, SIZE, SIZE)


def drawn_streets(n: int, seed: int, height: int) -> tuple[Tensor, Tensor]:
    """Draw `n` streets: images (n, 3, height, width) uint8, labels (n, height, width) uint8.

    Four wide by three high. The labels are CamVid's eleven classes, 255 along the lower edge; the
    same for the same seed.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    width = height * 4 // 3
    images, labels = [], []
    for _ in range(n):
        picture, truth = Image.new("RGB", (width, height)), Image.new("L", (width, height))
        pens = ImageDraw.Draw(picture), ImageDraw.Draw(truth)
        light = uniform(0.6, 1.15)
        for number, corners in _street(uniform):
            tone = light * uniform(0.85, 1.15)
            color = tuple(min(255, round(c * tone)) for c in _STREET_COLORS[number])
            points = [(x * width, y * height) for x, y in corners]
            pens[0].polygon(points, fill=color)
            pens[1].polygon(points, fill=number)
        pens[1].line([(0, height - 1), (width, height - 1)], fill=255, width=height // 60)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
        pixels += 12 * torch.randn(pixels.shape, generator=generator)
        images.append(pixels.clamp(0, 255).to(torch.uint8))
        labels.append(torch.from_numpy(np.array(truth)))
    return torch.stack(images), torch.stack(labels)


# Sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, cyclist.
_STREET_COLORS = (
    (200, 215, 235), (150, 120, 100), (120, 120, 120), (90, 90, 95), (150, 140, 135), (70, 110, 60),
    (190, 180, 60), (130, 110, 80), (140, 50, 50), (90, 70, 120), (60, 90, 150),
)  # fmt: skip


def _street(uniform):
    """Class and corners, in a unit square, of what a street shows, from the back to the front."""

    def box(number: int, x: float, foot: float, wide: float, high: float):
        return number, [(x, foot - high), (x + wide, foot - high), (x + wide, foot), (x, foot)]

    def some(low: int, high: int) -> range:
        return range(int(uniform(low, high + 1)))

    horizon, vanishing = uniform(0.4, 0.5), uniform(0.4, 0.6)
    yield box(0, 0, 1, 1, 1)
    for _ in some(3, 6):
        yield box(1, uniform(-0.1, 0.9), horizon + 0.08, uniform(0.12, 0.35), uniform(0.2, 0.5))
    for _ in some(1, 4):
        x, wide = uniform(0, 0.9), uniform(0.08, 0.22)
        middle, reach = uniform(0.15, 0.3), uniform(0.1, 0.18)
        round_ = [2 * math.pi * k / 12 for k in range(12)]
        crown = [(x + wide / 2 * math.cos(a), middle + reach * math.sin(a)) for a in round_]
        yield 5, crown
        yield box(5, x - 0.01, horizon + 0.1, 0.02, horizon + 0.1 - middle)
    yield box(4, 0, 1, 1, 1 - horizon - 0.08)
    yield (
        3,
        [
            (vanishing - 0.05, horizon + 0.08),
            (vanishing + 0.05, horizon + 0.08),
            (0.95, 1),
            (0.05, 1),
        ],
    )
    for _ in some(0, 2):
        yield box(7, uniform(0, 0.8), horizon + 0.13, uniform(0.1, 0.25), 0.06)
    for _ in some(1, 3):
        x = uniform(0.02, 0.98)
        yield box(2, x, horizon + 0.15, 0.012, uniform(0.3, 0.5))
        if uniform(0, 1) < 0.6:
            yield box(6, x - 0.025, horizon - 0.15, 0.06, 0.07)
    for _ in some(1, 4):
        foot = uniform(horizon + 0.12, 0.85)
        near = (foot - horizon) * 2
        yield box(8, uniform(0.05, 0.8), foot, 0.22 * near, 0.16 * near)
    for number in (9, 10):
        for _ in some(0, 3):
            foot = uniform(horizon + 0.12, 0.8)
            near = (foot - horizon) * 2
            wide = 0.05 if number == 9 else 0.09
            yield box(number, uniform(0, 0.95), foot, wide * near, 0.28 * near)
