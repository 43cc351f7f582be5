"""Frozen foundations behind one interface: a clip goes in, features of every frame come out."""

from .base import Backbone, Features, PixelSpec, TextFeatures
from .block_adapter import BlockAdapter, BottleneckAdapter
from .clip import CLIP
from .tiny import TinyCLIP
from .videomae import VideoMAE
from .videomae_config import VideoMAEConfig
from .videomae_weights import VIDEOMAE_KEYS

__all__ = [
    "CLIP",
    "VIDEOMAE_KEYS",
    "Backbone",
    "BlockAdapter",
    "BottleneckAdapter",
    "Features",
    "PixelSpec",
    "TextFeatures",
    "TinyCLIP",
    "VideoMAE",
    "VideoMAEConfig",
]
