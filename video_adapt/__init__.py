"""Teach frozen image and video models to understand time.

Importing this package loads nothing heavy: torch, lightning and the backbones are imported by the
sub-packages that use them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .apps.detector import SegmentDetector
    from .apps.recogniser import Recogniser
    from .apps.searcher import Searcher

__version__ = "0.1.0"
__all__ = ["Recogniser", "Searcher", "SegmentDetector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Recogniser":
        from .apps.recogniser import Recogniser

        return Recogniser
    if name == "Searcher":
        from .apps.searcher import Searcher

        return Searcher
    if name == "SegmentDetector":
        from .apps.detector import SegmentDetector

        return SegmentDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
