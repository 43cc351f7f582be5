"""At which place a query finds what it should find: by counting, without sorting anything."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .retrieval_scores import PairScores

TiePolicy = Literal["pessimistic", "mean", "optimistic", "index", "every"]


class Counts(NamedTuple):
    """How the wrong candidates of a query compare with a right one; a row per right candidate.

    Attributes:
        query: Number of the query, int64 ``[N]``; repeats where a query has several right ones.
        video: Number of the video that the query belongs to, int64 ``[N]``.
        own: Score of the right candidate, float32 ``[N]``; -inf where it is not a number.
        above: Wrong candidates that score higher, int64 ``[N]``.
        equal: Wrong candidates that score the same, int64 ``[N]``.
        before: Those of them that come earlier in the list of candidates, int64 ``[N]``.
    """

    query: NDArray[np.int64]
    video: NDArray[np.int64]
    own: NDArray[np.float32]
    above: NDArray[np.int64]
    equal: NDArray[np.int64]
    before: NDArray[np.int64]

    def take(self, rows: NDArray[np.generic]) -> "Counts":
        """Some of the rows, by number or by truth."""
        query, video = self.query[rows], self.video[rows]
        return Counts(
            query, video, self.own[rows], self.above[rows], self.equal[rows], self.before[rows]
        )


class AllCounts(NamedTuple):
    """Counts of both directions.

    Attributes:
        t2v: Captions look for their video among all videos; a row per caption.
        v2t: Videos look for their captions among all captions; a row per caption.
        v2t_groups: Videos look for the group of their captions among the groups of all videos that
            have any, a group being as good as its best caption; a row per video.
    """

    t2v: Counts
    v2t: Counts
    v2t_groups: Counts


class Ranking(NamedTuple):
    """Places of ``M`` queries, ascending by query.

    Attributes:
        query: Number of the query, int64 ``[M]``.
        video: Number of the video that it belongs to, int64 ``[M]``.
        rank: Place of its first right candidate, from 1, float64 ``[M]``.
        precision: Its average precision in (0, 1], float64 ``[M]``.
    """

    query: NDArray[np.int64]
    video: NDArray[np.int64]
    rank: NDArray[np.float64]
    precision: NDArray[np.float64]


def rank_queries(counts: Counts, ties: TiePolicy) -> Ranking:
    """Turn counts into places.

    Args:
        counts: Of one direction.
        ties: Place of a right candidate among wrong ones with the same score: last
            (``pessimistic``), in the middle (``mean``), first (``optimistic``), as they are listed
            (``index``); or at ``every`` tied place at once, which gives a query as many places, and
            none where its score is not finite.

    A model that scores everything the same has R@1 of 100 % with ``optimistic``, of 0 % with
    ``pessimistic``.

    Source: ``every`` is the square metric of CLIP4Clip's code, which looks for the value of the
    right score in the sorted row; ``index`` its metric for several captions, were its sort stable.
    """
    # The right candidates of a query from best to worst, of equals the earlier first.
    counts = counts.take(np.lexsort((np.arange(counts.query.size), -counts.own, counts.query)))
    _, starts, sizes = np.unique(counts.query, return_index=True, return_counts=True)
    if ties == "every":
        return _at_every_place(counts.take(starts))
    among = {
        "pessimistic": counts.equal,
        "mean": counts.equal / 2,
        "optimistic": np.zeros_like(counts.equal),
        "index": counts.before,
    }
    wrong = counts.above.astype(np.float64) + among[ties].astype(np.float64)
    right = np.arange(wrong.size) - np.repeat(starts, sizes) + 1.0
    precision: NDArray[np.float64] = right / (right + wrong)
    means = np.add.reduceat(precision, starts) / sizes if starts.size else precision
    return Ranking(counts.query[starts], counts.video[starts], wrong[starts] + 1, means)


def _at_every_place(counts: Counts) -> Ranking:
    counts = counts.take(np.isfinite(counts.own))
    times = counts.equal + 1
    first = np.repeat(times.cumsum() - times, times)
    rank = (np.repeat(counts.above, times) + np.arange(first.size) - first + 1).astype(np.float64)
    query, video = np.repeat(counts.query, times), np.repeat(counts.video, times)
    return Ranking(query, video, rank, 1 / rank)


def count_wrong(scores: PairScores, owner: Tensor) -> AllCounts:
    """Count, for every right pair, the wrong ones that score higher, in both directions.

    One pass over the scores in blocks. A score that is not a number counts as -inf.

    Args:
        scores: All captions against all videos.
        owner: Number of the video of each caption, int64 ``[Q]``, in [0, V).

    Returns:
        Counts by caption and by video.
    """
    owner = owner.cpu()
    right = _RightPairs(scores, owner)
    nth = [_Columns(*right.nth(k)) for k in range(right.most)]
    groups = _Columns(right.best, torch.arange(scores.num_videos, device=right.own.device))
    by_row = torch.zeros(3, len(owner), dtype=torch.int64)
    for start, stop in _whole_groups(right.sizes, scores.block_rows):
        few, of = right.rows[start:stop], right.owner[start:stop].to(right.own.device)
        block = _numbers(scores.block(few))
        if right.most > 1:  # else a group is its caption
            best, present = _best_of_groups(block, of)
            groups.add(_hide(best, present), present)
        by_row[:, start:stop] = _count_rows(_hide(block, of), right.own[start:stop], of)
        for columns in nth:
            columns.add(block, few.to(block.device))
    by_column = right.collect([columns.counts for columns in nth])
    by_group = (groups if right.most > 1 else nth[0]).counts if nth else by_column
    own, videos = right.own[right.back], right.videos
    return AllCounts(
        t2v=_as_counts(torch.arange(len(owner)), owner, own, by_row[:, right.back]),
        v2t=_as_counts(owner, owner, own, by_column),
        v2t_groups=_as_counts(videos, videos, right.best[videos], by_group[:, videos]),
    )


class _RightPairs:
    """Scores of right pairs, arranged by video: the ``k``-th caption of every video at once.

    Attributes:
        rows: Captions, those of a video beside one another, int64 ``[Q]``.
        owner: Their videos, int64 ``[Q]``, ascending.
        back: Where in ``rows`` every caption is, int64 ``[Q]``.
        videos: Videos that have captions, ascending.
        sizes: How many captions these have.
        most: Most captions of a video.
        own: Scores of ``rows`` with ``owner``, ``[Q]``.
        best: Best of each video, ``[V]``; -inf where it has no caption.
    """

    def __init__(self, scores: PairScores, owner: Tensor) -> None:
        self.rows = owner.argsort(stable=True)
        self.owner, self.back = owner[self.rows], self.rows.argsort()
        self.videos, self.sizes = self.owner.unique_consecutive(return_counts=True)
        self.most = int(self.sizes.max()) if len(owner) else 0
        first = self.sizes.cumsum(0) - self.sizes
        self._place = torch.arange(len(owner)) - first.repeat_interleave(self.sizes)
        self.own = _numbers(scores.pairs(self.rows, self.owner))
        best = self.own.new_full((scores.num_videos,), -torch.inf)
        self.best = best.scatter_reduce(0, self.owner.to(best.device), self.own, "amax")

    def nth(self, k: int) -> tuple[Tensor, Tensor]:
        """Score and number of every video's ``k``-th caption, ``[V]``; nan where it has none."""
        here = (self._place == k).nonzero()[:, 0]
        videos, device = self.owner[here], self.own.device
        value = torch.full_like(self.best, torch.nan)
        number = torch.zeros(len(value), dtype=torch.int64, device=device)
        value[videos.to(device)] = self.own[here.to(device)]
        number[videos.to(device)] = self.rows[here].to(device)
        return value, number

    def collect(self, counts: list[Tensor]) -> Tensor:
        """From counts ``[3, V]`` of the ``k``-th captions to those of all, ``[3, Q]``."""
        if not counts:
            return torch.zeros(3, 0, dtype=torch.int64)
        return torch.stack(counts)[self._place, :, self.owner].T[:, self.back]


