"""Video files in, clips of pixels out: decoding, sampling, transforms."""

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

__all__ = [
    "DenseSampler",
    "FrameSampler",
    "IntervalSampler",
    "SegmentSampler",
    "UniformSampler",
    "dense_indices",
    "interval_indices",
    "segment_indices",
]
