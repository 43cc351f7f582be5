"""Mean average precision of detected segments, the same on any number of processes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from video_adapt.batches import SegmentPredictions
from video_adapt.errors import ConfigurationError

from .detection_matching import (
    Detections,
    GroundTruth,
    distinct_events,
    find_overlaps,
    match,
    running_numbers,
)

Finish = Callable[[SegmentPredictions], SegmentPredictions]


class DetectionResult(NamedTuple):
    """What :class:`DetectionMAP` reports, about the ``C`` classes that have an event.

    Attributes:
        thresholds: Least tIoU of a match, ``T`` values.
        labels: The classes, int64 ``[C]``, ascending.
        ap: Average precision in [0, 1] by class and threshold, float64 ``[C, T]``.
        num_events: Events of each class, int64 ``[C]``.
        num_dropped: Events that were left out: without length, or repeating an earlier one.
        events: The events that the figures are about.
        detections: All detections, best first; of classes without an event too, which no figure
            here is about.
    """

    thresholds: tuple[float, ...]
    labels: NDArray[np.int64]
    ap: NDArray[np.float64]
    num_events: NDArray[np.int64]
    num_dropped: int
    events: GroundTruth
    detections: Detections

    @property
    def mean_ap(self) -> NDArray[np.float64] | None:
        """Mean over the classes at each threshold ``[T]``; None without ground truth."""
        return self.ap.mean(axis=0) if self.labels.size else None

    @property
    def average_map(self) -> float | None:
        """Mean of :attr:`mean_ap` over the thresholds; None without ground truth."""
        means = self.mean_ap
        return None if means is None else float(means.mean())


def average_precision(places: NDArray[np.int64], num_events: int) -> float:
    """Area below the precision envelope over recall.

    Args:
        places: Places of the true positives in the list of the class's detections, best first,
            from 0, ascending.
        num_events: Events of the class, at least 1.

    Source: PASCAL VOC 2010, all points; the envelope is the best precision at no less recall.
    """
    found = np.arange(1, places.size + 1)
    envelope = np.maximum.accumulate((found / (places + 1))[::-1])[::-1]
    areas = np.diff(found / num_events, prepend=0.0) * envelope
    if places.size < num_events:
        # The last strip, up to recall 1, has no height. NumPy adds in blocks, so without it the
        # sum might round differently from the field's.
        areas = np.append(areas, 0.0)
    return float(areas.sum())


def detection_map(
    detections: Detections,
    ground_truth: GroundTruth,
    thresholds: Sequence[float],
    *,
    distinct: bool = True,
) -> DetectionResult:
    """Average precision of every class at every threshold.

    Detections of a class go from best to worst (:meth:`Detections.ranked` settles ties), and each
    takes the free event of its video that it overlaps most (:func:`match`). Without one it is a
    false positive: so is every detection in a video that has no such event. A class without
    detections has AP 0; detections of a class without events are ignored.

    Args:
        detections: In any order.
        ground_truth: The events, in the order of the annotation.
        thresholds: Least tIoU of a match, in (0, 1].
        distinct: Leave out events without length and repetitions (:func:`distinct_events`).
            EPIC-KITCHENS counts them all.

    Raises:
        ConfigurationError: If the thresholds are none, or not in (0, 1].
    """
    thresholds = tuple(float(threshold) for threshold in thresholds)
    if not thresholds or not all(0.0 < threshold <= 1.0 for threshold in thresholds):
        raise ConfigurationError(f"tIoU thresholds {list(thresholds)}: give at least one in (0, 1]")
    events = distinct_events(ground_truth) if distinct else ground_truth
    detections = detections.ranked()
    labels, num_events = np.unique(events.label, return_counts=True)
    overlaps = find_overlaps(detections, events, min(thresholds))
    places = running_numbers(detections.label)
    ap = np.zeros((labels.size, len(thresholds)))
    for column, threshold in enumerate(thresholds):
        hits = match(overlaps, threshold, detections.label.size) >= 0
        by_class = _split(places[hits], detections.label[hits], labels)
        ap[:, column] = list(map(average_precision, by_class, num_events.tolist()))
    dropped = ground_truth.label.size - events.label.size
    return DetectionResult(thresholds, labels, ap, num_events, dropped, events, detections)


class DetectionMAP(Metric):
    """Collects detections from all processes and computes :class:`DetectionResult`.

    Rows are sorted by video and window before anything is done with them, and a window that comes
    twice, as from a sampler that pads its share, counts once: results do not depend on how windows
    are spread over processes.

    Args:
        ground_truth: Events of all videos, the same on every process.
        thresholds: Least tIoU of a match, in (0, 1].
        finish: What becomes of all windows together before anything is measured, such as
            non-maximum suppression over the windows of a video. Gets float32 on the CPU; segments
            that it returns in float64 are measured as such.
        distinct: As of :func:`detection_map`.
    """

    full_state_update = False
    video_id: list[Tensor]
    window: list[Tensor]
    segments: list[Tensor]
    scores: list[Tensor]
    labels: list[Tensor]
    place: list[Tensor]

    def __init__(
        self,
        ground_truth: GroundTruth,
        thresholds: Sequence[float],
        *,
        finish: Finish | None = None,
        distinct: bool = True,
    ) -> None:
        super().__init__()
        self.ground_truth = ground_truth
        self.thresholds = tuple(thresholds)
        self.finish = finish
        self.distinct = distinct
        for name in (*SegmentPredictions._fields, "place"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all detections.

        Each state starts with an empty block: a process that saw no window then takes part in the
        gathering with tensors of the right type and number of dimensions.
        """
        super().reset()
        ids = torch.empty(0, dtype=torch.int64, device=self.device)
        scores = torch.empty(0, device=self.device)
        empty = SegmentPredictions(ids, ids, torch.empty(0, 2, device=self.device), scores, ids)
        self._append(empty, ids)

    def update(self, predictions: SegmentPredictions) -> None:
        """Add the detections of a batch of windows, each window once and whole."""
        place = running_numbers(
            predictions.video_id.cpu().numpy(), predictions.window.cpu().numpy()
        )
        self._append(predictions, torch.from_numpy(place))

    def merged(self) -> SegmentPredictions:
        """Detections of all windows so far, by video and window, each window once; on the CPU."""
        values = (dim_zero_cat(getattr(self, name)).cpu() for name in SegmentPredictions._fields)
        predictions = SegmentPredictions(*values)
        return _first_delivery(predictions, dim_zero_cat(self.place).cpu())

    def compute(self) -> DetectionResult:
        """Figures over the windows of all processes."""
        predictions = self.merged()
        if self.finish is not None:
            predictions = self.finish(predictions)
        return detection_map(
            Detections.of(predictions), self.ground_truth, self.thresholds, distinct=self.distinct
        )

    def _append(self, predictions: SegmentPredictions, place: Tensor) -> None:
        for name, value in predictions._asdict().items():
            getattr(self, name).append(value.detach().to(self.device))
        self.place.append(place.to(self.device))


def _first_delivery(predictions: SegmentPredictions, place: Tensor) -> SegmentPredictions:
    """Sort by video, window and place; of a window that came more than once keep one copy.

    Each copy arrived in one piece, so a place of 0 begins another one.
    """
    video_id, window = predictions.video_id.numpy(), predictions.window.numpy()
    order = np.lexsort((window, video_id))
    copies = np.cumsum(place.numpy()[order] == 0)
    first_row = np.arange(order.size) - running_numbers(video_id[order], window[order])
    rows = torch.from_numpy(order[copies == copies[first_row]])
    return SegmentPredictions(*(values[rows] for values in predictions))


def _split(
    places: NDArray[np.int64], label: NDArray[np.int64], labels: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Places of each class, in their order; the classes are ascending."""
    order = np.argsort(label, kind="stable")
    cuts = np.searchsorted(label[order], labels[1:])
    return np.split(places[order], cuts)
