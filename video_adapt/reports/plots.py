"""Pictures of runs: how one learnt, and how several compare."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from video_adapt.metrics import house_style, save_figure
from video_adapt.metrics.plots import BLUE, CYCLE, INK, MUTED, shorten

from .kind import COSTS_AS_BARS, Kind
from .runs import Curve, Run
from .seeds import Experiment

__all__ = ["bars", "plot_comparison", "plot_learning", "plot_learning_together", "save_figure"]

_STROKES = ("-", "--", ":", "-.")  # of each round of colours


def plot_learning(run: Run, kind: Kind) -> Figure | None:
    """Draw training loss and the validation of a run; None if it logged neither."""
    loss = run.curves.get("train/loss")
    named = {title: run.curves.get(f"val/{name}") for name, title in kind.curves(run).items()}
    validation = {title: curve for title, curve in named.items() if curve is not None}
    panels = [panel for panel in (loss, validation) if panel]
    if not panels:
        return None
    with house_style():
        figure = Figure(figsize=(5.2 * len(panels), 3.1), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(panels)))
        if loss is not None:
            _draw_loss(axes[0], loss)
        if validation:
            _draw_validation(axes[-1], validation, kind)
    return figure


def plot_comparison(experiments: Sequence[Experiment], kind: Kind) -> Figure:
    """Draw the result and the cost of several experiments as bars, one row for each."""
    figures = {
        f"{figure.column or figure.title}, {figure.unit.strip()}": figure
        for figure in (*kind.columns[:1], *COSTS_AS_BARS)
    }
    return bars(
        [experiment.title for experiment in experiments],
        {title: [f.mean(e.runs) for e in experiments] for title, f in figures.items()},
        {title: [f.spread(e.runs) for e in experiments] for title, f in figures.items()},
    )


def bars(
    names: Sequence[str],
    panels: Mapping[str, Sequence[float | None]],
    spreads: Mapping[str, Sequence[float]] | None = None,
    *,
    alike: bool = False,
) -> Figure:
    """Draw one row per name and one panel of bars per quantity.

    Args:
        names: Names of the rows.
        panels: Values of the rows by the title of their panel, at least one; None = not known.
        spreads: How far the values spread to either side, by the same titles; None = not at all.
        alike: Whether the panels show the same quantity, hence on the same scale.
    """
    none = [0.0] * len(names)
    with house_style():
        size = (1.4 + 2.4 * len(panels), 0.95 + 0.42 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        colors = [BLUE, *[MUTED] * (len(panels) - 1)]
        for axes, color, (title, values) in zip(row, colors, panels.items(), strict=True):
            _draw_bars(axes, title, values, color, (spreads or {}).get(title, none))
        if alike:
            widest = max(axes.get_xlim()[1] for axes in row)
            for axes in row:
                axes.set_xlim(0, widest)
        row[0].set_yticks(range(len(names)), [shorten(name, 30) for name in names], color=INK)
        row[0].set_ylim(len(names) - 0.45, -0.55)
    return figure


def plot_learning_together(experiments: Sequence[Experiment], kind: Kind) -> Figure | None:
    """Draw the deciding figure of several experiments over their steps; None without any.

    Runs that differ in their seed alone share a colour and a stroke; one evaluation is a dot.
    """
    name = f"val/{kind.headline}"
    curves = {
        experiment.title: [run.curves[name] for run in experiment.runs if name in run.curves]
        for experiment in experiments
    }
    if not any(curves.values()):
        return None
    with house_style():
        figure = Figure(figsize=(8.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (title, seeds) in enumerate(curves.items()):
            for place, curve in enumerate(seeds):
                axes.plot(
                    curve.step,
                    kind.percent * curve.value,
                    color=CYCLE[number % len(CYCLE)],
                    linestyle=_STROKES[number // len(CYCLE) % len(_STROKES)],
                    marker="o" if len(curve.step) == 1 else None,
                    clip_on=False,
                    label=shorten(title, 30) if place == 0 else None,
                    linewidth=2.0 if len(seeds) == 1 else 1.2,
                )
        _finish_validation(axes, f"validation {kind.columns[0].title}")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.8)
    return figure


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
    axes.set_xlim(left=0)


def _draw_validation(axes: Axes, curves: Mapping[str, Curve], kind: Kind) -> None:
    for color, (name, curve) in zip(CYCLE, curves.items(), strict=False):
        marker = "o" if len(curve.step) < 40 else None
        values = kind.percent * curve.value
        text = f"{name}  {values[-1]:.1f} %"
        axes.plot(curve.step, values, color=color, marker=marker, ms=3.5, label=text)
    _finish_validation(axes, kind.learning)
    axes.legend(loc="best")


def _finish_validation(axes: Axes, title: str) -> None:
    """Percent from 0 to 100, or to what is reached where that is less than half."""
    highest = max(float(np.max(line.get_ydata())) for line in axes.get_lines())
    axes.set_title(f"{title}, %")
    axes.set_xlabel("optimiser step")
    axes.set_ylim(0, 102 if highest > 50 else max(1.2 * highest, 1.0))
    axes.margins(x=0.01)
    axes.set_xlim(left=0)


def _draw_bars(
    axes: Axes,
    title: str,
    values: Sequence[float | None],
    color: str,
    spreads: Sequence[float],
) -> None:
    known = [0.0 if value is None else value for value in values]
    ends = [value + spread for value, spread in zip(known, spreads, strict=True)]
    largest = max([*ends, 1e-9])
    axes.barh(range(len(known)), known, color=color, height=0.6)
    for place, (value, spread) in enumerate(zip(values, spreads, strict=True)):
        text = "unknown" if value is None else _short(value)
        if spread:
            axes.errorbar(known[place], place, xerr=spread, color=INK, capsize=3, linewidth=1.2)
            digits = len(text.partition(".")[2])
            text += f" ± {spread:,.{digits}f}"
        axes.text(ends[place] + 0.02 * largest, place, text, va="center", fontsize=8.5)
    axes.set_title(title, fontsize=9.5)
    axes.set_xlim(0, (1.5 if any(spreads) else 1.28) * largest)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over a centred window that is cut at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - width, 0), np.minimum(place + width + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
