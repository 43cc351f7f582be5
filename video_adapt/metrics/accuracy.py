"""Accuracy over videos seen in several views, the same on any number of processes.

The figures are computed in NumPy, in float64, from clips sorted by video and view: neither the
device nor the order in which processes deliver their clips can change a bit of the result.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from video_adapt.batches import ClipLogits, ClipPredictions
from video_adapt.errors import AnnotationError


class VideoScores(NamedTuple):
    """Predictions of ``M`` videos, ascending by id.

    Attributes:
        video_id: int64 ``[M]``, without repetition.
        scores: Class probabilities, or logits, summed over the views, float64 ``[M, K]``.
        label: int64 ``[M]``; -1 where unknown.
        views: Number of distinct views that were summed, int64 ``[M]``.
    """

    video_id: NDArray[np.int64]
    scores: NDArray[np.float64]
    label: NDArray[np.int64]
    views: NDArray[np.int64]

    @property
    def prediction(self) -> NDArray[np.int64]:
        """Best class of each video ``[M]``; -1 where a score is not a finite number."""
        finite = np.isfinite(self.scores).all(axis=1)
        best: NDArray[np.int64] = np.where(finite, self.scores.argmax(axis=1), -1)
        return best


class AccuracyResult(NamedTuple):
    """What :class:`VideoAccuracy` reports. Accuracies are fractions in [0, 1]; nan without videos.

    Attributes:
        top1: Share of labelled videos whose label scores best.
        top5: Share whose label is among the best five (all classes where there are fewer).
        mean_class: Mean of ``class_accuracy`` over the classes that occur.
        class_accuracy: Top-1 of the videos of each class ``[K]``; nan where a class has none.
        confusion: Number of videos by label (row) and prediction (column) ``[K, K]``.
        num_videos: Labelled videos, which the figures above are about.
        num_unlabeled: Videos without a label, left out of them.
        videos: All videos, labelled or not.
    """

    top1: float
    top5: float
    mean_class: float
    class_accuracy: NDArray[np.float64]
    confusion: NDArray[np.int64]
    num_videos: int
    num_unlabeled: int
    videos: VideoScores


def merge_views(
    video_id: NDArray[np.int64],
    view: NDArray[np.int64],
    probs: NDArray[np.floating],
    label: NDArray[np.int64],
) -> VideoScores:
    """Sum the scores of each video over its views, counting every view once.

    Samplers that pad their share deliver some clips twice; the second copy is dropped here.

    Args:
        video_id: ``[B]``, in any order.
        view: ``[B]``.
        probs: Class probabilities, or logits, ``[B, K]``.
        label: ``[B]``; -1 where unknown.

    Raises:
        AnnotationError: If two views of one video carry different labels.

    Source: DiST, multi-view testing; its meter counts padded duplicates twice, this one does not.
    """
    order = np.lexsort((view, video_id))
    keys = np.stack([video_id[order], view[order]])  # [2, B]
    fresh = np.ones(order.size, dtype=bool)
    fresh[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    order = order[fresh]

    ids, starts, views = np.unique(video_id[order], return_index=True, return_counts=True)
    label = label[order]
    if (mixed := label != np.repeat(label[starts], views)).any():
        video = video_id[order][mixed][0]
        raise AnnotationError(
            f"video {video} carries different labels in different views; "
            "give every video of the list an id of its own"
        )
    sums = np.zeros((ids.size, probs.shape[1]))
    if ids.size:
        sums = np.add.reduceat(probs[order].astype(np.float64), starts, axis=0)
    return VideoScores(ids, sums, label[starts], views)


def label_rank(scores: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many other classes do not score below the label: 0 means top-1 ``[M]``.

    Of equal scores the lower class index goes first. A score that is not a number beats nothing.

    Args:
        scores: ``[M, K]``.
        label: ``[M]``, in [0, K).
    """
    classes = np.arange(scores.shape[1])
    own = np.take_along_axis(scores, label[:, None], axis=1)  # [M, 1]
    beaten = (scores < own) | ((scores == own) & (classes > label[:, None]))
    rank: NDArray[np.int64] = scores.shape[1] - 1 - beaten.sum(axis=1)
    return rank


def top_k_accuracy(scores: NDArray[np.float64], label: NDArray[np.int64], k: int) -> float:
    """Share of rows whose label is among the best ``min(k, K)`` classes; nan without rows."""
    hits = label_rank(scores, label) < k
    return float(hits.mean()) if hits.size else float("nan")


def video_accuracy(videos: VideoScores) -> AccuracyResult:
    """All figures of merged videos; those without a label are only counted.

    Raises:
        AnnotationError: If a label is not below the number of classes.
    """
    num_classes = videos.scores.shape[1]
    if videos.label.size and videos.label.max() >= num_classes:
        raise AnnotationError(
            f"label {videos.label.max()} of video {videos.video_id[videos.label.argmax()]} is out "
            f"of range: the model has {num_classes} classes"
        )
    known = videos.label >= 0
    label, scores = videos.label[known], videos.scores[known]
    correct = label_rank(scores, label) == 0
    per_class = np.bincount(label, minlength=num_classes)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the nan of a class that does not occur
        class_accuracy = np.bincount(label, correct, minlength=num_classes) / per_class
    present = class_accuracy[per_class > 0]

    prediction = videos.prediction[known]
    decided = prediction >= 0
    cells = label[decided] * num_classes + prediction[decided]
    return AccuracyResult(
        top1=top_k_accuracy(scores, label, 1),
        top5=top_k_accuracy(scores, label, 5),
        mean_class=float(present.mean()) if present.size else float("nan"),
        class_accuracy=class_accuracy,
        confusion=np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes),
        num_videos=int(known.sum()),
        num_unlabeled=int((~known).sum()),
        videos=videos,
    )


class VideoAccuracy(Metric):
    """Collects clip predictions from all processes and computes :class:`AccuracyResult`.

    Args:
        num_classes: Number ``K`` of classes of every prediction.
    """

    full_state_update = False
    video_id: list[Tensor]
    view: list[Tensor]
    probs: list[Tensor]
    label: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in ClipPredictions._fields:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all clips.

        Each state starts with an empty block: a process that saw no clip then takes part in the
        gathering with tensors of the right type and number of dimensions.
        """
        super().reset()
        ids = torch.empty(0, dtype=torch.int64, device=self.device)
        probs = torch.empty(0, self.num_classes, device=self.device)
        for name, empty in ClipPredictions(ids, ids, probs, ids)._asdict().items():
            getattr(self, name).append(empty)

    def update(self, clips: ClipPredictions | ClipLogits) -> None:
        """Add a batch of clips; all with probabilities, or all with logits."""
        for name, value in zip(ClipPredictions._fields, clips, strict=True):
            getattr(self, name).append(value.detach().to(self.device))

    def compute(self) -> AccuracyResult:
        """Figures over the clips of all processes."""
        video_id, view, probs, label = (
            dim_zero_cat(getattr(self, name)).cpu().numpy() for name in ClipPredictions._fields
        )
        return video_accuracy(merge_views(video_id, view, probs, label))
