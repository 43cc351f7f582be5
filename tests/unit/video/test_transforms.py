from dataclasses import replace

import numpy as np
import pytest
import torch

from video_adapt.batches import DecodedClips
from video_adapt.errors import ConfigurationError
from video_adapt.video import EvalTransform, TrainTransform
from video_adapt.video.transforms import (
    Augmentation,
    Box,
    augment,
    crop_places,
    rand_augment,
    random_box,
    resize,
    short_side_shape,
)

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
STILL = TrainTransform(size=8, area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, grayscale=0.0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def batch(*frames: torch.Tensor, seeds=None, labels=None) -> DecodedClips:
    count = torch.arange(len(frames))
    seed = count if seeds is None else torch.tensor(seeds)
    label = count if labels is None else torch.tensor(labels)
    return DecodedClips(list(frames), label, count, torch.zeros_like(count), seed)


def test_values_are_scaled_and_normalised():
    video, _ = STILL(batch(torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)), **IMAGENET)
    expected = (0.2 - torch.tensor(IMAGENET["mean"])) / torch.tensor(IMAGENET["std"])
    torch.testing.assert_close(video[0, 1, :, 3, 3], expected)


def test_clips_of_different_sizes_make_one_batch():
    video, label = TrainTransform(size=6)(batch(noise(2, 3, 9, 16), noise(2, 3, 20, 7)), **PLAIN)
    assert video.shape == (2, 2, 3, 6, 6)
    assert video.dtype == torch.float32
    assert label.tolist() == [0, 1]


def test_a_clip_is_augmented_by_its_seed_alone():
    one, two = noise(2, 3, 12, 16), noise(2, 3, 14, 12, seed=1)
    transform = TrainTransform(size=8)
    together, _ = transform(batch(one, two, seeds=[5, 9]), **PLAIN)
    alone, _ = transform(batch(two, seeds=[9]), **PLAIN)
    assert torch.equal(together[1], alone[0])
    other, _ = transform(batch(two, seeds=[10]), **PLAIN)
    assert not torch.equal(other, alone)


def test_global_generators_are_neither_read_nor_moved():
    transform = TrainTransform(size=8, rand_augment=(2, 9))
    clips = batch(noise(2, 3, 12, 16))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, _ = transform(clips, **PLAIN)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(transform(clips, **PLAIN)[0], first)


def test_all_frames_are_treated_alike():
    still = noise(1, 3, 12, 16).expand(4, -1, -1, -1)
    transform = TrainTransform(size=8, rand_augment=(2, 9))
    video, _ = transform(batch(*[still] * 8), **PLAIN)
    for clip in video:
        assert torch.equal(clip, clip[:1].expand_as(clip))
    assert not torch.equal(video[0], video[1])


