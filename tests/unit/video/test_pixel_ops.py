"""Every change beside Pillow's, or beside a loop that says what is meant."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from video_adapt.video.pixel_ops import (
    CUTOUT_GREY,
    OPERATIONS,
    Draw,
    autocontrast,
    brightness,
    contrast,
    cutout,
    equalize,
    invert,
    luma,
    posterize,
    rotate,
    saturation,
    sharpness,
    shear_x,
    shear_y,
    solarize,
    translate,
)


def pictures(count=3, height=20, width=26, *, seed=0):
    """Smooth pictures of unequal brightness and spread, as those of a camera."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 5, 6, 3), dtype=np.uint8)
    scaled = [Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC) for c in coarse]
    dimmed = [np.asarray(p) * (0.4 + 0.6 * i / count) + 20 * i for i, p in enumerate(scaled)]
    frames = np.clip(np.stack(dimmed), 0, 255).astype(np.uint8)
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def by_pillow(frames, change):
    changed = [change(Image.fromarray(f.permute(1, 2, 0).numpy())) for f in frames]
    return torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in changed])


def assert_levels_equal(mine, theirs, *, within=0):
    assert mine.dtype == torch.uint8
    assert mine.shape == theirs.shape
    assert (mine.int() - theirs.int()).abs().max() <= within


def enhanced(kind, factor):
    return lambda picture: kind(picture).enhance(factor)


@pytest.mark.parametrize(
    ("mine", "theirs", "within"),
    [
        (lambda f: posterize(f, 3), lambda p: ImageOps.posterize(p, 3), 0),
        (lambda f: posterize(f, 1), lambda p: ImageOps.posterize(p, 1), 0),
        (lambda f: solarize(f, 130), lambda p: ImageOps.solarize(p, 130), 0),
        (lambda f: solarize(f, 256), lambda p: p, 0),
        (invert, ImageOps.invert, 0),
        (autocontrast, ImageOps.autocontrast, 1),
        (equalize, ImageOps.equalize, 0),
        (lambda f: brightness(f, 1.72), enhanced(ImageEnhance.Brightness, 1.72), 1),
        (lambda f: brightness(f, 0.3), enhanced(ImageEnhance.Brightness, 0.3), 1),
        (lambda f: saturation(f, 1.72), enhanced(ImageEnhance.Color, 1.72), 1),
        (lambda f: saturation(f, 0.3), enhanced(ImageEnhance.Color, 0.3), 1),
        (lambda f: contrast(f, 1.72), enhanced(ImageEnhance.Contrast, 1.72), 1),
        (lambda f: contrast(f, 0.3), enhanced(ImageEnhance.Contrast, 0.3), 1),
        (lambda f: sharpness(f, 1.72), enhanced(ImageEnhance.Sharpness, 1.72), 1),
        (lambda f: sharpness(f, 0.3), enhanced(ImageEnhance.Sharpness, 0.3), 1),
    ],
)
def test_colours_change_as_in_pillow(mine, theirs, within):
    frames = pictures()
    before = frames.clone()
    assert_levels_equal(mine(frames), by_pillow(frames, theirs), within=within)
    assert torch.equal(frames, before), "the input was overwritten"


