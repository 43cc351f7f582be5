"""What can be put inside any backbone, for any task."""

from .expanded_attention import ExpandedAttention, ExpandedAttentionBlockAdapter
from .inject import Adapter, inject
from .st_adapter import STAdapter, STBlockAdapter, STBottleneck
from .tia import TIA, TIA_KEYS, TIABlockAdapter, tia_keys
from .token_shift import TokenShift, TokenShiftBlockAdapter

__all__ = [
    "TIA",
    "TIA_KEYS",
    "Adapter",
    "ExpandedAttention",
    "ExpandedAttentionBlockAdapter",
    "STAdapter",
    "STBlockAdapter",
    "STBottleneck",
    "TIABlockAdapter",
    "TokenShift",
    "TokenShiftBlockAdapter",
    "inject",
    "tia_keys",
]
