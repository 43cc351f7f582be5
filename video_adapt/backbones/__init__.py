"""Frozen foundations behind one interface: a clip goes in, features of every frame come out."""

from .base import Backbone, BlockAdapter, Features, PixelSpec
from .clip import CLIP
from .tiny import TinyCLIP

__all__ = ["CLIP", "Backbone", "BlockAdapter", "Features", "PixelSpec", "TinyCLIP"]
