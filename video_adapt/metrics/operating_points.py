"""What a detector would do in use: false alarms per hour, and the score threshold to choose."""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from video_adapt.errors import ConfigurationError

from .detection_matching import Detections, GroundTruth, find_overlaps, match

TARGET_PRECISIONS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


class Matching(NamedTuple):
    """Detections, best first, and what each of them found.

    Attributes:
        detections: ``M``, ranked.
        events: ``G``.
        found: Row of the event that each detection found, int64 ``[M]``; -1 for a false positive.
            What the detections above any score threshold find does not depend on those below.
        tiou: Least tIoU of a match.
    """

    detections: Detections
    events: GroundTruth
    found: NDArray[np.int64]
    tiou: float


class OperatingPoint(NamedTuple):
    """What a score threshold gives.

    Attributes:
        threshold: Detections that score at least this are reported.
        true_positives: Reported detections that found an event.
        false_positives: Those that did not.
        missed: Events that none found.
        hours: Length of the videos.
    """

    threshold: float
    true_positives: int
    false_positives: int
    missed: int
    hours: float

    @property
    def precision(self) -> float | None:
        """Share of the reported detections that are right; None if nothing is reported."""
        reported = self.true_positives + self.false_positives
        return self.true_positives / reported if reported else None

    @property
    def recall(self) -> float | None:
        """Share of the events that were found; None without events."""
        events = self.true_positives + self.missed
        return self.true_positives / events if events else None

    @property
    def false_alarms_per_hour(self) -> float:
        """False positives per hour of video."""
        return self.false_positives / self.hours


class OperatingCurve(NamedTuple):
    """What every threshold gives: ``L`` distinct scores, the strictest first.

    Attributes:
        thresholds: float64 ``[L]``, descending.
        true_positives: int64 ``[L]``.
        false_positives: int64 ``[L]``.
        num_events: ``G``.
        hours: Length of the videos.
    """

    thresholds: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    num_events: int
    hours: float

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the reported detections that are right ``[L]``."""
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the events that were found ``[L]``; 0 without events."""
        return self.true_positives / max(self.num_events, 1)

    @property
    def false_alarms_per_hour(self) -> NDArray[np.float64]:
        """False positives per hour of video ``[L]``."""
        return self.false_positives / self.hours

    def threshold_for(self, precision: float) -> float | None:
        """The lowest score threshold with at least this precision; None if there is none."""
        enough = np.flatnonzero(self.precision >= precision)
        return float(self.thresholds[enough[-1]]) if enough.size else None

    def at(self, threshold: float) -> OperatingPoint:
        """The point at any threshold."""
        row = int((self.thresholds >= threshold).sum()) - 1
        true, false = 0, 0
        if row >= 0:
            true, false = int(self.true_positives[row]), int(self.false_positives[row])
        return OperatingPoint(threshold, true, false, self.num_events - true, self.hours)


class Calibration(TypedDict):
    """Score thresholds chosen on validation, as plain values that a checkpoint can hold.

    Attributes:
        tiou: Least tIoU of a match.
        precision: Target precisions, ascending, ``P`` values.
        overall: Threshold for each target over all classes; None where no threshold reaches it.
        per_class: The same for each of the ``K`` classes by itself, ``[K][P]``.
    """

    tiou: float
    precision: list[float]
    overall: list[float | None]
    per_class: list[list[float | None]]


def match_detections(detections: Detections, events: GroundTruth, tiou: float = 0.5) -> Matching:
    """Rank the detections and let each take the free event of its class that it overlaps most.

    Args:
        detections: In any order; those whose score is not a number are left out.
        events: The ground truth.
        tiou: Least tIoU of a match.
    """
    ranked = detections.take(~np.isnan(detections.score)).ranked()
    overlaps = find_overlaps(ranked, events, tiou)
    return Matching(ranked, events, match(overlaps, tiou, ranked.score.size), tiou)


def operating_curve(matching: Matching, hours: float, label: int | None = None) -> OperatingCurve:
    """What every threshold gives, for one class or for all together.

    Args:
        matching: Of :func:`match_detections`.
        hours: Length of all videos, those without events too.
        label: Class index; None = all classes.

    Raises:
        ConfigurationError: If the videos have no length.
    """
    if not hours > 0:
        raise ConfigurationError(f"the videos last {hours} h; false alarms per hour need a length")
    score, found = matching.detections.score, matching.found
    num_events = matching.events.label.size
    if label is not None:
        mine = matching.detections.label == label
        score, found = score[mine], found[mine]
        num_events = int((matching.events.label == label).sum())
    last = np.append(score[1:] != score[:-1], [True] * (score.size > 0)).astype(bool)
    right = np.cumsum(found >= 0)[last]
    wrong = np.cumsum(found < 0)[last]
    return OperatingCurve(score[last], right, wrong, num_events, hours)


def calibrate(
    matching: Matching, num_classes: int, targets: Sequence[float] = TARGET_PRECISIONS
) -> Calibration:
    """Choose the lowest threshold that reaches each target precision, overall and per class.

    Choose on validation videos, then use on others: on the videos it was chosen on the precision
    is better than it will be in use.
    """

    def chosen(label: int | None) -> list[float | None]:
        curve = operating_curve(matching, 1.0, label)  # precision does not depend on the hours
        return [curve.threshold_for(target) for target in targets]

    return Calibration(
        tiou=matching.tiou,
        precision=list(targets),
        overall=chosen(None),
        per_class=[chosen(label) for label in range(num_classes)],
    )


def threshold_for_precision(
    calibration: Calibration, precision: float, label: int | None = None
) -> float | None:
    """Look the threshold up that was chosen for a precision, or for the next higher target.

    Args:
        calibration: Chosen on validation.
        precision: In (0, 1].
        label: Class index; None = the threshold for all classes.

    Returns:
        None where no threshold reached the precision.

    Raises:
        ConfigurationError: If the precision is above all targets.
    """
    targets = calibration["precision"]
    column = next((i for i, target in enumerate(targets) if target >= precision - 1e-9), None)
    if column is None:
        raise ConfigurationError(
            f"precision {precision}: thresholds were chosen up to {targets[-1]}; ask for less"
        )
    row = calibration["overall"] if label is None else calibration["per_class"][label]
    return row[column]
