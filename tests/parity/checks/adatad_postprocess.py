"""AdaTAD's way from proposals to detections: suppression, voting, merging, video-level labels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.cases import Case, check
from video_adapt.segments import Decay, Kept, hard_nms, soft_nms, suppress, vote


def other_decay(settings: dict[str, Any]) -> Decay:
    """The decays that only the original offers: 0 deletes, 1 is linear, 3 spares long overlaps."""
    iou, sigma = np.float32(settings.get("iou_threshold", 0)), np.float32(settings["sigma"])
    if settings["method"] == 3:
        t1, t2 = np.float32(settings["t1"]), np.float32(settings["t2"])
        return lambda scores, overlap, length: np.where(
            overlap >= t1 + t2 * length, scores * np.exp(-overlap * overlap / sigma), scores
        )
    linear = settings["method"] == 1
    return lambda scores, overlap, _: np.where(
        overlap >= iou, scores * (1 - overlap) if linear else 0 * scores, scores
    )


def kept_by(settings: dict[str, Any], segments: Tensor, scores: Tensor, labels: Tensor) -> Kept:
    classes = labels if settings.get("multiclass", True) else None
    limits = {"min_score": settings.get("min_score", 0.0), "limit": settings["max_seg_num"]}
    if not settings["use_soft_nms"]:
        iou = settings.get("iou_threshold", 0.0)
        return hard_nms(segments, scores, classes, iou=iou, **limits)
    if settings.get("method", 2) == 2:
        return soft_nms(segments, scores, classes, sigma=settings.get("sigma", 0.5), **limits)
    return suppress(segments, scores, classes, other_decay({"sigma": 0.5} | settings), **limits)


@check("adatad", "nms_1d")
def nms_1d(case: Case) -> None:
    inputs, outputs = case.group("inputs"), case.group("outputs")
    segments, scores, labels = (inputs[key] for key in ("segments", "scores", "labels"))
    checked = set()
    for name, settings in case.config["variants"].items():
        kept = kept_by(settings, segments, scores, labels)
        found = segments[kept.rows]
        # The original votes only where classes are not kept apart.
        if not settings.get("multiclass", True) and settings.get("voting_thresh", 0):
            found = vote(found, segments, scores, iou=settings["voting_thresh"])
        results = {"segments": found, "scores": kept.scores, "labels": labels[kept.rows]}
        for key, value in results.items():
            case.assert_close(value, outputs[f"{name}/{key}"], f"{name} {key}")
            checked.add(f"{name}/{key}")
    for name in outputs.keys() - checked:
        _, iou, count = name.rsplit("_", 2)  # voting_only_<threshold>_first<count>
        first = segments[: int(count.removeprefix("first"))]
        case.assert_close(vote(first, segments, scores, iou=float(iou)), outputs[name], name)
