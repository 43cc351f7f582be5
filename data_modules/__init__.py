"""Lightning data modules: annotation files and videos in, batches of clips out."""

from .annotations import Manifest, VideoEntry, read_manifest
from .base import ClipDataModule
from .classes import ClassNames, read_class_names
from .kinetics import KineticsDataModule
from .loader import ClipLoader, LoaderOptions
from .samplers import EvalSampler, TrainSampler, derive_seed

__all__ = [
    "ClassNames",
    "ClipDataModule",
    "ClipLoader",
    "EvalSampler",
    "KineticsDataModule",
    "LoaderOptions",
    "Manifest",
    "TrainSampler",
    "VideoEntry",
    "derive_seed",
    "read_class_names",
    "read_manifest",
]
