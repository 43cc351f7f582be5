"""Retrieval measured over all pairs of captions and videos, logged and written down."""

import csv
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from video_adapt.batches import RetrievalPredictions
from video_adapt.errors import ConfigurationError
from video_adapt.metrics import (
    Directions,
    PairScores,
    RetrievalFigures,
    RetrievalRecall,
    RetrievalResult,
    bootstrap_intervals,
)
from video_adapt.metrics.retrieval_recall import Protocol

from .evaluation_hooks import EvaluationCallback
from .retrieval_examples import clips_of, example_queries, write_examples
from .search_cost import SearchCost, search_cost

logger = logging.getLogger(__name__)

_TOP = 5


class RetrievalSummary(NamedTuple):
    """An evaluation.

    Attributes:
        result: Figures of all directions.
        best_video: ``video_id`` of the video that each caption of ``result.caption_id`` finds
            first, int64 ``[Q]``; a wrong one wherever it scores as high as the right one.
        num_undecided: Captions whose score with their own video is not a finite number.
        top_videos: ``video_id`` of the few videos that each caption finds first, best first,
            int64 ``[Q, k]``.
        cost: What a search costs; None where nothing was compared.
    """

    result: RetrievalResult
    best_video: NDArray[np.int64]
    num_undecided: int
    top_videos: NDArray[np.int64]
    cost: SearchCost | None = None


class RetrievalEvaluation(EvaluationCallback[RetrievalSummary]):
    """Compare all captions with all videos that ``validation_step`` and ``test_step`` return.

    Logs, in percent, ``<stage>/t2v_R@1``, ``R@5`` and ``R@10``, their sum ``t2v_SumR``, and
    ``t2v_median_rank`` and ``t2v_mean_rank``, with which captions look for their video; the same
    as ``v2t_...`` for videos that look for any of their captions, and as ``v2t_groups_...`` among
    groups of captions, a group being as good as its best caption, as the field reports it.

    The last evaluation is written to the run's folder, below ``val/`` where the run trains:
    ``metrics.json``, with 95 % intervals over other choices of videos and the cost of a search, and
    ``ranks.csv`` with one line per caption: ``caption_id``, ``caption``, ``video``, ``rank``,
    ``best_video``; and ``examples.json`` with a few captions and the videos that they find.

    The data module tells ``captions(stage)`` and ``video_names(stage)``. A method that keeps more
    than a vector of videos has ``similarity(text, video)``; vectors are compared by dot product.

    Args:
        ties: Place of the right one among wrong ones with the same score: last (``pessimistic``),
            in the middle (``mean``), first (``optimistic``), as they are listed (``index``), at
            ``every`` place at once; ``official`` as CLIP4Clip's code and its successors have it.
        dual_softmax: Factor on the scores for additional figures ``dual_softmax_...``, for which
            scores are reweighted with all queries at once; not comparable with the others. None
            leaves them out.

    Attributes:
        results: The last evaluation of each stage.
    """

    headline = "t2v_R@1"
    predictions = RetrievalPredictions

    def __init__(self, ties: Protocol = "pessimistic", dual_softmax: float | None = None) -> None:
        super().__init__()
        self.ties, self.dual_softmax = ties, dual_softmax
        self._searches: dict[str, _Search] = {}

    def _metric(self, stage: str, trainer: Any, pl_module: Any) -> RetrievalRecall:
        _data_module(trainer)
        search = _Search(pl_module.similarity, ties=self.ties, dual_softmax=self.dual_softmax)
        self._searches[stage] = search
        return search

    def _result(
        self, stage: str, measured: RetrievalResult, trainer: Any, pl_module: Any
    ) -> RetrievalSummary:
        search = self._searches.pop(stage)
        seen = search.seen
        if seen is None:
            none = np.empty(0, np.int64)
            return RetrievalSummary(measured, none, 0, none.reshape(0, 0))
        best, top = (measured.video_id[x.cpu().numpy()] for x in (seen.best, seen.top))
        return RetrievalSummary(measured, best, int((~seen.finite).sum()), top, search.cost)

    def _figures(self, result: RetrievalSummary) -> dict[str, float]:
        kinds = {"": result.result.plain, "dual_softmax_": result.result.dual_softmax}
        return {
            f"{kind}{direction}_{name}": value
            for kind, directions in kinds.items()
            for direction, figures in directions._asdict().items()
            if figures is not None
            for name, value in _named(figures).items()
        }

    def _report(self, stage: str, result: RetrievalSummary) -> None:
        measured = result.result
        found = measured.plain.t2v
        if found is None:
            logger.warning("%s: no caption has its video, so there is no recall", stage)
        else:
            logger.info(
                "%s: text-to-video R@1 %.1f %%, R@5 %.1f %%, R@10 %.1f %%, median rank %g, "
                "%d captions, %d videos",
                stage,
                *(found.recall[k] for k in (1, 5, 10)),
                found.median_rank,
                measured.caption_id.size,
                measured.video_id.size,
            )
        if measured.num_unmatched:
            text = "%s: the videos of %d captions could not be read, left out"
            logger.warning(text, stage, measured.num_unmatched)
        if result.num_undecided:
            text = "%s: %d captions have a score with their video that is not a number"
            logger.warning(text, stage, result.num_undecided)

    def _write_files(self, folder: Path, stage: str, trainer: Any, pl_module: Any) -> None:
        summary, data = self.results[stage], _data_module(trainer)
        captions, names = data.captions(stage), data.video_names(stage)
        write_ranks(folder / "ranks.csv", summary, captions, names)
        queries = example_queries(summary.result, summary.top_videos, captions, names)
        write_examples(folder / "examples.json", queries, clips_of(data, stage))
        write_metrics(folder / "metrics.json", summary)


