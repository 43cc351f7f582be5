"""Windows of long videos: each function against a slow obvious second version."""

import random

import numpy as np
import pytest

from video_adapt.errors import ConfigurationError
from video_adapt.video import SlidingWindows, WholeVideo
from video_adapt.video.windows import (
    Window,
    distinct_events,
    events_inside,
    frames_by_rate,
    frames_by_share,
    padded_units,
    positions_by_share,
    random_cut,
    resized_indices,
    sliding_windows,
    snippet_indices,
)

SEGMENTS_S = [[0.04, 1.0], [2.5, 9.999]]


def drawing(*values):
    """A source of chance that hands out these values, and what it was asked for."""
    asked, left = [], list(values)

    def draw(low, high):
        asked.append((low, high))
        return left.pop(0)

    return draw, asked


def seeded(seed):
    return random.Random(seed).randint


def segments(*pairs):
    return np.array(pairs, dtype=np.float32).reshape(-1, 2)


def test_seconds_become_whole_frames_by_share_or_by_rate():
    by_share = [[int(s / 10 * 253) for s in pair] for pair in SEGMENTS_S]
    by_rate = [[int(s * 30) for s in pair] for pair in SEGMENTS_S]
    assert frames_by_share(SEGMENTS_S, 10.0, 253).tolist() == by_share
    assert frames_by_rate(SEGMENTS_S, 30).tolist() == by_rate
    assert frames_by_share([], 10.0, 253).shape == (0, 2)


def test_positions_by_share_end_with_the_video():
    found = positions_by_share([[2.5, 5.0], [-1.0, 12.0]], 10.0, 64)
    assert found.tolist() == [[16.0, 32.0], [0.0, 64.0]]
    assert found.dtype == np.float32


def test_events_are_distinct_by_time_and_label():
    found = distinct_events(segments((1, 2), (1, 2), (1, 2), (3, 4)), np.array([0, 1, 0, 0]))
    assert found.tolist() == [0, 1, 3]


def test_windows_start_at_multiples_and_the_last_ends_with_the_video():
    assert sliding_windows(10, 4, 0.5) == [(0, 4), (2, 6), (4, 8), (6, 10), (6, 10)]
    assert sliding_windows(11, 4, 0.5) == [(0, 4), (2, 6), (4, 8), (6, 10), (7, 11)]
    assert sliding_windows(3, 4, 0.5) == [(0, 3)]
    assert sliding_windows(1, 4, 0.5) == [(0, 1)]


def test_the_end_of_a_video_can_be_lost_unless_it_is_to_be_covered():
    assert sliding_windows(11, 4, 0.0) == [(0, 4), (4, 8)]
    assert sliding_windows(11, 4, 0.0, cover=True) == [(0, 4), (4, 8), (7, 11)]
    assert sliding_windows(8, 4, 0.0, cover=True) == [(0, 4), (4, 8)]


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.75, 0.95])
def test_covering_windows_leave_nothing_out(overlap):
    for count in range(1, 60):
        windows = sliding_windows(count, 8, overlap, cover=True)
        assert {i for window in windows for i in range(*window)} == set(range(count))
        assert all(window.stop - window.first == min(8, count) for window in windows)


def test_random_cut_keeps_what_lies_inside_for_the_most_part():
    draw, asked = drawing(4)
    cut = random_cut(
        30,
        10,
        segments((0, 8), (5, 7), (12, 16), (13, 15)),
        min_kept=0.5,
        crop=None,
        draw=draw,
    )
    assert asked == [(0, 20)]
    assert (cut.start, cut.stop) == (4, 14)
    # Of (13, 15) exactly one half is inside, of (0, 8) too; the others are whole or cut to it.
    assert cut.kept.tolist() == [0, 1, 2, 3]
    assert cut.segments.tolist() == [[0, 4], [1, 3], [8, 10], [9, 10]]


def test_random_cut_draws_until_an_event_is_inside():
    draw, asked = drawing(0, 3, 14)
    events = segments((15, 18), (15, 15))
    cut = random_cut(30, 6, events, min_kept=0.75, crop=None, draw=draw)
    assert len(asked) == 3
    assert (cut.start, cut.kept.tolist(), cut.segments.tolist()) == (14, [0], [[1, 4]])


def test_random_cut_gives_up_with_an_empty_window():
    draw, asked = drawing(*range(200))
    cut = random_cut(1000, 6, segments(), min_kept=0.75, crop=None, draw=draw)
    assert len(asked) == 200
    assert (cut.start, len(cut.kept), cut.segments.shape) == (199, 0, (0, 2))


def test_short_video_is_taken_whole_or_cropped():
    events = segments((2, 6))
    whole = random_cut(8, 10, events, min_kept=0.75, crop=None, draw=drawing()[0])
    assert (whole.start, whole.stop, whole.segments.tolist()) == (0, 8, [[2, 6]])

    draw, asked = drawing(7, 1)
    cut = random_cut(8, 10, events, min_kept=0.75, crop=(0.9, 1.0), draw=draw)
    assert asked == [(round(0.9 * 8), 8), (0, 1)]
    assert (cut.start, cut.stop, cut.segments.tolist()) == (1, 8, [[1, 5]])

    draw, asked = drawing(8)
    cut = random_cut(8, 10, events, min_kept=0.75, crop=(0.9, 1.0), draw=draw)
    assert (len(asked), cut.start, cut.stop) == (1, 0, 8)


def test_events_of_evaluation_need_more_than_the_share():
    found, kept = events_inside(segments((0, 4), (1, 5), (2, 2)), 1.0, 9.0, min_kept=0.75)
    assert kept.tolist() == [1]  # of (0, 4) exactly three quarters are inside
    assert found.tolist() == [[0, 4]]


