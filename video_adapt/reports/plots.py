"""Pictures of runs: how one learnt, and how several compare."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from video_adapt.metrics import house_style, save_figure
from video_adapt.metrics.plots import BLUE, CYCLE, INK, MUTED, shorten

from .runs import Curve, Run

__all__ = ["bars", "plot_comparison", "plot_learning", "plot_learning_together", "save_figure"]


def plot_learning(run: Run) -> Figure | None:
    """Draw training loss and validation accuracy of a run; None if it logged neither."""
    loss = run.curves.get("train/loss")
    found = {name: run.curves.get(f"val/{name}") for name in _TITLES}
    accuracy = {name: curve for name, curve in found.items() if curve is not None}
    panels = [panel for panel in (loss, accuracy) if panel]
    if not panels:
        return None
    with house_style():
        figure = Figure(figsize=(5.2 * len(panels), 3.1), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(panels)))
        if loss is not None:
            _draw_loss(axes[0], loss)
        if accuracy:
            _draw_accuracy(axes[-1], accuracy)
    return figure


def plot_comparison(runs: Sequence[Run]) -> Figure:
    """Draw accuracy and cost of several runs as bars, one row per run."""
    return bars(
        [run.name for run in runs],
        {
            "top-1, %": [_scaled(run.results.get("top1"), 100) for run in runs],
            "trained parameters, M": [
                _scaled(run.last("cost/trained_parameters"), 1e-6) for run in runs
            ],
            "step, ms": [run.median("cost/step_ms") for run in runs],
            "peak memory, MiB": [run.peak_memory for run in runs],
        },
    )


def bars(names: Sequence[str], panels: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw one row per name and one panel of bars per quantity.

    Args:
        names: Names of the rows.
        panels: Values of the rows by the title of their panel, at least one; None = not known.
    """
    with house_style():
        size = (1.4 + 2.4 * len(panels), 0.95 + 0.42 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        colors = [BLUE, *[MUTED] * (len(panels) - 1)]
        for axes, color, (title, values) in zip(row, colors, panels.items(), strict=True):
            _draw_bars(axes, title, values, color)
        row[0].set_yticks(range(len(names)), [shorten(name, 30) for name in names], color=INK)
        row[0].set_ylim(len(names) - 0.45, -0.55)
    return figure


def plot_learning_together(runs: Sequence[Run]) -> Figure | None:
    """Draw the validation accuracy of several runs over their steps; None without any."""
    curves = {run.name: run.curves["val/top1"] for run in runs if "val/top1" in run.curves}
    if not curves:
        return None
    with house_style():
        figure = Figure(figsize=(8.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for color, (name, curve) in zip(_colors(len(curves)), curves.items(), strict=True):
            axes.plot(curve.step, 100 * curve.value, color=color, label=shorten(name, 30))
        _finish_accuracy(axes, "validation top-1")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    return figure


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


_TITLES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class"}


def _draw_loss(axes: Axes, loss: Curve) -> None:
    smooth = _running_mean(loss.value, max(1, len(loss.value) // 25))
    noisy = len(loss.value) > 50
    axes.plot(loss.step, loss.value, color="#BCD7E8" if noisy else BLUE, linewidth=1.2)
    if noisy:
        axes.plot(loss.step, smooth, color=BLUE)
    axes.set_title("training loss")
    axes.set_xlabel("optimiser step")
    axes.set_ylim(bottom=0.0)
    axes.margins(x=0.01)


def _draw_accuracy(axes: Axes, curves: dict[str, Curve]) -> None:
    for color, (name, curve) in zip(CYCLE, curves.items(), strict=False):
        marker = "o" if len(curve.step) < 40 else None
        text = f"{_TITLES[name]}  {100 * curve.value[-1]:.1f} %"
        axes.plot(curve.step, 100 * curve.value, color=color, marker=marker, ms=3.5, label=text)
    _finish_accuracy(axes, "validation accuracy")
    axes.legend(loc="lower right")


def _finish_accuracy(axes: Axes, title: str) -> None:
    axes.set_title(f"{title}, %")
    axes.set_xlabel("optimiser step")
    axes.set_ylim(0, 102)
    axes.margins(x=0.01)


def _draw_bars(axes: Axes, title: str, values: Sequence[float | None], color: str) -> None:
    known = [0.0 if value is None else value for value in values]
    largest = max([*known, 1e-9])
    axes.barh(range(len(known)), known, color=color, height=0.6)
    for place, value in enumerate(values):
        text = "unknown" if value is None else _short(value)
        axes.text(known[place] + 0.02 * largest, place, text, va="center", fontsize=8.5)
    axes.set_title(title, fontsize=9.5)
    axes.set_xlim(0, 1.28 * largest)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _colors(count: int) -> list[str]:
    return [CYCLE[number % len(CYCLE)] for number in range(count)]


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over a centred window that is cut at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - width, 0), np.minimum(place + width + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
