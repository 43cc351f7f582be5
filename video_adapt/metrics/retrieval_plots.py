"""Pictures of a search: how far down a list one has to read."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .plots import CYCLE, house_style
from .retrieval_figures import RetrievalFigures, bootstrap_intervals


def plot_recall_curves(directions: Mapping[str, RetrievalFigures]) -> Figure:
    """Picture the share of queries that are answered within the first ``k`` places.

    The recalls of the figures are marked, with their 95 % intervals from drawing videos anew.

    Args:
        directions: Figures by what the picture calls them, such as ``text to video``.
    """
    with house_style():
        figure = Figure(figsize=(7.6, 4.4))
        axes = figure.subplots()
        deepest = max(float(f.ranking.rank.max()) for f in directions.values())
        for (name, figures), color in zip(directions.items(), CYCLE, strict=False):
            rank = figures.ranking.rank
            places = np.unique(np.r_[1.0, rank, deepest])
            share = 100 * np.searchsorted(np.sort(rank), places, side="right") / rank.size
            label = f"{name}: SumR {figures.sum_r:.1f}, median place {figures.median_rank:g}"
            axes.step(places, share, where="post", color=color, label=label)
            intervals = bootstrap_intervals(figures)
            for k in (k for k in figures.recall if k <= deepest):
                low, high = intervals[f"R@{k}"]
                axes.plot([k, k], [low, high], color=color, linewidth=4.0, alpha=0.35)
                axes.plot(k, figures.recall[k], "o", color=color, markersize=5)
        ticks = [k for k in (1, 5, 10, 50, 100, 500, 1000, 5000, 10000) if k <= deepest] or [1]
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(0, 102)
        axes.set_yticks(range(0, 101, 20), [f"{value} %" for value in range(0, 101, 20)])
        axes.set(xlabel="places read (k)", ylabel="queries answered (R@k)")
        axes.set_title("How far down the list the right one is")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14))
    return figure
