"""The papers, one folder each."""

from .dual_encoder import DiST

__all__ = ["DiST"]
