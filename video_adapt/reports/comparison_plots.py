"""Picture of what experiments give against what they cost."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from video_adapt.metrics import house_style
from video_adapt.metrics.plots import CYCLE, shorten

from .kind import MACS, MEMORY, MILLIONS, STEP, Figure, Kind
from .seeds import Experiment

_COSTS = {
    "trained parameters, M": MILLIONS,
    "training step, ms": STEP,
    "peak memory, MiB": MEMORY,
    "multiply-adds of a view, G": MACS,
}
_MARKERS = "osD^vP"


def plot_tradeoff(experiments: Sequence[Experiment], kind: Kind) -> Drawing | None:
    """Draw the deciding figure over each cost that is known of two experiments or more.

    Trained parameters stand on a logarithmic axis that begins at none. Bars are standard
    deviations over seeds.

    Args:
        experiments: Rows of the comparison.
        kind: What they are runs of.

    Returns:
        The picture; None without a cost to draw.
    """
    result = kind.columns[0]
    costs = {title: cost for title, cost in _COSTS.items() if _known(experiments, cost) > 1}
    if not costs:
        return None
    with house_style():
        drawing = Drawing(figsize=(1.8 + 2.7 * len(costs), 3.3), layout="constrained")
        row = drawing.subplots(1, len(costs), sharey=True, squeeze=False)[0]
        for axes, (title, cost) in zip(row, costs.items(), strict=True):
            _draw(axes, experiments, cost, result)
            axes.set_title(title, fontsize=9.5)
        row[0].set_ylabel(f"{result.column or result.title}, {result.unit.strip()}")
        handles = {
            label: handle
            for axes in row
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        drawing.legend(handles.values(), handles.keys(), loc="outside right center")
    return drawing


def _known(experiments: Sequence[Experiment], figure: Figure) -> int:
    return sum(figure.mean(experiment.runs) is not None for experiment in experiments)


def _draw(axes: Axes, experiments: Sequence[Experiment], cost: Figure, result: Figure) -> None:
    values = []
    for place, experiment in enumerate(experiments):
        x, y = cost.mean(experiment.runs), result.mean(experiment.runs)
        if x is None or y is None:
            continue
        values.append(x + cost.spread(experiment.runs))
        axes.errorbar(
            x,
            y,
            xerr=cost.spread(experiment.runs),
            yerr=result.spread(experiment.runs),
            fmt=_MARKERS[place // len(CYCLE) % len(_MARKERS)],
            color=CYCLE[place % len(CYCLE)],
            capsize=2,
            clip_on=False,
            label=shorten(experiment.title, 30),
        )
    largest = max(values)
    if cost is MILLIONS and largest > 0:
        # From the decade below the smallest: its mark would lie upon that of none otherwise.
        smallest = min(value for value in values if value > 0)
        axes.set_xscale("symlog", linthresh=10 ** math.floor(math.log10(smallest)))
        axes.set_xlim(0, 2 * largest)
    else:
        axes.set_xlim(0, 1.1 * max(largest, 1e-9))