class _Columns:
    """Running counts of the candidates (rows) against one value for every video (column).

    Args:
        value: Score of the right candidate, ``[V]``.
        number: Its number in the list of candidates, int64 ``[V]``.
    """

    def __init__(self, value: Tensor, number: Tensor) -> None:
        self.value, self.number = value, number
        self.totals = torch.zeros(3, len(value), dtype=torch.int64, device=value.device)

    @property
    def counts(self) -> Tensor:
        """Above, equal and before, int64 ``[3, V]``, on the CPU."""
        return self.totals.cpu()

    def add(self, block: Tensor, candidates: Tensor) -> None:
        """Count the candidates int64 ``[b]`` of a block ``[b, V]``; nan is nobody's candidate."""
        above, equal = _above_and_equal(block, self.value, dim=0)
        self.totals[0] += above
        self.totals[1] += equal
        tied = equal.nonzero()[:, 0]
        if tied.numel():
            same = block[:, tied] == self.value[tied]
            self.totals[2, tied] += (same & (candidates[:, None] < self.number[tied])).sum(dim=0)


def _count_rows(block: Tensor, own: Tensor, owner: Tensor) -> Tensor:
    """Above, equal and before of the captions of a block ``[b, V]``: int64 ``[3, b]``."""
    above, equal = _above_and_equal(block, own[:, None], dim=1)
    before = torch.zeros_like(above)
    tied = equal.nonzero()[:, 0]
    if tied.numel():
        same = block[tied] == own[tied, None]
        earlier = torch.arange(block.shape[1], device=block.device) < owner[tied, None]
        before[tied] = (same & earlier).sum(dim=1)
    return torch.stack([above, equal, before]).cpu()


