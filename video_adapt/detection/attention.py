"""Self-attention over time under a mask: over a whole level, or over a window of neighbours.

Source: Zhang et al., ActionFormer: Localizing Moments of Actions with Transformers, ECCV 2022,
section 3.2; the window as in Beltagy et al., Longformer, 2020.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .convolutions import apply_mask, depthwise, linear

# Fewer queries at once would waste keys on the borders of a chunk, more of them memory.
MIN_CHUNK = 32


def full_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Let every position look at every valid one.

    Args:
        q: Queries ``[B, H, S, E]``, ``H`` heads of width ``E``.
        k: Keys, the same shape.
        v: Values, the same shape.
        mask: Valid positions, bool ``[B, S]``.

    Returns:
        ``[B, H, S, E]``; without meaning in a window that has no valid position.
    """
    # A softmax needs something to sum over: a window without a valid position looks at all.
    keys = mask | ~mask.any(dim=1, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keys[:, None, None])


def window_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, window: int) -> Tensor:
    """Let every position look at the valid ones among itself and ``window // 2`` on each side.

    Queries go in chunks, each with the keys that any of its queries may see: memory and time grow
    with ``S * window``, not with ``S * S``. What invalid positions return has no meaning.

    Args:
        q: Queries ``[B, H, S, E]``.
        k: Keys, the same shape.
        v: Values, the same shape.
        mask: Valid positions, bool ``[B, S]``.
        window: Positions seen at once.

    Returns:
        ``[B, H, S, E]``.
    """
    b, _, s, _ = q.shape
    side = window // 2
    chunk = max(2 * side, MIN_CHUNK)
    tail = -s % chunk
    reach = chunk + 2 * side  # keys of one chunk of queries

    def in_chunks(x: Tensor) -> Tensor:
        """Keys of every chunk, ``[B, H, S, E]`` to ``[B*n, H, reach, E]``."""
        spans = F.pad(x, (0, 0, side, side + tail)).unfold(2, reach, chunk)  # [B, H, n, E, reach]
        return spans.permute(0, 2, 1, 4, 3).flatten(0, 1)

    queries = F.pad(q, (0, 0, 0, tail)).unflatten(2, (-1, chunk)).transpose(1, 2).flatten(0, 1)
    valid = F.pad(mask, (side, side + tail)).unfold(1, reach, chunk).flatten(0, 1)  # [B*n, reach]
    position = torch.arange(reach, device=q.device)
    distance = position - (position[:chunk, None] + side)  # [chunk, reach], query to key
    # Each query sees itself, so that no softmax is empty; that of an invalid one is never read.
    seen = (distance.abs() <= side) & (valid[:, None] | (distance == 0))  # [B*n, chunk, reach]
    out = F.scaled_dot_product_attention(
        queries, in_chunks(k), in_chunks(v), attn_mask=seen.unsqueeze(1)
    )  # [B*n, H, chunk, E]
    return out.unflatten(0, (b, -1)).transpose(1, 2).flatten(2, 3)[:, :, :s]


class LocalProjection(nn.Module):
    """Queries, keys or values: a depthwise convolution, a norm and a linear layer.

    Args:
        width: Channels.
        stride: Positions per output position.
    """

    def __init__(self, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv = depthwise(width, kernel=3, stride=stride, bias=False)
        self.norm = nn.LayerNorm(width)
        self.linear = linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, S * stride, C]`` to ``[B, S, C]``; invalid positions are not masked."""
        return self.linear(self.norm(self.conv(x)))


class ConvAttention(nn.Module):
    """Multi-head self-attention of a level, strided where the next level is made.

    Args:
        width: Channels.
        heads: Number of heads; divides ``width``.
        stride: Positions per output position.
        window: Positions that a position sees, half of them on each side; None: the whole level.
    """

    def __init__(self, width: int, *, heads: int, stride: int, window: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.query = LocalProjection(width, stride=stride)
        self.key = LocalProjection(width, stride=stride)
        self.value = LocalProjection(width, stride=stride)
        self.projection = linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``[B, S * stride, C]`` to ``[B, S, C]``, zero where the mask ``[B, S]`` is False."""
        # Nobody looks at an invalid key or value, and what an invalid query finds is masked below.
        q, k, v = (self._split(part(x)) for part in (self.query, self.key, self.value))
        if self.window is None:
            seen = full_attention(q, k, v, mask)
        else:
            seen = window_attention(q, k, v, mask, window=self.window)
        return apply_mask(self.projection(seen.transpose(1, 2).flatten(2)), mask)

    def _split(self, x: Tensor) -> Tensor:
        """``[B, S, C]`` as ``[B, H, S, E]``."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
