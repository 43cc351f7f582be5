"""Brightness, contrast, saturation and hue by chance, on floats, the same for all frames."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .pixel_ops import luma


class Jitter(NamedTuple):
    """What is drawn for one video.

    Attributes:
        order: The four names, first to last.
        brightness: Factor on all values.
        contrast: Factor on the distance from the mean grey of a frame.
        saturation: Factor on the distance from a pixel's own grey.
        hue: Turn of the colour circle, 1 = once around.
    """

    order: tuple[str, ...] = ("brightness", "contrast", "saturation", "hue")
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def draw_jitter(rng: np.random.Generator, ranges: tuple[float, float, float, float]) -> Jitter:
    """Draw a jitter.

    Args:
        rng: Source of chance.
        ranges: Largest departure of brightness, contrast and saturation from 1, of hue from 0.
    """
    amounts = rng.uniform(-1.0, 1.0, 4) * ranges + (1.0, 1.0, 1.0, 0.0)
    order = rng.permutation(Jitter._field_defaults["order"])
    return Jitter(tuple(map(str, order)), *map(float, amounts))


def apply_jitter(video: Tensor, jitter: Jitter) -> Tensor:
    """Change the colours of a video in place.

    Args:
        video: RGB in [0, 1], float ``[T, 3, H, W]``; overwritten.
        jitter: What to do.

    Returns:
        The same tensor.

    Source: torchvision's ColorJitter, without rounding to levels between its steps.
    """
    for name in jitter.order:
        _STEPS[name](video, getattr(jitter, name))
    return video


def _brighten(video: Tensor, factor: float) -> None:
    video.mul_(factor).clamp_(0, 1)


def _contrast(video: Tensor, factor: float) -> None:
    grey = luma(video).mean((-2, -1), keepdim=True)  # [T, 1, 1, 1]
    video.lerp_(grey, 1 - factor).clamp_(0, 1)


def _saturate(video: Tensor, factor: float) -> None:
    video.lerp_(luma(video), 1 - factor).clamp_(0, 1)


def _turn_hue(video: Tensor, turn: float) -> None:
    """Turn the hue without the way through HSV planes.

    A hexagon stands for the colour circle, its corners 0 to 6 are red, yellow, green, cyan, blue,
    magenta; each channel is a trapezoid over it, as high as the pixel's chroma.
    """
    red, green, blue = video.unbind(-3)  # views: each [T, H, W]
    value = video.amax(-3)
    chroma = value - video.amin(-3)
    span = torch.where(chroma > 0, chroma, 1)
    hue = torch.where(
        value == red,
        green - blue,
        torch.where(
            value == green, torch.add(blue - red, span, alpha=2), (red - green).add_(span, alpha=4)
        ),
    )
    hue.div_(span).add_(6 * turn)
    for channel, corner in ((red, 5), (green, 3), (blue, 1)):
        place = (hue + corner).remainder_(6)
        share = torch.minimum(place, 4 - place).clamp_(0, 1)
        torch.addcmul(value, chroma, share, value=-1, out=channel)


_STEPS: dict[str, Callable[[Tensor, float], None]] = {
    "brightness": _brighten,
    "contrast": _contrast,
    "saturation": _saturate,
    "hue": _turn_hue,
}
