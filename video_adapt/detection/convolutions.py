"""What the heads on a time axis are made of: convolutions, masked units, pooling, scaled residuals.

Sequences stay ``[B, S, C]`` throughout, channels last, so that norms and linear layers need no
copy. Convolutions run as 2-D ones over ``(S, 1)`` on a channels-last view of the same memory: a
depthwise 1-D kernel on transposed memory is an order of magnitude slower on a CPU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _as_planes(x: Tensor) -> Tensor:
    """View ``[B, S, C]`` as ``[B, C, S, 1]``."""
    return x.unsqueeze(2).permute(0, 3, 1, 2)


def _as_sequence(planes: Tensor) -> Tensor:
    """View ``[B, C, S, 1]`` as ``[B, S, C]``."""
    return planes.permute(0, 2, 3, 1).squeeze(2)


def apply_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Set the positions of ``[B, S, C]`` to zero where the mask ``[B, S]`` is False."""
    return x * mask.unsqueeze(-1)


def max_pool(x: Tensor) -> Tensor:
    """Largest of three neighbours at every second position, ``[B, S, C]`` to ``[B, S/2, C]``."""
    return _as_sequence(F.max_pool2d(_as_planes(x), (3, 1), (2, 1), (1, 0)))


class TimeConv(nn.Conv1d):
    """Convolution over time, ``[B, S, C]`` to ``[B, S / stride, C']``; zeros beyond both ends.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Positions seen at once; odd.
        stride: Positions per output position.
        groups: Groups of channels that do not see each other.
        bias: Whether to add a bias, which starts at zero.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=bias,
        )
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[B, S, C]``."""
        planes = F.conv2d(
            _as_planes(x),
            self.weight.unsqueeze(-1),
            self.bias,
            stride=(self.stride[0], 1),
            padding=(self.kernel_size[0] // 2, 0),
            groups=self.groups,
        )
        return _as_sequence(planes)


def depthwise(width: int, *, kernel: int, stride: int = 1, bias: bool = True) -> TimeConv:
    """A convolution in which every channel sees itself alone."""
    return TimeConv(width, width, kernel=kernel, stride=stride, groups=width, bias=bias)


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer whose bias starts at zero."""
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.bias)
    return layer


class MaskedConv(nn.Module):
    """Convolution, norm and ReLU that leave masked positions at zero.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Positions seen at once; odd.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int) -> None:
        super().__init__()
        self.conv = TimeConv(in_channels, out_channels, kernel=kernel, bias=False)
        self.norm = nn.LayerNorm(out_channels, eps=1e-6)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``[B, S, C]`` to ``[B, S, C']`` under the mask ``[B, S]``."""
        return apply_mask(F.relu(self.norm(apply_mask(self.conv(x), mask))), mask)


class ScaledResidual(nn.Module):
    """A residual branch that starts small, and in training is left out of some samples.

    The scale is learned per channel and acts in evaluation too.

    Args:
        width: Channels.
        drop_path: Share of samples that go without the branch; the others get more of it.
        initial: Scale at the start.

    Source: Touvron et al., Going deeper with Image Transformers, ICCV 2021 (scale); Huang et al.,
    Deep Networks with Stochastic Depth, ECCV 2016 (drop).
    """

    def __init__(self, width: int, *, drop_path: float, initial: float = 1e-4) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), initial))
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``[B, S, C]``."""
        kept = F.dropout(x.new_ones(len(x), 1, 1), self.drop_path, self.training)
        return x * self.scale * kept


def residual_scale(width: int, drop_path: float) -> nn.Module:
    """The scale of a residual branch; a branch that is never dropped has none, as published."""
    return ScaledResidual(width, drop_path=drop_path) if drop_path > 0 else nn.Identity()
