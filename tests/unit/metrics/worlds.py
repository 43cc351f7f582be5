"""Detections and events that overlap in every way."""

import numpy as np

from video_adapt.metrics import Detections, GroundTruth

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
