"""Augmentation by scale: its range, its chance, and what it does to pixels."""

import pytest
import torch

from video_adapt.batches import DecodedClips
from video_adapt.errors import ConfigurationError
from video_adapt.video import ShortSideTransform
from video_adapt.video.short_side_transform import ScaledCrop, scaled_crop

MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def clips(seeds, shape=(2, 3, 20, 30)):
    ids = torch.arange(len(seeds))
    frames = [torch.randint(256, shape, dtype=torch.uint8, generator=_generator()) for _ in seeds]
    return DecodedClips(frames, ids, ids, ids, torch.tensor(seeds))


def _generator():
    return torch.Generator().manual_seed(0)


def test_draws_stay_within_the_range_and_reach_its_ends():
    transform = ShortSideTransform(16, largest=20 / 16)
    drawn = [transform.draw(seed, 20, 30) for seed in range(300)]
    assert {d.short_side for d in drawn} == {16, 17, 18, 19, 20}
    assert all(0 <= d.top <= max(d.short_side - 17, 0) for d in drawn)
    assert all(0 <= d.left < 30 * d.short_side // 20 - 16 for d in drawn)
    assert 100 < sum(d.flip for d in drawn) < 200


def test_a_clip_is_augmented_by_its_own_seed_alone():
    transform = ShortSideTransform(16)
    video, label = transform(clips([5, 6, 5]), MEAN, STD)
    assert video.shape == (3, 2, 3, 16, 16)
    assert torch.equal(video[0], video[2])
    assert not torch.equal(video[0], video[1])
    assert label.tolist() == [0, 1, 2]


def test_all_frames_are_cut_and_mirrored_alike():
    frames = clips([0]).frames[0]
    cut = scaled_crop(frames, ScaledCrop(20, 3, 7), 16)
    assert torch.equal(cut, frames[..., 3:19, 7:23] / 255)
    mirrored = scaled_crop(frames, ScaledCrop(20, 3, 7, flip=True), 16)
    assert torch.equal(mirrored, cut.flip(-1))


@pytest.mark.parametrize("wrong", [{"largest": 0.9}, {"flip": 1.5}])
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="largest is"):
        ShortSideTransform(16, **wrong)


def test_the_size_may_come_from_the_backbone_but_must_come():
    with pytest.raises(ConfigurationError, match="no size"):
        ShortSideTransform()(clips([0]), MEAN, STD)
