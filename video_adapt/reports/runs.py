"""What a run left in its folder, read back."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Run(NamedTuple):
    """A run's folder.

    Attributes:
        folder: Where it lies.
        record: ``run.json``: settings, data, versions; empty if there is none.
        curves: Every figure of ``metrics.csv`` by its name.
        stage: Folder of the ``results``: ``test``, ``validate`` or ``val``, ``.`` for the run's
            own; empty without any.
        results: ``metrics.json`` of the last evaluation; empty without any.
    """

    folder: Path
    record: dict[str, Any]
    curves: dict[str, Curve]
    stage: str
    results: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def evaluation(self) -> Path | None:
        """Folder of the last evaluation; None without any."""
        return self.folder / self.stage if self.stage else None

    @property
    def stage_name(self) -> str:
        """What was evaluated, in a word."""
        return "evaluation" if self.stage == "." else self.stage

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
    # The evaluation writes this file last, so the others are whole where it is.
    found = (name for name in _RESULT_FOLDERS if (folder / name / "metrics.json").is_file())
    stage, table = next(found, ""), folder / "metrics.csv"
    if not stage and not table.is_file():
        raise ConfigurationError(
            f"{folder}: no metrics.csv and no evaluation here; name the folder of a run"
        )
    record = folder / "run.json"
    return Run(
        folder,
        json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {},
        read_curves(table) if table.is_file() else {},
        stage,
        json.loads((folder / stage / "metrics.json").read_text("utf-8")) if stage else {},
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
