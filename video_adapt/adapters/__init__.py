"""What can be put inside any backbone, for any task."""

from .inject import Adapter, inject
from .st_adapter import STAdapter, STBlockAdapter, STBottleneck
from .tia import TIA, TIA_KEYS, TIABlockAdapter, tia_keys

__all__ = [
    "TIA",
    "TIA_KEYS",
    "Adapter",
    "STAdapter",
    "STBlockAdapter",
    "STBottleneck",
    "TIABlockAdapter",
    "inject",
    "tia_keys",
]
