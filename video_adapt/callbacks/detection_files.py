"""Detections and their figures as files."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from video_adapt.metrics import (
    ClassErrors,
    DetectionResult,
    Detections,
    ErrorKind,
    OperatingPoint,
    recall_at_multiples,
)

COLUMNS = ("video", "start_s", "end_s", "label", "score")
_MULTIPLES = (1, 5)  # Recall@1x and @5x, as Ego4D reports them


def write_detections_csv(
    path: Path, detections: Detections, video_names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Write one line per detection, by video, best first.

    Args:
        path: CSV file with the columns ``video``, ``start_s``, ``end_s``, ``label``, ``score``.
        detections: Best first.
        video_names: Name of every video by its id.
        class_names: ``K`` names.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for video, rows in _by_video(detections, video_names):
            for (start_s, end_s), score, label in rows:
                name = class_names[label]
                table.writerow([video, f"{start_s:.3f}", f"{end_s:.3f}", name, f"{score:.6f}"])


def write_detections_json(
    path: Path, detections: Detections, video_names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Write the results file of the ActivityNet challenge, which THUMOS-14 tools read too.

    Args:
        path: JSON file; a video without detections has an empty list.
        detections: Best first.
        video_names: Name of every video by its id.
        class_names: ``K`` names.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in video_names}
    for video, rows in _by_video(detections, video_names):
        results[video] = [
            {
                "label": class_names[label],
                "score": round(score, 6),
                "segment": [round(start_s, 3), round(end_s, 3)],
            }
            for (start_s, end_s), score, label in rows
        ]
    content = {"version": "VERSION 1.3", "results": results, "external_data": {"used": False}}
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def detection_figures(result: DetectionResult, class_names: Sequence[str]) -> dict[str, Any]:
    """Figures of an evaluation as plain values; None where a figure does not exist."""
    keys = [f"{threshold:.2f}" for threshold in result.thresholds]
    means = result.mean_ap
    recall = recall_at_multiples(result.detections, result.events, result.thresholds, _MULTIPLES)
    return {
        "mAP": result.average_map,
        "mAP_by_tiou": None if means is None else dict(zip(keys, means.tolist(), strict=True)),
        "recall_at_multiples": None
        if recall is None
        else {
            f"{multiple}x": dict(zip(keys, column, strict=True))
            for multiple, column in zip(_MULTIPLES, recall.T.tolist(), strict=True)
        },
        "events": result.events.label.size,
        "events_left_out": result.num_dropped,
        "detections": result.detections.label.size,
        "average_precision": {
            class_names[label]: dict(zip(keys, values, strict=True))
            for label, values in zip(result.labels, result.ap.tolist(), strict=True)
        },
    }


def point_figures(point: OperatingPoint) -> dict[str, Any]:
    """What a threshold gives, as plain values."""
    return {
        "threshold": None if math.isinf(point.threshold) else point.threshold,
        "precision": point.precision,
        "recall": point.recall,
        "false_alarms_per_hour": point.false_alarms_per_hour,
        "true_positives": point.true_positives,
        "false_positives": point.false_positives,
        "missed": point.missed,
    }


def class_figures(classes: Sequence[ClassErrors], class_names: Sequence[str]) -> dict[str, Any]:
    """What each class does at its threshold, and what its reported detections are."""
    return {
        class_names[entry.label]: {
            "events": entry.num_events,
            **point_figures(entry.point),
            "kinds": {kind.name.lower(): int(entry.kinds[kind]) for kind in ErrorKind},
        }
        for entry in classes
    }


def _by_video(
    detections: Detections, video_names: Sequence[str]
) -> Iterator[tuple[str, Iterator[tuple[list[float], float, int]]]]:
    """Name of each video that has detections, with segment, score and label of each of them."""
    order = np.argsort(detections.video_id, kind="stable")
    videos, starts = np.unique(detections.video_id[order], return_index=True)
    for video, rows in zip(videos, np.split(order, starts[1:]), strict=True):
        found = detections.take(rows)
        columns = (found.segments_s.tolist(), found.score.tolist(), found.label.tolist())
        yield video_names[video], zip(*columns, strict=True)