def _above_and_equal(block: Tensor, value: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    # Comparing into floats: torch adds them many times faster than booleans, and up to 2**24 of
    # them exactly.
    flags = torch.empty_like(block)
    above = torch.gt(block, value, out=flags).sum(dim=dim)
    at_least = torch.ge(block, value, out=flags).sum(dim=dim)
    return above.long(), (at_least - above).long()


def _numbers(scores: Tensor) -> Tensor:
    """In float32, and -inf where there is no number; in place."""
    return scores.float().nan_to_num_(-torch.inf, torch.inf, -torch.inf)


def _hide(block: Tensor, owner: Tensor) -> Tensor:
    """Make the right pairs nan, which is neither above nor equal to anything; in place."""
    block[torch.arange(len(block), device=block.device), owner] = torch.nan
    return block


def _best_of_groups(block: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Best score of each group of a block's captions: ``[g, V]``, and the groups' videos."""
    present, place = owner.unique_consecutive(return_inverse=True)
    best = block.new_full((len(present), block.shape[1]), -torch.inf)
    return best.scatter_reduce(0, place[:, None].expand_as(block), block, "amax"), present


def _whole_groups(sizes: Tensor, rows: int) -> list[tuple[int, int]]:
    """Cut captions into blocks of about ``rows`` that no group lies across."""
    blocks, start, stop = [], 0, 0
    for size in sizes.tolist():
        if stop > start and stop + size - start > rows:
            blocks.append((start, stop))
            start = stop
        stop += size
    return [*blocks, (start, stop)] if stop > start else blocks


def _as_counts(query: Tensor, video: Tensor, own: Tensor, counts: Tensor) -> Counts:
    above, equal, before = (values.numpy() for values in counts)
    return Counts(query.numpy(), video.numpy(), own.cpu().numpy(), above, equal, before)
