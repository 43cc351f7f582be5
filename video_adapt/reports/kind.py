"""What a report has to know of a kind of run, and the figures of cost that all kinds share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .document import Part
from .runs import Run


class Figure(NamedTuple):
    """A number that a run has, and how it is written.

    Attributes:
        title: What it is.
        value: Reads it off a run; None where the run does not have it.
        unit: Written behind it, with its space.
        digits: Digits behind the point.
        scale: Factor from the value to what is written.
        column: Title where there is little room; empty = the title.
    """

    title: str
    value: Callable[[Run], float | None]
    unit: str = ""
    digits: int = 0
    scale: float = 1.0
    column: str = ""

    def mean(self, runs: Sequence[Run]) -> float | None:
        """Mean over some runs, scaled; None if one of them does not have it."""
        values = self._values(runs)
        return None if values is None else float(np.mean(values))

    def spread(self, runs: Sequence[Run]) -> float:
        """Sample standard deviation over some runs, scaled; 0 where there is none."""
        values = self._values(runs)
        return 0.0 if values is None or len(values) < 2 else float(np.std(values, ddof=1))

    def text(self, runs: Sequence[Run]) -> str:
        """The mean as text, with the spread where the runs differ."""
        mean, spread = self.mean(runs), f"{self.spread(runs):,.{self.digits}f}"
        if mean is None:
            return "–"
        digits = f"{mean:,.{self.digits}f}"
        return f"{digits}{self.unit}" if float(spread) == 0 else f"{digits} ± {spread}{self.unit}"

    def _values(self, runs: Sequence[Run]) -> list[float] | None:
        found = [self.value(run) for run in runs]
        known = [self.scale * value for value in found if value is not None]
        return known if len(known) == len(found) else None


def measured(title: str, key: str, column: str = "") -> Figure:
    """A share that the evaluation wrote, in percent."""
    return Figure(title, lambda run: run.results.get(key), "%", 1, 100.0, column)


@dataclass(frozen=True)
class Kind:
    """A kind of run: what its evaluation leaves and what is shown of it.

    Attributes:
        name: In a word.
        files: Files of the evaluation that tell this kind from others.
        headline: Name under which the figure that decides is logged, below ``val/``.
        figures: Figures of the evaluation for the table of one run.
        columns: Those that a comparison shows, the headline first.
        learning: Title of the validation curves.
        curves: Title of every logged figure among them by its name, below ``val/``.
        summary: What came out, in a sentence or two; asked of evaluated runs only.
        parts: Pictures and examples of an evaluated run, written to a folder.
        percent: Factor from what is logged to percent.
        legend: Sentences that explain the columns, each with a space behind it.
    """

    name: str
    files: tuple[str, ...]
    headline: str
    figures: Callable[[Run], Sequence[Figure]]
    columns: tuple[Figure, ...]
    learning: str
    curves: Callable[[Run], Mapping[str, str]]
    summary: Callable[[Run], str]
    parts: Callable[[Run, Path], list[Part]]
    percent: float = 100.0
    legend: str = ""


TRAINED = Figure(
    "trained parameters", lambda run: run.last("cost/trained_parameters"), column="trained"
)
TOTAL = Figure("all parameters", lambda run: run.last("cost/total_parameters"))
MACS = Figure(
    "multiply-adds of a view", lambda run: run.last("cost/multiply_adds"), " G", 3, 1e-9, "GMACs"
)
MEMORY = Figure("peak memory of training", lambda run: run.peak_memory, " MiB", column="memory")
STEP = Figure("step", lambda run: run.median("cost/step_ms"), " ms", 1)
CHECKPOINT = Figure("checkpoint", lambda run: run.checkpoint_bytes, " MB", 2, 1e-6)
WAIT = Figure(
    "time spent waiting for data", lambda run: run.median("data/wait_share"), "%", 1, 100.0
)
MILLIONS = TRAINED._replace(unit=" M", digits=3, scale=1e-6, column="")

COSTS_OF_ONE = (TRAINED, TOTAL, MACS, MEMORY, STEP, CHECKPOINT, WAIT)
COSTS_TO_COMPARE = (TRAINED, MACS, MEMORY, STEP, CHECKPOINT)
COSTS_AS_BARS = (MILLIONS, STEP, MEMORY)
