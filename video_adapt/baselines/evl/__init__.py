"""EVL: a transformer decoder beside a frozen image model (ECCV 2022)."""

from .cross_attention import TemporalCrossAttention
from .method import EVL
from .network import EVLNetwork

__all__ = ["EVL", "EVLNetwork", "TemporalCrossAttention"]
