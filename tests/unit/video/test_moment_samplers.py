"""Frames by the second: by the clock or counted, at most so many, of the whole or of a part."""

import numpy as np
import pytest

from video_adapt.errors import ConfigurationError, VideoDecodeError
from video_adapt.video import MiddleSampler, SecondSampler, VideoInfo


def _video(count: int, fps: float):
    info = VideoInfo("dir/a.mp4", count, count / fps, fps, 64, 48, 0, "h264")
    return info, np.arange(count) / fps


def _slow(info, times_s, *, room, per_second, start_s=0.0, end_s=None):
    """What a person would note down with a clock in hand."""
    end_s = info.duration_s if end_s is None else min(end_s, info.duration_s)
    noted, tick = [], 0
    while start_s + tick / per_second < end_s - 1e-6:
        moment_s = start_s + tick / per_second
        noted.append(max(i for i, time_s in enumerate(times_s) if time_s <= moment_s + 1e-6))
        tick += 1
    if len(noted) <= room:
        return noted
    return [noted[int(i * (len(noted) - 1) / (room - 1) + 1e-9)] for i in range(room)]


@pytest.mark.parametrize("fps", [7.0, 23.976, 29.97, 30.0, 60.0])
@pytest.mark.parametrize("count", [1, 14, 30, 31, 447])
@pytest.mark.parametrize(("per_second", "room"), [(1, 12), (3, 5)])
def test_frames_on_display_at_every_second(count, fps, per_second, room):
    video = _video(count, fps)
    sampler = SecondSampler(room, per_second)
    assert sampler(*video).tolist() == _slow(*video, room=room, per_second=per_second)
    part = {"start_s": 0.5, "end_s": 9.0}
    if count / fps > 0.5:
        expected = _slow(*video, room=room, per_second=per_second, **part)
        assert sampler(*video, **part).tolist() == expected


def test_clock_follows_the_timestamps_where_counting_drifts():
    info, _ = _video(60, 15.0)
    times_s = np.concatenate([np.arange(30) / 30, 1 + np.arange(30) / 10])  # slows down after 1 s
    assert SecondSampler()(info, times_s).tolist() == [0, 30, 40, 50]
    assert SecondSampler(count="index")(info, times_s).tolist() == [0, 15, 30, 45]


def test_end_of_a_part_is_looked_at_only_where_frames_are_counted():
    video = _video(300, 30.0)
    part = {"start_s": 2.0, "end_s": 5.0}
    assert SecondSampler()(*video, **part).tolist() == [60, 90, 120]
    assert SecondSampler(count="index")(*video, **part).tolist() == [60, 90, 120, 150]


@pytest.mark.parametrize("sampler", [SecondSampler(), SecondSampler(count="index")])
def test_part_behind_the_end_holds_nothing(sampler):
    assert sampler(*_video(60, 30.0), start_s=5.0, end_s=9.0).tolist() == []
    assert MiddleSampler()(*_video(60, 30.0), start_s=5.0, end_s=9.0).tolist() == []


@pytest.mark.parametrize(
    ("keep", "kept"), [("first", [0, 1, 2]), ("last", [7, 8, 9]), ("even", [0, 4, 9])]
)
def test_of_too_many_frames_some_stay(keep, kept):
    video = _video(10, 1.0)
    assert SecondSampler(3, keep=keep)(*video).tolist() == kept
    assert SecondSampler(3, keep=keep, order="reversed")(*video).tolist() == kept[::-1]


def test_every_video_is_shuffled_in_an_order_of_its_own():
    info, times_s = _video(40, 1.0)
    sampler = SecondSampler(order="shuffled")
    found = sampler(info, times_s).tolist()
    assert sorted(found) == SecondSampler()(info, times_s).tolist() != found
    assert sampler(info._replace(path="elsewhere/a.mp4"), times_s).tolist() == found
    assert sampler(info._replace(path="dir/b.mp4"), times_s).tolist() != found


def test_measured_rate_counts_as_the_stated_one():
    info, times_s = _video(90, 29.995)
    assert SecondSampler(count="index")(info, times_s).tolist() == [0, 30, 60]


def test_rate_below_what_is_counted_is_refused_by_name():
    with pytest.raises(VideoDecodeError, match=r"dir/a.mp4: has 1 frames per second, 2 are to be"):
        SecondSampler(per_second=2, count="index")(*_video(5, 1.0))
    assert SecondSampler(per_second=2)(*_video(2, 1.0)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("values", [(0, 1), (1, 0)])
def test_nothing_to_look_at_is_refused(values):
    with pytest.raises(ConfigurationError, match="both must be at least 1"):
        SecondSampler(*values)


def test_middles_of_a_part():
    video = _video(300, 30.0)
    assert MiddleSampler(4)(*video).tolist() == [37, 112, 187, 262]
    assert MiddleSampler(2)(*video, start_s=1.0, end_s=2.0).tolist() == [37, 52]
    assert MiddleSampler(4)(*_video(2, 30.0)).tolist() == [0, 1, 1, 1]
