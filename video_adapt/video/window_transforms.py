"""From decoded windows of long videos to one normalised batch, on the device the frames are on.

A window has hundreds of frames, so frames stay uint8 as long as possible and go through in pieces:
only the result exists for all of them at once. What is drawn depends on the window's own seed
alone and is the same for all its frames, on every device and in every process.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.batches import DecodedWindows
from video_adapt.errors import ConfigurationError

from .color_jitter import Jitter, apply_jitter, draw_jitter
from .pixel_ops import OPERATIONS, Draw, to_levels
from .transforms import Box, crop_places, random_box, required_size, short_side_shape

# Pixels of source that are worked on at a time: some 25 MB for each float copy of a piece.
_PIECE_PIXELS = 2**21


class WindowAugmentation(NamedTuple):
    """All that is drawn for one window.

    Attributes:
        box: The part of the scaled picture that is kept.
        flip: Whether left and right are exchanged.
        changes: Names and draws of what happens to it then, in order.
        jitter: Change of colours at the end; None = none.
    """

    box: Box
    flip: bool = False
    changes: tuple[tuple[str, Draw], ...] = ()
    jitter: Jitter | None = None


@dataclass(frozen=True)
class WindowTrainTransform:
    """Random resized crop, flip, changes of colour and geometry, the same for all frames.

    Args:
        size: Side of the square result in pixels; None = that of the backbone.
        short_side: What the short side is scaled to before; None = 8/7 of ``size``, made even.
        area: Smallest and largest share of the picture that is kept.
        aspect: Smallest and largest width / height of what is kept, drawn log-uniformly.
        flip: Probability of exchanging left and right.
        rand_augment: Number of different changes of colour and geometry and their strength from 0
            to 10; None = none.
        jitter: Largest departure of brightness, contrast, saturation and hue; None = none.

    Raises:
        ConfigurationError: If a value is impossible.

    Source: AdaTAD (CVPR 2024), released recipes.
    """

    size: int | None = None
    short_side: int | None = None
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    rand_augment: tuple[int, int] | None = (2, 9)
    jitter: tuple[float, float, float, float] | None = (0.5, 0.5, 0.5, 0.1)

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigurationError(f"area is {self.area}: it must rise within (0, 1]")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ConfigurationError(f"aspect is {self.aspect}: it must be positive and rise")
        if not 0 <= self.flip <= 1:
            raise ConfigurationError(f"flip is {self.flip}: it is a probability in [0, 1]")
        count, strength = self.rand_augment or (0, 0)
        if not (0 <= count <= len(OPERATIONS) and 0 <= strength <= 10):
            raise ConfigurationError(
                f"rand_augment is {self.rand_augment}: choose up to {len(OPERATIONS)} changes and "
                "a strength from 0 to 10"
            )
        if self.jitter is not None and not all(0 <= amount <= 1 for amount in self.jitter):
            raise ConfigurationError(f"jitter is {self.jitter}: all four must lie in [0, 1]")

    def __call__(
        self,
        windows: DecodedWindows,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Augment a batch.

        Args:
            windows: Decoded windows of ``T`` frames each, of any size, on any device.
            mean: Per-channel mean of RGB in [0, 1].
            std: Per-channel standard deviation of RGB in [0, 1].
            dtype: Type of the result.

        Returns:
            Normalised video ``[B, T, C, size, size]``.

        Raises:
            ConfigurationError: If the size is not set.
        """
        size = required_size(self.size)
        seeds: list[int] = windows.seed.tolist()
        prepared = []
        for frames, seed in zip(windows.frames, seeds, strict=True):
            shape = self._scaled(frames, size)
            drawn = self.draw(seed, *shape)
            prepared.append(_augmenter(shape, drawn, size))
        return _prepare(windows.frames, prepared, size, mean, std, dtype)

    def draw(self, seed: int, height: int, width: int) -> WindowAugmentation:
        """What happens to a window of that seed, whose scaled frames have that size in pixels."""
        rng = np.random.default_rng(seed)
        box = random_box(rng, height, width, area=self.area, aspect=self.aspect)
        flip = bool(rng.random() < self.flip)
        count, strength = self.rand_augment or (0, 0)
        names = rng.choice(list(OPERATIONS), count, replace=False)
        changes = tuple((str(name), _draw(rng, strength / 10)) for name in names)
        jitter = None if self.jitter is None else draw_jitter(rng, self.jitter)
        return WindowAugmentation(box, flip, changes, jitter)

    def _scaled(self, frames: Tensor, size: int) -> tuple[int, int]:
        short_side = self.short_side or 2 * round(size * 4 / 7)
        return short_side_shape(frames.shape[-2], frames.shape[-1], short_side)


