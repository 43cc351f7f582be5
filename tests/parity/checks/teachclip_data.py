"""Frames of a video, and their pixels, as CLIP4Clip, TeachCLIP and X-Pool make them."""

import numpy as np
import pytest
import torch

from tests.parity.cases import Case, check
from video_adapt.errors import VideoDecodeError
from video_adapt.video import BicubicCrop, MiddleSampler, SecondSampler, VideoInfo
from video_adapt.video.moment_samplers import even_indices, middle_indices

KEEP = ("first", "last", "even")
ORDER = ("forward", "reversed")


def timeline(entry):
    """A video of that many frames at that rate."""
    count, fps = entry["frame_count"], entry.get("fps", 25.0)
    video = VideoInfo("video.mp4", count, count / fps, fps, 64, 48, 0, "h264")
    return video, np.arange(count) / fps


def same(actual, expected, entry):
    np.testing.assert_array_equal(actual, expected, err_msg=str(entry))


@check("teachclip", "frame_sampling")
def frame_sampling(case: Case) -> None:
    parts = {
        "decode": decode,
        "slice": kept,
        "window": kept,
        "uniform_linspace": linspace,
        "xpool": xpool,
    }
    for name, compare in parts.items():
        assert case.meta[name], name
        for entry in case.meta[name]:
            compare(entry)


def decode(entry):
    sampler = SecondSampler(per_second=entry["feature_framerate"], count="index")
    video, times_s = timeline(entry)
    if "error" in entry:
        with pytest.raises(VideoDecodeError, match="frames per second"):
            sampler(video, times_s)
    else:
        same(sampler.by_index(video), entry["frames"], entry)


def kept(entry):
    sampler = SecondSampler(
        entry["max_frames"],
        entry["feature_framerate"],
        keep=KEEP[entry["slice_framepos"]],
        order=ORDER[entry.get("frame_order", 0)],
        count="index",
    )
    found = sampler(*timeline(entry), start_s=entry.get("start"), end_s=entry.get("end"))
    same(found, entry["frames"], entry)
    same(np.arange(entry["max_frames"]) < len(found), entry["mask"], entry)


def linspace(entry):
    same(even_indices(entry["available"], entry["max_frames"]), entry["indices"], entry)


def xpool(entry):
    same(middle_indices(entry["frame_count"], entry["num_frames"]), entry["indices"], entry)
    found = MiddleSampler(entry["num_frames"])(*timeline(entry))
    same(found, entry["frames_after_padding"], entry)


@check("teachclip", "preprocess_frame")
def preprocess_frame(case: Case) -> None:
    config, expected = case.config, case.group("outputs")
    crop = BicubicCrop(config["size"])
    inputs = case.group("inputs")
    assert inputs.keys() == expected.keys()
    for name, frame in inputs.items():
        frames = frame.to(torch.uint8).permute(2, 0, 1)[None]  # [1, 3, H, W]
        (pixels,) = crop(frames, config["mean"], config["std"])
        case.assert_close(pixels, expected[name], name)
