"""What a sweep found: a table of its trials, a picture, and the command of the best."""

import csv
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from video_adapt.apps.outputs import whole_file
from video_adapt.apps.sweep_file import Choices, Point, Sweep
from video_adapt.apps.sweep_study import TrialRow
from video_adapt.metrics import house_style, save_figure
from video_adapt.metrics.plots import BLUE, GREEN, INK, MUTED, shorten

from .document import Heading, Paragraph, Part, Picture, Table, to_markdown

_COLUMNS = ("trial", "state", "value", "seconds")
_MOST_PANELS = 6
_PANELS_A_ROW = 4


def best_of(sweep: Sweep, rows: Sequence[TrialRow]) -> TrialRow | None:
    """The complete trial with the best value, the first among equals; None without any."""
    return next(iter(_ranked(sweep, [row for row in rows if row.state == "complete"])), None)


def write_sweep_report(sweep: Sweep, rows: Sequence[TrialRow], out: Path) -> str:
    """Write ``sweep.csv``, ``sweep.md`` and ``sweep.png``.

    Args:
        sweep: What was tried.
        rows: Its trials.
        out: Folder of the sweep.

    Returns:
        What came out, in some lines.
    """
    _write_csv(sweep, rows, out / "sweep.csv")
    picture = save_figure(plot_sweep(sweep, rows), out / "sweep.png")
    best = best_of(sweep, rows)
    parts: list[Part] = [
        Heading(sweep.name, 1),
        Paragraph(_summary(sweep, rows)),
        *_shared(sweep),
        _table(sweep, rows),
        Picture(picture, f"{sweep.metric} of the trials, and by each setting"),
    ]
    if best is not None:
        kept = f"The best trial lies in {best.folder}; the same again:"
        parts += [Paragraph(kept), Paragraph(f"```\n{_command(sweep, best)}\n```")]
    with whole_file(out / "sweep.md") as file:
        file.write(to_markdown(parts, out))
    found = "" if best is None else f"{_command(sweep, best)}\n"
    return f"{_summary(sweep, rows)}\n{found}{out / 'sweep.md'}\n"


def _command(sweep: Sweep, best: TrialRow) -> str:
    words = sweep.words(best.point, best.folder.with_name(f"{best.folder.name}_again"))
    return shlex.join(words)


def _summary(sweep: Sweep, rows: Sequence[TrialRow]) -> str:
    counted = {state: sum(row.state == state for row in rows) for state in _states(rows)}
    states = ", ".join(f"{count} {state}" for state, count in counted.items())
    text = f"{len(rows)} trials of {sweep.program} ({sweep.method}): {states or 'none yet'}."
    best = best_of(sweep, rows)
    if best is None:
        return text
    return (
        f"{text} Best {sweep.metric} {_text(best.value)}, trial {best.number}: "
        f"{describe(sweep, best.point)}."
    )


def describe(sweep: Sweep, point: Point) -> str:
    """What makes a trial differ from others in a line, by the short form of the keys."""
    return ", ".join(f"{_short(name)} {_text(point[name])}" for name in sweep.varied)


def _shared(sweep: Sweep) -> list[Part]:
    fixed = {k: d.values[0] for k, d in sweep.domains.items() if isinstance(d, Choices)}
    same = [f"{_short(k)} {_text(v)}" for k, v in fixed.items() if k not in sweep.varied]
    return [Paragraph(f"In all of them: {', '.join(same)}.")] if same else []


def _states(rows: Sequence[TrialRow]) -> list[str]:
    return list(dict.fromkeys(row.state for row in rows))