@dataclass(frozen=True)
class WindowEvalTransform:
    """Scale the short side to the size of the model, keep the square in the centre.

    Args:
        size: Side of the square result in pixels; None = that of the backbone.

    Source: AdaTAD (CVPR 2024), released recipes.
    """

    size: int | None = None

    def __call__(
        self,
        windows: DecodedWindows,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Scale, crop and normalise a batch.

        Args:
            windows: Decoded windows of ``T`` frames each, of any size, on any device.
            mean: Per-channel mean of RGB in [0, 1].
            std: Per-channel standard deviation of RGB in [0, 1].
            dtype: Type of the result.

        Returns:
            Normalised video ``[B, T, C, size, size]``.

        Raises:
            ConfigurationError: If the size is not set.
        """
        size = required_size(self.size)

        def central(frames: Tensor) -> Tensor:
            height, width = short_side_shape(frames.shape[-2], frames.shape[-1], size)
            ((top, left),) = crop_places(height, width, size, 1)
            scaled = _scale(frames, height, width)
            return scaled[..., top : top + size, left : left + size].float().div_(255)

        return _prepare(windows.frames, [central] * len(windows.frames), size, mean, std, dtype)


def augment_frames(
    frames: Tensor, shape: tuple[int, int], drawn: WindowAugmentation, size: int
) -> Tensor:
    """Do to a piece of a window what is drawn for it.

    Args:
        frames: uint8 RGB ``[T, C, H, W]``.
        shape: Height and width that the frames are scaled to first.
        drawn: What to do.
        size: Side of the square result in pixels.

    Returns:
        Values in [0, 1], float32 ``[T, C, size, size]``, memory of their own.
    """
    top, left, height, width = drawn.box
    scaled = _scale(frames, *shape)
    frames = _scale(scaled[..., top : top + height, left : left + width], size, size)
    if drawn.flip:
        frames = frames.flip(-1)
    for name, draw in drawn.changes:
        frames = OPERATIONS[name](frames, draw)
    video = frames.float().div_(255)
    return video if drawn.jitter is None else apply_jitter(video, drawn.jitter)


def _augmenter(
    shape: tuple[int, int], drawn: WindowAugmentation, size: int
) -> Callable[[Tensor], Tensor]:
    return lambda frames: augment_frames(frames, shape, drawn, size)


def _prepare(
    windows: Sequence[Tensor],
    prepare: Sequence[Callable[[Tensor], Tensor]],
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
) -> Tensor:
    """Prepare every window by its own function, piece by piece, and normalise the result."""
    first = windows[0]
    shape = (len(windows), *first.shape[:2], size, size)
    video = torch.empty(shape, dtype=dtype, device=first.device)
    shift, scale = (
        torch.tensor(values, dtype=torch.float32, device=first.device).view(-1, 1, 1)
        for values in (mean, std)
    )
    for window, function, result in zip(windows, prepare, video, strict=True):
        for piece in _pieces(window):
            result[piece] = function(window[piece]).sub_(shift).div_(scale)
    return video


def _pieces(window: Tensor) -> Iterator[slice]:
    length = max(1, _PIECE_PIXELS // (window.shape[-2] * window.shape[-1]))
    for start in range(0, len(window), length):
        yield slice(start, start + length)


def _scale(frames: Tensor, height: int, width: int) -> Tensor:
    """Scale uint8 frames to uint8, bilinear without antialiasing, as the published models saw."""
    if frames.shape[-2:] == (height, width):
        return frames
    size = (height, width)
    return to_levels(F.interpolate(frames.float(), size, mode="bilinear", align_corners=False))


def _draw(rng: np.random.Generator, level: float) -> Draw:
    y, x = rng.random(2)
    return Draw(level, int(rng.choice([-1, 1])), float(y), float(x))
