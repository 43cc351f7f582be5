"""How much of the ground truth a few detections per video reach, whatever the rest does."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .detection_matching import Detections, GroundTruth, Overlaps, find_overlaps, running_numbers

ACTIVITYNET_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def average_recall(
    proposals: Detections,
    events: GroundTruth,
    counts: Sequence[int],
    *,
    thresholds: Sequence[float] = ACTIVITYNET_THRESHOLDS,
    per_video: Literal["average", "each"] = "average",
) -> NDArray[np.float64] | None:
    """AR@n: share of the events that n proposals per video overlap, whatever their class.

    Args:
        proposals: In any order. Those in videos without an event are left out.
        events: The ground truth.
        counts: Numbers n of proposals.
        thresholds: Least tIoUs, over which the recall is averaged.
        per_video: ``average`` keeps the same share of the proposals of every video, so that n
            remain per video on average, as ActivityNet's AR@AN does; ``each`` keeps the best n of
            every video.

    Returns:
        One value in [0, 1] per count; None without ground truth.

    Source: ActivityNet challenge, proposal task; the share of a video is rounded down.
    """
    if not events.label.size:
        return None
    videos = np.unique(events.video_id)
    ranked = proposals.ranked()
    ranked = ranked.take(np.isin(ranked.video_id, videos))
    place = running_numbers(ranked.video_id)
    sizes = np.bincount(np.searchsorted(videos, ranked.video_id), minlength=videos.size)
    size = sizes[np.searchsorted(videos, ranked.video_id)]
    overlaps = find_overlaps(ranked, events, min(thresholds), by_class=False)
    recalls = np.zeros(len(counts))
    for column, count in enumerate(counts):
        allowed = np.full_like(size, count)
        if per_video == "average":
            allowed = size * count * videos.size // max(ranked.label.size, 1)
        rows = place < allowed
        found = [_reached(overlaps, rows, threshold, events) for threshold in thresholds]
        recalls[column] = np.mean(found)
    return recalls


def recall_at_multiples(
    detections: Detections,
    events: GroundTruth,
    thresholds: Sequence[float],
    multiples: Sequence[int],
) -> NDArray[np.float64] | None:
    """Recall@kx: in every video, k detections per event of a class, for all events of that class.

    Args:
        detections: In any order.
        events: The ground truth.
        thresholds: Least tIoU of a found event, ``T`` values.
        multiples: Values of k.

    Returns:
        Mean over the classes that have an event ``[T, len(multiples)]``; None without ground truth.

    Source: Ego4D moment queries. An event counts as found by any of the detections: unlike in
    average precision, one detection may find several.
    """
    labels = np.unique(events.label)
    if not labels.size:
        return None
    ranked = detections.ranked()
    overlaps = find_overlaps(ranked, events, min(thresholds))
    place = running_numbers(ranked.video_id, ranked.label)[overlaps.detection]
    group = np.stack([events.video_id, events.label])
    _, index, sizes = np.unique(group, axis=1, return_inverse=True, return_counts=True)
    peers = sizes[index.reshape(-1)][overlaps.event]  # events that share the video and the class
    recalls = np.zeros((len(thresholds), len(multiples)))
    for row, threshold in enumerate(thresholds):
        for column, multiple in enumerate(multiples):
            hits = (overlaps.tiou >= threshold) & (place < multiple * peers)
            found = np.zeros(events.label.size, dtype=bool)
            found[overlaps.event[hits]] = True
            recalls[row, column] = np.mean([found[events.label == k].mean() for k in labels])
    return recalls


def _reached(
    overlaps: Overlaps, rows: NDArray[np.bool_], threshold: float, events: GroundTruth
) -> float:
    """Share of the events that one of the given detections overlaps."""
    hits = rows[overlaps.detection] & (overlaps.tiou >= threshold)
    return np.unique(overlaps.event[hits]).size / events.label.size
