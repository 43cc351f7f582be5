"""Scaling, cropping, mixing: what happens to pixels between decoding and the network."""

import re

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
    config, inputs = case.config, case.group("inputs")
    mean, std = config["mean"], config["std"]
    for key, expected in case.group("outputs").items():
        name, how = re.fullmatch(r"(.+)_(\dcrops_\d|train.*)", key).groups()
        if how.startswith("train"):
            drawn = Augmentation(
                Box(*config["train_box"][name]), flip="_flip" in how, grayscale="_gray" in how
            )
            frames = clip(inputs[name]).frames[0]
            video = normalise(augment(frames, drawn, config["crop"]), mean, std)
        else:
            crops, number = map(int, how.split("crops_"))
            test = EvalTransform(size=config["crop"], scale=config["scale"], crops=crops)
            views = test(clip(inputs[name]), mean, std)[0]
            assert len(views) == crops
            video = views[number]
        case.assert_close(video.transpose(0, 1), expected, key)  # [C, T, H, W] there


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
