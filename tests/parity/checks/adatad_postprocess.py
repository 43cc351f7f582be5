"""AdaTAD's way from proposals to detections: suppression, voting, merging, video-level labels."""

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.cases import Case, check
from video_adapt.batches import SegmentBatch, SegmentPredictions
from video_adapt.detection import NMS, Candidates, PostProcess, VideoLabels, boundary_mask
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


Rows = list[tuple[float, float, str, float]]

THUMOS = [
    "BaseballPitch",
    "BasketballDunk",
    "Billiards",
    "CleanAndJerk",
    "CliffDiving",
    "CricketBowling",
    "CricketShot",
    "Diving",
    "FrisbeeCatch",
    "GolfSwing",
    "HammerThrow",
    "HighJump",
    "JavelinThrow",
    "LongJump",
    "PoleVault",
    "Shotput",
    "SoccerPenalty",
    "TennisSwing",
    "ThrowDiscus",
    "VolleyballSpiking",
]


def settings_of(post: dict[str, Any]) -> PostProcess:
    nms = post["nms"]
    return PostProcess(
        min_score=post.get("pre_nms_thresh", 0.001),
        top_k=post.get("pre_nms_topk", 2000),
        nms=NMS(
            kind="soft" if nms["use_soft_nms"] else "hard",
            sigma=nms.get("sigma", 0.5),
            iou=nms.get("iou_threshold", 0.0),
            min_score=nms.get("min_score", 0.0),
            max_segments=nms["max_seg_num"],
            class_wise=nms.get("multiclass", True),
            voting_iou=nms.get("voting_thresh", 0) or None,
        ),
        nms_per="video" if post["sliding_window"] else "window",
        mode="official",
    )


def batch_of(metas: Sequence[dict[str, Any]], names: Sequence[str]) -> SegmentBatch:
    """Windows without pictures; a recorded ``fps`` of -1 says that the video was resized."""
    offsets, steps = [], []
    for meta in metas:
        if meta["fps"] == -1:
            offsets.append(0.0)
            steps.append(meta["duration"] / meta["resize_length"])
        else:
            offsets.append((meta["window_start_frame"] + meta["offset_frames"]) / meta["fps"])
            steps.append(meta["snippet_stride"] / meta["fps"])
    count = len(metas)
    return SegmentBatch(
        video=torch.zeros(count, 1, 1),
        mask=torch.ones(count, 1, dtype=torch.bool),
        segments=[torch.zeros(0, 2)] * count,
        labels=[torch.zeros(0, dtype=torch.long)] * count,
        video_id=torch.tensor([names.index(meta["video_name"]) for meta in metas]),
        window=torch.arange(count),
        offset_s=torch.tensor(offsets, dtype=torch.float64),
        step_s=torch.tensor(steps, dtype=torch.float64),
        duration_s=torch.tensor([meta["duration"] for meta in metas], dtype=torch.float64),
    )


def assert_rows(
    case: Case,
    found: SegmentPredictions,
    expected: dict[str, Rows],
    names: tuple[Sequence[str], Sequence[str]],
    what: str,
) -> None:
    """Compare sorted by class and score: the order of equal scores is nobody's."""
    videos, classes = names
    assert {videos[i] for i in found.video_id.tolist()} == set(expected), what
    for video, rows in expected.items():
        mine = found.video_id == videos.index(video)
        columns = (found.labels, -found.scores, found.segments)
        ours = sorted(zip(*(column[mine].tolist() for column in columns), strict=True))
        theirs = sorted((classes.index(label), -score, [a, b]) for a, b, label, score in rows)
        assert [label for label, *_ in ours] == [label for label, *_ in theirs], (what, video)
        for column, part in ((1, "scores"), (2, "segments")):
            values = (torch.tensor([row[column] for row in side]) for side in (ours, theirs))
            case.assert_close(*values, f"{what}, {part} of {video}")


def candidates_of(inputs: dict[str, Tensor], prefix: str, count: int) -> list[Candidates]:
    keys = ((f"{prefix}proposals_{i}", f"{prefix}scores_{i}") for i in range(count))
    return [Candidates(inputs[segments], inputs[scores]) for segments, scores in keys]


