"""Weights of other hands: read safely, renamed by rule, loaded strictly, accounted for, hashed."""

from .files import first_whole, is_torchscript, read_checkpoint, read_state, read_torchscript
from .fingerprint import digest
from .ledger import LoadReport
from .load import check_fit, load_strictly
from .rules import KeyRule, convert_keys

__all__ = [
    "KeyRule",
    "LoadReport",
    "check_fit",
    "convert_keys",
    "digest",
    "first_whole",
    "is_torchscript",
    "load_strictly",
    "read_checkpoint",
    "read_state",
    "read_torchscript",
]
