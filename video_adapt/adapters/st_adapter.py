"""ST-Adapter: a bottleneck with a depthwise 3-D convolution, inside a frozen image model.

Source: Pan et al., ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning, NeurIPS 2022.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter, Grid, Site
from video_adapt.errors import ConfigurationError

from .inject import Adapter

Kernel = tuple[int, int, int]
Zero = Literal["conv", "up"]


class STBottleneck(nn.Module):
    """``patches += fc2(conv(fc1(patches)))``; the class token passes untouched.

    There is no activation. The start is an identity.

    Args:
        token_width: Width ``D`` of the tokens.
        width: Channels of the bottleneck.
        kernel: Extent of the convolution over time, rows and columns; odd numbers.
        zero: What starts at zero: ``conv`` the convolution and all biases, ``up`` the layer behind
            it.
    """

    def __init__(
        self, token_width: int, width: int, kernel: Kernel, *, zero: Zero = "conv"
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(token_width, width)
        self.conv = nn.Conv3d(
            width,
            width,
            kernel,
            padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2),
            groups=width,
        )
        self.fc2 = nn.Linear(width, token_width)
        up = (self.fc2.weight, self.fc2.bias)
        conv = (self.conv.weight, self.conv.bias, self.fc1.bias, self.fc2.bias)
        for parameter in conv if zero == "conv" else up:
            assert parameter is not None
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Let patches see their neighbours in time.

        Args:
            tokens: ``[B*T, N, D]``, class token first where there is one, time inside the batch.
            num_frames: ``T``.
            grid: Rows and columns of patches, the last tokens.
        """
        count = grid[0] * grid[1]
        class_token, patches = tokens[:, :-count], tokens[:, -count:]
        hidden = self.fc1(patches).unflatten(0, (-1, num_frames))  # [B, T, P, A]
        hidden = self._convolve(hidden, grid).flatten(0, 1)  # [B*T, P, A]
        return torch.cat([class_token, patches + self.fc2(hidden)], dim=1)

    def _convolve(self, hidden: Tensor, grid: Grid) -> Tensor:
        """Depthwise convolution of ``[B, T, P, A]`` over time, rows and columns."""
        if self.conv.kernel_size[1:] == (1, 1):
            # Nothing mixes in space: as a 2-D convolution over (T, P) of a channels-last view it
            # needs no copy and is an order of magnitude faster than the 3-D kernels.
            planes = F.conv2d(
                hidden.permute(0, 3, 1, 2),
                self.conv.weight.squeeze(-1),
                self.conv.bias,
                padding=(self.conv.kernel_size[0] // 2, 0),
                groups=self.conv.groups,
            )  # [B, A, T, P]
            return planes.permute(0, 2, 3, 1)
        volume = hidden.unflatten(2, grid).permute(0, 4, 1, 2, 3).contiguous()  # [B, A, T, h, w]
        return self.conv(volume).permute(0, 2, 3, 4, 1).flatten(2, 3)


class STBlockAdapter(BlockAdapter):
    """The bottlenecks of one block: before its attention, before its MLP, or both.

    Attributes:
        attention: Bottleneck in front of the attention, or None.
        mlp: Bottleneck in front of the MLP, or None.
    """

    def __init__(self, attention: STBottleneck | None, mlp: STBottleneck | None) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = mlp

    def before_attention(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream in front of the attention."""
        if self.attention is None:
            return tokens
        edited: Tensor = self.attention(tokens, num_frames=num_frames, grid=grid)
        return edited

    def before_mlp(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream in front of the MLP."""
        if self.mlp is None:
            return tokens
        edited: Tensor = self.mlp(tokens, num_frames=num_frames, grid=grid)
        return edited

    def edits(self, site: Site) -> bool:
        """Whether there is a bottleneck at a site."""
        return {"before_attention": self.attention, "before_mlp": self.mlp}.get(site) is not None


class STAdapter(Adapter):
    """Spatio-temporal adapters; the paper's 12x384 form, or with both sites its 24x384 form.

    Only patch tokens are edited, so the edit before the MLP of the very last block reaches nobody
    who reads class tokens; it is then left out, which the official code does not do.

    Args:
        width: Channels of the bottleneck.
        kernel: Extent of the convolution over time, rows and columns; odd numbers.
        before_attention: Whether to edit in front of the attention.
        before_mlp: Whether to edit in front of the MLP.
        last_blocks: How many blocks to adapt, counted from the last; None adapts all.
        zero: What starts at zero: ``conv`` as in the official code, ``up`` as in FROSTER's.

    Raises:
        ConfigurationError: If the kernel has an even extent or no site is enabled.
    """

    def __init__(
        self,
        *,
        width: int = 384,
        kernel: Kernel = (3, 1, 1),
        before_attention: bool = False,
        before_mlp: bool = True,
        last_blocks: int | None = None,
        zero: Zero = "conv",
    ) -> None:
        if any(side < 1 or side % 2 == 0 for side in kernel):
            raise ConfigurationError(
                f"STAdapter: kernel {tuple(kernel)} must hold odd numbers; an even extent would "
                "shift the frames"
            )
        if not (before_attention or before_mlp):
            raise ConfigurationError("STAdapter: enable before_attention, before_mlp or both")
        self.width = width
        self.kernel = kernel
        self.before_attention = before_attention
        self.before_mlp = before_mlp
        self.last_blocks = last_blocks
        self.zero: Zero = zero

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the bottlenecks of one block.

        Raises:
            ConfigurationError: If ``last_blocks`` exceeds the depth of the backbone.
        """
        adapted = backbone.depth if self.last_blocks is None else self.last_blocks
        if not 0 < adapted <= backbone.depth:
            raise ConfigurationError(
                f"STAdapter: last_blocks={adapted}, but {backbone.name} has {backbone.depth} "
                f"blocks; give 1 to {backbone.depth}"
            )
        if block < backbone.depth - adapted:
            return None
        is_read = reads_patches or block < backbone.depth - 1
        attention = self._bottleneck(backbone) if self.before_attention else None
        mlp = self._bottleneck(backbone) if self.before_mlp and is_read else None
        return STBlockAdapter(attention, mlp) if attention or mlp else None

    def _bottleneck(self, backbone: Backbone) -> STBottleneck:
        return STBottleneck(backbone.width, self.width, self.kernel, zero=self.zero)
