"""One-dimensional boxes: overlap in time, suppression of repeated segments, voting.

Segments are start and end in any one unit, ``[..., 2]``, start <= end. Suppression runs in NumPy
on the CPU wherever its input lies: it is a loop of thousands of dependent steps on little data,
where starting a kernel (or one torch operation) costs more than the arithmetic.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Decay = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]

_DEAD = np.float32(-1)  # score of a place that holds no segment (any more)
_REPACK_EVERY = 64  # steps until rows close the gaps that chosen and dropped segments left
_VOTERS = 256  # rows of the overlap matrix in memory at once


class Kept(NamedTuple):
    """What suppression left, best first.

    Attributes:
        rows: Rows of the input, int64 ``[M]``.
        scores: Their scores after suppression, float32 ``[M]``.
    """

    rows: Tensor
    scores: Tensor


def segment_iou(first: Tensor, second: Tensor) -> Tensor:
    """Overlap in time of segments, one by one: intersection over union, 0 between empty ones.

    Args:
        first: Start and end, ``[..., 2]``.
        second: Start and end in the same unit; shapes broadcast.

    Returns:
        Values in [0, 1] of the broadcast shape without its last axis.
    """
    overlap = torch.minimum(first[..., 1], second[..., 1])
    overlap = (overlap - torch.maximum(first[..., 0], second[..., 0])).clamp(min=0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - overlap
    return overlap / union.clamp(min=1e-7)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Overlap of every segment of one set ``[S, 2]`` with every one of another ``[G, 2]``.

    Returns:
        Intersection over union ``[S, G]``.
    """
    return segment_iou(first[:, None], second)


def soft_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    sigma: float,
    min_score: float = 0.0,
    limit: int | None = None,
) -> Kept:
    """Decay the scores of overlapping segments by ``exp(-IoU^2 / sigma)`` instead of deleting them.

    Args:
        segments: Start and end, ``[S, 2]``.
        scores: Confidence, not negative, ``[S]``.
        labels: Class of each segment, int64 ``[S]``: classes do not touch each other. None: one.
        sigma: Width of the decay; 0.7 is the THUMOS-14 setting of AdaTAD.
        min_score: Segments that decay below it are dropped; the best of a class never decays.
        limit: Largest number of segments to keep, over all classes together.

    Raises:
        ValueError: If a number is not finite, a score is negative or an end precedes its start.

    Source: Bodla et al., Soft-NMS, ICCV 2017, eq. 3; one-dimensional as in the AdaTAD protocol.
    """

    def gaussian(scores: FloatArray, iou: FloatArray, _: FloatArray) -> FloatArray:
        np.multiply(iou, iou, out=iou)
        np.divide(iou, np.float32(-sigma), out=iou)
        np.exp(iou, out=iou)
        return np.multiply(scores, iou, out=iou)

    return suppress(segments, scores, labels, gaussian, min_score=min_score, limit=limit)


def hard_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    iou: float,
    min_score: float = 0.0,
    limit: int | None = None,
) -> Kept:
    """Delete every segment that overlaps a better one of its class by ``iou`` or more.

    Args:
        segments: Start and end, ``[S, 2]``.
        scores: Confidence, not negative, ``[S]``.
        labels: Class of each segment, int64 ``[S]``: classes do not touch each other. None: one.
        iou: Overlap from which the worse segment goes.
        min_score: Only segments above it take part; 0 lets all of them.
        limit: Largest number of segments to keep, over all classes together.

    Raises:
        ValueError: If a number is not finite, a score is negative or an end precedes its start.
    """

    def delete(scores: FloatArray, overlap: FloatArray, _: FloatArray) -> FloatArray:
        return np.where(overlap >= np.float32(iou), _DEAD, scores)

    able = (scores > min_score) if min_score else torch.ones_like(scores, dtype=torch.bool)
    labels = None if labels is None else labels[able]
    kept = suppress(segments[able], scores[able], labels, delete, limit=limit)
    return Kept(able.nonzero()[:, 0][kept.rows], kept.scores)


def suppress(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    decay: Decay,
    *,
    min_score: float = 0.0,
    limit: int | None = None,
) -> Kept:
    """Take the best segment of every class, lower the scores of the others, and so on.

    All classes advance together, one segment each per step. Equal scores are taken by start, then
    end, so the result does not depend on the order of the input.

    Args:
        segments: Start and end, ``[S, 2]``.
        scores: Confidence, not negative, ``[S]``.
        labels: Class of each segment, int64 ``[S]``, or None.
        decay: New scores ``[K, N]`` from the scores ``[K, N]``, their overlap with the segment
            just taken ``[K, N]``, which it may overwrite, and the length of that one ``[K, 1]``.
            A negative score deletes; negative scores come in for empty places and stay negative.
        min_score: Segments below it after a decay are dropped.
        limit: Largest number of segments to keep, over all classes together.

    Raises:
        ValueError: If a number is not finite, a score is negative or an end precedes its start.
    """
    boxes, values = _array(segments), _array(scores)
    _check(boxes, values)
    classes = np.zeros(len(values), np.int64) if labels is None else labels.cpu().numpy()
    order = np.lexsort((boxes[:, 1], boxes[:, 0], -values, classes))
    pool = _Pool(boxes[order], values[order], classes[order])
    found = list(pool.take(decay, min_score, len(order) if limit is None else limit))
    place = np.concatenate([np.zeros(0, np.int64), *(place for place, _ in found)])
    final = np.concatenate([np.zeros(0, np.float32), *(score for _, score in found)])
    best = np.argsort(-final, kind="stable")[:limit]
    rows = torch.from_numpy(order[place[best]])
    return Kept(rows.to(scores.device), torch.from_numpy(final[best]).to(scores.device))


