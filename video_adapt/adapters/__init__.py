"""What can be put inside any backbone, for any task."""

from .inject import Adapter, inject
from .st_adapter import STAdapter, STBlockAdapter, STBottleneck

__all__ = ["Adapter", "STAdapter", "STBlockAdapter", "STBottleneck", "inject"]
