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
from .detection_errors import (
    ClassErrors,
    ErrorKind,
    class_errors,
    error_kinds,
    error_profile,
)
from .detection_map import DetectionMAP, DetectionResult, average_precision, detection_map
from .detection_matching import Detections, GroundTruth, check_labels, distinct_events
from .detection_plots import (
    plot_class_ap,
    plot_error_profile,
    plot_false_alarms,
    plot_precision_recall,
)
from .open_vocabulary import AccuracyBySet, Spread, harmonic_mean, has_top5, spread_of
from .operating_points import (
    TARGET_PRECISIONS,
    Calibration,
    Matching,
    OperatingCurve,
    OperatingPoint,
    calibrate,
    match_detections,
    operating_curve,
    threshold_for_precision,
)
from .plots import house_style, plot_confusion, save_figure
from .proposal_recall import average_recall, recall_at_multiples
from .retrieval_figures import (
    Interval,
    RetrievalFigures,
    bootstrap_intervals,
    retrieval_figures,
)
from .retrieval_plots import plot_recall_curves
from .retrieval_ranks import Ranking, TiePolicy, count_wrong, rank_queries
from .retrieval_recall import Directions, RetrievalRecall, RetrievalResult, retrieval_recall
from .retrieval_scores import (
    DualSoftmax,
    FeatureScores,
    MatrixScores,
    PairScores,
    SimilarityScores,
)
from .verb_noun import action_probs

__all__ = [
    "TARGET_PRECISIONS",
    "AccuracyBySet",
    "AccuracyResult",
    "Calibration",
    "ClassErrors",
    "DetectionMAP",
    "DetectionResult",
    "Detections",
    "Directions",
    "DualSoftmax",
    "ErrorKind",
    "FeatureScores",
    "GroundTruth",
    "Interval",
    "Matching",
    "MatrixScores",
    "OperatingCurve",
    "OperatingPoint",
    "PairScores",
    "Ranking",
    "RetrievalFigures",
    "RetrievalRecall",
    "RetrievalResult",
    "SimilarityScores",
    "Spread",
    "TiePolicy",
    "VideoAccuracy",
    "VideoScores",
    "action_probs",
    "average_precision",
    "average_recall",
    "bootstrap_intervals",
    "calibrate",
    "check_labels",
    "class_errors",
    "count_wrong",
    "detection_map",
    "distinct_events",
    "error_kinds",
    "error_profile",
    "harmonic_mean",
    "has_top5",
    "house_style",
    "label_rank",
    "match_detections",
    "merge_views",
    "operating_curve",
    "plot_class_ap",
    "plot_confusion",
    "plot_error_profile",
    "plot_false_alarms",
    "plot_precision_recall",
    "plot_recall_curves",
    "rank_queries",
    "recall_at_multiples",
    "retrieval_figures",
    "retrieval_recall",
    "save_figure",
    "spread_of",
    "threshold_for_precision",
    "top_k_accuracy",
    "video_accuracy",
]
