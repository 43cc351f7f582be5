"""From the places of queries to recall, ranks and precision, and how sure they are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .retrieval_ranks import Ranking

SUMMED = (1, 5, 10)  # places of the recalls that the field adds up


class RetrievalFigures(NamedTuple):
    """Figures of one direction.

    Attributes:
        recall: Share of places that are at most ``k``, in percent, by ``k``.
        median_rank: Median place.
        mean_rank: Mean place.
        mean_ap: Mean average precision, in percent.
        ranking: The places of all queries.
    """

    recall: dict[int, float]
    median_rank: float
    mean_rank: float
    mean_ap: float
    ranking: Ranking

    @property
    def sum_r(self) -> float:
        """R@1 + R@5 + R@10, in percent: at most 300."""
        return sum(self.recall[k] for k in SUMMED)


class Interval(NamedTuple):
    """Bounds of a figure."""

    low: float
    high: float


def retrieval_figures(
    ranking: Ranking, at: Sequence[int] = SUMMED, *, lower_median: bool = False
) -> RetrievalFigures | None:
    """Figures of a ranking; None without a query.

    Args:
        ranking: Places of the queries.
        at: Places ``k`` of the recalls, beside 1, 5 and 10.
        lower_median: Of an even number of places take the lower middle one, not the mean of both.
    """
    rank = ranking.rank
    if not rank.size:
        return None
    middle = np.sort(rank)[[(rank.size - 1) // 2, rank.size // 2]]
    return RetrievalFigures(
        recall={k: 100 * float((rank <= k).mean()) for k in sorted({*SUMMED, *at})},
        median_rank=float(middle[0] if lower_median else middle.mean()),
        mean_rank=float(rank.mean()),
        mean_ap=100 * float(ranking.precision.mean()),
        ranking=ranking,
    )


def bootstrap_intervals(
    figures: RetrievalFigures, *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Between which bounds figures lie when other videos are asked for.

    Draws videos with replacement, each with all its queries, which are not independent of one
    another; what there is to find stays the same.

    Args:
        figures: Of one direction.
        level: Share of the draws between the bounds.
        samples: Number of draws.
        seed: Of the draws.

    Returns:
        Bounds of ``R@1``, ``R@5``, ..., ``SumR``, ``mean_rank`` and ``mAP``.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentiles).
    """
    ranking = figures.ranking
    columns = {f"R@{k}": 100.0 * (ranking.rank <= k) for k in figures.recall}
    columns["SumR"] = np.sum([columns[f"R@{k}"] for k in SUMMED], axis=0)
    columns |= {"mean_rank": ranking.rank, "mAP": 100 * ranking.precision}
    unit = np.unique(ranking.video, return_inverse=True)[1]
    num_units = int(unit.max()) + 1
    sums = np.zeros((num_units, len(columns) + 1))
    np.add.at(sums, unit, np.stack([*columns.values(), np.ones_like(ranking.rank)], axis=1))
    rng = np.random.default_rng(seed)
    draws = np.empty((samples, len(columns) + 1))
    for draw in draws:
        times = np.bincount(rng.integers(num_units, size=num_units), minlength=num_units)
        draw[:] = times @ sums
    tails = [(1 - level) / 2, (1 + level) / 2]
    bounds = np.quantile(draws[:, :-1] / draws[:, -1:], tails, axis=0)
    return {name: Interval(*map(float, pair)) for name, pair in zip(columns, bounds.T, strict=True)}
