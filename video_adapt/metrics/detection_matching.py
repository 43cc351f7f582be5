"""Which detection finds which event: the greedy matching that every figure of detection rests on.

An event is a labelled segment of the ground truth, tIoU the intersection over union of two segments
in time. Everything is NumPy in float64; no loop runs over detections, so that half a million of
them take a second or two.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from video_adapt.batches import SegmentPredictions
from video_adapt.errors import AnnotationError

_PAIRS_AT_ONCE = 2_000_000  # bounds the memory of the tIoU of every detection with every event


class GroundTruth(NamedTuple):
    """The ``G`` events of a set of videos, in the order of the annotation.

    Attributes:
        video_id: Row of the video in its manifest, int64 ``[G]``.
        segments_s: Start and end in seconds, float64 ``[G, 2]``.
        label: Class index, int64 ``[G]``.
    """

    video_id: NDArray[np.int64]
    segments_s: NDArray[np.float64]
    label: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "GroundTruth":
        """Some of the events, by a mask ``[G]`` or by indices."""
        return GroundTruth(self.video_id[rows], self.segments_s[rows], self.label[rows])


class Detections(NamedTuple):
    """``M`` detections, whichever window each comes from.

    Attributes:
        video_id: Row of the video in its manifest, int64 ``[M]``.
        segments_s: Start and end in seconds, float64 ``[M, 2]``.
        score: Confidence, float64 ``[M]``.
        label: Class index, int64 ``[M]``.
    """

    video_id: NDArray[np.int64]
    segments_s: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.int64]

    @classmethod
    def of(cls, predictions: SegmentPredictions) -> "Detections":
        """What a detector returned."""
        return cls(
            predictions.video_id.cpu().numpy(),
            predictions.segments.double().cpu().numpy(),
            predictions.scores.double().cpu().numpy(),
            predictions.labels.cpu().numpy(),
        )

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Detections":
        """Some of the detections, by a mask ``[M]`` or by indices."""
        video_id, segments_s = self.video_id[rows], self.segments_s[rows]
        return Detections(video_id, segments_s, self.score[rows], self.label[rows])

    def ranked(self) -> "Detections":
        """The same, best first.

        Of equal scores goes first the lower video id, then the earlier start, the earlier end and
        the lower label: the order in which detections arrive decides nothing. A score that is not
        a number comes last.
        """
        start_s, end_s = self.segments_s.T
        return self.take(np.lexsort((self.label, end_s, start_s, self.video_id, -self.score)))


class Overlaps(NamedTuple):
    """Pairs of a detection and an event of the same group, by detection, its best event first.

    Attributes:
        detection: Row of the detection, int64 ``[P]``, ascending.
        event: Row of the event, int64 ``[P]``; of equal tIoU the later event goes first.
        tiou: float64 ``[P]``.
    """

    detection: NDArray[np.int64]
    event: NDArray[np.int64]
    tiou: NDArray[np.float64]


def distinct_events(events: GroundTruth, tolerance_s: float = 1e-3) -> GroundTruth:
    """Drop events without length, and those that repeat an earlier one of the same video and class.

    Args:
        events: In the order of the annotation.
        tolerance_s: How far both ends of a repetition may lie from the earlier event's.

    Source: AdaTAD protocol, as in ActionFormer's evaluation.
    """
    kept: defaultdict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    rows = []
    table = zip(*(values.tolist() for values in events), strict=True)
    for row, (video, (start_s, end_s), label) in enumerate(table):
        earlier = kept[video, label]
        repeats = (
            abs(start_s - start) <= tolerance_s and abs(end_s - end) <= tolerance_s
            for start, end in earlier
        )
        if end_s > start_s and not any(repeats):
            earlier.append((start_s, end_s))
            rows.append(row)
    return events.take(np.array(rows, dtype=np.int64))


def temporal_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of segments, pair by pair.

    Args:
        one: Start and end, ``[P, 2]``.
        other: ``[P, 2]``.

    Returns:
        ``[P]``; 0 where a segment ends before it starts.
    """
    starts = np.maximum(one[:, 0], other[:, 0])
    common = np.maximum(np.minimum(one[:, 1], other[:, 1]) - starts, 0.0)
    union = (one[:, 1] - one[:, 0]) + (other[:, 1] - other[:, 0]) - common
    return common / np.maximum(union, 1e-8)


