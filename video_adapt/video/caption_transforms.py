"""From decoded frames to what CLIP was trained on: scaled as Pillow does it, on any device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .transforms import normalise, required_size


@dataclass(frozen=True)
class BicubicCrop:
    """Scale the short side to the size of the model, cut out the square in the middle.

    The same in training and testing. Frames that the loader has scaled down before
    (``loader.short_side``) are scaled twice, which published features were not.

    Args:
        size: Side of the square result in pixels; None = that of the backbone.

    Source: CLIP (ICML 2021); CLIP4Clip and TeachCLIP, as released.
    """

    size: int | None = None

    def __call__(self, frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Scale, crop and normalise the frames of a video.

        Args:
            frames: uint8 RGB ``[T, 3, H, W]``.
            mean: Per-channel mean of RGB in [0, 1].
            std: Per-channel standard deviation of RGB in [0, 1].

        Returns:
            float32 ``[T, 3, S, S]``.

        Raises:
            ConfigurationError: If the size is not set.
        """
        size = required_size(self.size)
        height, width = frames.shape[-2:]
        short = min(height, width)
        scaled = resize_bicubic(frames, size * height // short, size * width // short)
        # A half is rounded to even, as torchvision does.
        top, left = (round((side - size) / 2) for side in scaled.shape[-2:])
        cropped = scaled[..., top : top + size, left : left + size]
        return normalise(cropped / 255, mean, std)


def resize_bicubic(frames: Tensor, height: int, width: int) -> Tensor:
    """Scale as Pillow does: bicubic with antialiasing, rows first, whole levels in between.

    Without rounding and clipping between the two passes, sharp edges differ by ten levels and more.

    Args:
        frames: uint8 ``[T, C, H, W]``.
        height: Height of the result in pixels.
        width: Its width.

    Returns:
        Whole levels from 0 to 255, float32 ``[T, C, height, width]``.
    """
    levels = frames.float()
    for shape in ((frames.shape[-2], width), (height, width)):
        if levels.shape[-2:] != shape:
            scaled = F.interpolate(levels, shape, mode="bicubic", antialias=True)
            levels = scaled.add_(0.5).floor_().clamp_(0, 255)
    return levels


def pad_frames(frames: Tensor, room: int) -> Tensor:
    """Zeros behind the frames of a video: ``[T', ...]`` to ``[room, ...]``."""
    padded = torch.zeros((room, *frames.shape[1:]), dtype=frames.dtype, device=frames.device)
    padded[: len(frames)] = frames
    return padded
