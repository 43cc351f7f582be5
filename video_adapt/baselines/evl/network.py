"""The parallel decoder of EVL: one query reads the tokens of several frozen blocks.

The attentive probe is the same decoder with one layer and without what mixes frames.

Source: Lin et al., Frozen CLIP Models are Efficient Video Learners, ECCV 2022.
"""

import torch
from torch import Tensor, nn

from video_adapt.backbones.base import Features
from video_adapt.backbones.block_adapter import Grid
from video_adapt.errors import ConfigurationError

from .cross_attention import TemporalCrossAttention


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, CLIP's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Activate."""
        return x * torch.sigmoid(1.702 * x)


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
        num_frames: Frames ``T``, each with a learned time embedding; None: without any.
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
        num_frames: int | None,
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
        self.time = None if num_frames is None else nn.Parameter(torch.zeros(num_frames, width))
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
        timed = tokens if self.time is None else tokens + self.time[:, None]
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
        num_frames: Frames ``T`` of a clip, each with a learned time embedding; None: no embedding
            and any number of frames.
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
        num_frames: int | None,
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
        self.num_frames = num_frames
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

    def forward(self, features: Features) -> Tensor:
        """Read the frozen blocks, oldest first.

        Args:
            features: With as many ``blocks`` as there are layers, and their ``queries_keys`` if
                there is cross attention.

        Returns:
            ``[B, D]``.

        Raises:
            ConfigurationError: If the clip has another number of frames than the network.
        """
        clips, frames = features.tokens.shape[:2]
        if self.num_frames not in (None, frames):
            raise ConfigurationError(
                f"clips have {frames} frames, the decoder was built for {self.num_frames}; "
                "set num_frames to the sampler's"
            )
        # A copy: torch's counter of operations cannot hook a view of a parameter in inference mode.
        query = self.query.repeat(clips, 1, 1)  # [B, Q, D]
        for layer, block in zip(self.layers, sorted(features.blocks), strict=True):
            query = layer(query, features.blocks[block], features.queries_keys.get(block))
        return query.mean(dim=1)
