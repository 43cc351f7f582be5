import colorsys

import numpy as np
import pytest
import torch

from video_adapt.video.color_jitter import Jitter, apply_jitter, draw_jitter
from video_adapt.video.pixel_ops import luma

STILL = Jitter()


def video(*, seed=0):
    return torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("turn", [0.1, -0.1, 0.5, 0.0])
def test_hue_turns_as_in_hsv(turn):
    pixels = video()
    pixels[0, :, 0, 0] = 0.5  # grey has no hue
    pixels[0, :, 0, 1] = torch.tensor([0.7, 0.7, 0.2])  # two channels are the largest
    pixels[0, :, 0, 2] = torch.tensor([0.2, 0.7, 0.7])
    pixels[0, :, 0, 3] = torch.tensor([0.7, 0.2, 0.7])
    expected = pixels.clone()
    for t, y, x in np.ndindex(2, 4, 5):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixels[t, :, y, x].tolist())
        turned = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
        expected[t, :, y, x] = torch.tensor(turned)
    torch.testing.assert_close(apply_jitter(pixels, STILL._replace(hue=turn)), expected)


def test_brightness_multiplies_and_clips():
    pixels = video()
    expected = (pixels * 1.4).clamp(0, 1)
    torch.testing.assert_close(apply_jitter(pixels, STILL._replace(brightness=1.4)), expected)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_saturation_moves_from_the_grey_of_the_pixel(factor):
    pixels = video()
    grey = luma(pixels)
    expected = (grey + factor * (pixels - grey)).clamp(0, 1)
    changed = apply_jitter(pixels, STILL._replace(saturation=factor))
    torch.testing.assert_close(changed, expected)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_contrast_moves_from_the_grey_of_the_frame(factor):
    pixels = video()
    pixels[1] *= 0.3
    grey = torch.stack([luma(frame[None]).mean() for frame in pixels]).view(2, 1, 1, 1)
    expected = (grey + factor * (pixels - grey)).clamp(0, 1)
    changed = apply_jitter(pixels, STILL._replace(contrast=factor))
    torch.testing.assert_close(changed, expected)


def test_the_order_is_kept():
    bright = Jitter(("brightness", "contrast", "saturation", "hue"), 1.5, 0.5, 1.0, 0.0)
    late = bright._replace(order=("contrast", "saturation", "hue", "brightness"))
    one, two = apply_jitter(video(), bright), apply_jitter(video(), late)
    assert (one - two).abs().max() > 0.01
    expected = apply_jitter(video(), STILL._replace(contrast=0.5)).mul(1.5).clamp(0, 1)
    torch.testing.assert_close(two, expected)


def test_it_is_done_in_place():
    pixels = video()
    assert apply_jitter(pixels, Jitter(hue=0.1, contrast=0.5)) is pixels
    assert not torch.equal(pixels, video())


def test_draws_fill_their_ranges():
    rng = np.random.default_rng(0)
    drawn = [draw_jitter(rng, (0.5, 0.4, 0.3, 0.1)) for _ in range(300)]
    for name, centre, spread in [
        ("brightness", 1.0, 0.5),
        ("contrast", 1.0, 0.4),
        ("saturation", 1.0, 0.3),
        ("hue", 0.0, 0.1),
    ]:
        values = np.array([getattr(one, name) for one in drawn])
        assert abs(values - centre).max() <= spread
        assert values.min() < centre - 0.9 * spread
        assert values.max() > centre + 0.9 * spread
    assert len({one.order for one in drawn}) == 24
