"""The feature pyramid of the anchor-free detectors: one sequence in, several time scales out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError

from .convolutions import MaskedConv, apply_mask


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """Sizes of a feature pyramid; level ``l`` has a position for every ``2**l`` of the grid.

    Args:
        width: Channels of every level.
        embed_layers: Masked convolutions in front of everything.
        stem_layers: Blocks at full resolution.
        levels: Number of levels, the full resolution among them.
        max_length: Grid positions to which shorter inputs are padded; divisible by the largest
            stride.
        position_table: Whether to add a fixed table of positions behind the convolutions.
        input_dropout: Share of feature channels that a window loses in training.
        drop_path: Share of samples that a residual branch loses in training; 0 takes away the
            learned scale of the branches too.
    """

    width: int = 512
    embed_layers: int = 2
    stem_layers: int = 2
    levels: int = 6
    max_length: int = 768
    position_table: bool = False
    input_dropout: float = 0.0
    drop_path: float = 0.1

    @property
    def strides(self) -> list[int]:
        """Grid positions per position of every level."""
        return [2**level for level in range(self.levels)]


class Levels(NamedTuple):
    """What a pyramid returns, finest level first.

    Attributes:
        features: ``[B, S_l, C]`` each.
        masks: Valid positions, bool ``[B, S_l]`` each.
    """

    features: list[Tensor]
    masks: list[Tensor]


class FeaturePyramid(nn.Module):
    """Convolutions, blocks at full resolution, then a block of stride 2 per further level.

    Args:
        settings: Sizes.
        width: Width ``D`` of the features.
        stem: Blocks at full resolution, called with features ``[B, S, C]`` and the mask ``[B, S]``
            of their output.
        branch: Blocks of stride 2, one per further level, called likewise.
        spans: Positions of each level that an input beyond ``max_length`` is rounded up to.
        pads_training: Whether shorter inputs are padded to ``max_length`` in training too.

    Raises:
        ConfigurationError: If ``max_length`` is not divisible by the largest stride.
    """

    def __init__(
        self,
        settings: Pyramid,
        width: int,
        *,
        stem: Iterable[nn.Module],
        branch: Iterable[nn.Module],
        spans: Sequence[int],
        pads_training: bool,
    ) -> None:
        super().__init__()
        self.stride = settings.strides[-1]
        self.max_length = settings.max_length
        self.multiple = length_multiple(settings.strides, spans)
        self.pads_training = pads_training
        if self.max_length % self.stride:
            raise ConfigurationError(
                f"Pyramid: max_length={self.max_length} is not divisible by {self.stride}, the "
                f"stride of level {settings.levels}; give a multiple of it"
            )
        inner = settings.width
        self.dropout = nn.Dropout(settings.input_dropout)
        self.embed = nn.ModuleList(
            MaskedConv(inner if layer else width, inner, kernel=3)
            for layer in range(settings.embed_layers)
        )
        self.stem = nn.ModuleList(stem)
        self.branch = nn.ModuleList(branch)
        self.norms = nn.ModuleList(nn.LayerNorm(inner, eps=1e-6) for _ in range(settings.levels))
        table = position_table(self.max_length, inner) if settings.position_table else None
        self.register_buffer("positions", table, persistent=False)
        self.positions: Tensor | None

    def forward(self, features: Tensor, mask: Tensor) -> Levels:
        """Run the pyramid.

        Args:
            features: ``[B, S, D]``.
            mask: Valid positions, bool ``[B, S]``.

        Returns:
            All levels, of the padded sequence; levels are normed but not masked.
        """
        tail = self._padded_length(features.shape[1]) - features.shape[1]
        kept = self.dropout(torch.ones_like(features[:, :1]))  # [B, 1, D]: whole channels
        x = F.pad(features * kept, (0, 0, 0, tail))
        mask = F.pad(mask, (0, tail))
        for unit in self.embed:
            x = unit(x, mask)
        if self.positions is not None:
            x = x + apply_mask(fit_positions(self.positions, x.shape[1]), mask)
        for block in self.stem:
            x = block(x, mask)
        levels = Levels([self.norms[0](x)], [mask])
        for block, norm in zip(self.branch, self.norms[1:], strict=True):
            mask = mask[:, ::2]
            x = block(x, mask)
            levels.features.append(norm(x))
            levels.masks.append(mask)
        return levels

    def _padded_length(self, length: int) -> int:
        if self.training and not self.pads_training:
            return math.ceil(length / self.stride) * self.stride
        if length <= self.max_length:
            return self.max_length
        return math.ceil(length / self.multiple) * self.multiple


def length_multiple(strides: Sequence[int], spans: Sequence[int]) -> int:
    """What the length of an input beyond ``max_length`` must be a multiple of.

    The released code takes the largest of the levels' own divisors, not their least common
    multiple, and what a level sees of the padding depends on it. Where the largest stride does not
    divide it the released code fails; here it is a multiple of both.

    Args:
        strides: Grid positions per position of every level.
        spans: Positions of each level that its blocks want a multiple of.
    """
    largest = max(stride * span for stride, span in zip(strides, spans, strict=True))
    return math.lcm(largest, strides[-1])


def position_table(length: int, width: int) -> Tensor:
    """Sinusoids of position, ``[length, width]``, divided by the root of ``width``.

    Source: Vaswani et al., Attention Is All You Need, NIPS 2017, section 3.5; the scale as in the
    released ActionFormer.
    """
    channel = torch.arange(width)
    rate = 10000 ** (-2 * (channel // 2).double() / width)
    angle = torch.arange(length).double()[:, None] * rate  # [length, width]
    table = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
    return (table / width**0.5).float()


def fit_positions(table: Tensor, length: int) -> Tensor:
    """Positions ``[length, C]`` of a table ``[S, C]``: its start, or all of it stretched."""
    if length <= len(table):
        return table[:length]
    channels_first = table.T.unsqueeze(0)  # [1, C, S]
    return F.interpolate(channels_first, length, mode="linear", align_corners=False)[0].T
