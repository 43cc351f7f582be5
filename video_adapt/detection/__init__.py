"""Detectors of segments: one sequence of feature vectors in, segments with classes out."""

from .boundaries import boundary_mask
from .head import Candidates, Detector, SegmentHead

__all__ = ["Candidates", "Detector", "SegmentHead", "boundary_mask"]
