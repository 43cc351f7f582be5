"""Detections and what really happens as files, which reports and the tools of the field read."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from video_adapt.metrics import Detections, GroundTruth


class Detection(NamedTuple):
    """Something that happens in a video.

    Attributes:
        start_s: Seconds after the video's first frame.
        end_s: Seconds after the video's first frame, not before the start.
        label: What happens.
        score: Confidence in [0, 1].
    """

    start_s: float
    end_s: float
    label: str
    score: float


Results = Mapping[str, Sequence[Detection]]


class TrueVideo(NamedTuple):
    """What is known of a video that was evaluated.

    Attributes:
        duration_s: Its length in seconds; None if it could not be read.
        path: The file, or that of its features; None if the data module does not tell.
        events: What really happens in it; scores are 1.
    """

    duration_s: float | None
    path: str | None
    events: list[Detection]


def write_json(results: Results, out: Path, *, made_by: Mapping[str, Any] | None = None) -> Path:
    """Write the results file of the ActivityNet challenge, which THUMOS-14 tools read too.

    Args:
        results: Detections by the name of their video; all times are in seconds. A video without
            any has an empty list.
        out: The file; its folder is made if need be.
        made_by: What the results were made by, where no record of a run lies beside the file.
    """
    videos = {
        video: [
            {
                "label": found.label,
                "score": round(found.score, 6),
                "segment": [round(found.start_s, 3), round(found.end_s, 3)],
            }
            for found in detections
        ]
        for video, detections in results.items()
    }
    content = {
        "version": "VERSION 1.3",
        "results": videos,
        "external_data": {"used": False},
        **({} if made_by is None else {"made_by": made_by}),
    }
    return _write(content, out)


def write_csv(results: Results, out: Path) -> Path:
    """Write one line per detection: ``video,start_s,end_s,label,score``.

    Args:
        results: Detections by the name of their video.
        out: The file; its folder is made if need be.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["video", *Detection._fields])
        for video, detections in results.items():
            for start_s, end_s, label, score in detections:
                writer.writerow([video, f"{start_s:.3f}", f"{end_s:.3f}", label, f"{score:.6f}"])
    return out


def read_csv(path: Path) -> dict[str, list[Detection]]:
    """Detections by the name of their video, as :func:`write_csv` wrote them."""
    results: dict[str, list[Detection]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for video, start_s, end_s, label, score in rows:
            found = Detection(float(start_s), float(end_s), label, float(score))
            results.setdefault(video, []).append(found)
    return results


def write_ground_truth(videos: Mapping[str, TrueVideo], out: Path) -> Path:
    """Write what really happens as an annotation in the form of ActivityNet.

    Args:
        videos: All videos of an evaluation by their names, those without events too.
        out: The file; its folder is made if need be.
    """
    database = {
        name: {
            "duration": video.duration_s,
            "path": video.path,
            "annotations": [
                {"label": event.label, "segment": [event.start_s, event.end_s]}
                for event in video.events
            ],
        }
        for name, video in videos.items()
    }
    return _write({"database": database}, out)


def read_ground_truth(path: Path) -> dict[str, TrueVideo]:
    """Videos by their names, as :func:`write_ground_truth` wrote them."""
    database = json.loads(path.read_text(encoding="utf-8"))["database"]
    return {
        name: TrueVideo(
            video["duration"],
            video["path"],
            [_event(event) for event in video["annotations"]],
        )
        for name, video in database.items()
    }


def results_by_video(
    detections: Detections, video_names: Sequence[str], class_names: Sequence[str]
) -> dict[str, list[Detection]]:
    """Detections of every video by its name, in the order in which they come.

    Args:
        detections: Of all videos, usually best first.
        video_names: Name of every video by its id.
        class_names: ``K`` names.
    """
    results: dict[str, list[Detection]] = {name: [] for name in video_names}
    columns = (values.tolist() for values in detections)
    for video, (start_s, end_s), score, label in zip(*columns, strict=True):
        found = Detection(start_s, end_s, class_names[label], score)
        results[video_names[video]].append(found)
    return results


def events_by_video(
    events: GroundTruth, video_names: Sequence[str], class_names: Sequence[str]
) -> dict[str, list[Detection]]:
    """Events of every video by its name; scores are 1."""
    certain = np.ones(events.label.size)
    known = Detections(events.video_id, events.segments_s, certain, events.label)
    return results_by_video(known, video_names, class_names)


def _event(annotation: Mapping[str, Any]) -> Detection:
    start_s, end_s = annotation["segment"]
    return Detection(start_s, end_s, annotation["label"], 1.0)


def _write(content: object, out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    return out
