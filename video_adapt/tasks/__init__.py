"""The jobs: steps, optimiser and freezing that the methods of one job share."""

from .base import Task
from .bert_adam import BertAdam, BertCosine
from .detection import DetectionTask
from .frozen import (
    FrozenBackboneMixin,
    ParameterCount,
    TextTuning,
    Tuning,
    count_parameters,
    frozen_names,
)
from .heads import LinearHead, TextHead
from .loading import load_method
from .losses import soft_target_cross_entropy
from .optim import (
    DetectionOptimizerSpec,
    OptimizerSpec,
    configure,
    decay_groups,
    detection_groups,
    takes_decay,
)
from .recognition import RecognitionTask
from .retrieval import RetrievalTask
from .retrieval_optim import RetrievalOptimizerSpec, retrieval_groups
from .schedules import DistCosine, MultiStep, Schedule, WarmupCosine, warmup_cosine

__all__ = [
    "BertAdam",
    "BertCosine",
    "DetectionOptimizerSpec",
    "DetectionTask",
    "DistCosine",
    "FrozenBackboneMixin",
    "LinearHead",
    "MultiStep",
    "OptimizerSpec",
    "ParameterCount",
    "RecognitionTask",
    "RetrievalOptimizerSpec",
    "RetrievalTask",
    "Schedule",
    "Task",
    "TextHead",
    "TextTuning",
    "Tuning",
    "WarmupCosine",
    "configure",
    "count_parameters",
    "decay_groups",
    "detection_groups",
    "frozen_names",
    "load_method",
    "retrieval_groups",
    "soft_target_cross_entropy",
    "takes_decay",
    "warmup_cosine",
]
