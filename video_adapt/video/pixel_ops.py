"""Changes of colour and geometry, the same for all frames of a video.

Every function takes and returns uint8 RGB ``[T, 3, H, W]`` on any device. What depends on the
content (the mean grey of contrast, the histogram of equalize) is read off each frame.

Colours change as in Pillow, to within one level; geometry keeps the centre and fills with black.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .transforms import LUMA

CUTOUT_GREY = 128
_LEVELS = 256


class Draw(NamedTuple):
    """What is drawn for one change.

    Attributes:
        level: Strength in [0, 1].
        sign: Direction of a geometric change, 1 or -1.
        y: Place of a cutout, share of the height.
        x: Its place, share of the width.
    """

    level: float
    sign: int = 1
    y: float = 0.5
    x: float = 0.5


def affine(frames: Tensor, matrix: tuple[tuple[float, float], tuple[float, float]]) -> Tensor:
    """Look up every pixel elsewhere, bilinear; black where that is outside.

    Args:
        frames: uint8 ``[T, 3, H, W]``.
        matrix: Maps ``(x, y)``, in pixels from the centre, to where the value comes from.
    """
    height, width = frames.shape[-2:]
    x = torch.arange(width, device=frames.device) + 0.5 - width / 2
    y = (torch.arange(height, device=frames.device) + 0.5 - height / 2)[:, None]
    source = [(row[0] * x + row[1] * y) for row in matrix]
    grid = torch.stack([source[0] * (2 / width), source[1] * (2 / height)], -1)  # [H, W, 2]
    # Frames as channels of one picture share the grid, and most of the work.
    planes = frames.float().flatten(0, 1)[None]  # [1, T*3, H, W]
    moved = F.grid_sample(planes, grid[None], mode="bilinear", align_corners=False)
    return to_levels(moved[0].unflatten(0, (-1, frames.shape[1])))


def shear_x(frames: Tensor, degrees: float) -> Tensor:
    """Lean the picture: rows move sideways in proportion to their height."""
    return affine(frames, ((1.0, math.tan(math.radians(degrees))), (0.0, 1.0)))


def shear_y(frames: Tensor, degrees: float) -> Tensor:
    """Lean the picture: columns move up or down in proportion to their place."""
    return affine(frames, ((1.0, 0.0), (math.tan(math.radians(degrees)), 1.0)))


def rotate(frames: Tensor, degrees: float) -> Tensor:
    """Turn the picture, counter-clockwise where ``degrees`` is positive."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return affine(frames, ((cos, -sin), (sin, cos)))


def translate(frames: Tensor, *, right: int = 0, down: int = 0) -> Tensor:
    """Move the picture by whole pixels, by less than its size."""
    moved = torch.zeros_like(frames)
    height, width = frames.shape[-2:]
    to_y, to_x = (slice(max(d, 0), n + min(d, 0)) for d, n in ((down, height), (right, width)))
    of_y, of_x = (slice(max(-d, 0), n - max(d, 0)) for d, n in ((down, height), (right, width)))
    moved[..., to_y, to_x] = frames[..., of_y, of_x]
    return moved


def posterize(frames: Tensor, bits: int) -> Tensor:
    """Keep the highest bits of every value."""
    return frames & (_LEVELS - (1 << (8 - bits)))


def solarize(frames: Tensor, threshold: int) -> Tensor:
    """Invert the values that reach a threshold."""
    if threshold >= _LEVELS:  # as uint8 it would be 0
        return frames
    # 255 - value is value ^ 255, and 255 is what minus True is in uint8: quicker than torch.where.
    return frames ^ (frames >= threshold).view(torch.uint8).neg()


def brightness(frames: Tensor, factor: float) -> Tensor:
    """Multiply all values."""
    return to_levels(frames * factor)


def saturation(frames: Tensor, factor: float) -> Tensor:
    """Move every pixel away from its own grey; 1 changes nothing, 0 removes the colour."""
    values = frames.float()
    return to_levels(values.lerp_(luma(values).round_(), 1 - factor))


def contrast(frames: Tensor, factor: float) -> Tensor:
    """Move every pixel away from the mean grey of its frame; 1 changes nothing."""
    values = frames.float()
    grey = luma(values).round_().mean((-2, -1), keepdim=True).round_()  # [T, 1, 1, 1]
    return to_levels(values.lerp_(grey, 1 - factor))


