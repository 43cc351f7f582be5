"""Random input of the right shape for any job: what a training step of it takes, without data."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from video_adapt.baselines import FeatureDetector
from video_adapt.batches import CaptionBatch, ClipBatch, SegmentBatch, StoredClips
from video_adapt.tasks import DetectionTask, FrozenBackboneMixin, Task

MakePixels = Callable[[tuple[int, ...]], Tensor]
_EVENTS = 3


def random_batch(method: Any, data: Any, size: int, make: MakePixels) -> Any:
    """A training batch for a method.

    Args:
        method: Who takes it.
        data: The data module, for its sampler and settings.
        size: Samples in it.
        make: Makes pixels, or features, of a shape; where it makes them, everything else lies too.

    Returns:
        What ``training_step`` takes.
    """
    if method.job == "detection":
        return _windows(method, data, size, make)
    pixels = method.backbone.pixels.image_size
    video = make((size, data.sampler.num_frames, 3, pixels, pixels))
    ids = torch.arange(size)
    if method.job == "retrieval":
        words = "a " * (data.max_words - 2)  # beside the marks of start and end
        tokens = method.backbone.tokenize([words] * size, length=data.max_words)
        mask = torch.ones(size, data.sampler.num_frames, dtype=torch.bool)
        return CaptionBatch(video, mask, tokens, ids, ids, ids)
    target = None
    if getattr(data, "mixing", None) is not None:
        target = torch.full((size, method.num_classes), 1 / method.num_classes)
    return ClipBatch(video, torch.zeros(size, dtype=torch.long), target, ids, ids)


def _windows(method: DetectionTask, data: Any, size: int, make: MakePixels) -> SegmentBatch:
    positions = data.sampler.positions
    if isinstance(method, FeatureDetector):
        video = make((size, positions, method.width))
    else:
        backbone: Any = method.backbone
        pixels = data.train_transform.size or backbone.pixels.image_size
        video = make((size, data.sampler.num_frames, 3, pixels, pixels))
    starts = torch.arange(_EVENTS) * positions / _EVENTS
    events = torch.stack([starts, starts + positions / (2 * _EVENTS)], dim=1)
    ids, seconds = torch.arange(size), torch.ones(size, dtype=torch.double)
    return SegmentBatch(
        video,
        torch.ones(size, positions, dtype=torch.bool),
        [events] * size,
        [torch.zeros(_EVENTS, dtype=torch.long)] * size,
        ids,
        ids,
        0 * seconds,
        seconds,
        positions * seconds,
    )


def from_features(method: Any, batch: Any) -> tuple[Task, Any]:
    """The same step from stored features: who takes it, and what."""
    if isinstance(method, DetectionTask) and isinstance(method, FrozenBackboneMixin):
        reader = FeatureDetector(
            class_names=method.class_names,
            width=method.backbone.width,
            detector=method.detector,
            optimizer=method.optimizer,
            postprocess=method.postprocess,
            thresholds=method.thresholds,
        )
        rows = batch.video.new_empty(*batch.mask.shape, method.backbone.width)
        return reader, batch._replace(video=rows.uniform_())
    return method, StoredClips(method.rows_to_store(batch.video), *batch[1:])
