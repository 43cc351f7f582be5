"""From the frames of a video to one vector: masked mean, and attentive frame aggregation (AFA).

Sources: Luo et al., CLIP4Clip, Neurocomputing 2022, section 3.3 (mean pooling); Tian et al.,
TeachCLIP, CVPR 2024, section 3.2 (AFA), and its released code where the two differ.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PooledVideo(NamedTuple):
    """One vector of a video, and how it came about.

    Attributes:
        vector: Not normalised, ``[B, D]``.
        weights: The share of every frame in the vector ``[B, T]``; rows sum to 1.
        logits: How much every frame counts, before any softmax, ``[B, T]``: what a teacher of
            frames can teach. None where all count the same.
    """

    vector: Tensor
    weights: Tensor
    logits: Tensor | None = None


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis among the places where ``mask`` is True.

    A row without any is spread evenly, so that nothing becomes NaN.
    """
    shown = mask | ~mask.any(dim=-1, keepdim=True)
    return logits.masked_fill(~shown, -torch.inf).softmax(dim=-1)


def masked_mean(frames: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real frames: ``[B, T, D]`` and bool ``[B, T]`` to ``[B, D]``.

    A video without a frame has the vector 0.
    """
    weights = mask.to(frames.dtype).unsqueeze(-1)  # [B, T, 1]
    return (frames * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class MeanPooling(nn.Module):
    """Mean of the normalised real frames; nothing to learn."""

    def forward(self, frames: Tensor, mask: Tensor) -> PooledVideo:
        """Pool ``[B, T, D]`` where ``mask`` is True for real frames, bool ``[B, T]``."""
        shares = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return PooledVideo(masked_mean(F.normalize(frames, dim=-1), mask), shares)


class AttentivePooling(nn.Module):
    """AFA: a small MLP says of every frame how much it counts.

    The paper pools frames as they are with one softmax; the released code, followed here,
    normalises them first. It shows its losses a second softmax of the same logits, at a temperature
    of its own, which is the business of the loss.

    Args:
        width: Width ``D`` of a frame's feature.
        temperature: Of the softmax that weights the frames.
        masked: Whether padding is left out. The released code does not.
    """

    def __init__(self, width: int, *, temperature: float = 0.1, masked: bool = True) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)
        for linear in (self.hidden, self.score):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.temperature, self.masked = temperature, masked

    def forward(self, frames: Tensor, mask: Tensor) -> PooledVideo:
        """Pool ``[B, T, D]`` where ``mask`` is True for real frames, bool ``[B, T]``."""
        # Logits over a temperature of 0.1 are too coarse in half precision.
        logits = self.score(torch.relu(self.hidden(frames))).squeeze(-1).float()  # [B, T]
        shown = mask if self.masked else torch.ones_like(mask)
        weights = masked_softmax(logits / self.temperature, shown)
        vector = (weights.unsqueeze(-1) * F.normalize(frames, dim=-1)).sum(dim=1)
        return PooledVideo(vector, weights, logits)
