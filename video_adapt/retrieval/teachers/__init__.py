"""Teachers of retrieval: whatever yields a similarity matrix and a relevance of frames."""

from .base import FeatureTeacher, Rule, Teacher, Teaching
from .clip4clip import CLIP4CLIP_RULES, CLIP4ClipTeacher, vector_settings
from .published import TOWER_RULES, XPOOL_TOWER_RULES, join_attention, split_published
from .rows import RowLayout, Rows
from .scores import ScoreFile
from .ts2net import TS2NET_RULES, TS2NET_UNUSED, TS2Net
from .xclip import XCLIP, XCLIP_RULES
from .xpool import XPOOL_RULES, XPool

__all__ = [
    "CLIP4CLIP_RULES",
    "TOWER_RULES",
    "TS2NET_RULES",
    "TS2NET_UNUSED",
    "XCLIP",
    "XCLIP_RULES",
    "XPOOL_RULES",
    "XPOOL_TOWER_RULES",
    "CLIP4ClipTeacher",
    "FeatureTeacher",
    "RowLayout",
    "Rows",
    "Rule",
    "ScoreFile",
    "TS2Net",
    "Teacher",
    "Teaching",
    "XPool",
    "join_attention",
    "split_published",
    "vector_settings",
]
