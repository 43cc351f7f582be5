"""Sheets of hits: the frames that each vector was made of, and how much each frame counts in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from video_adapt.errors import VideoDecodeError
from video_adapt.metrics import house_style
from video_adapt.metrics.plots import BLUE, INK, MUTED, PALE, RED, shorten

from .recognise import clock
from .search_model import Look
from .searcher import Hit, Searcher

# All in inches.
_WIDTH, _MARGIN, _GAP = 12.0, 0.12, 0.05
_STRIP = _WIDTH - 2 * _MARGIN
_HEADER, _TITLE, _BELOW, _TALLEST, _BAR = 0.62, 0.3, 0.42, 1.25, 0.07
_MOST_FRAMES = 12
_EQUAL = "this student weights all frames the same"
_CHOSEN = "bars: share of each frame in the vector that was compared; the full one counts most"


class SheetHit(NamedTuple):
    """A hit with what is drawn of it.

    Attributes:
        hit: The hit.
        look: Its frames; None if its video cannot be read any more.
        problem: Why not.
    """

    hit: Hit
    look: Look | None
    problem: str = ""


def look_at(search: Searcher, hits: Sequence[Hit]) -> list[SheetHit]:
    """Read the frames of hits again; a video that is gone is told, not raised."""
    seen = []
    for hit in hits:
        try:
            seen.append(SheetHit(hit, search.look(hit)))
        except VideoDecodeError as error:
            seen.append(SheetHit(hit, None, str(error)))
    return seen


def plot_hits(query: str, hits: Sequence[SheetHit]) -> Figure:
    """Draw a row of frames for every hit, and below every frame its share in the vector.

    Of more than 12 frames those that count most are drawn, in the order of time.

    Args:
        query: What was looked for.
        hits: What was found, best first.
    """
    rows = [_row_height(hit.look) for hit in hits]
    height = _HEADER + (sum(rows) or _TITLE) + _MARGIN
    known = [hit.look.attentive for hit in hits if hit.look is not None]
    with house_style():
        figure = Figure(figsize=(_WIDTH, height))
        left, top = _MARGIN / _WIDTH, 1 - 0.26 / height
        figure.text(left, top, shorten(query, 105), weight="bold", fontsize=13)
        note = (_CHOSEN if any(known) else _EQUAL) if known else ""
        figure.text(left, top - 0.24 / height, note, color=MUTED, fontsize=9)
        above = _HEADER
        for rank, (hit, row) in enumerate(zip(hits, rows, strict=True), start=1):
            box = (left, 1 - (above + row) / height, 1 - 2 * left, row / height)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            _draw_hit(axes, rank, hit, row)
            above += row
        if not hits:
            figure.text(left, _MARGIN / height, "nothing found", color=MUTED)
    return figure


def _row_height(look: Look | None) -> float:
    return _TITLE + (0.3 if look is None else _frame_size(look)[1] + _BELOW)


def _frame_size(look: Look) -> tuple[float, float]:
    """Width and height of a frame: as many as are drawn fit side by side."""
    aspect = look.frames.shape[-1] / look.frames.shape[-2]
    count = max(min(len(look.frames), _MOST_FRAMES), 6)
    tall = min((_STRIP - (count - 1) * _GAP) / count / aspect, _TALLEST)
    return tall * aspect, tall


def _draw_hit(axes: Axes, rank: int, shown: SheetHit, height: float) -> None:
    hit, look = shown.hit, shown.look
    name = shorten("/".join(Path(hit.video).parts[-2:]), 70)
    axes.text(0, height - 0.16, f"{rank}   {name}", weight="bold", fontsize=10)
    facts = f"{clock(hit.start_s)} – {clock(hit.end_s)}     score {hit.score:.3f}"
    if look is None:
        axes.text(0, height - 0.4, shorten(shown.problem, 140), color=RED, fontsize=8.5)
    else:
        drawn = min(len(look.frames), _MOST_FRAMES)
        if drawn < len(look.frames):
            facts = f"the {drawn} of {len(look.frames)} frames that count most     {facts}"
        _draw_frames(axes, look, height - _TITLE)
    axes.text(_STRIP, height - 0.16, facts, color=MUTED, fontsize=9, ha="right")
    axes.set_xlim(0, _STRIP)
    axes.set_ylim(0, height)


def _draw_frames(axes: Axes, look: Look, top: float) -> None:
    """Frames in the order of time, the one that counts most framed; bars are shares of the row."""
    wide, tall = _frame_size(look)
    chosen = look.weights.topk(min(len(look.frames), _MOST_FRAMES)).indices
    chosen = chosen[torch.as_tensor(look.times_s[chosen.numpy()]).argsort()]
    most = float(look.weights.max())
    for place, number in enumerate(chosen.tolist()):
        left, share = place * (wide + _GAP), float(look.weights[number])
        best = look.attentive and share == most
        picture = look.frames[number].permute(1, 2, 0).numpy()
        axes.imshow(picture, extent=(left, left + wide, top - tall, top), aspect="auto")
        frame = Rectangle((left, top - tall), wide, tall, fill=False, edgecolor=BLUE, linewidth=2.5)
        frame.set_visible(best)
        axes.add_patch(frame)
        bar = top - tall - 0.06 - _BAR
        axes.add_patch(Rectangle((left, bar), wide, _BAR, color=PALE, linewidth=0))
        color = BLUE if look.attentive else MUTED
        axes.add_patch(Rectangle((left, bar), wide * share / most, _BAR, color=color, linewidth=0))
        text: Any = {"fontsize": 7.5, "va": "top", "color": INK if best else MUTED}
        axes.text(left, bar - 0.04, f"{share:.0%}", weight="bold" if best else "normal", **text)
        axes.text(left + wide, bar - 0.04, clock(float(look.times_s[number])), ha="right", **text)
