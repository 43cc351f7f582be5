"""The rivals of the methods, on the same data, backbones and footing."""

from .attentive_probe import AttentiveProbe
from .evl import EVL
from .feature_detector import FeatureDetector
from .open_vclip import OpenVCLIP
from .tuned_classifier import TunedClassifier
from .zero_shot import ZeroShot
from .zero_shot_clip import ZeroShotCLIP

__all__ = [
    "EVL",
    "AttentiveProbe",
    "FeatureDetector",
    "OpenVCLIP",
    "TunedClassifier",
    "ZeroShot",
    "ZeroShotCLIP",
]
