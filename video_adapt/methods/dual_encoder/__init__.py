"""DiST: a dual encoder that disentangles what is seen from how it moves (ICCV 2023)."""

from .method import DiST
from .network import BranchSpec, DiSTNetwork

__all__ = ["BranchSpec", "DiST", "DiSTNetwork"]