def sharpness(frames: Tensor, factor: float) -> Tensor:
    """Move every pixel away from a smoothed picture; 1 changes nothing, the border never does."""
    values = frames.float()
    rows = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
    smooth = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # sums over 3 x 3 pixels
    inside = values[..., 1:-1, 1:-1]
    smooth.add_(inside, alpha=4).div_(13).round_()  # the centre counts fivefold
    inside.lerp_(smooth, 1 - factor)
    return to_levels(values)


def autocontrast(frames: Tensor) -> Tensor:
    """Stretch the values of every frame and colour to the full range; a flat one is kept."""
    low, high = (edge((-2, -1), keepdim=True) for edge in (frames.amin, frames.amax))
    flat = low == high
    spread = torch.where(flat, 255, high - low)
    values = frames.float().sub_(torch.where(flat, 0, low)).mul_(255 / spread)
    return values.clamp_(0, 255).to(torch.uint8)  # truncated, as in Pillow


def equalize(frames: Tensor) -> Tensor:
    """Give every frame and colour an even histogram; one of a single value is kept."""
    index = frames.flatten(0, 1).flatten(1).long()  # [T*3, H*W]
    one = index.new_ones(()).expand_as(index)
    counts = index.new_zeros(len(index), _LEVELS).scatter_add_(1, index, one)
    brightest = counts.gather(1, index.amax(1, keepdim=True))
    step = (index.shape[1] - brightest) // (_LEVELS - 1)  # [T*3, 1]
    below = counts.cumsum(1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=_LEVELS - 1)
    table = torch.where(step > 0, table, torch.arange(_LEVELS, device=frames.device))
    return table.to(torch.uint8).gather(1, index).view(frames.shape)


def invert(frames: Tensor) -> Tensor:
    """Turn the picture into its negative."""
    return ~frames


def cutout(frames: Tensor, side: int, *, y: float, x: float) -> Tensor:
    """Paint a grey square, clipped where it reaches over the border.

    Args:
        frames: uint8 ``[T, 3, H, W]``.
        side: Side of the square in pixels.
        y: Place of its centre, share of the height.
        x: Place of its centre, share of the width.
    """
    height, width = frames.shape[-2:]
    top, left = (round(place * n - side / 2) for place, n in ((y, height), (x, width)))
    painted = frames.clone()
    painted[..., max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = CUTOUT_GREY
    return painted


def luma(values: Tensor) -> Tensor:
    """Grey of every pixel, ``[T, 3, H, W]`` floats to ``[T, 1, H, W]``."""
    red, green, blue = values.split(1, -3)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def to_levels(values: Tensor) -> Tensor:
    """Round and clip floats, which are overwritten, to uint8."""
    return values.round_().clamp_(0, _LEVELS - 1).to(torch.uint8)


def _pixels(frames: Tensor, dim: int, draw: Draw) -> int:
    return round(0.2 * draw.level * frames.shape[dim]) * draw.sign


def _factor(draw: Draw) -> float:
    return 0.1 + 1.8 * draw.level


def _tilt(draw: Draw) -> float:
    return math.degrees(0.3) * draw.level * draw.sign


# What RandAugment chooses from, and what its strength means for each.
OPERATIONS: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    "shear_x": lambda frames, draw: shear_x(frames, _tilt(draw)),
    "shear_y": lambda frames, draw: shear_y(frames, _tilt(draw)),
    "translate_x": lambda frames, draw: translate(frames, right=_pixels(frames, -1, draw)),
    "translate_y": lambda frames, draw: translate(frames, down=_pixels(frames, -2, draw)),
    "rotate": lambda frames, draw: rotate(frames, 30.0 * draw.level * draw.sign),
    "posterize": lambda frames, draw: posterize(frames, max(1, int(4 * draw.level))),
    "solarize": lambda frames, draw: solarize(frames, int(256 * draw.level)),
    "color": lambda frames, draw: saturation(frames, _factor(draw)),
    "contrast": lambda frames, draw: contrast(frames, _factor(draw)),
    "brightness": lambda frames, draw: brightness(frames, _factor(draw)),
    "sharpness": lambda frames, draw: sharpness(frames, _factor(draw)),
    "autocontrast": lambda frames, draw: autocontrast(frames),
    "equalize": lambda frames, draw: equalize(frames),
    "invert": lambda frames, draw: invert(frames),
    "cutout": lambda frames, draw: cutout(
        frames, round(0.2 * draw.level * min(frames.shape[-2:])), y=draw.y, x=draw.x
    ),
}
