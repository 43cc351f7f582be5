"""The papers, one folder each."""

from .adatad import AdaTAD
from .dual_encoder import DiST
from .teachclip import TeachCLIP, TeacherRetriever

__all__ = ["AdaTAD", "DiST", "TeachCLIP", "TeacherRetriever"]
