"""A trained detector as a function from a video file to labelled segments."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from video_adapt.batches import SegmentPredictions
from video_adapt.checkpoints import read_checkpoint
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.metrics import threshold_for_precision
from video_adapt.reports.detections import Detection
from video_adapt.tasks import load_method

from .recogniser import build_part, find_device
from .window_stream import WindowCutter

logger = logging.getLogger(__name__)

OnProgress = Callable[[float, float], None]
_ROUNDING = 1e-4
"""Published post-processing rounds scores to this, which can lift them over a threshold."""
NEVER = float("inf")
"""Threshold of a class that is not reported."""


class VideoDetections(NamedTuple):
    """What was found in a video.

    Attributes:
        video: The file.
        duration_s: Its length in seconds.
        windows: What its windows are, in words.
        detections: Segments, best first.
    """

    video: str
    duration_s: float
    windows: str
    detections: list[Detection]


class SegmentDetector:
    """Finds what happens when in videos with one checkpoint, cutting them as in testing.

    Args:
        checkpoint: A checkpoint written by the training of a detector; it names its backbone.
        device: ``auto`` takes a GPU where there is one, or a name that torch understands.
        batch_size: Windows that pass the model together.
        max_segments: Segments that a video can have, the best; None = as in training, where videos
            may have been shorter.
        **components: Constructor arguments that the checkpoint cannot hold, such as a backbone
            that was built in Python.

    Raises:
        WeightsError: If the checkpoint is missing, not ours, or not that of a detector on videos.
        ConfigurationError: If the device does not exist or a batch is empty.

    Example::

        from video_adapt import SegmentDetector
        detect = SegmentDetector("runs/demo/detection/adapter_0/checkpoints/best.ckpt")
        for found in detect("video.mp4", threshold=0.3):
            print(found.start_s, found.end_s, found.label, found.score)
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str = "auto",
        batch_size: int = 1,
        max_segments: int | None = None,
        **components: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"a batch of {batch_size} windows is empty; give 1 or more")
        self.device, self.batch_size = find_device(device), batch_size
        self.checkpoint = Path(checkpoint)
        recipe = read_recipe(checkpoint)
        method: Any = load_method(checkpoint, map_location=self.device, **components)
        self.method = method.to(self.device)
        post = self.method.postprocess
        if max_segments is not None and post.nms is not None:
            nms = replace(post.nms, max_segments=max_segments)
            self.method.postprocess = replace(post, nms=nms)
        self.class_names: list[str] = list(method.class_names)
        self.cutter = WindowCutter(
            build_part(recipe["sampler"], checkpoint),
            build_part(recipe["transform"], checkpoint),
            method.backbone.pixels,
            recipe["short_side"],
            recipe["frames_per_chunk"],
        )

    def __call__(
        self, video: str | Path, *, threshold: float | Sequence[float] = 0.0
    ) -> list[Detection]:
        """Find the segments of a video, best first.

        Args:
            video: The file.
            threshold: Least score of what is reported, or one for each class.

        Raises:
            VideoDecodeError: If it cannot be read or is too short.
        """
        return self.examine(video, threshold=threshold).detections

    def examine(
        self,
        video: str | Path,
        *,
        threshold: float | Sequence[float] = 0.0,
        on_progress: OnProgress | None = None,
    ) -> VideoDetections:
        """Find the segments of a video while it is decoded; an hour needs no more than a minute.

        Args:
            video: The file.
            threshold: Least score of what is reported, or one for each class.
            on_progress: Called with the seconds that are done and those of the whole video.

        Raises:
            VideoDecodeError: If it cannot be read or is too short.
        """
        single = isinstance(threshold, float | int)
        least = torch.tensor([threshold] * len(self.class_names) if single else threshold)
        parts: list[SegmentPredictions] = []
        with self.cutter.open(video) as stream:
            for batch in stream.batches(self.batch_size):
                with torch.inference_mode():
                    found = self.method.predict_step(self.cutter.prepare(batch, self.device))
                parts.append(self._kept(found, float(least.min())))
                if on_progress is not None:
                    on_progress(*stream.done(batch))
            duration_s, windows = stream.timing.duration_s, stream.describe()
        found = SegmentPredictions(*map(torch.cat, zip(*parts, strict=True)))
        found = self.method.finish(found, [Path(video).stem])
        enough = found.scores >= least[found.labels]
        self._tell_limit(video, found, bool(enough.all()))
        reported = SegmentPredictions(*(values[enough] for values in found))
        return VideoDetections(str(video), duration_s, windows, self._named(reported))

    def thresholds(self, precision: float, *, per_class: bool = False) -> list[float]:
        """The score thresholds with which validation reached a precision, one for each class.

        Args:
            precision: In (0, 1]; another than 0.5, 0.55, ... means the next higher of these.
            per_class: The threshold that each class needs by itself, :data:`NEVER` where none is
                high enough; otherwise the one of all classes together.

        Raises:
            ConfigurationError: If none is known for this precision.
        """
        calibration = self.method.calibration
        if calibration is None:
            raise ConfigurationError(
                f"{self.checkpoint}: no validation has chosen score thresholds for it; give "
                "--threshold, or train it with a validation list"
            )
        labels: list[int | None] = [*range(len(self.class_names))] if per_class else [None]
        found = [threshold_for_precision(calibration, precision, label) for label in labels]
        if all(one is None for one in found):
            raise ConfigurationError(
                f"{self.checkpoint}: no score threshold reached a precision of {precision:g} on "
                f"validation{_reached(calibration['overall'], calibration['precision'])}; ask for "
                "less, give --threshold, or train longer"
            )
        values = [NEVER if one is None else one for one in found]
        return values if per_class else values * len(self.class_names)

    def _kept(self, found: SegmentPredictions, least: float) -> SegmentPredictions:
        """Segments that can still be reported, or have a say in it, on the CPU.

        Suppression only lowers scores and goes from the best down, so what is below the threshold
        now neither rises above it nor touches anything above it. Votes and classes from outside
        do not work like that.
        """
        found = SegmentPredictions(*(values.cpu() for values in found))
        post = self.method.postprocess
        if post.video_labels is not None or (post.nms and post.nms.voting_iou is not None):
            return found
        rows = found.scores >= least - _ROUNDING
        return SegmentPredictions(*(values[rows] for values in found))

    def _tell_limit(self, video: str | Path, found: SegmentPredictions, all_reported: bool) -> None:
        """Say when the number of segments ends the list, not their scores."""
        nms = self.method.postprocess.nms
        if nms is not None and len(found.scores) >= nms.max_segments and all_reported:
            text = (
                "%s: has the most segments that a video can have, %d; raise max_segments for more"
            )
            logger.warning(text, video, nms.max_segments)

    def _named(self, found: SegmentPredictions) -> list[Detection]:
        rows = zip(
            found.segments.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
        )
        return [
            Detection(start_s, end_s, self.class_names[label], score)
            for (start_s, end_s), label, score in rows
        ]


