"""The papers, one folder each."""

from .adatad import AdaTAD
from .dual_encoder import DiST
from .froster import FROSTER
from .teachclip import TeachCLIP, TeacherRetriever

__all__ = ["FROSTER", "AdaTAD", "DiST", "TeachCLIP", "TeacherRetriever"]
