"""Pixels come out as Pillow and torchvision make them, on any device."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop

from video_adapt.errors import ConfigurationError
from video_adapt.video import BicubicCrop
from video_adapt.video.caption_transforms import pad_frames, resize_bicubic

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def _frames(height: int, width: int, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    shape = (count, 3, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def _pillow(frame: torch.Tensor, height: int, width: int) -> Image.Image:
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _assert_same_levels(mine: torch.Tensor, image: Image.Image) -> None:
    """Pillow sums in whole numbers: where a value is half a level, it can fall the other way."""
    away = np.abs(mine.numpy() - np.asarray(image).transpose(2, 0, 1))
    assert away.max() <= 1
    assert (away > 0).mean() < 0.005


@pytest.mark.parametrize("source", [(50, 38), (41, 67), (24, 24), (33, 90)])
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_scaling_equals_that_of_pillow(source, factor):
    frames = _frames(*source)
    target = [int(factor * side) for side in source]
    scaled = resize_bicubic(frames, *target)
    for frame, mine in zip(frames, scaled, strict=True):
        _assert_same_levels(mine, _pillow(frame, *target))


@pytest.mark.parametrize("source", [(50, 38), (41, 67), (33, 90), (32, 32), (20, 30)])
def test_short_side_is_fitted_and_the_middle_kept(source):
    frames = _frames(*source)
    pixels = BicubicCrop(32)(frames, MEAN, STD)
    height, width = source
    short = min(source)
    for frame, mine in zip(frames, pixels, strict=True):
        image = _pillow(frame, int(32 * height / short), int(32 * width / short))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        _assert_same_levels((255 * (mine * std + mean)).round(), CenterCrop(32)(image))


def test_size_must_be_known():
    with pytest.raises(ConfigurationError, match="no size"):
        BicubicCrop()(_frames(20, 30), MEAN, STD)


def test_room_behind_the_frames_is_zero():
    frames = torch.rand(2, 3, 4, 5)
    padded = pad_frames(frames, 4)
    assert padded.shape == (4, 3, 4, 5)
    assert torch.equal(padded[:2], frames)
    assert not padded[2:].any()
