"""Frame indices of DiST, EVL and ST-Adapter."""

import numpy as np

from tests.parity.cases import Case, check
from video_adapt.video import (
    DenseSampler,
    IntervalSampler,
    SegmentSampler,
    UniformSampler,
    segment_indices,
)


class Fixed(np.random.Generator):
    """A generator whose every draw sits at the same share of what is possible."""

    def __init__(self, share: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.share = share

    def random(self, size=None):
        return self.share if size is None else np.full(size, self.share)

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        assert endpoint
        low, high = (np.zeros_like(low), low) if high is None else (low, high)
        return low + np.floor((high - low) * self.share).astype(np.int64)


def same(actual, expected, *context):
    np.testing.assert_array_equal(actual, expected, err_msg=str(context))


@check("dual_encoder", "frame_sampling")
def frame_sampling(case: Case) -> None:
    assert case.meta["segment"] or case.meta["interval"]
    for entry in case.meta["segment"]:
        segment(entry)
    for entry in case.meta["interval"]:
        interval(entry)


def segment(entry) -> None:
    n, count = entry["num_video_frames"], entry["num_frames_temporal"]
    sampler = SegmentSampler(count)
    for name, share in {"train_midpoint": 0.5, "train_low": 0.0, "train_high": 1.0}.items():
        same(sampler(n, 30.0, rng=Fixed(share)), entry[name], entry, name)
        same(segment_indices(n, count, share), entry[name], entry, name)
    single = sampler(n, 30.0)
    same(single, entry["eval_single_view"], entry)
    same(single[:: entry["frame_ratio"]], entry["spatial_subset_of_eval_single_view"], entry)
    views_match(sampler, n, 30.0, entry)


def interval(entry) -> None:
    n, fps = entry["num_video_frames"], entry["fps"]
    sampler = IntervalSampler(
        entry["num_frames_temporal"],
        entry["interval"],
        target_fps=entry["target_fps"],
        to_last_frame=entry["minus_interval"],
    )
    same(sampler(n, fps, rng=Fixed(0.5)), entry["train_midpoint"], entry)
    same(sampler(n, fps), entry["eval_single_view"], entry)
    views_match(sampler, n, fps, entry)


def views_match(sampler, n, fps, entry) -> None:
    """Compare every ``eval_<V>_views`` of an entry."""
    keys = [key for key in entry if key.startswith("eval_") and key.endswith("_views")]
    assert keys
    for key in keys:
        views = int(key.split("_")[1])
        for view, expected in enumerate(entry[key]):
            same(sampler(n, fps, view=view, views=views), expected, entry, key, view)


@check("dual_encoder", "frame_sampling_baselines")
def frame_sampling_baselines(case: Case) -> None:
    assert case.meta["cases"]
    for entry in case.meta["cases"]:
        n, count = entry["num_video_frames"], entry["num_frames"]
        dense = entry["style"] == "dense"
        sampler = DenseSampler(count, entry["stride"]) if dense else UniformSampler(count)
        same(sampler(n, 30.0, rng=Fixed(0.0)), entry["train_low"], entry)
        same(sampler(n, 30.0, rng=Fixed(1.0)), entry["train_high"], entry)
        same(sampler(n, 30.0, rng=Fixed(0.5)), entry["train_mid"], entry)
        views_match(sampler, n, 30.0, entry)
