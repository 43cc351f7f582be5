"""What a report shows of a run that recognised clips."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from video_adapt.callbacks.evaluation import CLIP_COLUMNS
from video_adapt.errors import VideoDecodeError
from video_adapt.metrics import plot_confusion, save_figure
from video_adapt.video import VideoReader

from .document import Heading, Part, Picture
from .kind import Figure, Kind, measured
from .runs import Run
from .sheets import SheetRow, plot_sheet

logger = logging.getLogger(__name__)

_PREDICTIONS = "predictions.csv"
_CURVES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class"}
_EXAMPLES, _FRAMES, _FRAME_SIDE = 4, 6, 160


class Prediction(NamedTuple):
    """One line of ``predictions.csv``.

    Attributes:
        path: The video file.
        start_s: Where the clip begins in it, in seconds; None = at the beginning.
        end_s: Where it ends; None = at the end.
        label: What it is; empty if nobody said.
        predicted: What it was taken for.
        scores: Labels with their probabilities, best first.
    """

    path: str
    start_s: float | None
    end_s: float | None
    label: str
    predicted: str
    scores: list[tuple[str, float]]


def read_predictions(path: Path) -> list[Prediction]:
    """Every line of a ``predictions.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.reader(file)
        class_names = next(table)[len(CLIP_COLUMNS) :]
        return [_prediction(row, class_names) for row in table]


def confusion_of(predictions: Sequence[Prediction]) -> tuple[NDArray[np.int64], list[str]]:
    """Labelled videos by label and prediction ``[K, K]``, and the names of the ``K`` classes."""
    known = [p for p in predictions if p.label and p.predicted]
    names = [name for name, _ in sorted(known[0].scores)] if known else []
    index = {name: k for k, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    for prediction in known:
        confusion[index[prediction.label], index[prediction.predicted]] += 1
    return confusion, names


def example_rows(predictions: Sequence[Prediction], count: int = _EXAMPLES) -> list[SheetRow]:
    """Frames and scores of some videos predicted right and some predicted wrong.

    Right ones are spread over the list; wrong ones are those with the highest probability.
    Videos that are not there any more are left out.
    """
    known = [p for p in predictions if p.label]
    right = [p for p in known if p.predicted == p.label]
    wrong = sorted((p for p in known if p.predicted != p.label), key=lambda p: -p.scores[0][1])
    spread = np.linspace(0, len(right) - 1, min(count, len(right))).round().astype(int)
    rows = []
    for prediction in [*(right[k] for k in spread), *wrong[:count]]:
        try:
            rows.append(_example(prediction))
        except VideoDecodeError as error:
            logger.warning("no example: %s", error)
    return rows


def _prediction(row: Sequence[str], class_names: Sequence[str]) -> Prediction:
    path, start_s, end_s, label, predicted = row[: len(CLIP_COLUMNS)]
    numbers = map(float, row[len(CLIP_COLUMNS) :])
    scores = sorted(zip(class_names, numbers, strict=True), key=lambda pair: -pair[1])
    times_s = [float(text) if text else None for text in (start_s, end_s)]
    return Prediction(path, times_s[0], times_s[1], label, predicted, scores)


def _example(prediction: Prediction) -> SheetRow:
    with VideoReader(prediction.path, short_side=_FRAME_SIDE) as reader:
        times_s = reader.timestamps_s
        start_s, end_s = prediction.start_s or 0.0, prediction.end_s or np.inf
        inside = np.flatnonzero((times_s >= start_s - 1e-4) & (times_s < end_s - 1e-4))
        if not len(inside):
            raise VideoDecodeError(f"{prediction.path}: no frame after {start_s:g} s")
        chosen = inside[np.linspace(0, len(inside) - 1, _FRAMES).round().astype(int)]
        path = Path(prediction.path)
        return SheetRow(
            f"{path.parent.name}/{path.name}",
            f"{times_s[inside[0]]:.1f} - {times_s[inside[-1]]:.1f} s",
            reader.frames_at(chosen),
            times_s[chosen],
            prediction.scores[:4],
            prediction.label,
        )


def _summary(run: Run) -> str:
    accuracy, classes = run.results["top1"], len(run.results["class_accuracy"])
    if accuracy is None:
        return f"No video has a label, so there is no accuracy ({run.stage_name})."
    return (
        f"Top-1 {accuracy:.1%} of {run.results['videos']} videos ({run.stage_name}); "
        f"chance is {1 / classes:.1%} with {classes} classes."
    )


def _parts(run: Run, out: Path) -> list[Part]:
    parts: list[Part] = []
    predictions = read_predictions(run.folder / run.stage / _PREDICTIONS)
    confusion, names = confusion_of(predictions)
    if names:
        picture = save_figure(plot_confusion(confusion, names), out / "confusion.png")
        caption = (
            f"Videos by label and prediction, {run.stage_name}; colour is the share of the row"
        )
        parts += [Heading("What was taken for what"), Picture(picture, caption)]
    if rows := example_rows(predictions):
        picture = save_figure(plot_sheet(rows), out / "examples.png")
        caption = "Right and wrong predictions; of the wrong ones, those the model was surest of"
        parts += [Heading("Examples"), Picture(picture, caption)]
    return parts


_TOP1, _TOP5 = measured("top-1", "top1"), measured("top-5", "top5")
_FIGURES = (
    _TOP1,
    _TOP5,
    measured("mean class accuracy", "mean_class"),
    Figure("videos", lambda run: run.results.get("videos")),
)

RECOGNITION = Kind(
    name="recognition",
    files=(_PREDICTIONS,),
    headline="top1",
    figures=lambda run: _FIGURES,
    columns=(_TOP1, _TOP5),
    learning="validation accuracy",
    curves=lambda run: _CURVES,
    summary=_summary,
    parts=_parts,
)
