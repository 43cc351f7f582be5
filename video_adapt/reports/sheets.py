"""Contact sheets: what the model saw of each video, beside what it took it for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from video_adapt.metrics import house_style
from video_adapt.metrics.plots import BLUE, GREEN, INK, MUTED, PALE, RED, shorten

_WIDTH, _ROW_HEIGHT, _GAP = 11.0, 1.62, 0.05
_FRAMES, _BARS = 0.64, 0.155
_MOST_ROWS = 60


class SheetRow(NamedTuple):
    """One video, or one stretch of it.

    Attributes:
        title: Usually the name of the file.
        subtitle: Usually the stretch of time.
        frames: Some frames in order, uint8 ``[T, C, H, W]``.
        times_s: Their times in seconds.
        scores: Labels with their probabilities, best first.
        label: What the video really is; None where nobody said.
    """

    title: str
    subtitle: str
    frames: Tensor
    times_s: Sequence[float] | NDArray[np.float64]
    scores: Sequence[tuple[str, float]]
    label: str | None = None


def plot_sheet(rows: Sequence[SheetRow]) -> Figure:
    """Draw one strip of frames per row, its labels as bars on the right.

    A known label colours the best bar green with a check mark, or red with a cross. Of more than
    60 rows every n-th is drawn.
    """
    step = -(-len(rows) // _MOST_ROWS) or 1
    rows = rows[::step]
    height = max(len(rows), 1) * _ROW_HEIGHT
    with house_style():
        figure = Figure(figsize=(_WIDTH, height))
        for number, row in enumerate(rows):
            bottom = 1 - (number + 1) * _ROW_HEIGHT / height
            inner = (_ROW_HEIGHT - 0.62) / height
            strip = figure.add_axes((0.01, bottom + 0.24 / height, _FRAMES, inner))
            bars = figure.add_axes(
                (0.01 + _FRAMES + _BARS, bottom + 0.2 / height, 0.97 - _FRAMES - _BARS, inner)
            )
            top = bottom + (_ROW_HEIGHT - 0.28) / height
            figure.text(0.01, top, shorten(row.title, 70), weight="bold", fontsize=10)
            figure.text(0.01 + _FRAMES, top, row.subtitle, color=MUTED, fontsize=8.5, ha="right")
            _draw_frames(strip, row, inner * height)
            _draw_scores(bars, row)
    return figure


def _draw_frames(axes: Axes, row: SheetRow, height: float) -> None:
    """Frames side by side, each with its time; they share the height and keep their shape."""
    axes.set_axis_off()
    width = _FRAMES * _WIDTH
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    count = max(len(row.frames), 1)
    aspect = row.frames.shape[-1] / row.frames.shape[-2] if len(row.frames) else 1.0
    wide = min(height * aspect, (width - (count - 1) * _GAP) / count)
    tall = wide / aspect
    for number, (frame, time_s) in enumerate(zip(row.frames, row.times_s, strict=True)):
        left = number * (wide + _GAP)
        box = (left, left + wide, height - tall, height)
        axes.imshow(frame.permute(1, 2, 0).numpy(), extent=box, aspect="auto")
        text = f"{float(time_s):.1f} s"
        axes.text(left, height - tall - 0.05, text, color=MUTED, fontsize=7, va="top")
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)


def _draw_scores(axes: Axes, row: SheetRow) -> None:
    right = None if row.label is None else bool(row.scores) and row.scores[0][0] == row.label
    best, mark = {None: (BLUE, ""), True: (GREEN, " ✓"), False: (RED, " ✗")}[right]
    names = [shorten(name, 22) for name, _ in row.scores]
    places = np.arange(len(names))
    axes.barh(places, [1.0] * len(names), color=PALE, height=0.62)
    colors = [best, *[MUTED] * (len(names) - 1)]
    axes.barh(places, [score for _, score in row.scores], color=colors, height=0.62)
    for place, (_, score) in enumerate(row.scores):
        text = f"{score:.0%}" + (mark if place == 0 else "")
        axes.text(1.03, place, text, va="center", fontsize=8, color=INK)
    axes.set_yticks(places, names, fontsize=8)
    for place, label in enumerate(axes.get_yticklabels()):
        label.set_color(INK)
        label.set_fontweight("bold" if place == 0 else "normal")
    if right is False:
        axes.set_title(f"is: {shorten(str(row.label), 30)}", fontsize=8, pad=3, weight="normal")
    axes.set_xlim(0, 1.3)
    axes.set_ylim(max(len(names), 3) - 0.5, -0.5)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
