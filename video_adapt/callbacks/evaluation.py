"""Accuracy by video, logged, written down and drawn."""

import csv
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import LightningModule, Trainer

from video_adapt.batches import ClipPredictions
from video_adapt.metrics import AccuracyResult, VideoAccuracy, plot_confusion, save_figure

from .evaluation_hooks import EvaluationCallback
from .tracking import log_picture

logger = logging.getLogger(__name__)

CLIP_COLUMNS = ("video", "start_s", "end_s", "label", "prediction")


class Clip(NamedTuple):
    """A video file, or a part of it.

    Attributes:
        path: The file.
        start_s: Where the part begins, in seconds; None = at the beginning.
        end_s: Where it ends; None = at the end.
    """

    path: str
    start_s: float | None
    end_s: float | None


class Evaluation(EvaluationCallback[AccuracyResult]):
    """Measure what ``validation_step`` and ``test_step`` return, merging the views of a video.

    Logs ``<stage>/top1``, ``top5``, ``mean_class`` (fractions) and ``videos`` for the stages
    ``val`` and ``test``, the same on any number of processes. The last evaluation is written to the
    run's folder, below ``val/`` where the run trains: ``predictions.csv`` with one line per video,
    ``metrics.json`` and ``confusion.png``.

    Attributes:
        results: The last result of each stage.
    """

    headline = "top1"
    predictions = ClipPredictions

    def _metric(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> VideoAccuracy:
        return VideoAccuracy(len(_names(pl_module)))

    def _figures(self, result: AccuracyResult) -> dict[str, float]:
        return {
            "top1": result.top1,
            "top5": result.top5,
            "mean_class": result.mean_class,
            "videos": float(result.num_videos),
        }

    def _report(self, stage: str, result: AccuracyResult) -> None:
        logger.info(
            "%s: top-1 %.2f %%, top-5 %.2f %%, mean class %.2f %% of %d videos",
            stage,
            100 * result.top1,
            100 * result.top5,
            100 * result.mean_class,
            result.num_videos,
        )
        if result.num_unlabeled:
            logger.warning("%s: %d videos have no label, left out", stage, result.num_unlabeled)
        if undecided := int((result.videos.prediction < 0).sum()):
            logger.warning("%s: %d videos have a score that is not a number", stage, undecided)

    def _write_files(
        self, folder: Path, stage: str, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        result, names = self.results[stage], _names(pl_module)
        write_predictions(folder / "predictions.csv", result, names, _clips(trainer, stage))
        write_metrics(folder / "metrics.json", result, names)
        picture = save_figure(plot_confusion(result.confusion, names), folder / "confusion.png")
        log_picture(trainer, f"{stage}/confusion", picture)


def write_predictions(
    path: Path,
    result: AccuracyResult,
    class_names: Sequence[str],
    clips: Sequence[Clip] | None = None,
) -> None:
    """Write one line per video: where it lies, what it is, what it was taken for, all scores.

    Args:
        path: CSV file with the columns ``video``, ``start_s``, ``end_s``, ``label``,
            ``prediction`` and one per class, whose value is the mean probability over the views.
        result: What was computed; the lines are in the order of its videos.
        class_names: ``K`` names.
        clips: Where every video lies, by its id; None writes the id itself.
    """
    videos = result.videos
    means = videos.scores / videos.views[:, None]
    names = [*class_names, ""]  # index -1: no label, or no finite score to decide by
    rows = zip(videos.video_id, videos.label, videos.prediction, means, strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*CLIP_COLUMNS, *class_names])
        for video_id, label, prediction, scores in rows:
            clip = Clip(str(video_id), None, None) if clips is None else clips[video_id]
            numbers = [f"{score:.6g}" for score in scores]
            table.writerow([*clip, names[label], names[prediction], *numbers])


def write_metrics(path: Path, result: AccuracyResult, class_names: Sequence[str]) -> None:
    """Write the figures as JSON; a figure that does not exist is null."""
    per_class = zip(class_names, result.class_accuracy, strict=True)
    figures = {
        "top1": _number(result.top1),
        "top5": _number(result.top5),
        "mean_class": _number(result.mean_class),
        "videos": result.num_videos,
        "unlabeled": result.num_unlabeled,
        "views": int(result.videos.views.max(initial=0)),
        "class_accuracy": {name: _number(value) for name, value in per_class},
    }
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _names(pl_module: Any) -> list[str]:
    return list(pl_module.class_names)


def _clips(trainer: Any, stage: str) -> list[Clip] | None:
    """Where the videos of a stage lie, from the data module's manifest."""
    if not hasattr(trainer.datamodule, "manifest"):
        return None
    entries = trainer.datamodule.manifest(stage).entries
    return [Clip(entry.path, entry.start_s, entry.end_s) for entry in entries]