def read_recipe(checkpoint: str | Path) -> dict[str, Any]:
    """How the checkpoint of a detector on videos wants them cut.

    Raises:
        WeightsError: If the file is missing, says nothing of it, or is no detector on videos.
    """
    recipe: dict[str, Any] | None = read_checkpoint(checkpoint).get("video_adapt", {}).get("input")
    if recipe is None:
        raise WeightsError(
            f"{checkpoint}: does not say how its videos were prepared; train it with a data "
            "module of this project"
        )
    if "max_words" in recipe:
        raise WeightsError(
            f"{checkpoint}: compares videos with sentences; use `video-adapt search`"
        )
    if "frames_per_chunk" not in recipe:
        raise WeightsError(
            f"{checkpoint}: names whole clips and finds no segments; use `video-adapt recognise`"
        )
    if recipe["features"] is not None:
        raise WeightsError(
            f"{checkpoint}: reads stored features, not videos; store those of new videos with "
            "`video-adapt features` and run `video-adapt predict` on them, or train AdaTAD"
        )
    return recipe


def _reached(thresholds: Sequence[float | None], precision: Sequence[float]) -> str:
    """The highest precision that all classes together reached, as part of a sentence."""
    pairs = zip(precision, thresholds, strict=True)
    best = max((target for target, threshold in pairs if threshold is not None), default=None)
    return "" if best is None else f" (all classes together: {best:g})"
