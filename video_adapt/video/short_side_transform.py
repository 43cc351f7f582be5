"""Augmentation by scale alone: a random short side, a random square, perhaps mirrored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from video_adapt.batches import DecodedClips
from video_adapt.errors import ConfigurationError

from .transforms import TrainingTransform, normalise, required_size, resize, short_side_shape


class ScaledCrop(NamedTuple):
    """All that is drawn for one clip.

    Attributes:
        short_side: What the short side is scaled to in pixels.
        top: Upper edge of the square, in scaled pixels.
        left: Its left edge.
        flip: Whether left and right are exchanged.
    """

    short_side: int
    top: int
    left: int
    flip: bool = False


@dataclass(frozen=True)
class ShortSideTransform(TrainingTransform):
    """Scale the short side at random, cut out a square anywhere, mirror: all frames alike.

    As released, the last place of the square along either side is never drawn.

    Args:
        size: Side of the square result in pixels; None = that of the backbone.
        largest: Largest short side as a multiple of ``size``; the smallest is ``size``.
        flip: Probability of exchanging left and right.

    Raises:
        ConfigurationError: If a value is impossible.

    Source: Open-VCLIP (ICML 2023) and FROSTER (ICLR 2024), as released: 224 to 256 pixels.
    """

    size: int | None = None
    largest: float = 256 / 224
    flip: float = 0.5

    def __post_init__(self) -> None:
        """Check the values."""
        if self.largest < 1 or not 0 <= self.flip <= 1:
            raise ConfigurationError(
                f"largest is {self.largest}, flip {self.flip}: the first is 1 or more, the second "
                "a probability in [0, 1]"
            )

    def __call__(
        self, clips: DecodedClips, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`TrainingTransform.__call__`."""
        size = required_size(self.size)
        cut = [
            scaled_crop(frames, self.draw(seed, *frames.shape[-2:]), size)
            for frames, seed in zip(clips.frames, clips.seed.tolist(), strict=True)
        ]
        return normalise(torch.stack(cut), mean, std), clips.label

    def draw(self, seed: int, height: int, width: int) -> ScaledCrop:
        """What happens to a clip of that seed and size in pixels."""
        size = required_size(self.size)
        rng = np.random.default_rng(seed)
        short_side = round(rng.uniform(size, size * self.largest))
        sides = short_side_shape(height, width, short_side)
        top, left = (int(rng.integers(max(side - size, 1))) for side in sides)
        return ScaledCrop(short_side, top, left, bool(rng.random() < self.flip))


def scaled_crop(frames: Tensor, drawn: ScaledCrop, size: int) -> Tensor:
    """Scale, cut and mirror as drawn.

    Normalising before or after the scaling is the same: its weights sum to one.

    Args:
        frames: uint8 RGB ``[T, C, H, W]``.
        drawn: What to do.
        size: Side of the square result in pixels.

    Returns:
        Values in [0, 1], float32 ``[T, C, S, S]``.
    """
    height, width = short_side_shape(frames.shape[-2], frames.shape[-1], drawn.short_side)
    scaled = resize(frames, height, width)
    top, left = drawn.top, drawn.left
    cut = scaled[..., top : top + size, left : left + size]
    return cut.flip(-1) if drawn.flip else cut
