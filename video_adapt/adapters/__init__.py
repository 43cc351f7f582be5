"""What can be put inside any backbone, for any task."""

from .aim import AIM, AIMBlockAdapter
from .channel_shift import ChannelShift, ChannelShiftBlockAdapter
from .cross_frame import CrossFrameBlockAdapter, CrossFrameMessage
from .expanded_attention import ExpandedAttention, ExpandedAttentionBlockAdapter
from .ffn_adapter import Bottleneck, FFNAdapter, FFNBlockAdapter
from .inject import Adapter, inject
from .lora import LoRA, LoRABlockAdapter, merge_lora
from .st_adapter import STAdapter, STBlockAdapter, STBottleneck
from .student_keys import student_keys
from .tia import TIA, TIA_KEYS, TIABlockAdapter, tia_keys
from .token_shift import TokenShift, TokenShiftBlockAdapter

__all__ = [
    "AIM",
    "TIA",
    "TIA_KEYS",
    "AIMBlockAdapter",
    "Adapter",
    "Bottleneck",
    "ChannelShift",
    "ChannelShiftBlockAdapter",
    "CrossFrameBlockAdapter",
    "CrossFrameMessage",
    "ExpandedAttention",
    "ExpandedAttentionBlockAdapter",
    "FFNAdapter",
    "FFNBlockAdapter",
    "LoRA",
    "LoRABlockAdapter",
    "STAdapter",
    "STBlockAdapter",
    "STBottleneck",
    "TIABlockAdapter",
    "TokenShift",
    "TokenShiftBlockAdapter",
    "inject",
    "merge_lora",
    "student_keys",
    "tia_keys",
]