def write_ranks(
    path: Path, summary: RetrievalSummary, captions: list[str], video_names: list[str]
) -> None:
    """Write one line per caption: what it says, of which video, and what it finds.

    Args:
        path: CSV file with the columns ``caption_id``, ``caption``, ``video``, ``rank`` (from 1)
            and ``best_video``.
        summary: What was measured; the lines ascend by caption.
        captions: Text of every caption, by its id.
        video_names: Name of every video, by its id.
    """
    result = summary.result
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["caption_id", "caption", "video", "rank", "best_video"])
        if result.plain.t2v is None:
            return
        ranking = result.plain.t2v.ranking
        for query, video, rank in zip(ranking.query, ranking.video, ranking.rank, strict=True):
            number, best = result.caption_id[query], summary.best_video[query]
            own = video_names[result.video_id[video]]
            table.writerow([number, captions[number], own, f"{rank:g}", video_names[best]])


def write_metrics(path: Path, summary: RetrievalSummary) -> None:
    """Write the figures as JSON; a direction without a query is null."""
    result = summary.result
    figures: dict[str, Any] = {
        "ties": result.ties,
        "captions": int(result.caption_id.size),
        "videos": int(result.video_id.size),
        "captions_left_out": result.num_unmatched,
        "captions_undecided": summary.num_undecided,
        "search": summary.cost and summary.cost._asdict(),
        **_with_intervals(result.plain),
    }
    if result.dual_softmax.t2v is not None:
        figures["dual_softmax"] = _with_intervals(result.dual_softmax)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _with_intervals(directions: Directions) -> dict[str, Any]:
    return {
        direction: figures
        and {
            **_named(figures),
            "mAP": figures.mean_ap,
            "intervals": {
                name: list(bounds) for name, bounds in bootstrap_intervals(figures).items()
            },
        }
        for direction, figures in directions._asdict().items()
    }


def _named(figures: RetrievalFigures) -> dict[str, float]:
    return {
        **{f"R@{k}": value for k, value in figures.recall.items()},
        "SumR": figures.sum_r,
        "median_rank": figures.median_rank,
        "mean_rank": figures.mean_rank,
    }


class _Search(RetrievalRecall):
    """Collects features, and sees what every caption finds first while places are counted."""

    seen: "_BestVideos | None" = None
    cost: SearchCost | None = None

    def _scores(self, captions: Tensor, videos: Tensor) -> PairScores:
        vectors = dim_zero_cat(self.video_shape)[0] == 1
        if vectors:  # the dot product is exact, whatever the method would multiply it with
            self.similarity = None
        owners = dim_zero_cat(self.caption_video_id)[captions]
        owner = torch.searchsorted(dim_zero_cat(self.video_id)[videos], owners)
        text = self._features("text", len(dim_zero_cat(self.caption_id)))
        video = self._features("video", len(dim_zero_cat(self.video_id)))
        self.cost = search_cost(text, video, self.similarity)
        self.seen = _BestVideos(super()._scores(captions, videos), owner)
        return self.seen


class _BestVideos(PairScores):
    """Scores that are looked at while they are counted: a look of its own would cost a pass.

    Args:
        scores: All captions against all videos.
        owner: Number of the video of each caption, int64 ``[Q]``.

    Attributes:
        best: Number of the video that each caption finds first, int64 ``[Q]``.
        top: Numbers of the videos that score highest, best first, int64 ``[Q, k]``.
        finite: Whether its score with its own video is a finite number, bool ``[Q]``.
    """

    def __init__(self, scores: PairScores, owner: Tensor) -> None:
        super().__init__(scores.num_captions, scores.num_videos)
        self.scores, self.owner = scores, owner
        self.best = owner.clone()
        self.top = owner.new_zeros(len(owner), min(_TOP, scores.num_videos))
        self.finite = torch.ones_like(owner, dtype=torch.bool)

    def block(self, rows: Tensor) -> Tensor:
        """See :meth:`PairScores.block`."""
        block, rows = self.scores.block(rows), rows.to(self.owner.device)
        owner = self.owner[rows, None]
        self.finite[rows] = block.gather(1, owner).isfinite()[:, 0]
        # No number is as bad as can be, but still a candidate, unlike what is hidden.
        numbers = block.nan_to_num(torch.finfo(block.dtype).min)
        self.top[rows] = numbers.topk(self.top.shape[1]).indices
        value, best = numbers.scatter(1, owner, -torch.inf).max(dim=1, keepdim=True)
        self.best[rows] = torch.where(value >= numbers.gather(1, owner), best, owner)[:, 0]
        return block

    def pairs(self, rows: Tensor, videos: Tensor) -> Tensor:
        """See :meth:`PairScores.pairs`."""
        return self.scores.pairs(rows, videos)


def _data_module(trainer: Any) -> Any:
    data = trainer.datamodule
    if not hasattr(data, "captions"):
        raise ConfigurationError(
            "retrieval is measured with the captions of a data module with captions(stage), this "
            f"run has {type(data).__name__}; give one for captioned videos"
        )
    return data
