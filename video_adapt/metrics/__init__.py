"""Figures of merit, exact on any number of processes."""

from .accuracy import (
    AccuracyResult,
    VideoAccuracy,
    VideoScores,
    label_rank,
    merge_views,
    top_k_accuracy,
    video_accuracy,
)
from .detection_map import DetectionMAP, DetectionResult, average_precision, detection_map
from .detection_matching import Detections, GroundTruth, check_labels, distinct_events
from .plots import house_style, plot_confusion, save_figure
from .proposal_recall import average_recall, recall_at_multiples
from .verb_noun import action_probs

__all__ = [
    "AccuracyResult",
    "DetectionMAP",
    "DetectionResult",
    "Detections",
    "GroundTruth",
    "VideoAccuracy",
    "VideoScores",
    "action_probs",
    "average_precision",
    "average_recall",
    "check_labels",
    "detection_map",
    "distinct_events",
    "house_style",
    "label_rank",
    "merge_views",
    "plot_confusion",
    "recall_at_multiples",
    "save_figure",
    "top_k_accuracy",
    "video_accuracy",
]
