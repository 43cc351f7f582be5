"""Scaling, cropping, mixing: what happens to pixels between decoding and the network."""

import torch

from tests.parity.cases import Case, check
from video_adapt.batches import DecodedClips
from video_adapt.video.mixing import cut_box, cutmix, mixup, soft_targets
from video_adapt.video.transforms import Augmentation, Box, EvalTransform, augment, normalise


def clip(frames):
    """A batch of one clip from frames ``[T, H, W, 3]``."""
    none = torch.tensor([0])
    return DecodedClips([frames.to(torch.uint8).permute(0, 3, 1, 2)], none, none, none, none)


@check("dual_encoder", "preprocess")
def preprocess(case: Case) -> None:
    config, expected = case.config, case.group("outputs")
    seen = set()

    def compare(key, video):
        seen.add(key)
        case.assert_close(video.transpose(0, 1), expected[key], key)  # [C, T, H, W] there

    mean, std = config["mean"], config["std"]
    for name, frames in case.group("inputs").items():
        crops = {
            int(key.removeprefix(f"{name}_")[0])
            for key in expected
            if f"{name}_" in key and "crops" in key
        }
        assert crops, name
        for count in crops:
            test = EvalTransform(size=config["crop"], scale=config["scale"], crops=count)
            for i, video in enumerate(test(clip(frames), mean, std)[0]):
                compare(f"{name}_{count}crops_{i}", video)
        if name in config["train_box"]:
            box = Box(*config["train_box"][name])
            for suffix in ("", "_flip", "_gray"):
                drawn = Augmentation(box, flip=suffix == "_flip", grayscale=suffix == "_gray")
                video = augment(clip(frames).frames[0], drawn, config["crop"])
                compare(f"{name}_train{suffix}", normalise(video, mean, std))
    assert seen == set(expected), seen ^ set(expected)


@check("dual_encoder", "mixup_cutmix")
def mixup_cutmix(case: Case) -> None:
    config, expected = case.config, case.group("outputs")
    inputs = case.group("inputs")
    video, label = inputs["video"].transpose(1, 2), inputs["labels"]  # [B, T, C, H, W]

    def compare_targets(key, share=1.0):
        targets = soft_targets(label, config["num_classes"], config["label_smoothing"], share)
        case.assert_close(targets, expected[key], key)

    share = config["mixup"]["lam_drawn"]
    case.assert_close(mixup(video, share).transpose(1, 2), expected["mixup_video"], "mixup")
    compare_targets("mixup_targets", share)
    compare_targets("smoothed_targets")

    cut = config["cutmix"]
    centre = (cut["centre_y"], cut["centre_x"])
    box = cut_box(*video.shape[-2:], cut["lam_drawn"], centre)
    assert list(box) == [*cut["box_y"], *cut["box_x"]]
    mixed, share = cutmix(video, box)
    assert abs(share - cut["lam_after_box"]) < 1e-12
    case.assert_close(mixed.transpose(1, 2), expected["cutmix_video"], "cutmix")
    compare_targets("cutmix_targets", share)
