"""What samplers promise beyond the recorded indices: chance, bounds, short videos, views."""

import inspect

import numpy as np
import pytest

from video_adapt import video
from video_adapt.errors import ConfigurationError
from video_adapt.video import (
    CoveringSampler,
    DenseSampler,
    FrameSampler,
    IntervalSampler,
    PublishedViewSampler,
    SegmentSampler,
    UniformSampler,
    dense_indices,
    interval_indices,
    segment_indices,
)

COUNT = 8
SAMPLERS: list[FrameSampler] = [
    SegmentSampler(COUNT),
    IntervalSampler(COUNT, 4),
    IntervalSampler(COUNT, 4, to_last_frame=True),
    DenseSampler(COUNT, 4),
    UniformSampler(COUNT),
    PublishedViewSampler(COUNT, 4),
    PublishedViewSampler(COUNT, 4, ticks=None),
    CoveringSampler(COUNT, 4),
]
LENGTHS = [1, 2, 3, 7, 8, 9, 29, 30, 31, 100, 301, 20_000]


def draws(sampler: FrameSampler, num_frames: int, times: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([sampler(num_frames, 30.0, rng=rng) for _ in range(times)])


def test_every_sampler_is_tested() -> None:
    public = {getattr(video, name) for name in video.__all__}
    classes = {c for c in public if inspect.isclass(c) and issubclass(c, FrameSampler)}
    assert classes - {FrameSampler} == {type(sampler) for sampler in SAMPLERS}
    assert set(FrameSampler.__subclasses__()) <= classes


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("num_frames", LENGTHS)
def test_indices_are_rising_and_inside(sampler: FrameSampler, num_frames: int) -> None:
    views = [] if isinstance(sampler, UniformSampler) else [(v, 3) for v in range(3)]
    chosen = [sampler(num_frames, 30.0)]
    chosen += [sampler(num_frames, 30.0, view=v, views=n) for v, n in views]
    chosen += list(draws(sampler, num_frames, 20))
    for indices in chosen:
        assert indices.shape == (COUNT,)
        assert indices.dtype == np.int64
        assert indices.min() >= 0
        assert indices.max() < num_frames
        assert (np.diff(indices) >= 0).all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_chance_comes_from_the_generator_alone(sampler: FrameSampler) -> None:
    assert sampler.num_frames == COUNT
    np.testing.assert_array_equal(draws(sampler, 301, 5), draws(sampler, 301, 5))
    assert len(np.unique(draws(sampler, 301, 20), axis=0)) > 10
    np.testing.assert_array_equal(sampler(301, 30.0), sampler(301, 30.0))


def test_segments_are_drawn_from_evenly() -> None:
    frames = draws(SegmentSampler(4), 400, 4000)
    for segment, column in enumerate(frames.T):
        assert column.min() >= 100 * segment
        assert column.max() <= 100 * (segment + 1)
        assert column.mean() == pytest.approx(100 * segment + 50, abs=2)
        shares = np.histogram(column - 100 * segment, bins=4, range=(0, 100))[0] / 4000
        np.testing.assert_allclose(shares, 0.25, atol=0.03)


@pytest.mark.parametrize(
    ("sampler", "last_start"), [(DenseSampler(4, 5), 84), (IntervalSampler(4, 5), 80)]
)
def test_beginnings_are_drawn_evenly(sampler: FrameSampler, last_start: int) -> None:
    starts = draws(sampler, 100, 4000)[:, 0]
    assert starts.min() == 0
    assert last_start - 1 <= starts.max() <= last_start
    assert starts.mean() == pytest.approx(last_start / 2, abs=1.5)


def test_dense_frames_keep_their_distance() -> None:
    assert (np.diff(draws(DenseSampler(4, 5), 100, 50)) == 5).all()
    assert DenseSampler(4, 5)(16, 30.0).tolist() == [0, 5, 10, 15]


def test_uniform_draws_reach_both_ends_of_a_segment() -> None:
    frames = draws(UniformSampler(4), 9, 400)  # ends at 0 2 4 6 8
    assert [sorted(set(column)) for column in frames.T.tolist()] == [
        *([0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8])
    ]


def test_interval_counts_at_its_own_rate() -> None:
    """A video of 60 frames per second takes every second frame of what one of 30 takes."""
    sampler = IntervalSampler(4, 10, to_last_frame=True)
    assert sampler(200, 30.0, view=0, views=2).tolist() == [0, 10, 20, 30]
    assert np.diff(sampler(400, 60.0, view=0, views=2)).tolist() == pytest.approx([23] * 3, abs=1)


def test_views_cover_the_video() -> None:
    dense = [DenseSampler(4, 5)(100, 30.0, view=v, views=3).tolist() for v in range(3)]
    assert dense == [[0, 5, 10, 15], [42, 47, 52, 57], [84, 89, 94, 99]]
    starts = [IntervalSampler(4, 5)(100, 30.0, view=v, views=4)[0] for v in range(4)]
    assert starts == [0, 20, 40, 60]
    ends = [SegmentSampler(4)(100, 30.0, view=v, views=2).tolist() for v in range(2)]
    assert ends == [[12, 38, 62, 88], [25, 50, 75, 99]]


def test_short_videos_repeat_frames() -> None:
    assert SegmentSampler(8)(4, 30.0).tolist() == [0, 1, 1, 2, 2, 3, 3, 3]
    assert DenseSampler(4, 5)(8, 30.0).tolist() == [0, 5, 7, 7]
    assert IntervalSampler(4, 5)(8, 30.0).tolist() == [0, 6, 7, 7]
    assert UniformSampler(4)(2, 30.0).tolist() == [0, 0, 0, 1]
    for sampler in SAMPLERS:
        assert sampler(1, 30.0).tolist() == [0] * COUNT


def test_a_short_video_repeats_the_last_frame_on_the_grid_in_training() -> None:
    assert DenseSampler(4, 5)(8, 30.0, rng=np.random.default_rng(0)).tolist() == [0, 5, 5, 5]


def test_uniform_has_one_view() -> None:
    with pytest.raises(ConfigurationError, match="eval_views=1"):
        UniformSampler(4)(10, 30.0, view=0, views=2)


def test_arithmetic() -> None:
    assert segment_indices(10, 2, [0.0, 1.0]).tolist() == [0, 9]
    assert segment_indices(10, 2, 0.5).tolist() == [2, 8]  # 2.5 and 7.5, half to even
    # 0.5 exactly, though the segment's ends are thirds; 8.5 only if 3 of 5 parts is length * 3 / 5.
    assert segment_indices(2, 6, 0.5).tolist() == [0, 0, 1, 1, 1, 1]
    assert segment_indices(85, 6, 3, parts=5).tolist() == [8, 23, 37, 51, 65, 79]
    assert interval_indices(10, 4, start=2.5, span=9).tolist() == [2, 5, 8, 9]
    assert dense_indices(10, 4, 3, start=2).tolist() == [2, 5, 8, 9]
    assert dense_indices(10, 4, 3, start=2, last=8).tolist() == [2, 5, 8, 8]