def find_overlaps(
    detections: Detections, events: GroundTruth, least: float, *, by_class: bool = True
) -> Overlaps:
    """All pairs that overlap by at least a given tIoU.

    Args:
        detections: Best first, where :func:`match` follows.
        events: The ground truth.
        least: Smallest tIoU of interest, above 0.
        by_class: Pair within video and class; else within the video alone.
    """
    key_of_event, key_of_detection = _group_keys(detections, events, by_class=by_class)
    parts = [
        _overlaps_of(detections.segments_s, events.segments_s, rows, partners, least)
        for rows, partners in _pair_up(key_of_detection, key_of_event)
    ]
    detection, event, tiou = (
        np.concatenate([part[field] for part in parts]) if parts else np.zeros(0, dtype)
        for field, dtype in enumerate((np.int64, np.int64, np.float64))
    )
    order = np.lexsort((-event, -tiou, detection))
    return Overlaps(detection[order], event[order], tiou[order])


def match(overlaps: Overlaps, threshold: float, num_detections: int) -> NDArray[np.int64]:
    """Give every detection, best first, the free event that it overlaps most.

    It may be its second choice where a better detection took the first. Detections choose all at
    once: an event keeps the best that wants it, the others turn to their next choice, until nobody
    is turned down. All events rank the detections alike, so this ends where serving the detections
    one after the other ends (Gale and Shapley 1962), without a loop over them.

    Args:
        overlaps: Pairs of detections that are sorted best first.
        threshold: Least tIoU of a match, inclusive.
        num_detections: ``M``.

    Returns:
        Row of the event that each detection found, int64 ``[M]``; -1 for a false positive.
    """
    near = overlaps.tiou >= threshold
    event = overlaps.event[near]
    suitor, choice, count = np.unique(
        overlaps.detection[near], return_index=True, return_counts=True
    )
    beyond = choice + count
    found = np.full(num_detections, -1)
    if not suitor.size:
        return found
    while True:
        holder = np.full(event.max() + 1, num_detections)
        np.minimum.at(holder, event[choice], suitor)
        lost = holder[event[choice]] != suitor
        if not lost.any():
            found[suitor] = event[choice]
            return found
        choice += lost
        stays = choice < beyond
        suitor, choice, beyond = suitor[stays], choice[stays], beyond[stays]


def running_numbers(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running number of each row among the rows with the same keys, from 0 ``[M]``.

    Args:
        keys: One or more arrays ``[M]``.
    """
    order = np.lexsort(keys)
    index = np.arange(order.size)
    starts = np.zeros(order.size, dtype=bool)
    starts[:1] = True
    for key in keys:
        starts[1:] |= np.diff(key[order]) != 0
    numbers = np.empty(order.size, dtype=np.int64)
    numbers[order] = index - np.maximum.accumulate(np.where(starts, index, 0))
    return numbers


def check_labels(events: GroundTruth, num_classes: int) -> None:
    """Refuse ground truth of classes that the model does not have.

    Raises:
        AnnotationError: If a label is not in [0, num_classes).
    """
    wrong = (events.label < 0) | (events.label >= num_classes)
    if wrong.any():
        row = wrong.argmax()
        raise AnnotationError(
            f"label {events.label[row]} of an event of video {events.video_id[row]} is out of "
            f"range: the model has {num_classes} classes"
        )


def _group_keys(
    detections: Detections, events: GroundTruth, *, by_class: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One number per event and per detection, equal where they may be paired."""
    if not by_class:
        return events.video_id, detections.video_id
    classes = 1 + max(events.label.max(initial=0), detections.label.max(initial=0))
    return (
        events.video_id * classes + events.label,
        detections.video_id * classes + detections.label,
    )


def _pair_up(
    key_of_detection: NDArray[np.int64], key_of_event: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of detections and of events with the same key, a bounded number of pairs at a time."""
    order = np.argsort(key_of_event, kind="stable")
    keys, first, count = np.unique(key_of_event[order], return_index=True, return_counts=True)
    if not keys.size:
        return
    group = np.minimum(np.searchsorted(keys, key_of_detection), keys.size - 1)
    rows = np.flatnonzero(keys[group] == key_of_detection)
    totals = np.cumsum(count[group[rows]])
    cuts = np.arange(_PAIRS_AT_ONCE, totals[-1] if totals.size else 0, _PAIRS_AT_ONCE)
    for part in np.split(rows, np.searchsorted(totals, cuts)):
        times = count[group[part]]
        detection = np.repeat(part, times)
        turn = np.arange(detection.size) - np.repeat(np.cumsum(times) - times, times)
        yield detection, order[first[group[detection]] + turn]


def _overlaps_of(
    segments_s: NDArray[np.float64],
    events_s: NDArray[np.float64],
    detection: NDArray[np.int64],
    event: NDArray[np.int64],
    least: float,
) -> Overlaps:
    tiou = temporal_iou(segments_s[detection], events_s[event])
    near = tiou >= least
    return Overlaps(detection[near], event[near], tiou[near])
