"""Adapters beside a backbone: a sum that climbs with the blocks and is added at the top."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from .base import Backbone
from .block_adapter import BottleneckAdapter


class Ladder:
    """Collects the edits of adapters that stand beside the blocks; idle where they stand inside.

    Two maps are alive at any time: the tokens of the last adapted block and the sum of all edits.

    Args:
        backbone: Owner of the adapters.
        num_frames: Time steps ``T`` of a clip.

    Source: Liu et al., AdaTAD, CVPR 2024, section 3.4.
    """

    def __init__(self, backbone: Backbone, *, num_frames: int) -> None:
        self.adapters = backbone.adapters if backbone.beside else nn.ModuleDict()
        self.num_frames = num_frames
        self._tokens: Tensor | None = None
        self._edits: Tensor | None = None

    def trunk(self) -> AbstractContextManager[object]:
        """Around a block: no graph where adapters stand beside it."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and not len(self.adapters))

    def read(self, block: int, tokens: Tensor) -> None:
        """Take the output of a block, ``[B*T, N, D]``."""
        if (key := str(block)) in self.adapters:
            adapter = self.adapters[key]
            assert isinstance(adapter, BottleneckAdapter)  # tuning=side has checked it
            edit = adapter.edit(tokens, num_frames=self.num_frames)
            self._edits = edit if self._edits is None else self._edits + edit
            self._tokens = tokens

    def top(self, tokens: Tensor) -> Tensor:
        """What the backbone gives: the last adapted block's tokens and all edits.

        Args:
            tokens: Output of the last block, for adapters that stand inside.
        """
        if self._tokens is None or self._edits is None:
            return tokens
        return self._tokens + self._edits
