"""The vision transformer of VideoMAE: patches of two frames, fixed positions, plain blocks.

Source: Tong et al., VideoMAE, NeurIPS 2022; Wang et al., VideoMAE V2, CVPR 2023.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .block_adapter import Grid
from .videomae_config import VideoMAEConfig

_EPS = 1e-6


def sinusoid_table(count: int, width: int) -> Tensor:
    """Positions of flattened tokens: sines in even channels, cosines in odd ones.

    Args:
        count: Number of tokens.
        width: Token width ``D``; may be odd.

    Returns:
        ``[count, D]``, float32, computed in float64.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.5.
    """
    channel = torch.arange(width)
    period = 10000 ** (2 * (channel // 2).double() / width)
    angle = torch.arange(count, dtype=torch.float64)[:, None] / period
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()


def fit_table(table: Tensor, side: int, grid: Grid) -> Tensor:
    """Resize a position table to another grid of patches, time step by time step.

    Args:
        table: ``[steps * side * side, D]``.
        side: Rows, and columns, of the grid that it was made for.
        grid: Rows and columns wanted.

    Returns:
        ``[steps * rows * columns, D]``: bicubic without antialiasing; never resized in time.
    """
    if grid == (side, side):
        return table
    maps = table.unflatten(0, (-1, side, side)).permute(0, 3, 1, 2)  # [steps, D, side, side]
    maps = F.interpolate(maps, size=grid, mode="bicubic", align_corners=False)
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


class Attention(nn.Module):
    """Self-attention of one chunk; queries and values have a bias, keys have none.

    Args:
        width: Token width ``D``.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix the tokens of each chunk, ``[K, N, D]``."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        packed = F.linear(tokens, self.qkv.weight, bias)  # [K, N, 3*D]
        queries, keys, values = packed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(queries, keys, values)  # [K, heads, N, D / heads]
        return self.proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers with exact GELU between them.

    Args:
        width: Token width ``D``.
        hidden: Width between the layers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform every token, ``[..., D]``."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """One residual block in its two halves, between which an adapter may stand.

    Args:
        config: The architecture.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=_EPS)
        self.attn = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=_EPS)
        self.mlp = MLP(config.width, config.hidden)

    def attend(self, tokens: Tensor, scale: Tensor | None) -> Tensor:
        """``x + scale * attention(norm(x))``.

        Args:
            tokens: ``[K, N, D]``.
            scale: 0 drops the branch of a chunk (stochastic depth), ``[K]``; None keeps all.
        """
        return tokens + _scaled(self.attn(self.norm1(tokens)), scale)

    def transform(
        self,
        tokens: Tensor,
        scale: Tensor | None,
        edit: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """``x + scale * mlp(norm(x))``.

        Args:
            tokens: As of :meth:`attend`.
            scale: As of :meth:`attend`.
            edit: Makes another branch of what the MLP has read and written.
        """
        read = self.norm2(tokens)
        written = self.mlp(read)
        return tokens + _scaled(written if edit is None else edit(read, written), scale)


def _scaled(branch: Tensor, scale: Tensor | None) -> Tensor:
    return branch if scale is None else branch * scale.to(branch.dtype)[:, None, None]


class VideoTower(nn.Module):
    """Patch embedding, fixed positions and blocks.

    Args:
        config: The architecture.
    """

    positions: Tensor

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        patch = (config.tubelet, config.patch_size, config.patch_size)
        self.patch_embed = nn.Conv3d(3, config.width, patch, stride=patch)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.side = config.table_size // config.patch_size
        count = config.chunk_frames // config.tubelet * self.side**2
        self.register_buffer("positions", sinusoid_table(count, config.width), persistent=False)

    def block(self, number: int) -> Block:
        """One of the blocks."""
        block = self.blocks[number]
        assert isinstance(block, Block)
        return block

    def embed(self, pixels: Tensor) -> Tensor:
        """Make tokens of chunks of pixels.

        Args:
            pixels: ``[K, frames, 3, H, W]``; what does not fill a patch is left out.

        Returns:
            ``[K, N, D]``, tokens ordered by time, row and column.
        """
        maps = self.patch_embed(pixels.transpose(1, 2))  # [K, D, steps, rows, columns]
        positions = fit_table(self.positions, self.side, (maps.shape[3], maps.shape[4]))
        return maps.flatten(2).transpose(1, 2) + positions
