"""What was found in a video, and when: frames over time, and bars below them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from video_adapt.metrics import house_style, save_figure
from video_adapt.metrics.plots import CYCLE, INK, MUTED, shorten
from video_adapt.video import VideoReader

from .detections import Detection

RGB = tuple[float, float, float]

# All in inches.
_WIDTH, _LEFT, _RIGHT = 12.0, 1.9, 1.05
_TIME = _WIDTH - _LEFT - _RIGHT
_HEADER, _STRIP, _GAP, _AXIS = 0.46, 0.9, 0.27, 0.34
_LANE, _TRUTH_LANE, _BETWEEN = 0.2, 0.085, 0.09
_NARROWEST = 0.022  # seconds of an hour have to be seen
_TEXT, _BESIDE = 0.36, 0.09  # room that a score takes, and before the numbers on the right
_MOST_CLASSES, _TALL = 20, 8
_BACKGROUND = "#F5F7F9"
_FAINTEST = 0.12
_LEAST_WRITTEN = 0.1
_COLORS = CYCLE[:-1]  # the last one is that of the ground truth
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


def draw_timeline(
    path_of_video: str | Path,
    detections: Sequence[Detection],
    *,
    ground_truth: Sequence[Detection] | None = None,
    out: Path,
) -> Path:
    """Picture the detections of one video as a PNG.

    Args:
        path_of_video: The file.
        detections: What was found in it.
        ground_truth: What really happens, drawn as thin dark bars above; its scores do not count.
        out: The file to write; its folder is made if need be.

    Returns:
        The path of the picture.

    Raises:
        VideoDecodeError: If the video cannot be read.
    """
    with VideoReader(path_of_video, short_side=180) as reader:
        info = reader.info
        count = frames_in_strip(info.width / info.height)
        frames = reader.frames_at_times((np.arange(count) + 0.5) * info.duration_s / count)
    title = Path(path_of_video).name
    return save_figure(plot_timeline(title, frames, info.duration_s, detections, ground_truth), out)


def frames_in_strip(aspect: float) -> int:
    """Frames of a shape (width by height) that fill the strip side by side."""
    return max(1, round(_TIME / (_STRIP * aspect)))


def plot_timeline(
    title: str,
    frames: Tensor | None,
    duration_s: float,
    detections: Sequence[Detection],
    ground_truth: Sequence[Detection] | None = None,
) -> Figure:
    """Draw frames over bars, one row per class; the stronger the colour, the higher the score.

    Of more than 20 classes those with the best detections are drawn.

    Args:
        title: Usually the name of the file.
        frames: One from the middle of each of ``T`` equal parts, uint8 ``[T, C, H, W]``; None
            leaves them out, as where only the video's features are known.
        duration_s: Length of the video in seconds.
        detections: What was found.
        ground_truth: What really happens; None where nobody said.
    """
    rows = _rows(detections, ground_truth or ())
    lanes = _LANE + _BETWEEN + (0.0 if ground_truth is None else _TRUTH_LANE)
    strip = 0.0 if frames is None else _TIME / len(frames) * frames.shape[2] / frames.shape[3]
    below = max(len(rows), 1) * lanes
    height = _HEADER + strip + _GAP + below + _AXIS
    left, width = _LEFT / _WIDTH, _TIME / _WIDTH
    with house_style():
        figure = Figure(figsize=(_WIDTH, height))
        bottom = (_AXIS + below + _GAP) / height
        if frames is not None:
            _draw_frames(figure.add_axes((left, bottom, width, strip / height)), frames)
        axes = figure.add_axes((left, _AXIS / height, width, below / height))
        _draw_time(axes, duration_s, above=len(rows) > _TALL)
        _draw_rows(axes, rows, lanes)
        top = 1 - 0.3 / height
        figure.text(left, top, shorten(title, 80), weight="bold", fontsize=11.5)
        summary = _summary(rows, detections, ground_truth)
        figure.text(left + width, top, summary, color=MUTED, ha="right")
    return figure


class _Row(NamedTuple):
    """A class: its name and what was found and what is true of it."""

    name: str
    found: list[Detection]
    truth: list[Detection]


def _rows(detections: Sequence[Detection], truth: Sequence[Detection]) -> list[_Row]:
    """The classes to draw, in the order in which they begin."""
    found, true = _by_label(detections), _by_label(truth)
    labels = sorted(
        {*found, *true}, key=lambda label: -max((d.score for d in found.get(label, ())), default=0)
    )
    rows = [
        _Row(shorten(label, 24), found.get(label, []), true.get(label, []))
        for label in labels[:_MOST_CLASSES]
    ]
    return sorted(rows, key=lambda row: min(d.start_s for d in (row.truth or row.found)))


def _by_label(detections: Sequence[Detection]) -> dict[str, list[Detection]]:
    """Detections of each label, best last, so that it is drawn on top."""
    groups: dict[str, list[Detection]] = {}
    for found in sorted(detections, key=lambda d: d.score):
        groups.setdefault(found.label, []).append(found)
    return groups


def _draw_frames(axes: Axes, frames: Tensor) -> None:
    """Side by side without gaps: each covers the time from the middle of which it is."""
    for number, frame in enumerate(frames):
        extent = (number, number + 1, 0, 1)
        axes.imshow(frame.permute(1, 2, 0).numpy(), extent=extent, aspect="auto")
    axes.set_xlim(0, len(frames))
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    axes.vlines(range(1, len(frames)), 0, 1, color="white", linewidth=1.0)


def _draw_time(axes: Axes, duration_s: float, *, above: bool) -> None:
    """Times below the rows, and above them too where the way up to the frames is long."""
    step_s = next((s for s in _STEPS_S if duration_s / s <= 12), _STEPS_S[-1])
    ticks = np.arange(0, duration_s + 1e-6, step_s)
    axes.set_xlim(0, duration_s)
    axes.set_xticks(ticks, [clock(float(t), duration_s, step_s) for t in ticks])
    axes.tick_params(axis="x", labeltop=above, labelsize=8.5, pad=4)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines[:].set_visible(False)


def clock(time_s: float, duration_s: float, step_s: float) -> str:
    """``mm:ss``, with hours for videos of an hour and tenths for steps below a second."""
    minutes, seconds = divmod(time_s + 1e-6, 60)
    tail = f"{int(seconds):02d}" if step_s >= 1 else f"{seconds:04.1f}"
    if duration_s < 3600:
        return f"{int(minutes):02d}:{tail}"
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{tail}"


def _draw_rows(axes: Axes, rows: Sequence[_Row], height: float) -> None:
    """Rows of a height in inches, the first on top."""
    below = max(len(rows), 1) * height
    duration_s = axes.get_xlim()[1]
    axes.set_ylim(below, 0.0)
    axes.set_yticks([(n + 0.5) * height for n in range(len(rows))], [row.name for row in rows])
    axes.tick_params(axis="y", labelcolor=INK, pad=7)
    for number, row in enumerate(rows):
        _draw_row(axes, row, number * height, height, _COLORS[number % len(_COLORS)])
    if rows:
        header_s = duration_s * (1 + _BESIDE / _TIME)
        axes.text(header_s, -0.06, "found · best", fontsize=7, color=MUTED)
    else:
        axes.axhspan(0.0, below, color=_BACKGROUND)
        axes.text(0.5 * duration_s, 0.5 * below, "nothing found", ha="center", va="center")


def _draw_row(axes: Axes, row: _Row, top: float, height: float, color: str) -> None:
    """Truth in the upper lane, detections below it, number and best score on the right."""
    seconds = axes.get_xlim()[1] / _TIME  # of an inch
    lane = top + height - _BETWEEN / 2 - _LANE  # upper edge
    axes.axhspan(top + 0.015, top + height - 0.015, color=_BACKGROUND, zorder=0)
    for true in row.truth:
        _draw_bar(axes, true, lane - _TRUTH_LANE, _TRUTH_LANE - 0.02, to_rgb(INK))
    for found in row.found:
        _draw_bar(axes, found, lane, _LANE, _faded(color, found.score))
    for found in _with_room(row.found, _TEXT * seconds):
        axes.text(
            found.start_s + 0.05 * seconds,
            lane + _LANE / 2,
            f"{found.score:.2f}",
            color=_readable_on(_faded(color, found.score)),
            fontsize=7,
            va="center_baseline",
        )
    if row.found:
        text = f"{len(row.found)} · {row.found[-1].score:.2f}"
        axes.text(
            axes.get_xlim()[1] + _BESIDE * seconds, lane + _LANE / 2, text, va="center", fontsize=8
        )


def _draw_bar(axes: Axes, of: Detection, top: float, height: float, color: RGB) -> None:
    narrowest_s = _NARROWEST * axes.get_xlim()[1] / _TIME
    left, length_s = of.start_s, max(of.end_s - of.start_s, narrowest_s)
    # A hair of white tells bars apart that lie on one another.
    axes.barh(top, length_s, height, left, align="edge", color=color, edgecolor="white", lw=0.4)


def _with_room(best_last: Sequence[Detection], room_s: float) -> Iterator[Detection]:
    """Detections whose beginning is long enough for a text and not hidden by a better one."""
    better: list[Detection] = []
    for found in reversed(best_last):
        end_s = found.start_s + room_s
        hidden = any(b.start_s < end_s and found.start_s < b.end_s for b in better)
        if end_s <= found.end_s and found.score >= _LEAST_WRITTEN and not hidden:
            yield found
        better.append(found)


def _faded(color: str, score: float) -> RGB:
    """The colour at the score's opacity on white; true transparency would add up where bars lie."""
    opacity = max(score, _FAINTEST)
    red, green, blue = (1 - opacity * (1 - part) for part in to_rgb(color))
    return red, green, blue


def _readable_on(color: RGB) -> str:
    """White or ink, whichever stands out from a colour, by its luma."""
    red, green, blue = color
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.62 else INK


def _summary(
    rows: Sequence[_Row], detections: Sequence[Detection], truth: Sequence[Detection] | None
) -> str:
    labels = {d.label for d in (*detections, *(truth or ()))}
    parts = [f"{len(detections)} found"]
    if truth is not None:
        parts.append(f"{len(truth)} true (dark)")
    if len(rows) < len(labels):
        parts.append(f"the best {len(rows)} of {len(labels)} classes")
    return " · ".join(parts)
