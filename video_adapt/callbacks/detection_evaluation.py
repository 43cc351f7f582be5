"""Detection measured by video, logged, written down and drawn."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from video_adapt.batches import SegmentPredictions
from video_adapt.errors import ConfigurationError
from video_adapt.metrics import (
    TARGET_PRECISIONS,
    Calibration,
    DetectionMAP,
    DetectionResult,
    GroundTruth,
    Matching,
    OperatingPoint,
    average_recall,
    calibrate,
    check_labels,
    class_errors,
    error_profile,
    match_detections,
    operating_curve,
    plot_class_ap,
    plot_error_profile,
    plot_false_alarms,
    plot_precision_recall,
    save_figure,
    threshold_for_precision,
)

from .detection_figures import class_figures, detection_figures, point_figures
from .detection_files import (
    TrueVideo,
    events_by_video,
    results_by_video,
    write_csv,
    write_ground_truth,
    write_json,
)
from .evaluation_hooks import EvaluationCallback
from .tracking import log_picture

logger = logging.getLogger(__name__)

_MULTIPLES = tuple(range(1, 11))


class DetectionSummary(NamedTuple):
    """An evaluation.

    Attributes:
        result: Average precision, events and detections.
        average_recall: AR@100; None without ground truth.
        matching: What each detection found.
        num_videos: How many videos were looked at.
        hours: Length of the videos.
        calibration: Score thresholds in force; None without any.
        point: What the threshold for the wanted precision gives; None without a threshold.
    """

    result: DetectionResult
    average_recall: float | None
    matching: Matching
    num_videos: int
    hours: float
    calibration: Calibration | None
    point: OperatingPoint | None


class DetectionEvaluation(EvaluationCallback[DetectionSummary]):
    """Measure the detections that ``validation_step`` and ``test_step`` return, by video.

    Logs ``<stage>/mAP`` (mean over the tIoU thresholds of the method), ``mAP@0.50`` and so on for
    each of them, ``AR@100``, and, at a score threshold, ``false_alarms_per_hour`` and ``recall``.
    Validation chooses the thresholds and leaves them in the method's ``calibration``, from where
    they reach the checkpoint; a test uses those that it finds there.

    The last evaluation is written to the run's folder, below ``val/`` where the run trains:
    ``detections.csv``, ``detections.json`` and ``ground_truth.json`` (ActivityNet's forms),
    ``metrics.json``, and pictures: ``precision_recall.png``, ``class_ap.png``, ``errors.png``,
    ``false_alarms.png``.

    The data module tells ``ground_truth(stage)``, ``video_names(stage)`` and
    ``durations_s(stage)``; the method has ``class_names``, ``thresholds``, ``calibration`` and
    ``finish(predictions, video_names)``, which makes detections of whole videos.

    Args:
        precision: The precision whose threshold the false alarms are counted at: 0.5, 0.55 and so
            on up to 0.95; another value means the next higher of these.
        tiou: Overlap at which a detection counts as right in all but mAP and AR, in (0, 1].

    Raises:
        ConfigurationError: If an argument is out of its range.

    Attributes:
        results: The last evaluation of each stage.
    """

    headline = "mAP"
    predictions = SegmentPredictions

    def __init__(self, precision: float = 0.5, tiou: float = 0.5) -> None:
        super().__init__()
        limits = {"precision": (precision, TARGET_PRECISIONS[-1]), "tiou": (tiou, 1.0)}
        for name, (value, most) in limits.items():
            if not 0.0 < value <= most:
                raise ConfigurationError(
                    f"DetectionEvaluation: {name}={value} must be above 0 and at most {most}"
                )
        self.precision, self.tiou = precision, tiou

    def _metric(self, stage: str, trainer: Any, pl_module: Any) -> DetectionMAP:
        data = _data_module(trainer)
        names = data.video_names(stage)
        events = data.ground_truth(stage)
        ground_truth = GroundTruth(events.video_id, events.segments_s, events.label)
        check_labels(ground_truth, len(pl_module.class_names))

        def finish(predictions: SegmentPredictions) -> SegmentPredictions:
            return pl_module.finish(predictions, names)

        return DetectionMAP(ground_truth, pl_module.thresholds, finish=finish)

    def _result(
        self, stage: str, measured: DetectionResult, trainer: Any, pl_module: Any
    ) -> DetectionSummary:
        durations_s = _data_module(trainer).durations_s(stage)
        hours = float(np.nansum(durations_s)) / 3600
        matching = match_detections(measured.detections, measured.events, self.tiou)
        if stage == "val" and measured.events.label.size:
            pl_module.calibration = calibrate(matching, len(pl_module.class_names))
        calibration = pl_module.calibration
        recall = average_recall(measured.detections, measured.events, [100])
        point = None
        if calibration is not None:
            threshold = threshold_for_precision(calibration, self.precision)
            if threshold is not None:
                point = operating_curve(matching, hours).at(threshold)
        average = None if recall is None else float(recall[0])
        count = len(durations_s)
        return DetectionSummary(measured, average, matching, count, hours, calibration, point)

    def _figures(self, result: DetectionSummary) -> dict[str, float]:
        means, figures = result.result.mean_ap, {}
        if means is not None:
            figures["mAP"] = result.result.average_map
            for threshold, value in zip(result.result.thresholds, means.tolist(), strict=True):
                figures[f"mAP@{threshold:.2f}"] = value
        figures["AR@100"] = result.average_recall
        if result.point is not None:
            figures["false_alarms_per_hour"] = result.point.false_alarms_per_hour
            figures["recall"] = result.point.recall
        return {name: value for name, value in figures.items() if value is not None}

    def _report(self, stage: str, result: DetectionSummary) -> None:
        measured = result.result
        if measured.average_map is None:
            logger.warning("%s: no video has an event, so there is no mAP", stage)
        else:
            logger.info(
                "%s: mAP %.2f %%, %d events, %d detections",
                stage,
                100 * measured.average_map,
                measured.events.label.size,
                measured.detections.label.size,
            )
        if measured.num_dropped:
            logger.warning(
                "%s: %d events have no length or repeat another one, left out",
                stage,
                measured.num_dropped,
            )
        if result.point is None:
            why = (
                "no threshold was chosen by a validation"
                if result.calibration is None
                else f"no threshold reached a precision of {self.precision:g}"
            )
            logger.info("%s: %s, so false alarms are not counted", stage, why)

    def _write_files(self, folder: Path, stage: str, trainer: Any, pl_module: Any) -> None:
        summary, classes = self.results[stage], list(pl_module.class_names)
        data = _data_module(trainer)
        results = results_by_video(summary.result.detections, data.video_names(stage), classes)
        write_csv(results, folder / "detections.csv")
        write_json(results, folder / "detections.json")
        truth = _true_videos(summary.result.events, data, stage, classes)
        write_ground_truth(truth, folder / "ground_truth.json")
        figures = self._all_figures(summary, classes)
        text = json.dumps(figures, indent=1, ensure_ascii=False)
        (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
        for name, figure in _pictures(summary, classes).items():
            picture = save_figure(figure, folder / f"{name}.png")
            log_picture(trainer, f"{stage}/{name}", picture)

    def _all_figures(self, summary: DetectionSummary, classes: Sequence[str]) -> dict[str, Any]:
        calibration = summary.calibration
        figures = {
            **detection_figures(summary.result, classes),
            "AR@100": summary.average_recall,
            "videos": summary.num_videos,
            "hours": summary.hours,
            "precision_wanted": self.precision,
            "tiou": self.tiou,
            "all_classes": summary.point and point_figures(summary.point),
            "classes": None,
            "calibration": calibration,
        }
        if calibration is not None:
            thresholds = [
                threshold_for_precision(calibration, self.precision, label)
                for label in range(len(classes))
            ]
            table = class_errors(summary.matching, thresholds, summary.hours)
            figures["classes"] = class_figures(table, classes)
        return figures


def _pictures(summary: DetectionSummary, class_names: Sequence[str]) -> dict[str, Figure]:
    """Pictures by file name; none without an event or without a detection."""
    matching, hours = summary.matching, summary.hours
    if not (matching.events.label.size and matching.found.size):
        return {}
    overall = operating_curve(matching, hours)
    curves = [operating_curve(matching, hours, label) for label in range(len(class_names))]
    profile = error_profile(matching, _MULTIPLES)
    pictures = {
        "precision_recall": plot_precision_recall(overall, curves, class_names),
        "class_ap": plot_class_ap(summary.result, class_names),
        "errors": plot_error_profile(profile, _MULTIPLES),
    }
    if summary.calibration is not None:
        pictures["false_alarms"] = plot_false_alarms(overall, summary.calibration)
    return pictures


def _true_videos(
    events: GroundTruth, data: Any, stage: str, class_names: Sequence[str]
) -> dict[str, TrueVideo]:
    """What is known of every video by its name; paths from a data module that has a manifest."""
    names = data.video_names(stage)
    known = hasattr(data, "manifest")
    paths = [e.path for e in data.manifest(stage).entries] if known else [None] * len(names)
    durations_s = [
        None if math.isnan(length) else float(length) for length in data.durations_s(stage)
    ]
    by_video = events_by_video(events, names, class_names)
    return {
        name: TrueVideo(duration_s, path, by_video[name])
        for name, duration_s, path in zip(names, durations_s, paths, strict=True)
    }


def _data_module(trainer: Any) -> Any:
    data = trainer.datamodule
    if not hasattr(data, "ground_truth"):
        raise ConfigurationError(
            "detection is measured against the events of a data module with ground_truth(stage), "
            f"this run has {type(data).__name__}; give one for long videos"
        )
    return data
