"""What lets the frames of a video see one another: CLIP's own kind of transformer, or an LSTM.

Sources: Luo et al., CLIP4Clip, Neurocomputing 2022, section 3.3 (sequential type); Tian et al.,
TeachCLIP, CVPR 2024, section 3.2.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError

LAYER_NORM_EPS = 1e-12  # of the released temporal blocks; CLIP's own have 1e-5


class QuickGELU(nn.Module):
    """OpenAI's approximation of GELU, ``x * sigmoid(1.702 x)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to every number."""
        return x * torch.sigmoid(1.702 * x)


class ResidualBlock(nn.Module):
    """Pre-norm attention and MLP, each around a residual.

    Parameters carry the names of CLIP's blocks, whose weights are where training starts.

    Args:
        width: Width ``D`` of the tokens.
        heads: Attention heads; divides ``width``.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        layers = [
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", QuickGELU()),
            ("c_proj", nn.Linear(4 * width, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Mix ``[B, N, D]``; ``keys`` tells which tokens may be looked at, bool ``[B, N]``."""
        attention = self.attn
        packed = F.linear(self.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
        split = packed.unflatten(-1, (3, attention.num_heads, -1))  # [B, N, 3, heads, D / heads]
        query, key, value = split.transpose(1, 3).unbind(2)  # [B, heads, N, D / heads]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys[:, None, None])
        tokens = tokens + attention.out_proj(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.ln_2(tokens))


class Transformer(nn.Module):
    """Blocks in a row; every token sees every real one.

    Args:
        width: Width ``D`` of the tokens.
        layers: Number of blocks.
        heads: Attention heads of a block.
    """

    def __init__(self, width: int, *, layers: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigurationError(
                f"{heads} attention heads do not divide a width of {width}; choose another number"
            )
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads=heads) for _ in range(layers))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Mix ``[B, N, D]`` where ``mask`` is True for real tokens, bool ``[B, N]``.

        Padding sees the real tokens as well, as in the released code. A row that is all padding
        sees itself, so that nothing becomes NaN.
        """
        keys = mask | ~mask.any(dim=1, keepdim=True)
        for block in self.resblocks:
            tokens = block(tokens, keys)
        return tokens


class TemporalTransformer(nn.Module):
    """Frames in the light of one another: transformer over positions, around a residual.

    Args:
        width: Width ``D`` of a frame's feature.
        layers: Number of blocks.
        heads: Attention heads of a block.
        positions: Number of positions that are known: the longest sequence.
    """

    def __init__(self, width: int, *, layers: int, heads: int, positions: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(positions, width)
        nn.init.normal_(self.positions.weight, std=0.01)
        self.transformer = Transformer(width, layers=layers, heads=heads)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Contextualise frames.

        Args:
            frames: Features of the frames, not normalised, ``[B, T, D]``.
            mask: Where a frame is real, bool ``[B, T]``.

        Returns:
            ``[B, T, D]``.

        Raises:
            ConfigurationError: If there are more frames than positions.
        """
        length, known = frames.shape[1], self.positions.num_embeddings
        if length > known:
            raise ConfigurationError(
                f"{length} frames, but the temporal transformer knows {known} positions; sample "
                f"at most {known} frames"
            )
        placed = frames + self.positions.weight[:length]
        return frames + self.transformer(placed, mask)


class TemporalLSTM(nn.Module):
    """Frames in the light of those before them: one LSTM layer, around a residual.

    Args:
        width: Width ``D`` of a frame's feature.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Contextualise frames; real ones come first in every video.

        Args:
            frames: Features of the frames, not normalised, ``[B, T, D]``.
            mask: Where a frame is real, bool ``[B, T]``.

        Returns:
            ``[B, T, D]``; padding keeps its own feature.
        """
        # It looks back only: a real frame never hears of the padding behind it.
        told, _ = self.lstm(frames)
        return frames + told * mask.unsqueeze(-1)