def vote(kept: Tensor, segments: Tensor, scores: Tensor, *, iou: float) -> Tensor:
    """Move each kept segment to the mean of all segments that overlap it, weighted by score.

    Args:
        kept: Start and end of what suppression kept, ``[M, 2]``.
        segments: All segments before suppression, ``[S, 2]``.
        scores: Their scores before suppression, ``[S]``.
        iou: Overlap from which a segment has a vote.

    Returns:
        Moved segments ``[M, 2]``; one without a vote (an empty segment overlaps nothing) stays.
    """
    return torch.cat([_vote(part, segments, scores, iou) for part in kept.split(_VOTERS)])


def _vote(kept: Tensor, segments: Tensor, scores: Tensor, iou: float) -> Tensor:
    weights = torch.where(pairwise_iou(kept, segments) >= iou, scores, 0.0)  # [M, S]
    total = weights.sum(1, keepdim=True)
    mean = weights @ segments / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, mean, kept)


def _array(values: Tensor) -> FloatArray:
    return values.detach().float().cpu().numpy()


def _check(segments: FloatArray, scores: FloatArray) -> None:
    if not (np.isfinite(scores).all() and np.isfinite(segments).all()):
        raise ValueError("a segment or a score is not a finite number; filter them before NMS")
    if (scores < 0).any():
        raise ValueError(f"a score is {scores.min():.3g}; NMS decays scores of at least 0")
    if (late := segments[:, 0] > segments[:, 1]).any():
        start, end = segments[late][0]
        raise ValueError(f"a segment starts at {start:.3f} and ends at {end:.3f}, before it")


class _Pool:
    """Segments still in the running: a row per class, the living ones packed to the left."""

    def __init__(self, segments: FloatArray, scores: FloatArray, classes: IntArray) -> None:
        """Lay out segments that are sorted by class."""
        _, first, counts = np.unique(classes, return_index=True, return_counts=True)
        row = np.repeat(np.arange(len(first)), counts)
        column = np.arange(len(classes)) - first[row]
        self.segments = segments
        self.place = np.zeros((len(first), counts.max(initial=0)), np.int64)
        self.place[row, column] = np.arange(len(classes))
        self.scores = np.full(self.place.shape, _DEAD)
        self.scores[row, column] = scores
        self._repack()

    def take(
        self, decay: Decay, min_score: float, steps: int
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield places and scores of the best of each class, then of the next best, and so on."""
        for step in range(1, steps + 1):
            if not self.scores.size:
                return
            row = np.arange(len(self.scores))
            column = self.scores.argmax(1)
            top = self.scores[row, column]
            yield self.place[row, column][top >= 0], top[top >= 0]
            self.scores[row, column] = _DEAD
            length = self.length[row, column][:, None]
            self.scores = decay(self.scores, self._overlap(row, column), length)
            np.copyto(self.scores, _DEAD, where=self.scores < np.float32(min_score))
            if step % _REPACK_EVERY == 0:
                self._repack()

    def _overlap(self, row: IntArray, column: IntArray) -> FloatArray:
        """Intersection over union of one segment per row with all of its row."""
        overlap = np.minimum(self.end, self.end[row, column][:, None])
        overlap -= np.maximum(self.start, self.start[row, column][:, None])
        np.maximum(overlap, 0, out=overlap)
        union = self.length + self.length[row, column][:, None]
        union -= overlap
        overlap /= union
        return overlap

    def _repack(self) -> None:
        """Drop finished classes and the gaps in the others, keeping the order."""
        alive = self.scores >= 0
        rows = alive.any(1)
        width = alive.sum(1).max(initial=0)
        order = np.argsort(~alive[rows], axis=1, kind="stable")[:, :width]
        self.place = np.take_along_axis(self.place[rows], order, 1)
        self.scores = np.take_along_axis(self.scores[rows], order, 1)
        self.start, self.end = self.segments[self.place, 0], self.segments[self.place, 1]
        # As published: keeps the overlap of two empty segments defined.
        self.length = self.end - self.start + np.float32(1e-6)
