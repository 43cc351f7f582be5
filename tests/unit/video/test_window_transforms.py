from dataclasses import replace

import numpy as np
import pytest
import torch

from video_adapt.batches import DecodedWindows
from video_adapt.errors import ConfigurationError
from video_adapt.video import WindowEvalTransform, WindowTrainTransform, window_transforms
from video_adapt.video.color_jitter import Jitter, apply_jitter
from video_adapt.video.pixel_ops import OPERATIONS, Draw
from video_adapt.video.transforms import Box, short_side_shape
from video_adapt.video.window_transforms import WindowAugmentation, augment_frames

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
STILL = WindowTrainTransform(
    size=8,
    short_side=8,
    area=(1.0, 1.0),
    aspect=(1.0, 1.0),
    flip=0.0,
    rand_augment=None,
    jitter=None,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def batch(*frames: torch.Tensor, seeds=None) -> DecodedWindows:
    rows = torch.arange(len(frames))
    time = torch.zeros(len(frames), dtype=torch.float64)
    nothing = [torch.zeros(0, 2)] * len(frames)
    labels = [torch.zeros(0, dtype=torch.int64)] * len(frames)
    seed = rows if seeds is None else torch.tensor(seeds)
    mask = torch.ones(len(frames), 4, dtype=torch.bool)
    return DecodedWindows(
        list(frames), mask, nothing, labels, rows, rows, time, time + 1, time + 4, seed
    )


@pytest.mark.parametrize("transform", [STILL, WindowEvalTransform(size=8)])
def test_values_are_scaled_and_normalised(transform):
    video = transform(batch(torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)), **IMAGENET)
    expected = (0.2 - torch.tensor(IMAGENET["mean"])) / torch.tensor(IMAGENET["std"])
    torch.testing.assert_close(video[0, 1, :, 3, 3], expected)


def test_windows_of_different_sizes_make_one_batch():
    video = WindowTrainTransform(size=6)(batch(noise(2, 3, 9, 16), noise(2, 3, 20, 7)), **PLAIN)
    assert video.shape == (2, 2, 3, 6, 6)
    assert video.dtype == torch.float32
    assert video.min() >= 0
    assert video.max() <= 1


def test_a_window_is_augmented_by_its_seed_alone():
    one, two = noise(2, 3, 12, 16), noise(2, 3, 14, 12, seed=1)
    transform = WindowTrainTransform(size=8)
    together = transform(batch(one, two, seeds=[5, 9]), **PLAIN)
    alone = transform(batch(two, seeds=[9]), **PLAIN)
    assert torch.equal(together[1], alone[0])
    other = transform(batch(two, seeds=[10]), **PLAIN)
    assert not torch.equal(other, alone)


def test_global_generators_are_neither_read_nor_moved():
    windows = batch(noise(2, 3, 12, 16))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = WindowTrainTransform(size=8)(windows, **PLAIN)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(WindowTrainTransform(size=8)(windows, **PLAIN), first)


def test_all_frames_are_treated_alike(monkeypatch):
    monkeypatch.setattr(window_transforms, "_PIECE_PIXELS", 2 * 12 * 16)
    still = noise(1, 3, 12, 16).expand(5, -1, -1, -1)
    video = WindowTrainTransform(size=8)(batch(*[still] * 16), **PLAIN)
    for window in video:
        assert torch.equal(window, window[:1].expand_as(window))
    assert not torch.equal(video[0], video[1])


@pytest.mark.parametrize("transform", [WindowTrainTransform(size=8), WindowEvalTransform(size=8)])
@pytest.mark.parametrize("frames_at_a_time", [0, 1, 2, 3, 100])
def test_pieces_do_not_show(monkeypatch, transform, frames_at_a_time):
    windows = batch(noise(5, 3, 12, 16), noise(5, 3, 12, 16, seed=1))
    whole = transform(windows, **IMAGENET)
    monkeypatch.setattr(window_transforms, "_PIECE_PIXELS", frames_at_a_time * 12 * 16)
    assert torch.equal(transform(windows, **IMAGENET), whole)


@pytest.mark.parametrize("transform", [WindowTrainTransform(size=8), WindowEvalTransform(size=8)])
def test_the_input_stays_as_it_was(transform):
    frames = noise(3, 3, 8, 8)
    before = frames.clone()
    transform(batch(*[frames] * 20), **IMAGENET)
    assert torch.equal(frames, before)


@pytest.mark.parametrize("transform", [WindowTrainTransform(size=8), WindowEvalTransform(size=8)])
def test_the_result_has_the_type_that_is_asked_for(transform):
    windows = batch(noise(2, 3, 12, 16))
    video = transform(windows, **IMAGENET, dtype=torch.bfloat16)
    assert video.dtype == torch.bfloat16
    assert torch.equal(video, transform(windows, **IMAGENET).bfloat16())


def test_steps_follow_one_another_as_drawn():
    frames = noise(3, 3, 10, 14)
    change, jitter = Draw(0.9, -1), Jitter(contrast=0.7, hue=0.1)
    drawn = WindowAugmentation(
        Box(1, 2, 6, 6), True, (("shear_x", change), ("posterize", change)), jitter
    )
    video = augment_frames(frames, (10, 14), drawn, 6)
    cropped = frames[..., 1:7, 2:8].flip(-1)
    changed = OPERATIONS["posterize"](OPERATIONS["shear_x"](cropped, change), change)
    assert torch.equal(video, apply_jitter(changed / 255, jitter))
    swapped = drawn._replace(changes=drawn.changes[::-1])
    assert not torch.equal(augment_frames(frames, (10, 14), swapped, 6), video)