def test_probabilities_and_areas_are_met():
    transform = TrainTransform(size=8, area=(0.4, 1.0), flip=0.5, grayscale=0.2)
    drawn = [transform.draw(seed, 240, 320) for seed in range(2000)]
    assert np.mean([d.flip for d in drawn]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([d.grayscale for d in drawn]) == pytest.approx(0.2, abs=0.04)
    areas = [d.box.height * d.box.width / (240 * 320) for d in drawn]
    ratios = [d.box.width / d.box.height for d in drawn]
    assert min(areas) == pytest.approx(0.4, abs=0.01)
    assert max(areas) > 0.95
    assert min(ratios) == pytest.approx(0.75, abs=0.02)
    assert max(ratios) == pytest.approx(4 / 3, abs=0.02)
    for box in (d.box for d in drawn):
        assert 0 <= box.top <= 240 - box.height
        assert 0 <= box.left <= 320 - box.width
    whole_range = [d.box.left for d in drawn if d.box.width < 300]
    assert min(whole_range) == 0
    assert any(d.box.left == 320 - d.box.width for d in drawn)


def test_shapes_are_drawn_log_uniformly():
    rng = np.random.default_rng(0)
    boxes = [random_box(rng, 240, 240, area=(0.1, 0.2), aspect=(0.25, 4.0)) for _ in range(1000)]
    ratios = np.log([box.width / box.height for box in boxes])
    assert np.mean(ratios) == pytest.approx(0.0, abs=0.1)
    assert np.mean(ratios > np.log(2)) == pytest.approx(0.25, abs=0.05)


def test_box_without_a_fit_is_the_largest_centred_one():
    rng = np.random.default_rng(0)
    narrow = random_box(rng, 100, 10, area=(0.9, 1.0), aspect=(0.75, 1.25))
    assert narrow == Box(43, 0, 13, 10)
    wide = random_box(rng, 10, 100, area=(0.9, 1.0), aspect=(0.75, 1.25))
    assert wide == Box(0, 44, 10, 12)
    assert random_box(rng, 1, 1, area=(0.4, 1.0), aspect=(0.75, 1.3)) == Box(0, 0, 1, 1)


def test_crop_takes_the_box_and_flip_mirrors_it():
    frames = noise(2, 3, 10, 12)
    box = Box(1, 3, 8, 8)
    kept = augment(frames, Augmentation(box), 8)
    torch.testing.assert_close(kept, frames[..., 1:9, 3:11] / 255)
    assert torch.equal(augment(frames, Augmentation(box, flip=True), 8), kept.flip(-1))


def test_grayscale_weighs_channels():
    frames = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    grey = augment(frames, Augmentation(Box(0, 0, 4, 4), grayscale=True), 4)
    torch.testing.assert_close(grey, torch.full((1, 3, 4, 4), 0.299))


def test_flip_exchanges_paired_labels_only_where_flipped():
    frames = [noise(1, 3, 8, 8)] * 5
    clips = batch(*frames, labels=[1, 2, 3, -1, 1])
    always = replace(STILL, flip=1.0, flip_pairs=((1, 2),))
    assert always(clips, **PLAIN)[1].tolist() == [2, 1, 3, -1, 2]
    assert clips.label.tolist() == [1, 2, 3, -1, 1]
    never = replace(always, flip=0.0)
    assert never(clips, **PLAIN)[1].tolist() == [1, 2, 3, -1, 1]
    often = replace(always, flip=0.5)
    video, label = often(batch(*[frames[0]] * 40, labels=[1] * 40), **PLAIN)
    mirrored = [torch.equal(clip, (frames[0] / 255).flip(-1)) for clip in video]
    assert label.tolist() == [2 if flag else 1 for flag in mirrored]
    assert 0 < sum(mirrored) < 40


def test_rand_augment_changes_pixels_by_seed():
    frames = noise(2, 3, 16, 16)
    changed = rand_augment(frames, 4, 7, seed=3)
    assert changed.dtype == torch.uint8
    assert changed.shape == frames.shape
    assert torch.equal(changed, rand_augment(frames, 4, 7, seed=3))
    variants = [rand_augment(frames, 4, 7, seed=seed) for seed in range(4)]
    assert any(not torch.equal(variants[0], other) for other in variants[1:])


def test_resize_is_bilinear_without_antialiasing():
    frames = torch.zeros(1, 1, 1, 8, dtype=torch.uint8)
    frames[..., 3:5] = 255
    # Centres fall on 1.5 and 5.5: antialiasing would also see pixels 3 and 4.
    torch.testing.assert_close(resize(frames, 1, 2), torch.zeros(1, 1, 1, 2))
    half = resize(frames, 1, 4)
    torch.testing.assert_close(half.flatten(), torch.tensor([0.0, 0.5, 0.5, 0.0]))


def test_long_side_is_truncated_and_equal_sides_stay_equal():
    assert short_side_shape(22, 31, 16) == (16, 22)  # 22.5
    assert short_side_shape(29, 21, 16) == (22, 16)  # 22.1
    assert short_side_shape(30, 30, 16) == (16, 16)


def test_crops_lie_along_the_long_side():
    assert crop_places(16, 23, 16, 3) == [(0, 0), (0, 3), (0, 7)]
    assert crop_places(23, 16, 16, 3) == [(0, 0), (3, 0), (7, 0)]
    assert crop_places(20, 20, 16, 3) == [(0, 2), (2, 2), (4, 2)]  # equal sides count as tall
    assert crop_places(19, 23, 16, 1) == [(1, 3)]
    assert crop_places(19, 23, 16, 1, round_up=True) == [(2, 4)]
    assert crop_places(23, 18, 16, 3, round_up=True) == [(0, 1), (4, 1), (7, 1)]


def test_evaluation_crops_follow_one_another():
    one, two = noise(2, 3, 8, 14), noise(2, 3, 12, 8, seed=1)
    video, label = EvalTransform(size=8, crops=3)(batch(one, two, labels=[4, -1]), **PLAIN)
    assert label.tolist() == [4, 4, 4, -1, -1, -1]
    for i, left in enumerate((0, 3, 6)):
        torch.testing.assert_close(video[i], one[..., left : left + 8] / 255)
    for i, top in enumerate((0, 2, 4)):
        torch.testing.assert_close(video[3 + i], two[..., top : top + 8, :] / 255)


def test_evaluation_scales_before_it_crops():
    video, _ = EvalTransform(size=8, scale=10)(batch(noise(2, 3, 20, 30)), **PLAIN)
    expected = resize(noise(2, 3, 20, 30), 10, 15)[..., 1:9, 3:11]
    assert torch.equal(video[0], expected)


@pytest.mark.parametrize("transform", [TrainTransform(), EvalTransform()])
def test_size_must_be_known(transform):
    with pytest.raises(ConfigurationError, match="has no size"):
        transform(batch(noise(1, 3, 8, 8)), **PLAIN)


@pytest.mark.parametrize(
    "values",
    [
        {"area": (0.0, 1.0)},
        {"area": (0.8, 0.4)},
        {"area": (0.4, 1.5)},
        {"aspect": (2.0, 1.0)},
        {"flip": 1.5},
        {"grayscale": -0.1},
    ],
)
def test_impossible_augmentation_is_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        TrainTransform(**values)


def test_impossible_crops_are_refused():
    with pytest.raises(ConfigurationError, match="crops is 2"):
        EvalTransform(crops=2)
    with pytest.raises(ConfigurationError, match="short side of 6 pixels, crops have 8"):
        EvalTransform(size=8, scale=6)(batch(noise(1, 3, 8, 8)), **PLAIN)
