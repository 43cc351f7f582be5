"""Lightning data modules: annotation files and videos in, batches of clips out."""

from .annotations import Manifest, VideoEntry, read_manifest
from .base import VideoDataModule
from .captioned import CaptionDataModule
from .captions import CaptionedVideo, CaptionManifest
from .classes import ClassNames, read_class_names
from .clips import ClipDataModule
from .features import FeatureFiles
from .kinetics import KineticsDataModule
from .loader import BatchLoader, ClipLoader, LoaderOptions
from .msrvtt import MSRVTTDataModule
from .open_vocabulary import OpenVocabularyDataModule
from .open_vocabulary_classes import ClassList, read_classes
from .open_vocabulary_files import TestSet
from .samplers import EvalSampler, TrainSampler, derive_seed
from .segments import SegmentManifest, VideoSegments
from .stored import FeatureCache
from .thumos import THUMOSDataModule
from .windows import WindowDataModule

__all__ = [
    "BatchLoader",
    "CaptionDataModule",
    "CaptionManifest",
    "CaptionedVideo",
    "ClassList",
    "ClassNames",
    "ClipDataModule",
    "ClipLoader",
    "EvalSampler",
    "FeatureCache",
    "FeatureFiles",
    "KineticsDataModule",
    "LoaderOptions",
    "MSRVTTDataModule",
    "Manifest",
    "OpenVocabularyDataModule",
    "SegmentManifest",
    "THUMOSDataModule",
    "TestSet",
    "TrainSampler",
    "VideoDataModule",
    "VideoEntry",
    "VideoSegments",
    "WindowDataModule",
    "derive_seed",
    "read_class_names",
    "read_classes",
    "read_manifest",
]
