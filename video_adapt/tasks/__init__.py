"""The jobs: steps, optimiser and freezing that the methods of one job share."""

from .frozen import FrozenBackboneMixin, ParameterCount, Tuning, frozen_names
from .heads import LinearHead, TextHead
from .loading import load_method
from .losses import soft_target_cross_entropy
from .optim import OptimizerSpec, decay_groups, takes_decay, warmup_cosine
from .recognition import RecognitionTask

__all__ = [
    "FrozenBackboneMixin",
    "LinearHead",
    "OptimizerSpec",
    "ParameterCount",
    "RecognitionTask",
    "TextHead",
    "Tuning",
    "decay_groups",
    "frozen_names",
    "load_method",
    "soft_target_cross_entropy",
    "takes_decay",
    "warmup_cosine",
]
