"""Kinds of error of a detector, over its most confident detections and class by class."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .detection_matching import Overlaps, find_overlaps
from .operating_points import Matching, OperatingPoint, operating_curve


class ErrorKind(IntEnum):
    """What a detection is; the first that applies.

    Of its own class an event overlaps by at least the tIoU of a match: ``RIGHT`` if the detection
    found it, ``DUPLICATE`` if a better one did. So does an event of another class:
    ``MISCLASSIFIED``. Less, but more than by chance: ``MISLOCALISED`` for an event of its class,
    ``CONFUSED`` for one of another. Else ``BACKGROUND``.

    Source: Alwassel et al., Diagnosing Error in Temporal Action Detectors, ECCV 2018.
    """

    RIGHT = 0
    DUPLICATE = 1
    MISCLASSIFIED = 2
    MISLOCALISED = 3
    CONFUSED = 4
    BACKGROUND = 5


class ClassErrors(NamedTuple):
    """A class at its threshold.

    Attributes:
        label: Class index.
        num_events: Events of the class.
        point: What its threshold gives.
        kinds: Reported detections of each :class:`ErrorKind`, int64 ``[6]``.
    """

    label: int
    num_events: int
    point: OperatingPoint
    kinds: NDArray[np.int64]


def error_kinds(
    matching: Matching, rows: NDArray[np.int64], *, least: float = 0.1
) -> NDArray[np.int64]:
    """The :class:`ErrorKind` of some detections.

    Args:
        matching: Of :func:`match_detections`.
        rows: Which of the ranked detections, int64 ``[R]``.
        least: Overlap below which a detection and an event have nothing to do with each other.

    Returns:
        int64 ``[R]``.
    """
    some = matching.detections.take(rows)
    overlaps = find_overlaps(some, matching.events, least, by_class=False)
    same = some.label[overlaps.detection] == matching.events.label[overlaps.event]
    own = _best(overlaps, same, rows.size)
    other = _best(overlaps, ~same, rows.size)
    return np.select(
        [
            matching.found[rows] >= 0,
            own >= matching.tiou,
            other >= matching.tiou,
            own > 0,
            other > 0,
        ],
        [kind.value for kind in ErrorKind][:-1],
        ErrorKind.BACKGROUND.value,
    )


def error_profile(
    matching: Matching, multiples: Sequence[int] = tuple(range(1, 11))
) -> NDArray[np.int64]:
    """Kinds among the best ``k * G`` detections, as DETAD draws them.

    Returns:
        Detections of each kind, int64 ``[len(multiples), 6]``.
    """
    num_events = matching.events.label.size
    best = np.arange(min(matching.found.size, max(multiples) * num_events))
    kinds = error_kinds(matching, best)
    counts = [np.bincount(kinds[: k * num_events], minlength=len(ErrorKind)) for k in multiples]
    return np.stack(counts)


def class_errors(
    matching: Matching, thresholds: Sequence[float | None], hours: float
) -> list[ClassErrors]:
    """Every class at a threshold of its own.

    Args:
        matching: Of :func:`match_detections`.
        thresholds: Of each of the ``K`` classes; None reports nothing.
        hours: Length of all videos.
    """
    limits = np.array([np.inf if limit is None else limit for limit in thresholds])
    detections = matching.detections
    rows = np.flatnonzero(detections.score >= limits[detections.label])
    kinds, labels = error_kinds(matching, rows), detections.label[rows]
    return [
        ClassErrors(
            label,
            int((matching.events.label == label).sum()),
            operating_curve(matching, hours, label).at(limit),
            np.bincount(kinds[labels == label], minlength=len(ErrorKind)),
        )
        for label, limit in enumerate(limits.tolist())
    ]


def _best(overlaps: Overlaps, among: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """Largest tIoU of each detection with some of the events; 0 without any ``[count]``."""
    best = np.zeros(count)
    np.maximum.at(best, overlaps.detection[among], overlaps.tiou[among])
    return best
