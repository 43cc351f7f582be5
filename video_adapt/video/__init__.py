"""Video files in, clips of pixels out: decoding, sampling, transforms."""

from .decode import VIDEO_SUFFIXES, VideoInfo, VideoReader, probe
from .mixing import Mixing
from .sampling import (
    DenseSampler,
    FrameSampler,
    IntervalSampler,
    SegmentSampler,
    UniformSampler,
    dense_indices,
    interval_indices,
    segment_indices,
)
from .transforms import EvalTransform, TrainTransform

__all__ = [
    "VIDEO_SUFFIXES",
    "DenseSampler",
    "EvalTransform",
    "FrameSampler",
    "IntervalSampler",
    "Mixing",
    "SegmentSampler",
    "TrainTransform",
    "UniformSampler",
    "VideoInfo",
    "VideoReader",
    "dense_indices",
    "interval_indices",
    "probe",
    "segment_indices",
]