def test_units_are_padded_with_the_last_one():
    assert padded_units(3, 6, 5).tolist() == [3, 4, 5, 5, 5]


@pytest.mark.parametrize(("frames", "count"), [(100, 8), (7, 16), (1, 4), (291, 48), (1235, 48)])
def test_resized_indices_are_the_middles_of_equal_parts(frames, count):
    middles = [frames / count * (i + 0.5) - 0.5 for i in range(count)]
    expected = [round(min(max(middle, 0), frames - 1)) for middle in middles]
    assert resized_indices(frames, count).tolist() == expected


def test_resizing_always_gives_as_many_as_asked_for():
    for frames in range(1, 400, 7):
        for count in (3, 7, 11, 48, 192):
            assert len(resized_indices(frames, count)) == count


def test_snippets_stand_around_their_centres():
    assert snippet_indices([0, 8], 4, 2, 10).tolist() == [[0, 0, 0, 2], [4, 6, 8, 9]]


def test_sliding_sampler_reads_what_its_grid_says():
    sampler = SlidingWindows(8, 2, snippet_stride=4, crop=None)
    timing = sampler.timing(20.0, 200)
    events = sampler.events([[2.0, 4.0]], timing)
    window = sampler.random(100, 2, events, timing, drawing(7)[0])
    assert sampler.frames(window, 200).tolist() == list(range(14, 14 + 32, 2))
    # Frame 20 to 40 of the video: positions of four frames, counted from frame 14.
    assert window.segments.tolist() == [[1.5, 6.5]]
    assert (window.offset_s, window.step_s) == pytest.approx((1.4, 0.4))
    assert window.valid == 8
    times_s = window.offset_s + window.segments * window.step_s
    np.testing.assert_allclose(times_s, [[2.0, 4.0]], rtol=1e-6)


def test_offset_of_features_moves_events_and_times_alike():
    sampler = SlidingWindows(8, 1, snippet_stride=4, offset_frames=6.0)
    timing = sampler.timing(20.0, 200)
    events = sampler.events([[2.0, 4.0]], timing)
    for window in (
        sampler.random(50, 1, events, timing, drawing(3)[0]),
        sampler.place(Window(3, 11), 50, 1, events, timing),
    ):
        times_s = window.offset_s + window.segments * window.step_s
        np.testing.assert_allclose(times_s, [[2.0, 4.0]], rtol=1e-6)


def test_windows_end_where_the_file_does():
    sampler = SlidingWindows(8, 1, snippet_stride=4)
    timing = sampler.timing(4.2, 42)
    (*_, last) = sampler.windows(timing)
    assert last == Window(3, 11)
    available = sampler.available(38)  # the file has four frames less than annotated
    window = sampler.place(last, available, 1, segments(), timing)
    assert window.valid == 7
    assert sampler.frames(window, 38).tolist() == [12, 16, 20, 24, 28, 32, 36, 36]


def test_fixed_rate_counts_seconds_not_frames():
    sampler = SlidingWindows(8, 1, snippet_stride=3, fps=30)
    assert not sampler.counts_frames
    timing = sampler.timing(2.0, 50)
    assert (timing.num_frames, timing.fps) == (60, 30)
    assert sampler.events([[0.5, 1.0]], timing).tolist() == [[15, 30]]
    assert sampler.windows(timing)[-1] == Window(12, 20)


def test_whole_video_is_one_window():
    sampler = WholeVideo(16, 2, min_share=0.1)
    timing = sampler.timing(8.0, 0)
    events = sampler.events([[1.0, 2.0], [3.0, 3.5]], timing)
    assert sampler.trainable(events, timing).tolist() == [0]
    assert sampler.windows(timing) == [Window(0, 16)]
    window = sampler.random(100, 2, events, timing, drawing()[0])
    assert (window.offset_s, window.step_s, window.valid) == (0.0, 0.5, 16)
    assert window.segments.tolist() == [[2, 4], [6, 7]]
    assert sampler.frames(window, 100).tolist() == resized_indices(100, 32).tolist()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"frames_per_position": 3}, "let frames_per_position divide snippet_stride"),
        ({"positions": 0}, "must be positive"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"min_kept": 0.0}, "min_kept 0.0"),
        ({"crop": (0.9, 0.5)}, "it must rise within"),
    ],
)
def test_impossible_windows_are_refused(arguments, cause):
    with pytest.raises(ConfigurationError, match=cause):
        SlidingWindows(**arguments)


def test_impossible_whole_video_is_refused():
    with pytest.raises(ConfigurationError, match=r"min_share 1.0 must lie in \[0, 1\)"):
        WholeVideo(min_share=1.0)
    with pytest.raises(ConfigurationError, match="frames_per_position 0 must be positive"):
        WholeVideo(frames_per_position=0)


def test_sampler_describes_itself_in_seconds():
    sampler = SlidingWindows(768, 1)
    assert sampler.describe(sampler.timing(100.0, 3000)) == (
        "windows of 768 positions: 102.4 s of video at 30 frames per second, of which 7.5 are seen"
    )
    whole = WholeVideo(192, 4)
    assert "a whole video, here 96.0 s long, of which 8 frames" in whole.describe(
        whole.timing(96.0, 0)
    )


def test_random_windows_always_hold_an_event_where_one_fits():
    sampler = SlidingWindows(10, 1, snippet_stride=2)
    timing = sampler.timing(40.0, 400)
    events = sampler.events([[10.0, 11.0], [30.0, 38.0]], timing)
    for seed in range(50):
        window = sampler.random(200, 1, events, timing, seeded(seed))
        assert len(window.kept)
        assert (window.segments >= 0).all()
        assert (window.segments <= 10).all()
