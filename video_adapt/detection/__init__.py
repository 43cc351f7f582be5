"""Detectors of segments: one sequence of feature vectors in, segments with classes out."""

from .actionformer import ActionFormer
from .assign import Assignment
from .boundaries import boundary_mask
from .gtad import GTAD
from .head import Candidates, Detector, SegmentHead
from .losses import PointLoss
from .postprocess import NMS, PostProcess
from .pyramid import Pyramid
from .sgp import SGP
from .towers import Towers
from .tridet import TriDet
from .video_labels import VideoLabels

__all__ = [
    "GTAD",
    "NMS",
    "SGP",
    "ActionFormer",
    "Assignment",
    "Candidates",
    "Detector",
    "PointLoss",
    "PostProcess",
    "Pyramid",
    "SegmentHead",
    "Towers",
    "TriDet",
    "VideoLabels",
    "boundary_mask",
]
