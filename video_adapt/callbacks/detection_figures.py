"""Figures of an evaluation of detections as plain values."""

import math
from collections.abc import Sequence
from typing import Any

from video_adapt.metrics import (
    ClassErrors,
    DetectionResult,
    ErrorKind,
    OperatingPoint,
    recall_at_multiples,
)

_MULTIPLES = (1, 5)  # Recall@1x and @5x, as Ego4D reports them


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
