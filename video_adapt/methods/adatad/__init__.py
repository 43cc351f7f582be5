"""AdaTAD: end-to-end temporal action detection with adapters in a frozen video model."""

from .method import AdaTAD

__all__ = ["AdaTAD"]
