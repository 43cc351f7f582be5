"""From the proposals of every window to the detections of every video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from video_adapt.batches import SegmentBatch, SegmentPredictions
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.segments import Kept, hard_nms, soft_nms, vote

from .head import Candidates
from .video_labels import VideoLabels


@dataclass(frozen=True, kw_only=True)
class NMS:
    """How segments that say the same thing become one. Defaults: AdaTAD on THUMOS-14.

    Args:
        kind: ``soft`` decays scores by ``exp(-IoU^2 / sigma)``, ``hard`` deletes.
        sigma: Width of the soft decay.
        iou: Overlap from which hard NMS deletes.
        min_score: Drop what decays below it (soft), or is not above it (hard).
        max_segments: Segments kept, of all classes together.
        class_wise: Segments of different classes do not touch each other.
        voting_iou: Then move each segment to the mean of all that overlap it by this much, by
            score; class by class where ``class_wise``. None: no voting.
    """

    kind: Literal["soft", "hard"] = "soft"
    sigma: float = 0.7
    iou: float = 0.5
    min_score: float = 0.0
    max_segments: int = 2000
    class_wise: bool = True
    voting_iou: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that no suppression can work with."""
        if self.sigma <= 0:
            raise ConfigurationError(f"nms.sigma is {self.sigma}; it must be above 0")
        if self.max_segments < 1:
            raise ConfigurationError(f"nms.max_segments is {self.max_segments}; keep at least 1")

    def apply(self, found: SegmentPredictions, *, voting: bool) -> SegmentPredictions:
        """Choose among the segments of one video or window, whose unit does not matter.

        Args:
            found: Segments before suppression.
            voting: False leaves the chosen segments where they are, whatever ``voting_iou`` says.
        """
        kept = self._choose(found)
        chosen = _take(found, kept.rows)
        segments = chosen.segments
        if voting and self.voting_iou is not None:
            segments = self._vote(chosen, found, self.voting_iou)
        return chosen._replace(segments=segments, scores=kept.scores)

    def _choose(self, found: SegmentPredictions) -> Kept:
        labels = found.labels if self.class_wise else None
        min_score, limit = self.min_score, self.max_segments
        segments, scores = found.segments, found.scores
        if self.kind == "hard":
            return hard_nms(
                segments, scores, labels, iou=self.iou, min_score=min_score, limit=limit
            )
        return soft_nms(
            segments, scores, labels, sigma=self.sigma, min_score=min_score, limit=limit
        )

    def _vote(self, chosen: SegmentPredictions, found: SegmentPredictions, iou: float) -> Tensor:
        if not self.class_wise:
            return vote(chosen.segments, found.segments, found.scores, iou=iou)
        segments = chosen.segments.clone()
        for label in chosen.labels.unique():
            mine, voters = chosen.labels == label, found.labels == label
            segments[mine] = vote(
                segments[mine], found.segments[voters], found.scores[voters], iou=iou
            )
        return segments


