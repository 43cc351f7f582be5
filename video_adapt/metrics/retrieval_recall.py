"""Recall of text-to-video and video-to-text retrieval, the same on any number of processes."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from video_adapt.batches import RetrievalPredictions
from video_adapt.errors import AnnotationError

from .retrieval_figures import SUMMED, RetrievalFigures, retrieval_figures
from .retrieval_ranks import TiePolicy, count_wrong, rank_queries
from .retrieval_scores import DualSoftmax, FeatureScores, PairScores, SimilarityScores

Protocol = TiePolicy | Literal["official"]


class Directions(NamedTuple):
    """Figures of the directions of a search.

    Attributes:
        t2v: Captions look for their video; None without captions.
        v2t: Videos look for any of their captions among all; None with ``official`` ties too,
            which know only groups.
        v2t_groups: Videos look for the group of their captions among groups, a group being as good
            as its best caption: as the field reports it, above R@1 more generous than ``v2t``.
    """

    t2v: RetrievalFigures | None = None
    v2t: RetrievalFigures | None = None
    v2t_groups: RetrievalFigures | None = None


class RetrievalResult(NamedTuple):
    """What :class:`RetrievalRecall` reports.

    Attributes:
        ties: The tie policy of all figures.
        plain: Figures of the scores as they are.
        dual_softmax: Figures of scores reweighted with all queries at once (:class:`DualSoftmax`
            over captions for text-to-video, over videos for video-to-text), which are not
            comparable with plain ones; empty where not asked for.
        caption_id: Ids of the captions, ascending, which the queries of ``t2v`` number.
        video_id: Ids of the videos, ascending, which the queries of ``v2t`` number.
        num_unmatched: Captions whose video was not there, which are left out.
    """

    ties: Protocol
    plain: Directions
    dual_softmax: Directions
    caption_id: NDArray[np.int64]
    video_id: NDArray[np.int64]
    num_unmatched: int


def retrieval_recall(
    scores: PairScores,
    owner: Tensor,
    *,
    ties: Protocol = "pessimistic",
    at: Sequence[int] = SUMMED,
) -> Directions:
    """Figures of text-to-video, video-to-text, and video-to-text among groups of captions.

    Args:
        scores: All captions against all videos.
        owner: Number of the video of each caption, int64 ``[Q]``, in [0, V). A video without
            captions can be found wrongly, but does not look for anything.
        ties: Policy of :func:`rank_queries`. ``official`` reproduces the figures that CLIP4Clip's
            code and its successors print: ``index`` and the lower median for text-to-video,
            ``every`` for video-to-text, which they know among groups only.
        at: As of :func:`retrieval_figures`.
    """
    counts = count_wrong(scores, owner)
    if ties == "official":
        t2v = retrieval_figures(rank_queries(counts.t2v, "index"), at, lower_median=True)
        groups = retrieval_figures(rank_queries(counts.v2t_groups, "every"), at)
        return Directions(t2v, None, groups)
    return Directions(*(retrieval_figures(rank_queries(part, ties), at) for part in counts))


class RetrievalRecall(Metric):
    """Collects features from all processes and computes :class:`RetrievalResult`.

    Every video and every caption counts once, by id, in the order of ids: results do not depend on
    how they are spread over batches and processes.

    Args:
        similarity: For methods that compare more than two vectors: features ``[b, ...]`` of
            captions and ``[V, ...]`` of videos in, scores ``[b, V]`` out. None is the dot product.
        ties: As of :func:`retrieval_recall`.
        dual_softmax: Factor on the scores in additional figures with :class:`DualSoftmax`, such as
            100; None leaves them out.
        at: Places ``k`` of the recalls, beside 1, 5 and 10.
    """

    full_state_update = False
    video_id: list[Tensor]
    video: list[Tensor]
    video_shape: list[Tensor]
    caption_id: list[Tensor]
    caption_video_id: list[Tensor]
    text: list[Tensor]
    text_shape: list[Tensor]

    def __init__(
        self,
        similarity: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        ties: Protocol = "pessimistic",
        dual_softmax: float | None = None,
        at: Sequence[int] = SUMMED,
    ) -> None:
        super().__init__()
        self.similarity, self.ties, self.dual_softmax = similarity, ties, dual_softmax
        self.at = tuple(at)
        for name in (*RetrievalPredictions._fields, "video_shape", "text_shape"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all features.

        Each state starts with an empty block: a process that saw nothing then takes part in the
        gathering with tensors of the right type and number of dimensions. For that features are
        kept in one row of numbers, and their shape beside them.
        """
        super().reset()
        ids = torch.empty(0, dtype=torch.int64, device=self.device)
        numbers = torch.empty(0, device=self.device)
        for name in (*RetrievalPredictions._fields, "video_shape", "text_shape"):
            getattr(self, name).append(numbers if name in ("video", "text") else ids)

    def update(self, predictions: RetrievalPredictions) -> None:
        """Add the videos and captions of a batch."""
        for name in ("video_id", "caption_id", "caption_video_id"):
            getattr(self, name).append(getattr(predictions, name).to(self.device))
        for name in ("video", "text"):
            value: Tensor = getattr(predictions, name).detach().float().to(self.device)
            getattr(self, name).append(value.flatten())
            shape = torch.tensor([value.ndim - 1, *value.shape[1:]], device=self.device)
            getattr(self, f"{name}_shape").append(shape)

    def compute(self) -> RetrievalResult:
        """Figures over what all processes saw.

        Raises:
            AnnotationError: If two copies of a caption belong to different videos.
        """
        video_id, videos, _ = _first_of_each(dim_zero_cat(self.video_id))
        caption_id, captions, copies = _first_of_each(dim_zero_cat(self.caption_id))
        owners = dim_zero_cat(self.caption_video_id)
        if (mixed := owners != owners[captions][copies]).any():
            raise AnnotationError(
                f"caption {dim_zero_cat(self.caption_id)[mixed][0]} belongs to several videos; "
                "give every caption of the list an id of its own"
            )
        known = torch.isin(owners[captions], video_id)
        num_unmatched = int((~known).sum())
        caption_id, captions = caption_id[known], captions[known]
        plain = dual = Directions()
        if len(captions):
            owner = torch.searchsorted(video_id, owners[captions])
            scores = self._scores(captions, videos)
            plain = retrieval_recall(scores, owner, ties=self.ties, at=self.at)
            if self.dual_softmax is not None:
                dual = self._reweighted(scores, owner, self.dual_softmax)
        ids = caption_id.cpu().numpy(), video_id.cpu().numpy()
        return RetrievalResult(self.ties, plain, dual, *ids, num_unmatched)

    def _scores(self, captions: Tensor, videos: Tensor) -> PairScores:
        text = self._features("text", len(dim_zero_cat(self.caption_id)))[captions]
        video = self._features("video", len(dim_zero_cat(self.video_id)))[videos]
        if self.similarity is None:
            return FeatureScores(text, video)
        return SimilarityScores(text, video, self.similarity)

    def _features(self, name: str, rows: int) -> Tensor:
        shape = dim_zero_cat(getattr(self, f"{name}_shape")).tolist()
        return dim_zero_cat(getattr(self, name)).reshape(rows, *shape[1 : 1 + shape[0]])

    def _reweighted(self, scores: PairScores, owner: Tensor, scale: float) -> Directions:
        by_caption = DualSoftmax(scores, "captions", scale=scale)
        by_video = DualSoftmax(scores, "videos", scale=scale)
        t2v = retrieval_recall(by_caption, owner, ties=self.ties, at=self.at).t2v
        return retrieval_recall(by_video, owner, ties=self.ties, at=self.at)._replace(t2v=t2v)


def _first_of_each(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct ids ascending, where each comes first, and which of them every row has."""
    distinct, which = ids.unique(return_inverse=True)
    places = torch.arange(len(ids), device=ids.device)
    first = torch.full_like(distinct, len(ids)).scatter_reduce(0, which, places, "amin")
    return distinct, first, which
