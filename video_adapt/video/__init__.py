"""Video files in, clips of pixels out: decoding, sampling, transforms."""

from .caption_transforms import BicubicCrop
from .decode import VIDEO_SUFFIXES, VideoInfo, VideoReader, probe
from .mixing import Mixing
from .moment_samplers import MiddleSampler, MomentSampler, SecondSampler
from .sampling import (
    DenseSampler,
    FrameSampler,
    IntervalSampler,
    SegmentSampler,
    StreamHeader,
    UniformSampler,
    dense_indices,
    interval_indices,
    segment_indices,
)
from .short_side_transform import ShortSideTransform
from .transforms import EvalTransform, TrainingTransform, TrainTransform
from .view_samplers import CoveringSampler, PublishedViewSampler
from .window_base import WindowSampler
from .window_samplers import SlidingWindows, WholeVideo
from .window_transforms import WindowEvalTransform, WindowTrainTransform

__all__ = [
    "VIDEO_SUFFIXES",
    "BicubicCrop",
    "CoveringSampler",
    "DenseSampler",
    "EvalTransform",
    "FrameSampler",
    "IntervalSampler",
    "MiddleSampler",
    "Mixing",
    "MomentSampler",
    "PublishedViewSampler",
    "SecondSampler",
    "SegmentSampler",
    "ShortSideTransform",
    "SlidingWindows",
    "StreamHeader",
    "TrainTransform",
    "TrainingTransform",
    "UniformSampler",
    "VideoInfo",
    "VideoReader",
    "WholeVideo",
    "WindowEvalTransform",
    "WindowSampler",
    "WindowTrainTransform",
    "dense_indices",
    "interval_indices",
    "probe",
    "segment_indices",
]
