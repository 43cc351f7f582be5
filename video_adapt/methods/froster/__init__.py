"""FROSTER: open-vocabulary recognition taught by a frozen CLIP."""

from .method import FROSTER

__all__ = ["FROSTER"]
