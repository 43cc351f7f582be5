"""SGP: a block that gates what a position and its neighbourhoods say instead of attending.

Source: Shi et al., TriDet: Temporal Action Detection with Relative Boundary Modeling, CVPR 2023,
section 3.2, and the released code where the two differ.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError

from .convolutions import apply_mask, depthwise, linear, max_pool, residual_scale

NORM_GROUPS = 16


@dataclass(frozen=True, kw_only=True)
class SGP:
    """Sizes of the SGP blocks; the defaults are those of THUMOS-14.

    Args:
        windows: Positions seen by the narrower convolutions; odd. One value for all levels, or
            one per level; blocks at full resolution see 1, as in the released code.
        expansion: How much more the wider convolution sees.
        mlp_width: Hidden channels of the MLP.
        pool: How a level is halved: the largest of three neighbours, or a linear layer on the mean
            of two.
        init_std: Standard deviation of new depthwise kernels; 0 starts with the norm alone.
    """

    windows: int | tuple[int, ...] = 1
    expansion: float = 5.0
    mlp_width: int = 768
    pool: Literal["max", "mean"] = "max"
    init_std: float = 0.0

    def window_per_level(self, levels: int) -> list[int]:
        """The window of every level.

        Raises:
            ConfigurationError: If a window is not odd, or they are not one per level.
        """
        windows = (self.windows,) * levels if isinstance(self.windows, int) else self.windows
        if len(windows) != levels or any(w < 1 or w % 2 == 0 for w in windows):
            raise ConfigurationError(
                f"SGP: windows={self.windows} for {levels} levels; give one odd value or {levels} "
                "of them"
            )
        return list(windows)

    def wide_window(self, window: int) -> int:
        """Positions seen by the wider convolution beside a narrower one."""
        size = round((window + 1) * self.expansion)
        return size + (size + 1) % 2


class MaxPool(nn.Module):
    """The largest of three neighbours."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, S, C]`` to ``[B, S/2, C]``."""
        return max_pool(x)


class MeanPool(nn.Module):
    """A linear layer on the mean of two neighbours.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, S, C]`` to ``[B, S/2, C]``."""
        return self.linear(x.unflatten(1, (-1, 2)).mean(dim=2))


class SGPBlock(nn.Module):
    """Depthwise convolutions gated by one another and by the window's mean, then an MLP.

    The mean and the norm of the MLP see padding too, as in the released code.

    Args:
        settings: Sizes.
        width: Channels.
        window: Positions seen by the narrower convolutions.
        stride: 1, or 2 for a block that makes the next level.
        drop_path: Share of samples that a branch loses in training; 0 for blocks without scales.
    """

    def __init__(
        self, settings: SGP, width: int, *, window: int, stride: int, drop_path: float
    ) -> None:
        super().__init__()
        self.pool: nn.Module = nn.Identity()
        if stride == 2:
            self.pool = MaxPool() if settings.pool == "max" else MeanPool(width)
        self.norm = nn.LayerNorm(width)
        self.gate = depthwise(width, kernel=window)
        self.instant = depthwise(width, kernel=1)
        self.instant_gate = depthwise(width, kernel=1)
        self.window = depthwise(width, kernel=window)
        self.wide_window = depthwise(width, kernel=settings.wide_window(window))
        for kernel in (
            self.gate,
            self.instant,
            self.instant_gate,
            self.window,
            self.wide_window,
        ):
            nn.init.normal_(kernel.weight, std=settings.init_std)
        self.mix_scale = residual_scale(width, drop_path)
        self.mlp_norm = nn.GroupNorm(NORM_GROUPS, width)
        self.up = linear(width, settings.mlp_width)
        self.down = linear(settings.mlp_width, width)
        self.mlp_scale = residual_scale(width, drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``[B, S * stride, C]`` to ``[B, S, C]`` under the mask ``[B, S]`` of the output."""
        x = self.pool(x)
        y = self.norm(x)
        instant = self.instant(y) * F.relu(self.instant_gate(y.mean(dim=1, keepdim=True)))
        around = (self.window(y) + self.wide_window(y)) * self.gate(y)
        x = apply_mask(x, mask) + self.mix_scale(instant + around + y)
        grouped = self.mlp_norm(x.transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_scale(self.down(F.gelu(self.up(grouped))))
