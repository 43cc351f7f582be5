"""What sentences find: a row of videos for each, best first, the right one marked."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from video_adapt.metrics import house_style
from video_adapt.metrics.plots import GREEN, INK, MUTED, shorten

_WIDTH, _ROW_HEIGHT, _TITLE, _GAP = 11.0, 1.55, 0.3, 0.12  # inches
_BORDER, _MARKED = 0.6, 3.0  # points


class FoundVideo(NamedTuple):
    """One video that a sentence finds.

    Attributes:
        name: Of the video.
        frames: Some frames in order, uint8 ``[T, C, H, W]``; None where it is out of reach.
        right: Whether the sentence is about it.
    """

    name: str
    frames: Tensor | None
    right: bool


class RankingRow(NamedTuple):
    """A sentence and what it finds.

    Attributes:
        caption: What it says.
        rank: Place of the right video, from 1.
        found: The first videos, best first, at least one.
    """

    caption: str
    rank: float
    found: Sequence[FoundVideo]


def plot_rankings(rows: Sequence[RankingRow]) -> Figure:
    """Draw one row of frames per sentence, with a green border around its own video."""
    height = len(rows) * _ROW_HEIGHT
    with house_style():
        figure = Figure(figsize=(_WIDTH, height))
        for number, row in enumerate(rows):
            top = height - number * _ROW_HEIGHT
            text = f"the right one is at place {row.rank:g}"
            figure.text(0.01, (top - 0.2) / height, shorten(row.caption, 110), color=INK)
            figure.text(0.99, (top - 0.2) / height, text, color=MUTED, fontsize=8.5, ha="right")
            width = (0.98 * _WIDTH - _GAP * (len(row.found) - 1)) / len(row.found)
            for place, video in enumerate(row.found):
                left = 0.01 * _WIDTH + place * (width + _GAP)
                bottom = top - _ROW_HEIGHT + 0.2
                tall = _ROW_HEIGHT - _TITLE - 0.3
                box = (left / _WIDTH, bottom / height, width / _WIDTH, tall / height)
                _draw(figure.add_axes(box), video, place + 1)
    return figure


def _draw(axes: Axes, video: FoundVideo, place: int) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    if video.frames is None:
        axes.text(0.5, 0.5, "not there any more", ha="center", va="center", color=MUTED)
    else:
        strip = video.frames.permute(2, 0, 3, 1).flatten(1, 2)  # [H, T * W, C]
        axes.imshow(strip.numpy(), aspect="auto", extent=(0, len(video.frames), 0, 1))
        axes.vlines(range(1, len(video.frames)), 0, 1, color="white", linewidth=1.0)
    axes.spines[:].set(
        visible=True,
        color=GREEN if video.right else MUTED,
        linewidth=_MARKED if video.right else _BORDER,
    )
    mark = " ✓" if video.right else ""
    label = axes.set_xlabel(f"{place}  {shorten(video.name, 24)}{mark}", fontsize=8, labelpad=2)
    label.set_fontweight("bold" if video.right else "normal")
