"""Which frames Open-VCLIP and FROSTER see, and what becomes of their pixels."""

import math
from fractions import Fraction

import torch

from tests.parity.cases import Case, check
from tests.parity.checks.sampling import Fixed, same
from video_adapt.batches import DecodedClips
from video_adapt.video import EvalTransform, PublishedViewSampler, StreamHeader
from video_adapt.video.short_side_transform import ScaledCrop, scaled_crop
from video_adapt.video.transforms import normalise


@check("froster", "sampling_indices")
def sampling_indices(case: Case) -> None:
    assert case.meta["cases"]
    for entry in case.meta["cases"]:
        n, fps = entry["video_frames"], entry["fps"]
        duration = entry["duration_pts"]
        assert (duration is None) == entry["whole_video_decoded"], entry
        sampler = PublishedViewSampler(
            entry["num_frames"], entry["sampling_rate"], target_fps=case.config["target_fps"]
        ).for_file(StreamHeader(fps, None if duration is None else duration / n))
        if duration is not None:
            assert math.isclose(duration * Fraction(entry["time_base"]) * fps, n, rel_tol=1e-4)
        if entry["mode"] == "train":
            upper = entry["uniform_upper"]
            share = entry["uniform_value"] / upper if upper else 0.0
            chosen = sampler(n, fps, rng=Fixed(share))
        else:
            chosen = sampler(n, fps, view=entry["view"], views=entry["num_views"])
        same(chosen, entry["frame_indices"], entry)


@check("froster", "clip_transform")
def clip_transform(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    mean, std, size = config["mean"], config["std"], config["crop_size"]
    outputs = case.group("outputs")
    assert len(outputs) == len(inputs) == len(config["samples"]) > 0
    for number, sample in enumerate(config["samples"]):
        frames = inputs[f"frames_{number}"].to(torch.uint8).permute(0, 3, 1, 2)
        if sample["mode"] == "train":
            drawn = ScaledCrop(
                sample["short_side"], sample["y_offset"], sample["x_offset"], sample["flip"]
            )
            video = normalise(scaled_crop(frames, drawn, size), mean, std)
        else:
            test = EvalTransform(size, config["test_short_side"], crops=3, round_up=True)
            none = torch.tensor([0])
            views = test(DecodedClips([frames], none, none, none, none), mean, std)[0]
            video = views[sample["spatial_index"]]
        case.assert_close(video.transpose(0, 1), outputs[f"clip_{number}"], str(sample))
