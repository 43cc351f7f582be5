"""Two runs, figure by figure and row by row."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from video_adapt.reports.runs import Curve, read_curves

# What a clock or the machine's load decides, in every run anew.
_MEASURED = re.compile(r"memory/|data/|cost/(?!trained_parameters|total_parameters|multiply_adds)")


class Figure(NamedTuple):
    """A figure of two runs.

    Attributes:
        name: As it was logged or written.
        values: Number of values compared.
        apart: Largest difference; None where there is nothing to subtract.
        where: Where the first difference is; empty where there is none.
    """

    name: str
    values: int
    apart: float | None = 0.0
    where: str = ""

    @property
    def equal(self) -> bool:
        """Whether no value differs by more than is tolerated."""
        return not self.where


def compare_tables(then: Path, now: Path, tolerance: float) -> list[Figure]:
    """Compare every figure of two ``metrics.csv`` that is no timing and no memory.

    Args:
        then: Table of the first run.
        now: Table of the second.
        tolerance: Difference that counts as none, absolute plus relative; 0 = equal bits.
    """
    first, second = read_curves(then), read_curves(now)
    names = [name for name in {**first, **second} if not _MEASURED.match(name)]
    return [
        _compare_curves(name, first.get(name), second.get(name), tolerance)
        for name in sorted(names)
    ]


def compare_results(then: Path, now: Path, tolerance: float) -> list[Figure]:
    """Compare every value of two ``metrics.json``; tolerance as in :func:`compare_tables`."""
    first, second = (
        dict(_leaves(json.loads(path.read_text(encoding="utf-8")))) for path in (then, now)
    )
    return [
        _compare_values(name, first.get(name), second.get(name), tolerance)
        for name in {**first, **second}
    ]


def _compare_curves(name: str, then: Curve | None, now: Curve | None, tolerance: float) -> Figure:
    if then is None or now is None:
        where = "in the first run only" if now is None else "in the second run only"
        return Figure(name, 0, None, where)
    shared = min(len(then.step), len(now.step))
    off = then.step[:shared] != now.step[:shared]
    if off.any() or len(then.step) != len(now.step):
        row = int(off.argmax()) if off.any() else shared
        where = f"value {row + 1}: {_step(then, row)}, again {_step(now, row)}"
        return Figure(name, shared, None, where)
    close = np.isclose(now.value, then.value, rtol=tolerance, atol=tolerance, equal_nan=True)
    if close.all():
        return Figure(name, shared)
    first = int((~close).argmax())
    apart = float(np.abs(now.value - then.value)[~close].max())
    where = f"step {then.step[first]:g}: {then.value[first]:.9g}, again {now.value[first]:.9g}"
    return Figure(name, shared, apart if np.isfinite(apart) else None, where)


def _step(curve: Curve, row: int) -> str:
    return f"at step {curve.step[row]:g}" if row < len(curve.step) else "none"


def _compare_values(name: str, then: Any, now: Any, tolerance: float) -> Figure:
    if isinstance(then, int | float) and isinstance(now, int | float):
        if np.isclose(now, then, rtol=tolerance, atol=tolerance, equal_nan=True):
            return Figure(name, 1)
        return Figure(name, 1, abs(now - then), f"{then:.9g}, again {now:.9g}")
    if then == now:
        return Figure(name, 1)
    return Figure(name, 1, None, f"{then!r}, again {now!r}")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a JSON file by its place: ``t2v.R@1``."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{number}]")
    else:
        yield name, value
