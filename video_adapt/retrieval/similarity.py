"""Captions against videos: the matrix that losses and rankings read."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .temporal import LAYER_NORM_EPS, QuickGELU, Transformer

MAX_LOGIT_SCALE = math.log(100)  # CLIP's own limit


def temperature(logit_scale: Tensor) -> Tensor:
    """What multiplies cosines: the exponential, at most 100, in float32.

    Only the value is cut. The gradient passes, or a scale that starts at the limit, as that of
    every released CLIP does, could never leave it.
    """
    scale = logit_scale.float()
    return (scale - (scale - MAX_LOGIT_SCALE).clamp(min=0).detach()).exp()


def similarity_matrix(text: Tensor, video: Tensor, logit_scale: Tensor) -> Tensor:
    """Cosines times CLIP's temperature, in float32.

    Args:
        text: Sentence vectors of any norm, ``[Q, D]``.
        video: Video vectors of any norm, ``[B, D]``.
        logit_scale: Logarithm of the factor, a scalar; cut at that of 100.

    Returns:
        ``[Q, B]``.
    """
    scale = temperature(logit_scale)
    with torch.autocast(text.device.type, enabled=False):
        return scale * F.normalize(text.float(), dim=-1) @ F.normalize(video.float(), dim=-1).T


class TightSimilarity(nn.Module):
    """CLIP4Clip's tight type: a transformer reads every sentence together with every video.

    Its cost grows with the number of pairs: nothing of it can be stored for a search.

    Args:
        width: Width ``D`` of sentence and frames.
        layers: Number of blocks.
        heads: Attention heads of a block.
        positions: Number of positions that are known: longest video plus one.
        dropout: Probability of dropping a number behind the positions, in training.
        pairs_at_once: How many pairs are read at once; bounds the memory of an evaluation.

    Source: Luo et al., CLIP4Clip, Neurocomputing 2022, section 3.3 (tight type).
    """

    def __init__(
        self,
        width: int,
        *,
        layers: int,
        heads: int,
        positions: int,
        dropout: float = 0.1,
        pairs_at_once: int = 4096,
    ) -> None:
        super().__init__()
        self.positions = nn.Embedding(positions, width)
        nn.init.normal_(self.positions.weight, std=0.01)
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(width, layers=layers, heads=heads)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dense = nn.Linear(width, width)
        self.activation = QuickGELU()
        self.score = nn.Linear(width, 1)
        for linear in (self.dense, self.score):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.pairs_at_once = pairs_at_once

    def forward(self, text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """Compare all sentences with all videos.

        Args:
            text: Sentence vectors, not normalised, ``[Q, D]``.
            frames: Features of the frames, not normalised, ``[B, T, D]``.
            mask: Where a frame is real, bool ``[B, T]``.

        Returns:
            ``[Q, B]``, without CLIP's temperature.
        """
        return in_blocks(
            lambda few: self._pairs(few, frames, mask), text, self.pairs_at_once // len(frames)
        )

    def _pairs(self, text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        q, b = len(text), len(frames)
        sentence = text[:, None, None].expand(-1, b, -1, -1)  # [Q, B, 1, D]
        sequence = torch.cat([sentence, frames.expand(q, -1, -1, -1)], dim=2).flatten(0, 1)
        real = F.pad(mask, (1, 0), value=True).repeat(q, 1)  # [Q*B, 1 + T]
        placed = self.dropout(sequence + self.positions.weight[: sequence.shape[1]])
        first = self.norm(self.transformer(placed, real))[:, 0]  # [Q*B, D]
        scores = self.score(self.activation(self.dense(first)))  # [Q*B, 1]
        return scores.unflatten(0, (q, b)).squeeze(-1)


def in_blocks(compare: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """Apply a function to at most ``size`` rows at once (at least one) and join the results."""
    return torch.cat([compare(few) for few in rows.split(max(size, 1))])