def looked_up(frames, source_of):
    """Each pixel of the result from where ``source_of`` says, weighing four neighbours."""
    t, c, height, width = frames.shape
    values = np.zeros((t, c, height, width))
    padded = np.pad(frames.numpy().astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for row in range(height):
        for column in range(width):
            x, y = source_of(column - (width - 1) / 2, row - (height - 1) / 2)
            x, y = x + (width - 1) / 2 + 1, y + (height - 1) / 2 + 1  # in the padded picture
            if not (0 <= x <= width + 1 and 0 <= y <= height + 1):
                continue
            left, top = min(int(x), width), min(int(y), height)
            fx, fy = x - left, y - top
            values[..., row, column] = (
                padded[..., top, left] * (1 - fx) * (1 - fy)
                + padded[..., top, left + 1] * fx * (1 - fy)
                + padded[..., top + 1, left] * (1 - fx) * fy
                + padded[..., top + 1, left + 1] * fx * fy
            )
    return torch.from_numpy(np.rint(values).astype(np.uint8))


@pytest.mark.parametrize("degrees", [15.5, -15.5])
def test_geometry_keeps_the_centre_and_fills_with_black(degrees):
    frames = pictures()
    tan = math.tan(math.radians(degrees))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for mine, source_of in [
        (shear_x, lambda x, y: (x + tan * y, y)),
        (shear_y, lambda x, y: (x, y + tan * x)),
        (rotate, lambda x, y: (cos * x - sin * y, sin * x + cos * y)),
    ]:
        assert_levels_equal(mine(frames, degrees), looked_up(frames, source_of), within=1)


def test_a_positive_turn_is_counter_clockwise_as_in_pillow():
    frames = pictures(1, 21, 21)
    theirs = by_pillow(frames, lambda p: p.rotate(27, Image.Resampling.BILINEAR))
    inside = (..., slice(6, 15), slice(6, 15))
    assert_levels_equal(rotate(frames, 27)[inside], theirs[inside], within=1)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (-3, 0), (0, 4), (0, -4), (2, -5), (0, 0)])
def test_translation_moves_whole_pixels(right, down):
    frames = pictures()
    moved = translate(frames, right=right, down=down)
    expected = torch.zeros_like(frames)
    for y in range(20):
        for x in range(26):
            if 0 <= y - down < 20 and 0 <= x - right < 26:
                expected[..., y, x] = frames[..., y - down, x - right]
    assert torch.equal(moved, expected)


@pytest.mark.parametrize(("y", "x"), [(0.5, 0.5), (0.0, 1.0), (0.99, 0.01), (0.2, 0.7)])
def test_cutout_is_a_grey_square_within_the_picture(y, x):
    frames = pictures()
    painted = cutout(frames, 4, y=y, x=x)
    top, left = round(y * 20 - 2), round(x * 26 - 2)
    for row in range(20):
        for column in range(26):
            inside = top <= row < top + 4 and left <= column < left + 4
            expected = torch.full((3, 3), CUTOUT_GREY) if inside else frames[..., row, column]
            assert torch.equal(painted[..., row, column], expected.to(torch.uint8))


def test_pictures_of_one_value_stay_as_they_are():
    flat = torch.full((2, 3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(autocontrast(flat), flat)
    assert torch.equal(equalize(flat), flat)
    assert torch.equal(contrast(flat, 1.72), flat)


def test_grey_weighs_the_colours_as_the_eye_does():
    pixel = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
    assert luma(pixel).item() == pytest.approx(0.299 + 5.87 + 11.4)


STRONG = {
    "shear_x": lambda f: shear_x(f, -math.degrees(0.27)),
    "shear_y": lambda f: shear_y(f, -math.degrees(0.27)),
    "translate_x": lambda f: translate(f, right=-5),
    "translate_y": lambda f: translate(f, down=-4),
    "rotate": lambda f: rotate(f, -27.0),
    "posterize": lambda f: posterize(f, 3),
    "solarize": lambda f: solarize(f, 230),
    "color": lambda f: saturation(f, 1.72),
    "contrast": lambda f: contrast(f, 1.72),
    "brightness": lambda f: brightness(f, 1.72),
    "sharpness": lambda f: sharpness(f, 1.72),
    "autocontrast": autocontrast,
    "equalize": equalize,
    "invert": invert,
    "cutout": lambda f: cutout(f, 4, y=0.2, x=0.7),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_strengths_are_those_of_the_recipe(name):
    frames = pictures()
    changed = OPERATIONS[name](frames, Draw(0.9, -1, 0.2, 0.7))
    assert torch.equal(changed, STRONG[name](frames))
    assert not torch.equal(changed, frames)


def test_there_are_fifteen_operations():
    assert OPERATIONS.keys() == STRONG.keys()
    assert len(OPERATIONS) == 15


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_frame_is_changed_by_itself(name):
    frames = pictures()
    together = OPERATIONS[name](frames, Draw(0.9))
    alone = torch.cat([OPERATIONS[name](frame[None], Draw(0.9)) for frame in frames])
    assert torch.equal(together, alone)
