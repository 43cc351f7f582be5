"""From decoded clips of any size to one normalised batch, on the device the clips are on.

What is drawn depends on the clip's own seed alone: a clip is augmented in the same way on every
device, by any number of workers and processes. All frames of a clip are treated alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.batches import DecodedClips
from video_adapt.errors import ConfigurationError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as for grayscale pictures everywhere
GREY = 128  # what RandAugment fills uncovered corners with, in the recipes of EVL and ST-Adapter
_BOX_ATTEMPTS = 10


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


class Augmentation(NamedTuple):
    """All that is drawn for one clip.

    Attributes:
        box: The part of the picture that is kept.
        flip: Whether left and right are exchanged.
        grayscale: Whether colour is removed.
        seed: Seed of what RandAugment does, where it is used.
    """

    box: Box
    flip: bool = False
    grayscale: bool = False
    seed: int = 0


class TrainingTransform(ABC):
    """What happens to clips in training: a frozen dataclass, so that it can be written down.

    Attributes:
        size: Side of the square result in pixels; None = that of the backbone.
        flip_pairs: Labels that a flip turns into each other.
    """

    size: int | None
    flip_pairs: tuple[tuple[int, int], ...] = ()

    @abstractmethod
    def __call__(
        self, clips: DecodedClips, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            clips: Decoded clips, on any device.
            mean: Per-channel mean of RGB in [0, 1].
            std: Per-channel standard deviation of RGB in [0, 1].

        Returns:
            Normalised video ``[B, T, C, S, S]`` and labels ``[B]``, exchanged where flipped.

        Raises:
            ConfigurationError: If the size is not set.
        """