def _ranked(sweep: Sweep, rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Best first; without a value last."""
    sign = -1 if sweep.maximize else 1
    return sorted(
        rows, key=lambda r: (r.value is None, sign * (r.value or 0.0), r.state != "complete")
    )


def _write_csv(sweep: Sweep, rows: Sequence[TrialRow], path: Path) -> None:
    with whole_file(path) as file:
        table = csv.writer(file)
        table.writerow([*_COLUMNS, *sweep.domains, "run", "note"])
        for row in rows:
            settings = [row.point.get(name, "") for name in sweep.domains]
            duration = "" if row.duration_s is None else f"{row.duration_s:.1f}"
            value = "" if row.value is None else repr(row.value)
            table.writerow(
                [row.number, row.state, value, duration, *settings, row.folder, row.note]
            )


def _table(sweep: Sweep, rows: Sequence[TrialRow]) -> Table:
    header = ["trial", sweep.metric, "state", "time", *map(_short, sweep.varied)]
    return Table(
        header,
        [
            [
                str(row.number),
                _text(row.value),
                f"{row.state}: {row.note}" if row.note else row.state,
                "–" if row.duration_s is None else f"{row.duration_s:.0f} s",
                *(_text(row.point.get(name)) for name in sweep.varied),
            ]
            for row in _ranked(sweep, rows)
        ],
    )


def _short(name: str) -> str:
    """A dotted key without the words that all of them share."""
    return name.replace("model.", "").replace("init_args.", "")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plot_sweep(sweep: Sweep, rows: Sequence[TrialRow]) -> Figure:
    """Draw the values in the order of the trials, and against every setting that varies.

    Points are complete trials, rings such as were stopped early; of more than six settings the
    first are drawn.
    """
    shown = [row for row in rows if row.value is not None]
    names = sweep.varied[:_MOST_PANELS]
    lines = math.ceil((1 + len(names)) / _PANELS_A_ROW)
    columns = min(_PANELS_A_ROW, 1 + len(names))
    with house_style():
        figure = Figure(figsize=(3.3 * columns, 2.9 * lines), layout="constrained")
        panels = np.atleast_1d(figure.subplots(lines, columns, sharey=True)).ravel().tolist()
        _draw_order(panels[0], sweep, shown)
        for axes, name in zip(panels[1:], names, strict=False):
            _draw_setting(axes, sweep, shown, name)
        for axes in panels[1 + len(names) :]:
            axes.set_visible(False)
    return figure


def _draw_order(axes: Axes, sweep: Sweep, rows: Sequence[TrialRow]) -> None:
    complete = [row for row in rows if row.state == "complete"]
    best = max if sweep.maximize else min
    values = [row.value for row in complete if row.value is not None]
    reached = [best(values[: place + 1]) for place in range(len(values))]
    numbers = [row.number for row in complete]
    axes.step(numbers, reached, where="post", color=GREEN, linewidth=1.4, label="best so far")
    _scatter(axes, rows, numbers=[float(row.number) for row in rows], sweep=sweep)
    axes.set_title(sweep.metric)
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.scatter([], [], s=34, edgecolors=MUTED, facecolors="none", label="stopped early")
    axes.legend(loc="best", fontsize=8)


def _draw_setting(axes: Axes, sweep: Sweep, rows: Sequence[TrialRow], name: str) -> None:
    domain = sweep.domains[name]
    if isinstance(domain, Choices):
        texts = [_text(value) for value in domain.values]
        places = [float(texts.index(_text(row.point[name]))) for row in rows]
        axes.set_xticks(range(len(texts)), [shorten(text, 16) for text in texts], color=INK)
        axes.set_xlim(-0.5, len(texts) - 0.5)
        if max(map(len, texts)) > 24 // len(texts):
            axes.tick_params(axis="x", labelrotation=20)
    else:
        places = [float(row.point[name]) for row in rows]
        if domain.log:
            axes.set_xscale("log")
            axes.tick_params(which="minor", length=0)
    _scatter(axes, rows, places, sweep)
    axes.set_xlabel(shorten(_short(name), 40))


def _scatter(axes: Axes, rows: Sequence[TrialRow], numbers: Sequence[float], sweep: Sweep) -> None:
    best = best_of(sweep, rows)
    for row, place in zip(rows, numbers, strict=True):
        complete = row.state == "complete"
        color = GREEN if row is best else BLUE if complete else MUTED
        face = color if complete else "none"
        axes.scatter([place], [row.value or 0.0], s=34, edgecolors=color, facecolors=face, zorder=3)
