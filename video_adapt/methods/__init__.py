"""The papers, one folder each."""

from .adatad import AdaTAD
from .dual_encoder import DiST

__all__ = ["AdaTAD", "DiST"]
