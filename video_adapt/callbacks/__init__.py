"""What happens around training: evaluation, figures of cost and memory, the record of a run."""

from .chance import Chance
from .checkpoint_file import CheckpointFile
from .cost import Cost, count_multiply_adds
from .detection_evaluation import DetectionEvaluation
from .effective_batch import EffectiveBatch
from .ema import EMA
from .evaluation import Evaluation
from .gpu_memory import PeakMemory
from .open_vocabulary_evaluation import OpenVocabularyEvaluation
from .preemption import Preemption
from .progress import Progress
from .retrieval_evaluation import RetrievalEvaluation
from .save_config import SaveConfig
from .tracking import MediaBudget, WandbTracker, run_directory
from .watchdog import Watchdog
from .weight_averaging import EpochAverage

__all__ = [
    "EMA",
    "Chance",
    "CheckpointFile",
    "Cost",
    "DetectionEvaluation",
    "EffectiveBatch",
    "EpochAverage",
    "Evaluation",
    "MediaBudget",
    "OpenVocabularyEvaluation",
    "PeakMemory",
    "Preemption",
    "Progress",
    "RetrievalEvaluation",
    "SaveConfig",
    "WandbTracker",
    "Watchdog",
    "count_multiply_adds",
    "run_directory",
]