def check_sliding(case: Case, expected: dict[str, Any]) -> None:
    config, metas = case.config, case.config["metas"]
    videos = list(dict.fromkeys(meta["video_name"] for meta in metas))
    names = (videos, config["class_names"])
    batch, proposals = batch_of(metas, videos), candidates_of(case.group("inputs"), "", len(metas))
    post = settings_of(config["post"])
    found = post.windows(proposals, batch)
    assert_rows(case, post.videos(found), expected.pop("sliding/final"), names, "merged windows")
    packed = replace(post, nms=None)  # the original rounds each window's list
    for window, rows in expected.pop("sliding/per_window").items():
        mine = packed.videos(_window(found, int(window)))
        assert_rows(case, mine, rows, names, f"window {window}")
    post = settings_of(config["per_video_post"])
    final = expected.pop("per_video/final")
    wanted = torch.tensor([meta["video_name"] in final for meta in metas])
    found = post.windows(proposals, batch)
    found = SegmentPredictions(*(values[wanted[found.window]] for values in found))
    assert_rows(case, post.videos(found), final, names, "NMS before conversion")


def _window(found: SegmentPredictions, window: int) -> SegmentPredictions:
    return SegmentPredictions(*(values[found.window == window] for values in found))


def check_resized(case: Case, folder: Path, expected: dict[str, Any]) -> None:
    config, metas = case.config, case.config["anet_metas"]
    videos, classes = [meta["video_name"] for meta in metas], config["classifier_classes"]
    path = folder / "scores.json"
    path.write_text(json.dumps({"results": config["classifier_scores"], "class": classes}))
    post = settings_of({"nms": config["anet_nms"], "sliding_window": False})
    found = post.windows(
        candidates_of(case.group("inputs"), "anet_", len(metas)), batch_of(metas, videos)
    )
    forms: dict[str, dict[str, Any]] = {
        "cuhk": {},
        "standard_sqrt": {"square_root": True},
        "standard_softmax_sqrt": {"square_root": True, "softmax": True},
        "hacs_softmax2": {"softmax": True, "weight": 2.0},
    }
    for form, settings in forms.items():
        labels = VideoLabels(path=path, top_k=config["topk"][form], **settings)
        final = replace(post, video_labels=labels).videos(found, videos, classes)
        assert_rows(case, final, expected.pop(f"resize/{form}"), (videos, classes), form)


def check_untrimmednet(case: Case, folder: Path, expected: dict[str, Any]) -> None:
    config, meta = case.config, case.config["untrimmednet_meta"]
    row = np.array(config["untrimmednet_row_for_video_7"])
    matrix = np.zeros((int(meta["video_name"][-4:]), len(row)))
    matrix[-1] = row
    np.save(folder / "scores.npy", matrix)
    quirk = next(text for text in case.meta["quirks"] if "column ids" in text)
    numbers = re.search(r": ([\d,]+) for", quirk)
    assert numbers
    names = [f"unused {i}" for i in range(len(row))]
    for number, name in zip(numbers[1].split(","), THUMOS, strict=True):
        names[int(number) - 1] = name
    (folder / "columns.txt").write_text("\n".join(names))
    labels = VideoLabels(
        path=folder / "scores.npy",
        classes=folder / "columns.txt",
        top_k=config["topk"]["untrimmednet"],
    )
    post = settings_of({"nms": config["anet_nms"], "sliding_window": False})
    post, videos = replace(post, video_labels=labels), [meta["video_name"]]
    proposals = candidates_of(case.group("inputs"), "anet_", 1)
    found = post.videos(post.windows(proposals, batch_of([meta], videos)), videos, THUMOS)
    assert_rows(case, found, expected.pop("untrimmednet"), (videos, THUMOS), "UntrimmedNet")


@check("adatad", "post_processing")
def post_processing(case: Case) -> None:
    boundaries = boundary_mask(case.tensors["inputs/boundary_scores"]).long()
    case.assert_close(boundaries, case.tensors["outputs/boundary_mask"], "boundaries")
    expected = dict(case.meta["outputs_json"])
    check_sliding(case, expected)
    with tempfile.TemporaryDirectory() as folder:
        check_resized(case, Path(folder), expected)
        check_untrimmednet(case, Path(folder), expected)
    assert not expected, f"unchecked: {sorted(expected)}"