@dataclass(frozen=True, kw_only=True)
class PostProcess:
    """What happens to proposals: choice, suppression, times in seconds, classes from outside.

    Args:
        min_score: Pairs of proposal and class count above this score.
        top_k: At most so many of them per window. A detector of one class keeps all proposals.
        nms: How repeated segments become one; null keeps them all.
        nms_per: ``video`` suppresses when all windows of a video are together, in seconds;
            ``window`` does it in each window, on its grid (videos of one window: ActivityNet).
        min_duration_s: Detections must last this many seconds; 0 keeps even those of no length.
        video_labels: Classes of the whole video for a detector of one class, given after NMS.
        mode: ``official`` repeats two habits of the published code, to compare figures: times
            are rounded to 0.01 s and scores to 0.0001 before NMS per video and again at the end,
            and ``voting_iou`` does nothing under class-wise NMS. ``clean`` does neither.
    """

    min_score: float = 0.001
    top_k: int = 2000
    nms: NMS | None = field(default_factory=NMS)
    nms_per: Literal["video", "window"] = "video"
    min_duration_s: float = 0.0
    video_labels: VideoLabels | None = None
    mode: Literal["clean", "official"] = "clean"

    def windows(self, candidates: Sequence[Candidates], batch: SegmentBatch) -> SegmentPredictions:
        """Turn the proposals of ``B`` windows into detections in seconds.

        Args:
            candidates: Proposals of each window, on its grid.
            batch: The windows.

        Returns:
            Detections of all windows, best first within each, on the device of the proposals.

        Raises:
            WeightsError: If a proposal is not a finite number.
        """
        return _join([self._window(found, batch, row) for row, found in enumerate(candidates)])

    def videos(
        self,
        predictions: SegmentPredictions,
        video_names: Sequence[str] = (),
        class_names: Sequence[str] = (),
    ) -> SegmentPredictions:
        """Turn the detections of all windows into those of all videos.

        The result does not depend on the order of the rows, hence not on processes either.

        Args:
            predictions: What :meth:`windows` returned, for whole videos.
            video_names: Name of every video, by id; ``video_labels`` and messages need them.
            class_names: Classes of the data; ``video_labels`` need them.

        Returns:
            Detections by video id, then score, best first, on the CPU.

        Raises:
            WeightsError: If a detection is not a finite number.
            AnnotationError: If the file of ``video_labels`` does not fit the videos or classes.
        """
        found = _in_order(SegmentPredictions(*(values.detach().cpu() for values in predictions)))
        if not len(found.scores):
            return found
        video_id, counts = found.video_id.unique_consecutive(return_counts=True)
        names = [video_names[i] if video_names else f"number {i}" for i in video_id.tolist()]
        parts = zip(*(values.split(counts.tolist()) for values in found), strict=True)
        videos = [SegmentPredictions(*part) for part in parts]
        found = _join([self._video(*pair) for pair in zip(videos, names, strict=True)])
        if self.video_labels is not None:
            found = self.video_labels.relabel(found, video_names, class_names)
        return _in_order(self._rounded(found))

    def _window(self, found: Candidates, batch: SegmentBatch, row: int) -> SegmentPredictions:
        video_id, window = batch.video_id[row], batch.window[row]
        _refuse_divergence(found, f"video number {video_id}, window {window}")
        segments, scores, labels = self._select(found)
        rows = SegmentPredictions(
            video_id.expand_as(labels), window.expand_as(labels), segments, scores, labels
        )
        if self.nms is not None and self.nms_per == "window":
            rows = self._suppress(rows)
        # In double precision, so that times of hours are rounded once.
        seconds = batch.offset_s[row] + rows.segments.double() * batch.step_s[row]
        seconds = seconds.clamp(min=0).minimum(batch.duration_s[row])
        lasting = seconds[:, 1] - seconds[:, 0] >= self.min_duration_s
        return _take(rows._replace(segments=seconds.float()), lasting)

    def _select(self, found: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        """Segments ``[M, 2]``, scores and labels ``[M]`` of the pairs of proposal and class."""
        num_classes = found.scores.shape[1]
        scores = found.scores.float().flatten()  # [N*K]
        least = self.min_score if num_classes > 1 else -1.0
        above = (scores > least).nonzero()[:, 0]
        best = above[scores[above].sort(descending=True, stable=True).indices]
        if num_classes > 1:
            best = best[: self.top_k]
        proposals, labels = best // num_classes, best % num_classes
        segments = found.segments.float()
        segments = segments[proposals] if segments.ndim == 2 else segments[proposals, labels]
        return segments, scores[best], labels

    def _video(self, found: SegmentPredictions, name: str) -> SegmentPredictions:
        _refuse_divergence(found, f"video {name}")
        if self.nms is None or self.nms_per == "window":
            return found
        return self._suppress(self._rounded(found))

    def _suppress(self, found: SegmentPredictions) -> SegmentPredictions:
        assert self.nms is not None
        return self.nms.apply(found, voting=self.mode == "clean" or not self.nms.class_wise)

    def _rounded(self, found: SegmentPredictions) -> SegmentPredictions:
        """Times and scores as the published code packs them; unchanged in clean mode."""
        if self.mode == "clean":
            return found
        segments = found.segments.double().round(decimals=2).float()
        return found._replace(
            segments=segments, scores=found.scores.double().round(decimals=4).float()
        )


def _refuse_divergence(found: Candidates | SegmentPredictions, place: str) -> None:
    if not (found.segments.isfinite().all() and found.scores.isfinite().all()):
        raise WeightsError(
            f"{place}: a segment or a score is not a finite number; the weights have diverged or "
            "half precision overflows: lower the learning rate, or set trainer.precision to 32"
        )


def _take(found: SegmentPredictions, rows: Tensor) -> SegmentPredictions:
    return SegmentPredictions(*(values[rows] for values in found))


def _join(parts: Sequence[SegmentPredictions]) -> SegmentPredictions:
    return SegmentPredictions(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _in_order(found: SegmentPredictions) -> SegmentPredictions:
    """By video, best first; where all that counts is equal, rows are the same."""
    start, end = found.segments.unbind(1)
    keys = (found.window, found.labels, end, start, -found.scores, found.video_id)
    return _take(found, torch.from_numpy(np.lexsort([key.numpy() for key in keys])))
