"""Windows, frame indices and ground truth on the grid, of every data set class of AdaTAD."""

import numpy as np
import torch

from tests.parity.cases import Case, check
from video_adapt.video import SlidingWindows, WholeVideo
from video_adapt.video.windows import (
    distinct_events,
    padded_units,
    sliding_windows,
    snippet_indices,
)


class Replay:
    """Hands out the recorded draws, and insists on the recorded bounds."""

    def __init__(self, item) -> None:
        self.calls = list(item.get("randint_calls") or [])
        self.expected = item.get("num_randint_calls", 0)
        self.used = 0

    def __call__(self, low: int, high: int) -> int:
        expected_low, expected_high, value = self.calls[self.used]
        assert (low, high) == (expected_low, expected_high)
        self.used += 1
        return value


@check("adatad", "sampling_indices")
def sampling_indices(case: Case) -> None:
    assert case.meta["cases"]
    for entry in case.meta["cases"]:
        expected = iter(entry["items"])
        for name, video in videos(case.meta["database"], entry):
            for build in windows(video, entry, case.config["class_names"]):
                item = next(expected, None)
                assert item is not None, f"{entry['name']}: more windows than recorded"
                assert item["video"] == name, (entry["name"], name)
                compare(case, entry, item, build(item))
        assert next(expected, None) is None, f"{entry['name']}: fewer windows than recorded"


def videos(database, entry):
    """The videos of a case in their order; those of training have events."""
    args = entry["dataset_args"]
    for name, video in database.items():
        if video["subset"] not in entry["subset"] or name in args.get("block_list", ()):
            continue
        if args.get("test_mode") or events_of(video):
            yield name, video


def events_of(video):
    return [event for event in video["annotations"] if event["label"] != "Ambiguous"]


def sampler_of(entry):
    args, loader = entry["dataset_args"], entry["loader"]
    scale = loader.get("scale_factor", 1)
    if "resize_length" in args:
        return WholeVideo(args["resize_length"], scale)
    return SlidingWindows(
        loader.get("trunc_len") or args["window_size"],
        scale,
        args["feature_stride"] * args["sample_stride"],
        overlap=args.get("window_overlap_ratio", 0.5),
        fps=args.get("fps"),
        offset_frames=args.get("offset_frames", 0),
        min_kept=loader.get("trunc_thresh", 0.75),
        crop=tuple(loader["crop_ratio"]) if loader.get("crop_ratio") else None,
    )


def targets(video, entry, sampler, class_names):
    """Events on the sampler's axis, and their labels."""
    args, events = entry["dataset_args"], events_of(video)
    timing = sampler.timing(video["duration"], video["frame"])
    found = sampler.events([event["segment"] for event in events], timing)
    agnostic = args.get("class_agnostic", False)
    labels = np.array([0 if agnostic else class_names.index(e["label"]) for e in events])
    if args.get("filter_gt"):
        enough = sampler.trainable(found, timing)
        found, labels = found[enough], labels[enough]
    distinct = distinct_events(found, labels)
    return timing, found[distinct], labels[distinct]


def windows(video, entry, class_names):
    """One function per window, from a recorded item to what we make of it."""
    sampler = sampler_of(entry)
    timing, events, labels = targets(video, entry, sampler, class_names)
    args, method = entry["dataset_args"], entry["loader"]["method"]
    per = sampler.frames_per_position

    def finish(item, grid, window=None, replay=None):
        total = item["total_frames"]
        return {
            "grid": grid,
            "frames": sampler.frames(grid, total),
            "labels": labels[grid.kept],
            "window": window,
            "timing": timing,
            "sampler": sampler,
            "replay": replay,
        }

    if method in ("random_trunc", "resize"):

        def build(item):
            replay = Replay(item)
            available = sampler.available(item["total_frames"])
            return finish(
                item, sampler.random(available, per, events, timing, replay), replay=replay
            )

        yield build
        return
    count = -(-timing.num_frames // sampler.snippet_stride)
    for window in sliding_windows(count, sampler.positions, sampler.overlap):
        annotated = sampler.place(window, count * per, per, events, timing)
        if not args.get("test_mode") and not len(annotated.kept):
            continue

        def build(item, window=window):
            available = sampler.available(item["total_frames"])
            return finish(item, sampler.place(window, available, per, events, timing), window)

        yield build


def compare(case: Case, entry, item, mine) -> None:
    expected, grid, sampler = item["expected"], mine["grid"], mine["sampler"]
    what = f"{entry['name']}/{item['video']}"

    def same(actual, key):
        np.testing.assert_array_equal(actual, expected[key], err_msg=f"{what}: {key}")

    if entry["loader"]["type"] == "LoadSnippetFrames":
        snippets(entry, item, mine, same)
    else:
        same(mine["frames"], "frame_inds")
        same(grid.valid, "valid")
        same(sampler.num_frames, "clip_len")
        same(1, "num_clips")
    same(sampler.positions, "mask_length")
    same(mine["timing"].duration_s, "duration")
    if "gt_segments" in expected:
        case.assert_close(
            torch.from_numpy(grid.segments),
            torch.tensor(expected["gt_segments"]).view(-1, 2),
            f"{what}: segments",
        )
        same(mine["labels"], "gt_labels")
    if isinstance(sampler, WholeVideo):
        same(sampler.positions, "resize_length")
        assert expected["fps"] == -1
        assert (grid.offset_s, grid.step_s) == (0, expected["duration"] / sampler.positions)
    else:
        sliding(case, item, mine, same)
    if mine["replay"] is not None:
        assert mine["replay"].used == mine["replay"].expected, what


def sliding(case: Case, item, mine, same) -> None:
    expected, grid, sampler = item["expected"], mine["grid"], mine["sampler"]
    timing = mine["timing"]
    same(timing.fps, "fps")
    same(sampler.snippet_stride, "snippet_stride")
    same(sampler.offset_frames, "offset_frames")
    first_frame = grid.start * sampler.frame_stride + sampler.offset_frames
    np.testing.assert_allclose(grid.step_s, expected["snippet_stride"] / expected["fps"])
    np.testing.assert_allclose(grid.offset_s, first_frame / expected["fps"])
    if mine["window"] is not None:
        window = mine["window"]
        same(window.first * sampler.snippet_stride, "window_start_frame")
        same(window.first, "feature_start_idx")
        same(window.stop - 1, "feature_end_idx")
        same(sampler.positions, "window_size")


def snippets(entry, item, mine, same) -> None:
    """One clip around every grid position."""
    loader, sampler, window = entry["loader"], mine["sampler"], mine["window"]
    units = padded_units(*window, sampler.positions)
    frames = snippet_indices(
        units * sampler.snippet_stride,
        loader["clip_len"],
        loader["frame_interval"],
        item["total_frames"],
    )
    same(frames, "frame_inds")
    same(loader["clip_len"], "clip_len")
    same(sampler.positions, "num_clips")
    same(window.stop - window.first, "valid")
