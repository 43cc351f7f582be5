"""Temporal action detection: a window of a long video in, segments with classes out."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.batches import SegmentBatch, SegmentPredictions
from video_adapt.detection import Detector, PostProcess
from video_adapt.errors import ConfigurationError

from .base import Task
from .optim import DetectionOptimizerSpec, detection_groups


class DetectionTask(Task):
    """Steps and optimiser of every detector; a method adds ``sequence`` and its backbone.

    A method ends its constructor with :meth:`build_head`, when the width of its features is known.

    Args:
        class_names: Names of the classes, in the order of their indices.
        detector: The head and its settings.
        optimizer: Recipe of the optimiser; None for a method that does not train.
        postprocess: From proposals to detections; None = the settings of THUMOS-14. Where it takes
            the classes from outside (``video_labels``), the head learns all events as one class.
        thresholds: Temporal IoU at which mAP is measured.

    Attributes:
        calibration: Score thresholds chosen on validation, by target precision; plain values that
            the evaluation writes and a checkpoint keeps. None before the first validation.
    """

    job = "detection"
    optimizer: DetectionOptimizerSpec | None

    def __init__(
        self,
        *,
        class_names: Sequence[str],
        detector: Detector,
        optimizer: DetectionOptimizerSpec | None = None,
        postprocess: PostProcess | None = None,
        thresholds: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7),
    ) -> None:
        super().__init__(class_names=class_names, optimizer=optimizer)
        if not thresholds or not all(0 < value <= 1 for value in thresholds):
            raise ConfigurationError(
                f"thresholds={list(thresholds)}: mAP needs at least one IoU in (0, 1]"
            )
        self.detector = detector
        self.postprocess = postprocess or PostProcess()
        self.thresholds = tuple(thresholds)
        self.calibration: dict[str, Any] | None = None

    def build_head(self, width: int) -> None:
        """Make the detector for features of this width ``D``."""
        self.head = self.detector.build(width, self.num_classes if self.learns_classes else 1)

    @property
    def learns_classes(self) -> bool:
        """Whether the head tells classes apart; else video-level labels from outside do."""
        return self.postprocess.video_labels is None

    @abstractmethod
    def sequence(self, video: Tensor) -> Tensor:
        """Feature vectors in the order of time, ``[B, T', D]``, of ``[B, T, C, H, W]``."""

    def forward(self, video: Tensor, mask: Tensor) -> Any:
        """Run backbone and head.

        Args:
            video: ``[B, T, C, H, W]``, or features ``[B, S, D]``.
            mask: Grid positions that lie within the video, bool ``[B, S]``.

        Returns:
            The head's own outputs.
        """
        features = resample(self.sequence(video), mask.shape[1])
        return self.head(features.float(), mask)

    def training_step(self, batch: SegmentBatch, batch_idx: int) -> Tensor:
        """The head's loss on one batch, its terms logged apart."""
        outputs = self(batch.video, batch.mask)
        labels = batch.labels
        if not self.learns_classes:
            labels = type(labels)(torch.zeros_like(of_window) for of_window in labels)
        terms = self.head.losses(outputs, batch.segments, labels)
        loss = sum(terms.values(), start=batch.offset_s.new_zeros((), dtype=batch.video.dtype))
        size = len(batch.mask)
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, batch_size=size)
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        return loss

    def predict_step(self, batch: SegmentBatch, batch_idx: int = 0) -> SegmentPredictions:
        """Detections of every window in seconds; :meth:`finish` merges the windows of a video."""
        proposals = self.head.candidates(self(batch.video, batch.mask))
        return self.postprocess.windows(proposals, batch)

    def validation_step(self, batch: SegmentBatch, batch_idx: int) -> Any:
        """Detect in one batch of windows."""
        return self.predict_step(batch, batch_idx)

    def test_step(self, batch: SegmentBatch, batch_idx: int) -> Any:
        """Detect in one batch of windows."""
        return self.predict_step(batch, batch_idx)

    def finish(
        self, predictions: SegmentPredictions, video_names: Sequence[str] = ()
    ) -> SegmentPredictions:
        """Final detections of whole videos, once all of their windows are together.

        Args:
            predictions: Of all windows of these videos, in any order.
            video_names: Name of every video by its id, for external video-level labels.
        """
        return self.postprocess.videos(predictions, video_names, self.class_names)

    def parameter_groups(self, spec: Any) -> list[dict[str, Any]]:
        """Adapters, backbone, and the detector with and without decay."""
        return detection_groups(self, spec)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the score thresholds that validation chose."""
        super().on_save_checkpoint(checkpoint)
        checkpoint.setdefault("video_adapt", {})["calibration"] = self.calibration

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the score thresholds over."""
        super().on_load_checkpoint(checkpoint)
        self.calibration = checkpoint["video_adapt"].get("calibration")


def resample(sequence: Tensor, length: int) -> Tensor:
    """Interpolate ``[B, T', D]`` linearly over time to ``[B, length, D]``.

    Both sequences cover the same stretch of time, ends aligned as pixels are, not corners.

    Source: AdaTAD (CVPR 2024), backbone wrapper.
    """
    if sequence.shape[1] == length:
        return sequence
    return F.interpolate(sequence.transpose(1, 2), size=length, mode="linear").transpose(1, 2)
