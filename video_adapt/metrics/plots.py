"""The house style of every picture, and the picture of a confusion matrix."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Okabe and Ito's palette: distinguishable with any colour vision, dark enough for thin lines.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, INK, MUTED, PALE = "#56B4E9", "#CC79A7", "#22303C", "#6B7A88", "#E8EDF1"
CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, INK)

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": PALE,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 10.0,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": PALE,
    "grid.linewidth": 0.9,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 0.0,
    "ytick.color": MUTED,
    "ytick.major.size": 0.0,
}
_WHITE_TO_BLUE = LinearSegmentedColormap.from_list("house", ["#F4F7F9", "#9CCBE6", BLUE, "#003A5C"])


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the common style; figures outside are not touched."""
    with mpl.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG with an even margin, creating its folder; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=150, bbox_inches="tight", pad_inches=0.18)
    return path


def plot_confusion(
    confusion: NDArray[np.int64], class_names: Sequence[str], *, most: int = 40
) -> Figure:
    """Picture how often each class was taken for each, as shares of the row.

    Args:
        confusion: Videos by label (row) and prediction (column) ``[K, K]``.
        class_names: ``K`` names.
        most: With more classes than this, only those with the most mistakes are drawn.
    """
    shown = _worst_classes(confusion, most)
    counts = confusion[np.ix_(shown, shown)]
    share = counts / np.maximum(confusion[shown].sum(axis=1, keepdims=True), 1)
    names = [shorten(class_names[k]) for k in shown]
    side = float(np.clip(0.42 * len(names), 2.6, 11.0))
    with house_style():
        figure = Figure(figsize=(side + 2.2, side + 1.6))
        axes = figure.subplots()
        axes.imshow(share, cmap=_WHITE_TO_BLUE, vmin=0.0, vmax=1.0)
        _label_cells(axes, names)
        if len(names) <= 20:
            _write_counts(axes, counts, share)
        correct, total = int(np.trace(confusion)), int(confusion.sum())
        title = f"{correct} of {total} videos right"
        if len(names) < len(class_names):
            title += f"; the {len(names)} classes with most mistakes of {len(class_names)}"
        axes.set_title(title)
    return figure


def shorten(text: str, length: int = 26) -> str:
    """Cut a name for a picture, marking the cut."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _worst_classes(confusion: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    if len(confusion) <= most:
        return np.arange(len(confusion))
    right = np.diag(confusion)
    mistakes = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * right
    return np.sort(np.argsort(-mistakes, kind="stable")[:most])


def _label_cells(axes: Axes, names: Sequence[str]) -> None:
    ticks = range(len(names))
    size = 9.0 if len(names) <= 20 else 7.0
    axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    # White lines between cells instead of a grid over them.
    axes.set_xticks(np.arange(-0.5, len(names)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(names)), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.6)
    axes.tick_params(which="minor", length=0)


def _write_counts(axes: Axes, counts: NDArray[np.int64], share: NDArray[np.floating]) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if share[row, column] > 0.45 else INK
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8.5)
