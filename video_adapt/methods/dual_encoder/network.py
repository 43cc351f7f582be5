"""The trained part of DiST: a light temporal encoder and the branch that integrates both streams.

Source: Qing et al., Disentangling Spatial and Temporal Learning for Efficient Image-to-Video
Transfer Learning, ICCV 2023, section 3, and the authors' released code where the two differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .pooling import AttentivePooling, QueryAttention
from .units import (
    IntegrationNet,
    IntegrationToTemporal,
    TemporalBlock,
    TemporalStem,
    TemporalToIntegration,
)


@dataclass(frozen=True, kw_only=True)
class BranchSpec:
    """Sizes of the trained part; the defaults are those of every released model.

    Args:
        integration_dim: Width ``Ci`` of the integration branch.
        temporal_dim: Width ``Ct`` of the temporal encoder.
        heads: Attention heads of the pooling; None: one per 64 channels.
        pooling_layers: Rounds of attentive pooling: 2 for Something-Something, 4 for Kinetics.
        stem_kernel: Frames seen by the temporal stem.
        temporal_kernel: Frames seen by every other temporal convolution.
        temporal_ratio: Hidden width of a temporal block over ``Ct``.
        integration_ratio: Hidden width of an integration net's channel mixing over ``Ci``.
        integration_temporal_ratio: Hidden width of its temporal mixing over ``Ci``.
        init_std: Standard deviation of new weights. With the released value and width a layer
            keeps 0.4 of its input; a narrower branch wants more, or it takes long to wake up.
    """

    integration_dim: int = 384
    temporal_dim: int = 96
    heads: int | None = None
    pooling_layers: int = 2
    stem_kernel: int = 5
    temporal_kernel: int = 3
    temporal_ratio: float = 1.0
    integration_ratio: float = 1.0
    integration_temporal_ratio: float = 0.25
    init_std: float = 0.02


class DiSTNetwork(nn.Module):
    """From a clip and the frozen features of some of its frames to one vector in the joint space.

    Args:
        spec: Sizes of the branch.
        width: Width ``D`` of the frozen tokens.
        embed_dim: Width ``E`` of the joint space.
        patch_size: Side of a patch of the image tower: both streams share one grid.
        num_layers: How many of the tower's blocks are read, lowest first.
        num_frames: Frames ``T`` of a clip.
        frame_ratio: The image tower sees every ``frame_ratio``-th frame; divides ``num_frames``.
    """

    def __init__(
        self,
        spec: BranchSpec,
        *,
        width: int,
        embed_dim: int,
        patch_size: int,
        num_layers: int,
        num_frames: int,
        frame_ratio: int = 2,
    ) -> None:
        super().__init__()
        dim, temporal_dim, kernel = spec.integration_dim, spec.temporal_dim, spec.temporal_kernel
        kept = num_frames // frame_ratio
        layers = range(num_layers)

        self.temporal_stem = TemporalStem(
            temporal_dim, patch_size=patch_size, kernel=spec.stem_kernel
        )
        self.temporal_blocks = nn.ModuleList(
            TemporalBlock(temporal_dim, kernel=kernel, ratio=spec.temporal_ratio) for _ in layers
        )
        self.input_linears = nn.ModuleList(nn.Linear(width, dim) for _ in layers)
        self.temporal_to_integration = nn.ModuleList(
            TemporalToIntegration(temporal_dim, dim, num_frames=kept, frame_ratio=frame_ratio)
            for _ in layers
        )
        # None for the last layer: nothing reads the temporal encoder any more.
        self.integration_to_temporal = nn.ModuleList(
            IntegrationToTemporal(dim, temporal_dim) for _ in layers[1:]
        )
        self.integration_nets = nn.ModuleList(
            IntegrationNet(
                dim,
                kernel=kernel,
                ratio=spec.integration_ratio,
                temporal_ratio=spec.integration_temporal_ratio,
            )
            for _ in layers
        )
        self.clip_query = nn.Parameter(torch.zeros(dim))
        self.frame_query = nn.Parameter(torch.zeros(dim))
        heads = spec.heads or max(dim // 64, 1)
        self.poolings = nn.ModuleList(
            AttentivePooling(dim, heads=heads, num_frames=kept) for _ in range(spec.pooling_layers)
        )
        self.class_linear = nn.Linear(width, dim)
        self.norm = nn.LayerNorm(dim)
        self.projection = nn.Linear(dim, embed_dim, bias=False)
        self.reset_parameters(spec.init_std)

    def reset_parameters(self, std: float) -> None:
        """Start as the released code does: small everywhere, zero nowhere."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                nn.init.trunc_normal_(parameter, std=std)
        for module in self.modules():
            if isinstance(module, QueryAttention):
                nn.init.xavier_uniform_(module.in_proj.weight)
        nn.init.normal_(self.projection.weight, std=self.norm.weight.numel() ** -0.5)

    def forward(self, video: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Embed clips.

        Args:
            video: ``[B, T, 3, H, W]``, normalised like the image tower's input.
            features: Tokens of the kept frames behind each read block, ``[B, Ts, N, D]``, class
                token first, lowest block first.

        Returns:
            Embeddings ``[B, E]``, not normalised.
        """
        tokens = self.integrate(video, features)
        b, kept = tokens.shape[:2]
        clip, frame = self.clip_query.expand(b, -1), self.frame_query.expand(b, kept, -1)
        for pooling in self.poolings:
            clip, frame = pooling(clip, frame, tokens)
        class_token = features[-1][:, :, 0].mean(dim=1)  # [B, D], before the tower's final norm
        return self.projection(self.norm(clip + self.class_linear(class_token)))

    def integrate(self, video: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Run both streams layer by layer; returns the branch's tokens ``[B, Ts, N, Ci]``."""
        x = self.temporal_stem(video)  # [B, T, H, W, Ct]
        residual: Tensor | None = None
        for i, feature in enumerate(features):
            x = self.temporal_blocks[i](x)
            tokens = self.input_linears[i](feature)  # [B, Ts, N, Ci]
            if residual is not None:
                tokens = tokens + residual
            fused = tokens + self.temporal_to_integration[i](x)
            if i < len(self.integration_to_temporal):
                # The temporal stream hears the tokens from before it was added to them.
                told = self.integration_to_temporal[i](tokens).unflatten(2, x.shape[2:4])
                groups = x.unflatten(1, (len(feature[0]), -1))  # [B, Ts, r, H, W, Ct]
                x = (groups + told.unsqueeze(2)).flatten(1, 2)
            residual = self.integration_nets[i](fused)
        return fused + residual
