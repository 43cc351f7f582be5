"""Motion from attention: what EVL reads off the frozen queries and keys of adjacent frames."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from video_adapt.backbones.block_adapter import Grid


class TemporalCrossAttention(nn.Module):
    """Turn where a patch finds itself in the next and previous frame into features.

    Every patch attends to the patches of a neighbouring frame with the backbone's own queries and
    keys; what it takes from each is not a value but a learned vector of their relative offset.

    Args:
        width: Width ``D`` of the vectors.
        grid: Rows ``h`` and columns ``w`` of patches.
    """

    offset: Tensor

    def __init__(self, width: int, grid: Grid) -> None:
        super().__init__()
        offsets = math.prod(2 * side - 1 for side in grid)
        self.previous = nn.Parameter(torch.zeros(offsets, width))
        self.next = nn.Parameter(torch.zeros(offsets, width))
        self.register_buffer("offset", relative_offsets(grid), persistent=False)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Read the offset tables; border frames have one neighbour, class tokens get zeros.

        Args:
            queries: ``[B, T, N, heads, D / heads]``, class token first, before scaling.
            keys: The same for keys.

        Returns:
            ``[B, T, N, D]``.
        """
        queries, keys = queries[:, :, 1:], keys[:, :, 1:]  # [B, T, P, heads, d]
        backward = self._read(queries[:, 1:], keys[:, :-1], self.previous)  # [B, T-1, P, D]
        forward = self._read(queries[:, :-1], keys[:, 1:], self.next)
        # Pads are (D, N, T): the class token in front, the frame without that neighbour.
        return F.pad(backward, (0, 0, 1, 0, 1, 0)) + F.pad(forward, (0, 0, 1, 0, 0, 1))

    def _read(self, queries: Tensor, keys: Tensor, table: Tensor) -> Tensor:
        attention = mean_attention(queries, keys)
        if not self.training:
            return _sum_by_offset(attention, table, self.offset)
        # Recomputing the spread-out attention in the backward saves several times its memory.
        vectors: Tensor = checkpoint(
            _sum_by_offset,
            attention,
            table,
            self.offset,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        return vectors


def relative_offsets(grid: Grid) -> Tensor:
    """Row of the offset table for every pair of patches, int64 ``[P, P]``.

    Patch ``(i, j)`` looking at ``(k, l)`` reads row ``(i-k+h-1) * (2w-1) + (j-l+w-1)``.
    """
    rows, columns = grid
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    row, column = row.flatten(), column.flatten()  # [P]
    down = row[:, None] - row[None, :] + rows - 1
    right = column[:, None] - column[None, :] + columns - 1
    return down * (2 * columns - 1) + right


def mean_attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Softmax attention averaged over heads: ``[B, T, P, heads, d]`` twice to ``[B, T, P, P]``."""
    heads, scale = queries.shape[-2], queries.shape[-1] ** -0.5
    # Head by head: all maps at once would be the largest tensor of the whole decoder.
    total = queries.new_zeros(())
    for query, key in zip(queries.unbind(-2), keys.unbind(-2), strict=True):
        total = total + (scale * query @ key.mT).softmax(dim=-1)
    return total / heads


def _sum_by_offset(attention: Tensor, table: Tensor, offset: Tensor) -> Tensor:
    """``out[p] = sum_k attention[p, k] * table[offset[p, k]]``, ``[B, T, P, D]``.

    Spreading the attention over the offsets needs no ``[P, P, D]`` copy of the table.
    """
    spread = attention.new_zeros(*attention.shape[:-1], len(table))  # [B, T, P, offsets]
    return spread.scatter(-1, offset.expand_as(attention), attention) @ table
