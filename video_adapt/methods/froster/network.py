"""What FROSTER adds to CLIP: two small residual networks, nothing else.

Source: FROSTER: Frozen CLIP is a Strong Teacher for Open-Vocabulary Action Recognition, ICLR 2024.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualNet(nn.Module):
    """``R(x) = x + alpha * W2 gelu(W1 x)``, an identity at the start.

    Args:
        width: Width ``E`` of the features.
        alpha: Weight of the learned part.
    """

    def __init__(self, width: int, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.inner = nn.Linear(width, width, bias=False)
        self.outer = nn.Linear(width, width, bias=False)
        nn.init.kaiming_normal_(self.inner.weight)
        nn.init.zeros_(self.outer.weight)

    def forward(self, features: Tensor, *, strength: float = 1.0) -> Tensor:
        """Map unit vectors ``[..., E]`` to vectors of about their length, which stay unnormalised.

        Args:
            features: Unit vectors.
            strength: Factor on ``alpha``; 0 is the identity.
        """
        edit = self.outer(F.gelu(self.inner(features)))
        return features + strength * self.alpha * edit


class ResidualPair(nn.Module):
    """One residual network for frames and one for classes.

    Args:
        width: Width ``E`` of the features.
        alpha: Weight of the learned part of both.
        reads_classes: Whether there is one for classes; without it they pass as they are.
    """

    def __init__(self, width: int, alpha: float, *, reads_classes: bool) -> None:
        super().__init__()
        self.video = ResidualNet(width, alpha)
        self.text = ResidualNet(width, alpha) if reads_classes else None

    def forward(
        self, frames: Tensor, classes: Tensor, *, strength: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Both maps in float32: frames ``[B, T, E]`` and classes ``[K, E]``, unit vectors."""
        with torch.autocast(frames.device.type, enabled=False):
            video = self.video(frames.float(), strength=strength)
            if self.text is None:
                return video, classes
            return video, self.text(classes.float(), strength=strength)
