"""Teach frozen image and video models to understand time.

Importing this package loads nothing heavy: torch, lightning and the backbones are imported by the
sub-packages that use them.
"""

__version__ = "0.1.0"
