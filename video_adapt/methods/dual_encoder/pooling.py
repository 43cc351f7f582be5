"""Attentive pooling: a query per frame reads its tokens, a query per clip reads the frames."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .units import MLP


class QueryAttention(nn.Module):
    """Multi-head attention of a single query over many tokens.

    With one query it is far cheaper to carry the query through the key projection, and what it
    pooled through the value projection, than to project every token: ``q . (W z) = (W^T q) . z``.
    The key bias adds the same to all scores, which softmax does not see; it stays in the packed
    projection so that published weights fit.

    Args:
        dim: Width of the query and of the tokens.
        heads: Number of heads.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(dim, 3 * dim)  # rows: query, key, value
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Read ``tokens [..., N, C]`` as ``query [..., C]`` asks; the answer is ``[..., C]``."""
        wq, wk, wv = self.in_proj.weight.chunk(3)
        bq, _, bv = self.in_proj.bias.chunk(3)
        wk, wv = (w.unflatten(0, (self.heads, -1)) for w in (wk, wv))  # [heads, C/heads, C]
        q = F.linear(query, wq, bq).unflatten(-1, (self.heads, -1))  # [..., heads, C/heads]
        asked = torch.einsum("...hd,hdc->...hc", q * q.shape[-1] ** -0.5, wk)
        weights = (asked @ tokens.mT).softmax(dim=-1)  # [..., heads, N]
        read = torch.einsum("...hc,hdc->...hd", weights.to(tokens.dtype) @ tokens, wv)
        return self.out_proj(read.flatten(-2) + bv)


class QueryLayer(nn.Module):
    """Pre-norm transformer layer of a single query; its norm serves query and tokens alike."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = QueryAttention(dim, heads=heads)
        self.mlp = MLP(dim, ratio=4)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Update ``query [..., C]`` from ``tokens [..., N, C]``."""
        query = query + self.attention(self.norm(query), self.norm(tokens))
        return query + self.mlp(query)


class AttentivePooling(nn.Module):
    """One round of reading: frame queries over tokens, then the clip query over frame queries.

    Args:
        dim: Width ``Ci``.
        heads: Attention heads.
        num_frames: Kept frames ``Ts``.
    """

    def __init__(self, dim: int, *, heads: int, num_frames: int) -> None:
        super().__init__()
        self.frame = QueryLayer(dim, heads=heads)
        self.clip = QueryLayer(dim, heads=heads)
        self.positional_embedding = nn.Parameter(torch.zeros(num_frames, dim))

    def forward(
        self, clip_query: Tensor, frame_query: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update both queries.

        Args:
            clip_query: ``[B, Ci]``.
            frame_query: ``[B, Ts, Ci]``; the returned one does not carry the time embedding.
            tokens: ``[B, Ts, N, Ci]``, the same in every round.
        """
        frame_query = self.frame(frame_query, tokens)
        return self.clip(clip_query, frame_query + self.positional_embedding), frame_query
