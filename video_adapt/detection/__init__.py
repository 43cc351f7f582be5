"""Detectors of segments: one sequence of feature vectors in, segments with classes out."""

from .head import Candidates, Detector, SegmentHead

__all__ = ["Candidates", "Detector", "SegmentHead"]