@dataclass(frozen=True)
class TrainTransform(TrainingTransform):
    """Random resized crop, flip and grayscale, the same for all frames of a clip.

    Args:
        size: Side of the square result in pixels; None = that of the backbone.
        area: Smallest and largest share of the picture that is kept.
        aspect: Smallest and largest width / height of what is kept, drawn log-uniformly.
        flip: Probability of exchanging left and right.
        grayscale: Probability of removing colour.
        flip_pairs: Labels that a flip turns into each other ("left to right", "right to left").
        rand_augment: Number of random colour and geometry changes and their strength from 0 to 10;
            None = none.

    Raises:
        ConfigurationError: If a range or a probability is impossible.

    Source: DiST (ICCV 2023), released recipes; RandAugment as in EVL and ST-Adapter.
    """

    size: int | None = None
    area: tuple[float, float] = (0.4, 1.0)
    aspect: tuple[float, float] = (0.75, 1.3333)
    flip: float = 0.5
    grayscale: float = 0.2
    flip_pairs: tuple[tuple[int, int], ...] = ()
    rand_augment: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigurationError(f"area is {self.area}: it must rise within (0, 1]")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ConfigurationError(f"aspect is {self.aspect}: it must be positive and rise")
        if not (0 <= self.flip <= 1 and 0 <= self.grayscale <= 1):
            raise ConfigurationError(
                f"flip is {self.flip}, grayscale {self.grayscale}: both are probabilities in [0, 1]"
            )

    def __call__(
        self, clips: DecodedClips, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`TrainingTransform.__call__`."""
        size = required_size(self.size)
        seeds: list[int] = clips.seed.tolist()
        drawn = [
            self.draw(seed, clip.shape[-2], clip.shape[-1])
            for clip, seed in zip(clips.frames, seeds, strict=True)
        ]
        frames = clips.frames
        if self.rand_augment is not None:
            ops, strength = self.rand_augment
            frames = [
                rand_augment(clip, ops, strength, seed=one.seed)
                for clip, one in zip(frames, drawn, strict=True)
            ]
        video = torch.stack([augment(c, d, size) for c, d in zip(frames, drawn, strict=True)])
        flipped = torch.tensor([d.flip for d in drawn], device=clips.label.device)
        return normalise(video, mean, std), self._labels(clips.label, flipped)

    def draw(self, seed: int, height: int, width: int) -> Augmentation:
        """What happens to a clip of that seed and size in pixels."""
        rng = np.random.default_rng(seed)
        flip, grayscale = rng.random(2) < (self.flip, self.grayscale)
        box = random_box(rng, height, width, area=self.area, aspect=self.aspect)
        return Augmentation(box, bool(flip), bool(grayscale), int(rng.integers(2**62)))

    def _labels(self, label: Tensor, flipped: Tensor) -> Tensor:
        swapped = label
        for pair in self.flip_pairs:
            for old, new in (pair, pair[::-1]):
                swapped = torch.where(flipped & (label == old), new, swapped)
        return swapped


@dataclass(frozen=True)
class EvalTransform:
    """Scale the short side, then crop squares along the long side.

    Args:
        size: Side of the square result in pixels; None = that of the backbone.
        scale: What the short side is scaled to; None = ``size``.
        crops: 1 = the centre, 3 = first, middle and last place along the long side.
        round_up: Whether a centre between two pixels goes to the lower right one.

    Raises:
        ConfigurationError: If there are neither 1 nor 3 crops.

    Source: DiST (ICCV 2023), released recipes; rounded up in those of Open-VCLIP and FROSTER.
    """

    size: int | None = None
    scale: int | None = None
    crops: int = 1
    round_up: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.crops not in (1, 3):
            raise ConfigurationError(f"crops is {self.crops}: choose 1 (centre) or 3 (all)")

    def __call__(
        self, clips: DecodedClips, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Scale, crop and normalise a batch.

        Args:
            clips: Decoded clips, on any device.
            mean: Per-channel mean of RGB in [0, 1].
            std: Per-channel standard deviation of RGB in [0, 1].

        Returns:
            Normalised video ``[B * crops, T, C, S, S]`` and labels ``[B * crops]``; the crops of a
            clip follow one another.

        Raises:
            ConfigurationError: If the size is not set or larger than the scale.
        """
        size = required_size(self.size)
        scale = self.scale or size
        if scale < size:
            raise ConfigurationError(
                f"frames are scaled to a short side of {scale} pixels, crops have {size}; "
                "raise scale"
            )
        views = [torch.stack(self._crops(clip, size, scale)) for clip in clips.frames]
        video = normalise(torch.cat(views), mean, std)  # [B*crops, T, C, S, S]
        return video, clips.label.repeat_interleave(self.crops)

    def _crops(self, frames: Tensor, size: int, scale: int) -> list[Tensor]:
        height, width = short_side_shape(frames.shape[-2], frames.shape[-1], scale)
        scaled = resize(frames, height, width)
        places = crop_places(height, width, size, self.crops, round_up=self.round_up)
        return [scaled[..., y : y + size, x : x + size] for y, x in places]


def augment(frames: Tensor, drawn: Augmentation, size: int) -> Tensor:
    """Crop, scale, flip and remove colour as drawn.

    Args:
        frames: uint8 RGB ``[T, C, H, W]``.
        drawn: What to do.
        size: Side of the square result in pixels.

    Returns:
        Values in [0, 1], float32 ``[T, C, S, S]``.
    """
    top, left, height, width = drawn.box
    video = resize(frames[..., top : top + height, left : left + width], size, size)
    if drawn.flip:
        video = video.flip(-1)
    if drawn.grayscale:
        luma = torch.tensor(LUMA, device=video.device).view(3, 1, 1)
        video = (video * luma).sum(-3, keepdim=True).expand_as(video)
    return video


def random_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> Box:
    """Draw a box of random area, shape and place.

    Args:
        rng: Source of chance.
        height: Height of the picture in pixels.
        width: Its width.
        area: Range of the box's share of the picture.
        aspect: Range of its width / height, drawn log-uniformly.

    Returns:
        The first of ten boxes that fits; else the largest centred one of a permitted shape.
    """
    for _ in range(_BOX_ATTEMPTS):
        pixels = height * width * rng.uniform(*area)
        ratio = float(np.exp(rng.uniform(*np.log(aspect))))
        w, h = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers([height - h, width - w], endpoint=True)
            return Box(int(top), int(left), h, w)
    ratio = min(max(width / height, aspect[0]), aspect[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    w, h = max(w, 1), max(h, 1)
    return Box((height - h) // 2, (width - w) // 2, h, w)


def short_side_shape(height: int, width: int, scale: int) -> tuple[int, int]:
    """Height and width with the short side at ``scale`` and the long side truncated."""
    if height < width:
        return scale, int(width / height * scale)
    return int(height / width * scale), scale


def crop_places(
    height: int, width: int, size: int, crops: int, *, round_up: bool = False
) -> list[tuple[int, int]]:
    """Top and left of square crops of a picture: the centre, or three along its long side.

    A picture with equal sides counts as tall. A centre between two pixels is rounded down or up.
    """
    y, x = height - size, width - size
    middle_y, middle_x = (y + round_up) // 2, (x + round_up) // 2
    if crops == 1:
        return [(middle_y, middle_x)]
    if height < width:
        return [(middle_y, place) for place in (0, middle_x, x)]
    return [(place, middle_x) for place in (0, middle_y, y)]


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Scale uint8 frames ``[T, C, H, W]`` to floats in [0, 1], bilinear without antialiasing.

    Rounding to uint8 in between and antialiasing would be faster and smoother; published models
    saw neither.
    """
    video = frames.float() / 255
    if video.shape[-2:] == (height, width):
        return video
    return F.interpolate(video, (height, width), mode="bilinear", align_corners=False)


def normalise(video: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract the mean from values in [0, 1] and divide by the deviation, ``[..., C, H, W]``."""
    shift, scale = (video.new_tensor(values).view(-1, 1, 1) for values in (mean, std))
    return (video - shift) / scale


def rand_augment(frames: Tensor, num_ops: int, magnitude: int, *, seed: int) -> Tensor:
    """Change colours and geometry at random, all frames alike.

    Args:
        frames: uint8 RGB ``[T, C, H, W]``.
        num_ops: Changes applied one after the other.
        magnitude: Their strength, from 0 to 10.
        seed: Seed of the draws; the state of torch's generators is left as it was.

    Returns:
        uint8 ``[T, C, H, W]``.

    Source: Cubuk et al., RandAugment, NeurIPS 2020.
    """
    from torchvision.transforms import v2  # takes seconds to import

    change = v2.RandAugment(
        num_ops,
        magnitude,
        num_magnitude_bins=11,
        interpolation=v2.InterpolationMode.BILINEAR,
        fill=[GREY] * 3,
    )
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's CPU generator
        torch.default_generator.manual_seed(seed)
        return change(frames)


def required_size(size: int | None) -> int:
    """The size of a transform.

    Raises:
        ConfigurationError: If it is not set.
    """
    if size is None:
        raise ConfigurationError("the transform has no size; give size, the side in pixels")
    return size