def test_scaling_is_bilinear_and_rounds_to_levels():
    frames = noise(2, 3, 12, 12)
    video = augment_frames(frames, (6, 6), WindowAugmentation(Box(0, 0, 6, 6)), 6)
    pixels = frames.unflatten(-1, (6, 2)).unflatten(-3, (6, 2)).float().mean((-3, -1))
    assert torch.equal((video * 255).round(), pixels.round())


def test_scaling_comes_before_the_crop():
    frames = noise(2, 3, 12, 12)
    drawn = WindowAugmentation(Box(2, 1, 4, 4))
    whole = augment_frames(frames, (6, 6), WindowAugmentation(Box(0, 0, 6, 6)), 6)
    assert torch.equal(augment_frames(frames, (6, 6), drawn, 4), whole[..., 2:6, 1:5])


@pytest.mark.parametrize(("size", "short_side"), [(160, 182), (224, 256), (192, 220)])
def test_the_short_side_follows_the_published_recipes(monkeypatch, size, short_side):
    asked = []

    def record(height, width, scale):
        asked.append(scale)
        return short_side_shape(height, width, scale)

    monkeypatch.setattr(window_transforms, "short_side_shape", record)
    WindowTrainTransform(size=size, rand_augment=None, jitter=None)(
        batch(noise(1, 3, 8, 9)), **PLAIN
    )
    assert asked == [short_side]


def test_a_stated_short_side_is_used():
    frames = noise(2, 3, 16, 16)
    whole = replace(STILL, short_side=None)(batch(frames), **PLAIN)
    halved = STILL(batch(frames), **PLAIN)
    expected = augment_frames(frames, (8, 8), WindowAugmentation(Box(0, 0, 8, 8)), 8)
    torch.testing.assert_close(halved[0], expected)
    assert not torch.equal(whole, halved)


def test_draws_cover_what_the_recipe_offers():
    transform = WindowTrainTransform(size=160)
    drawn = [transform.draw(seed, 182, 323) for seed in range(400)]
    assert 0.4 < np.mean([one.flip for one in drawn]) < 0.6
    areas = np.array([one.box.height * one.box.width for one in drawn]) / (182 * 323)
    assert areas.min() < 0.12
    assert areas.max() > 0.7
    names = [[name for name, _ in one.changes] for one in drawn]
    assert all(len(set(pair)) == 2 for pair in names)
    assert {name for pair in names for name in pair} == OPERATIONS.keys()
    assert {pair.index(min(pair)) for pair in names} == {0, 1}
    draws = [draw for one in drawn for _, draw in one.changes]
    assert {draw.level for draw in draws} == {0.9}
    assert {draw.sign for draw in draws} == {-1, 1}
    assert np.std([draw.x for draw in draws]) == pytest.approx(12**-0.5, abs=0.02)
    assert np.std([draw.y for draw in draws]) == pytest.approx(12**-0.5, abs=0.02)
    assert abs(np.corrcoef([draw.x for draw in draws], [draw.y for draw in draws])[0, 1]) < 0.1
    assert len({one.jitter for one in drawn}) == 400


def test_what_is_switched_off_is_not_drawn():
    drawn = STILL.draw(3, 8, 8)
    assert drawn == WindowAugmentation(Box(0, 0, 8, 8))


def test_a_flip_exchanges_left_and_right():
    frames = noise(2, 3, 8, 8)
    flipped = replace(STILL, flip=1.0)(batch(frames), **PLAIN)
    torch.testing.assert_close(flipped[0], (frames / 255).flip(-1))


def test_evaluation_keeps_the_square_in_the_centre():
    frames = noise(2, 3, 8, 13)
    video = WindowEvalTransform(size=8)(batch(frames), **PLAIN)
    torch.testing.assert_close(video[0], frames[..., 2:10] / 255)
    tall = WindowEvalTransform(size=8)(batch(frames.transpose(-2, -1)), **PLAIN)
    torch.testing.assert_close(tall[0], frames.transpose(-2, -1)[..., 2:10, :] / 255)


def test_evaluation_scales_the_short_side():
    frames = noise(2, 3, 12, 12)
    video = WindowEvalTransform(size=6)(batch(frames), **PLAIN)
    pixels = frames.unflatten(-1, (6, 2)).unflatten(-3, (6, 2)).float().mean((-3, -1))
    assert torch.equal((video[0] * 255).round(), pixels.round())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"area": (0.0, 1.0)}, "area"),
        ({"area": (0.9, 0.5)}, "area"),
        ({"aspect": (2.0, 1.0)}, "aspect"),
        ({"flip": 1.5}, "flip is 1.5"),
        ({"rand_augment": (16, 9)}, "up to 15 changes"),
        ({"rand_augment": (2, 11)}, "strength from 0 to 10"),
        ({"jitter": (0.5, 0.5, 0.5, -0.1)}, "jitter"),
    ],
)
def test_impossible_values_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        WindowTrainTransform(**settings)


@pytest.mark.parametrize("transform", [WindowTrainTransform(), WindowEvalTransform()])
def test_a_size_is_needed(transform):
    with pytest.raises(ConfigurationError, match="no size"):
        transform(batch(noise(1, 3, 8, 8)), **PLAIN)
