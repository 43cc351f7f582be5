"""Detectors of segments: one sequence of feature vectors in, segments with classes out."""

from .actionformer import ActionFormer
from .assign import Assignment
from .boundaries import boundary_mask
from .gtad import GTAD
from .head import Candidates, Detector, SegmentHead
from .losses import PointLoss
from .pyramid import Pyramid
from .sgp import SGP
from .towers import Towers
from .tridet import TriDet

__all__ = [
    "GTAD",
    "SGP",
    "ActionFormer",
    "Assignment",
    "Candidates",
    "Detector",
    "PointLoss",
    "Pyramid",
    "SegmentHead",
    "Towers",
    "TriDet",
    "boundary_mask",
]
