"""The parallel decoder of EVL: one query reads the tokens of several frozen blocks.

The attentive probe is the same decoder with one layer and without what mixes frames.

Source: Lin et al., Frozen CLIP Models are Efficient Video Learners, ECCV 2022.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from video_adapt.backbones.base import Grid


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, CLIP's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Activate."""
        return x * torch.sigmoid(1.702 * x)


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


class QueryAttention(nn.Module):
    """Multi-head attention of a few queries over many tokens.

    The key projection is applied to the queries, and the value projection to the attended means,
    instead of both to every token: the same function for a small part of the cost.

    Args:
        width: Width ``D`` of queries and tokens.
        inner_width: Width of all heads together.
        heads: Number of heads.
    """

    def __init__(self, width: int, inner_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner_width)
        self.k_proj = nn.Linear(width, inner_width)
        self.v_proj = nn.Linear(width, inner_width)
        self.out_proj = nn.Linear(inner_width, width)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attend: queries ``[B, Q, D]`` over tokens ``[B, S, D]`` to ``[B, Q, D]``."""
        heads = (self.heads, -1)
        query = self.q_proj(queries).unflatten(-1, heads)  # [B, Q, h, d]
        by_head = self.k_proj.weight.unflatten(0, heads)  # [h, d, D]
        lifted = torch.einsum("bqhd,hdc->bqhc", query, by_head)  # [B, Q, h, D]
        # The key bias shifts all logits of a query alike, so it changes nothing; it stays because
        # published weights have it and every trained parameter must get a gradient.
        shift = (query * self.k_proj.bias.unflatten(0, heads)).sum(dim=-1)  # [B, Q, h]
        logits = lifted.flatten(1, 2) @ tokens.mT + shift.flatten(1, 2)[..., None]  # [B, Q*h, S]
        weights = (logits * query.shape[-1] ** -0.5).softmax(dim=-1)
        means = (weights @ tokens).unflatten(1, (-1, self.heads))  # [B, Q, h, D]
        by_head = self.v_proj.weight.unflatten(0, heads)
        values = torch.einsum("bqhc,hdc->bqhd", means, by_head).flatten(2)  # [B, Q, h*d]
        attended: Tensor = self.out_proj(values + self.v_proj.bias)
        return attended


class DecoderLayer(nn.Module):
    """Give the tokens of one frozen block a sense of time, and let the queries read them.

    Args:
        width: Width ``D`` of the tokens.
        num_frames: Frames ``T``.
        grid: Rows and columns of patches.
        inner_width: Width of the attention.
        heads: Heads of the attention.
        mlp_ratio: Hidden width of the MLP as a multiple of ``D``.
        dropout: Dropout inside the MLP.
        temporal_conv: Whether a token adds a mixture of itself in the frames around it.
        cross_attention: Whether :class:`TemporalCrossAttention` is added.
    """

    def __init__(
        self,
        width: int,
        num_frames: int,
        grid: Grid,
        *,
        inner_width: int,
        heads: int,
        mlp_ratio: float,
        dropout: float,
        temporal_conv: bool,
        cross_attention: bool,
    ) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.zeros(num_frames, width))
        self.conv = (
            nn.Conv2d(width, width, (3, 1), padding=(1, 0), groups=width) if temporal_conv else None
        )
        self.motion = TemporalCrossAttention(width, grid) if cross_attention else None
        self.norm_query = nn.LayerNorm(width)
        self.norm_tokens = nn.LayerNorm(width)
        self.attention = QueryAttention(width, inner_width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        hidden = round(width * mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), QuickGELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)

    def forward(
        self, query: Tensor, tokens: Tensor, queries_keys: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Update the queries.

        Args:
            query: ``[B, Q, D]``.
            tokens: Output of the frozen block, ``[B, T, N, D]``.
            queries_keys: Attention queries and keys of the frozen block, each
                ``[B, T, N, heads, D / heads]``; None without cross attention.
        """
        timed = self.add_time(tokens, queries_keys).flatten(1, 2)  # [B, T*N, D]
        query = query + self.attention(self.norm_query(query), self.norm_tokens(timed))
        updated: Tensor = query + self.mlp(self.norm_mlp(query))
        return updated

    def add_time(self, tokens: Tensor, queries_keys: tuple[Tensor, Tensor] | None) -> Tensor:
        """Tokens with their place in time, their neighbours and their motion ``[B, T, N, D]``."""
        timed = tokens + self.time[:, None]
        if self.conv is not None:
            # A channels-last view over (T, N): depthwise convolution over time without a copy.
            timed = timed + self.conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if self.motion is not None:
            assert queries_keys is not None
            timed = timed + self.motion(*queries_keys)
        return timed


class EVLNetwork(nn.Module):
    """A decoder that runs beside a frozen image model and condenses a clip into one vector.

    Args:
        width: Width ``D`` of the backbone's tokens.
        num_frames: Frames ``T`` of a clip.
        grid: Rows and columns of patches.
        layers: Decoder layers; each reads one of the backbone's last blocks, oldest first.
        inner_width: Width of the attention.
        heads: Heads of the attention.
        mlp_ratio: Hidden width of the MLPs as a multiple of ``D``.
        dropout: Dropout inside the MLPs.
        num_queries: Learned queries; their results are averaged.
        temporal_conv: Whether a token adds a mixture of itself in the frames around it.
        cross_attention: Whether :class:`TemporalCrossAttention` is added.
    """

    def __init__(
        self,
        *,
        width: int,
        num_frames: int,
        grid: Grid,
        layers: int,
        inner_width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        num_queries: int = 1,
        temporal_conv: bool = True,
        cross_attention: bool = True,
    ) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(num_queries, width))
        # The official code leaves the query at zero (its initialiser is never called); several
        # queries would then stay equal for ever.
        nn.init.trunc_normal_(self.query, std=0.02)
        self.layers = nn.ModuleList(
            DecoderLayer(
                width,
                num_frames,
                grid,
                inner_width=inner_width,
                heads=heads,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                temporal_conv=temporal_conv,
                cross_attention=cross_attention,
            )
            for _ in range(layers)
        )

    def forward(
        self, tokens: Sequence[Tensor], queries_keys: Sequence[tuple[Tensor, Tensor] | None]
    ) -> Tensor:
        """Read the frozen blocks.

        Args:
            tokens: Output of the block behind each layer, ``[B, T, N, D]``, oldest first.
            queries_keys: Their attention queries and keys, or None without cross
                attention.

        Returns:
            ``[B, D]``.
        """
        query = self.query.expand(len(tokens[0]), -1, -1)  # [B, Q, D]
        for layer, block, pair in zip(self.layers, tokens, queries_keys, strict=True):
            query = layer(query, block, pair)
        return query.mean(dim=1)
