"""Views of an open-vocabulary clip: what the recorded indices do not say."""

import numpy as np
import pytest

from video_adapt.video import CoveringSampler, PublishedViewSampler, StreamHeader, VideoReader
from video_adapt.video.synthetic import trimmed_scene
from video_adapt.video.synthetic_files import write_scene


def reference(n, count, start, window, pts, span):
    """The published path by presentation time, frame by frame."""
    start_pts, end_pts = int(start * pts[1]), int((start + window - 1) * pts[1])
    kept = [i for i in range(n) if start_pts <= pts[i] <= end_pts]
    behind = [i for i in range(n) if pts[i] > end_pts]
    kept += behind[:1]
    places = np.linspace(0, span, count, dtype=np.float32).clip(0, len(kept) - 1)
    return [kept[int(place)] for place in places]


@pytest.mark.parametrize("ticks", [1, 7, 512])
@pytest.mark.parametrize("n", [5, 112, 113, 150, 301])
def test_timed_path_keeps_the_frames_between_two_times_and_one_more(n, ticks):
    sampler = PublishedViewSampler(8, 16, ticks=ticks)
    pts = [ticks * i for i in range(n)]
    for view in range(3):
        start = max(n - 112, 0) * view / 3
        expected = reference(n, 8, start, 112, pts, 127)
        assert sampler(n, 30.0, view=view, views=3).tolist() == expected


def test_of_an_untimed_container_one_view_stands_in_the_middle():
    sampler = PublishedViewSampler(8, 16, ticks=None)
    assert sampler(300, 30.0).tolist() == [86, 104, 122, 140, 158, 176, 194, 213]


def test_covering_views_begin_and_end_with_the_video_at_the_true_stride():
    sampler = CoveringSampler(8, 16)
    assert sampler(300, 30.0, view=0, views=3).tolist() == list(range(0, 113, 16))
    assert sampler(300, 30.0, view=2, views=3).tolist() == list(range(187, 300, 16))
    assert np.diff(sampler(300, 30.0)).tolist() == [16] * 7
    assert np.diff(sampler(300, 15.0)).tolist() == [8] * 7


def test_covering_a_short_video_repeats_no_frame():
    assert CoveringSampler(8, 16)(8, 30.0).tolist() == list(range(8))
    assert CoveringSampler(8, 16)(1, 30.0).tolist() == [0] * 8


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_a_file_says_which_path_its_container_takes(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    rng = np.random.default_rng(0)
    write_scene(path, trimmed_scene(rng, "moves right", 20), size=16, fps=30)
    with VideoReader(path) as reader:
        header = reader.header
    assert header.fps == 30
    per_frame = {"mp4": 512, "avi": 1, "mkv": None}[suffix]
    assert header == StreamHeader(30.0, per_frame)
    sampler = PublishedViewSampler().for_file(header)
    assert (sampler.ticks, sampler.header_fps) == (per_frame, 30.0)


def test_the_rate_of_the_header_counts_not_the_measured_one():
    sampler = PublishedViewSampler(ticks=None).for_file(StreamHeader(30.0, None))
    assert sampler(600, 29.9, view=0, views=3)[-1] == 127
