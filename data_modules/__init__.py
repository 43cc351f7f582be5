"""Lightning data modules: annotation files and videos in, batches of clips out."""

from .annotations import Manifest, VideoEntry, read_manifest
from .base import VideoDataModule
from .classes import ClassNames, read_class_names
from .clips import ClipDataModule
from .kinetics import KineticsDataModule
from .loader import BatchLoader, ClipLoader, LoaderOptions
from .samplers import EvalSampler, TrainSampler, derive_seed

__all__ = [
    "BatchLoader",
    "ClassNames",
    "ClipDataModule",
    "ClipLoader",
    "EvalSampler",
    "KineticsDataModule",
    "LoaderOptions",
    "Manifest",
    "TrainSampler",
    "VideoDataModule",
    "VideoEntry",
    "derive_seed",
    "read_class_names",
    "read_manifest",
]
