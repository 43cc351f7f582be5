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
from .verb_noun import action_probs

__all__ = [
    "AccuracyResult",
    "VideoAccuracy",
    "VideoScores",
    "action_probs",
    "label_rank",
    "merge_views",
    "top_k_accuracy",
    "video_accuracy",
]
