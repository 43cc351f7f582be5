"""Pictures of a detector: precision and recall, classes, kinds of error, false alarms."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .detection_errors import ErrorKind
from .detection_map import DetectionResult
from .operating_points import Calibration, OperatingCurve, OperatingPoint
from .plots import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    RED,
    SKY,
    house_style,
    shorten,
)

_KIND_STYLE = {
    ErrorKind.RIGHT: ("right", GREEN),
    ErrorKind.MISLOCALISED: ("right class, inexact in time", SKY),
    ErrorKind.DUPLICATE: ("found twice", BLUE),
    ErrorKind.MISCLASSIFIED: ("wrong class, exact in time", ORANGE),
    ErrorKind.CONFUSED: ("wrong class, inexact in time", RED),
    ErrorKind.BACKGROUND: ("nothing there", PALE),
}
_MARKED_PRECISIONS = (0.5, 0.7, 0.9)
_COLOURED_CLASSES = 6
_STEPS: Any = {"drawstyle": "steps-pre"}  # the precision that a recall above the last one needs


def plot_precision_recall(
    overall: OperatingCurve, classes: Sequence[OperatingCurve], class_names: Sequence[str]
) -> Figure:
    """Picture the best precision at each recall or more, of all classes together and of each.

    Up to six classes have a colour each; of more, the three best and the three worst, by the area
    below their curve, are named and the others are pale.

    Args:
        overall: All classes together.
        classes: ``K`` curves; those of classes without events are left out.
        class_names: ``K`` names.
    """
    shown = [k for k, curve in enumerate(classes) if curve.num_events and curve.thresholds.size]
    areas = [np.trapezoid(classes[k].precision, classes[k].recall) for k in shown]
    ordered = [shown[i] for i in np.argsort(areas, kind="stable")[::-1]]
    named = ordered
    if len(ordered) > _COLOURED_CLASSES:
        half = _COLOURED_CLASSES // 2
        named = ordered[:half] + ordered[-half:]
    with house_style():
        figure = Figure(figsize=(7.6, 4.8))
        axes = figure.subplots()
        for k in ordered:
            if k not in named:
                axes.plot(*_envelope(classes[k]), color="#C6D0D8", linewidth=1.0, **_STEPS)
        for k, color in zip(named, CYCLE, strict=False):
            label = shorten(class_names[k])
            axes.plot(*_envelope(classes[k]), color=color, linewidth=1.3, label=label, **_STEPS)
        axes.plot(*_envelope(overall), color=INK, linewidth=2.8, label="all classes", **_STEPS)
        _percent_scale(axes, "x", "events found (recall)")
        _percent_scale(axes, "y", "detections right (precision)")
        title = "Precision and recall"
        if len(named) < len(ordered):
            title += f": best and worst of {len(ordered)} classes"
        axes.set_title(title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def plot_class_ap(result: DetectionResult, class_names: Sequence[str], *, most: int = 40) -> Figure:
    """Picture the average precision of every class, best first.

    Args:
        result: Of :class:`DetectionMAP`, with at least one class.
        class_names: ``K`` names.
        most: With more classes than this, only the worst are drawn.
    """
    mean = result.ap.mean(axis=1)
    order = np.argsort(-mean, kind="stable")[-most:]
    names = [shorten(class_names[k]) for k in result.labels[order]]
    rows = np.arange(order.size)
    loose, strict = np.argmin(result.thresholds), np.argmax(result.thresholds)
    with house_style():
        figure = Figure(figsize=(7.6, 1.3 + 0.27 * order.size))
        axes = figure.subplots()
        axes.barh(rows, mean[order], height=0.66, color="#9CCBE6", label="mean over tIoU")
        if loose != strict:
            span = result.ap[order][:, [strict, loose]]
            axes.hlines(rows, span.min(axis=1), span.max(axis=1), color=BLUE, linewidth=1.2)
            for column, color in ((loose, BLUE), (strict, INK)):
                label = f"tIoU {result.thresholds[column]:g}"
                axes.plot(
                    result.ap[order, column], rows, "o", color=color, markersize=4.2, label=label
                )
        for row, k in zip(rows, order, strict=True):
            right = max(float(result.ap[k].max()), float(mean[k]))
            text = f"{100 * mean[k]:.0f}"
            axes.text(right + 0.015, float(row), text, va="center", color=INK, fontsize=8.5)
        axes.set_yticks(
            rows, [f"{n} ({c})" for n, c in zip(names, result.num_events[order], strict=True)]
        )
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        _percent_scale(axes, "x", "average precision (behind the name: number of events)", 1.08)
        axes.set_title(_ap_title(result, order.size))
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def plot_error_profile(profile: NDArray[np.int64], multiples: Sequence[int]) -> Figure:
    """Picture what the most confident detections are, as shares.

    Args:
        profile: Of :func:`error_profile` ``[len(multiples), 6]``.
        multiples: Detections looked at, as multiples of the number of events.
    """
    totals = profile.sum(axis=1)
    grows = np.diff(totals, prepend=0) > 0  # there may not be as many detections as asked for
    shares = profile[grows] / totals[grows, None]
    names = [f"{multiple} G" for multiple in np.array(multiples)[grows]]
    ticks = np.arange(len(names))
    with house_style():
        figure = Figure(figsize=(7.6, 4.2))
        axes = figure.subplots()
        bottom = np.zeros(len(names))
        for kind, (label, color) in _KIND_STYLE.items():
            share = shares[:, kind]
            axes.bar(ticks, share, bottom=bottom, width=0.82, color=color, label=label)
            _write_shares(axes, share, bottom, "white" if color in (GREEN, BLUE, RED) else INK)
            bottom += share
        axes.grid(visible=False, axis="x")
        axes.set_xticks(ticks, names)
        _percent_scale(axes, "y", "", 1.0)
        axes.set_xlabel("best detections, in multiples of the number of events G")
        axes.set_title("What the most confident detections are")
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[::-1],
            labels[::-1],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
        )
    return figure


def plot_false_alarms(curve: OperatingCurve, calibration: Calibration) -> Figure:
    """Picture how many events are found at how many false alarms per hour.

    Args:
        curve: All classes together.
        calibration: Thresholds for all classes, of which some are marked.
    """
    least = 0.5 / curve.hours  # no false alarm at all, on an axis that has no 0
    with house_style():
        figure = Figure(figsize=(7.6, 4.4))
        axes = figure.subplots()
        rate = np.maximum(curve.false_alarms_per_hour, least)
        axes.step(rate, curve.recall, where="post", color=BLUE)
        targets = zip(calibration["precision"], calibration["overall"], strict=True)
        reached = [(target, limit) for target, limit in targets if limit is not None]
        marked = [pair for pair in reached if pair[0] in _MARKED_PRECISIONS]
        for (precision, threshold), color in zip(marked, (RED, ORANGE, GREEN), strict=False):
            point = curve.at(threshold)
            place = max(point.false_alarms_per_hour, least), point.recall or 0.0
            axes.plot(*place, "o", color=color, markersize=7, label=_point_text(precision, point))
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("false alarms per hour of video")
        _percent_scale(axes, "y", "events found (recall)")
        axes.set_title("What it finds, and what that costs in false alarms")
        if marked:
            axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14))
    return figure


def _point_text(precision: float, point: OperatingPoint) -> str:
    words = (
        f"{100 * precision:.0f} % precision: score ≥ {point.threshold:.2f}",
        f"finds {100 * (point.recall or 0.0):.0f} %",
        f"{point.false_alarms_per_hour:.3g} false alarms per hour",
    )
    return ", ".join(words)


def _envelope(curve: OperatingCurve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and the best precision at no less recall, whose area is the average precision."""
    best = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(0.0, curve.recall), np.append(best[:1], best)


def _percent_scale(axes: Axes, which: Literal["x", "y"], label: str, most: float = 1.02) -> None:
    ticks, names = np.linspace(0, 1, 6), [f"{value} %" for value in range(0, 101, 20)]
    axes.set(**{f"{which}lim": (0, most), f"{which}label": label})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(ticks, names)


def _write_shares(
    axes: Axes, share: NDArray[np.float64], bottom: NDArray[np.float64], color: str
) -> None:
    for tick, (part, below) in enumerate(zip(share, bottom, strict=True)):
        if part >= 0.05:
            text = f"{100 * part:.0f}"
            axes.text(
                tick, below + part / 2, text, ha="center", va="center", color=color, fontsize=8.5
            )


def _ap_title(result: DetectionResult, shown: int) -> str:
    average = result.average_map or 0.0
    low, high = min(result.thresholds), max(result.thresholds)
    at = f"tIoU {low:g}" if low == high else f"tIoU {low:g} to {high:g}"
    title = f"mAP {100 * average:.1f} % at {at}"
    if shown < result.labels.size:
        title += f"; the {shown} worst of {result.labels.size} classes"
    return title
