"""What a run left in its folder, read back."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from video_adapt.callbacks.evaluation import CLIP_COLUMNS
from video_adapt.errors import ConfigurationError

_RESULT_FOLDERS = ("test", "validate", "val", ".")


class Curve(NamedTuple):
    """A figure over time.

    Attributes:
        step: Optimiser steps done ``[N]``.
        value: Its values ``[N]``.
    """

    step: NDArray[np.float64]
    value: NDArray[np.float64]


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


class Run(NamedTuple):
    """A run's folder.

    Attributes:
        folder: Where it lies.
        record: ``run.json``: settings, data, versions; empty if there is none.
        curves: Every figure of ``metrics.csv`` by its name.
        stage: Folder of the ``results``: ``test``, ``validate`` or ``val``, ``.`` for the run's
            own; empty without any.
        results: ``metrics.json`` of the last evaluation.
        predictions: Its predictions.
    """

    folder: Path
    record: dict[str, Any]
    curves: dict[str, Curve]
    stage: str
    results: dict[str, Any]
    predictions: list[Prediction]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def last(self, figure: str) -> float | None:
        """Last value of a figure; None if it was never logged."""
        curve = self.curves.get(figure)
        return None if curve is None else float(curve.value[-1])

    def median(self, figure: str) -> float | None:
        """Median of a figure over the run; None if it was never logged."""
        curve = self.curves.get(figure)
        return None if curve is None else float(np.median(curve.value))

    @property
    def peak_memory(self) -> float | None:
        """Peak memory of training in MiB: allocated on the GPU, or else of the process."""
        found = (self.last(f"memory/train_{what}") for what in ("allocated", "process"))
        return next((value for value in found if value is not None), None)

    @property
    def checkpoint_bytes(self) -> int | None:
        """Size of the smallest checkpoint; None if there is none."""
        sizes = [path.stat().st_size for path in (self.folder / "checkpoints").glob("*.ckpt")]
        return min(sizes, default=None)


def read_run(folder: Path) -> Run:
    """Read the folder of a run.

    Raises:
        ConfigurationError: If nothing in the folder was written by a run.
    """
    stage = next((name for name in _RESULT_FOLDERS if _has_results(folder / name)), "")
    results, table = folder / stage, folder / "metrics.csv"
    if not stage and not table.is_file():
        raise ConfigurationError(
            f"{folder}: no metrics.csv and no predictions here; name the folder of a run"
        )
    record = folder / "run.json"
    return Run(
        folder,
        json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {},
        read_curves(table) if table.is_file() else {},
        stage,
        json.loads((results / "metrics.json").read_text("utf-8")) if stage else {},
        read_predictions(results / "predictions.csv") if stage else [],
    )


def read_curves(path: Path) -> dict[str, Curve]:
    """Every figure of a ``metrics.csv``, by its name."""
    points: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step = float(row.pop("step"))
            for name, text in row.items():
                if text:
                    points.setdefault(name, []).append((step, float(text)))
    arrays = {name: np.asarray(pairs) for name, pairs in points.items()}
    return {name: Curve(pairs[:, 0], pairs[:, 1]) for name, pairs in arrays.items()}


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


def _has_results(folder: Path) -> bool:
    return (folder / "predictions.csv").is_file() and (folder / "metrics.json").is_file()


def _prediction(row: Sequence[str], class_names: Sequence[str]) -> Prediction:
    path, start_s, end_s, label, predicted = row[: len(CLIP_COLUMNS)]
    numbers = map(float, row[len(CLIP_COLUMNS) :])
    scores = sorted(zip(class_names, numbers, strict=True), key=lambda pair: -pair[1])
    times_s = [float(text) if text else None for text in (start_s, end_s)]
    return Prediction(path, times_s[0], times_s[1], label, predicted, scores)
