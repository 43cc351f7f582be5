"""Detections and events that overlap in every way."""

import numpy as np

from video_adapt.metrics import Detections, ErrorKind, GroundTruth

EVENTS, VIDEOS, CLASSES = 60, 6, 3


def make_world(seed: int, detections: int = 300) -> tuple[Detections, GroundTruth]:
    """Sixty events of three classes in six videos of 60 s; most detections lie near an event."""
    rng = np.random.default_rng(seed)
    start_s = rng.uniform(0, 50, EVENTS)
    segments_s = np.stack([start_s, start_s + rng.uniform(2, 12, EVENTS)], 1)
    events = GroundTruth(
        rng.integers(0, VIDEOS, EVENTS), segments_s, rng.integers(0, CLASSES, EVENTS)
    )
    source = rng.integers(0, EVENTS, detections)
    moved = segments_s[source] + rng.normal(0, 1.5, (detections, 2))
    label = np.where(rng.random(detections) < 0.8, events.label[source], CLASSES - 1)
    score = rng.integers(1, 100, detections) / 100  # many are equal
    return Detections(events.video_id[source], np.sort(moved, 1), score, label), events


def make_scene():
    """Two events; detections of every kind, best first, two pairs of equal scores."""
    events = GroundTruth(np.array([0, 0]), np.array([[0.0, 10], [20, 30]]), np.array([0, 1]))
    rows = [
        (0, 0, 9, 0.9, 0, ErrorKind.RIGHT),
        (0, 1, 10, 0.8, 0, ErrorKind.DUPLICATE),
        (0, 0, 10, 0.8, 1, ErrorKind.MISCLASSIFIED),
        (0, 8, 18, 0.7, 0, ErrorKind.MISLOCALISED),
        (0, 20, 24, 0.6, 0, ErrorKind.CONFUSED),
        (0, 40, 44, 0.6, 1, ErrorKind.BACKGROUND),
        (1, 20, 30, 0.5, 1, ErrorKind.BACKGROUND),
        (0, 20, 29, 0.4, 1, ErrorKind.RIGHT),
    ]
    video, start_s, end_s, score, label, kinds = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    segments_s = np.stack([start_s, end_s], 1).astype(float)
    return Detections(video, segments_s, score, label), events, kinds
