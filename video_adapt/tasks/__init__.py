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
from .interpolation import Interpolation, original_of
from .loading import load_method
from .losses import soft_target_cross_entropy
from .open_vocabulary import OpenVocabularyTask
from .open_vocabulary_optim import OpenVocabularyOptimizerSpec, open_vocabulary_groups
from .optim import (
    DetectionOptimizerSpec,
    OptimizerSpec,
    configure,
    decay_groups,
    detection_groups,
    takes_decay,
)
from .prompts import TEMPLATES, Prompts
from .recognition import RecognitionTask, target_of
from .retrieval import RetrievalTask
from .retrieval_optim import RetrievalOptimizerSpec, retrieval_groups
from .schedules import (
    DistCosine,
    MultiStep,
    PlateauCosine,
    Schedule,
    WarmupCosine,
    warmup_cosine,
)
from .stored_features import Reads
from .text_classifier import TextBank, ensemble, frame_logits

__all__ = [
    "TEMPLATES",
    "BertAdam",
    "BertCosine",
    "DetectionOptimizerSpec",
    "DetectionTask",
    "DistCosine",
    "FrozenBackboneMixin",
    "Interpolation",
    "LinearHead",
    "MultiStep",
    "OpenVocabularyOptimizerSpec",
    "OpenVocabularyTask",
    "OptimizerSpec",
    "ParameterCount",
    "PlateauCosine",
    "Prompts",
    "Reads",
    "RecognitionTask",
    "RetrievalOptimizerSpec",
    "RetrievalTask",
    "Schedule",
    "Task",
    "TextBank",
    "TextHead",
    "TextTuning",
    "Tuning",
    "WarmupCosine",
    "configure",
    "count_parameters",
    "decay_groups",
    "detection_groups",
    "ensemble",
    "frame_logits",
    "frozen_names",
    "load_method",
    "open_vocabulary_groups",
    "original_of",
    "retrieval_groups",
    "soft_target_cross_entropy",
    "takes_decay",
    "target_of",
    "warmup_cosine",
]
