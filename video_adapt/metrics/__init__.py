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
from .plots import house_style, plot_confusion, save_figure
from .verb_noun import action_probs

__all__ = [
    "AccuracyResult",
    "VideoAccuracy",
    "VideoScores",
    "action_probs",
    "house_style",
    "label_rank",
    "merge_views",
    "plot_confusion",
    "save_figure",
    "top_k_accuracy",
    "video_accuracy",
]
