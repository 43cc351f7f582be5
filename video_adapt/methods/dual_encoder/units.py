"""What DiST is made of: blocks of the temporal encoder, exchanges, and the integration net.

Tokens stay ``[B, Ts, N, C]`` and feature maps ``[B, T, H, W, C]`` throughout, channels last: linear
layers, norms and both kinds of convolution then work on the same memory without a copy.

Beside the shared notation: ``Ts = T / frame_ratio`` frames seen by the frozen image tower, ``Ci``
and ``Ct`` widths of the integration branch and of the temporal encoder. Norms are computed in
float32 whatever the precision: torch's kernel does so inside.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def quick_gelu(x: Tensor) -> Tensor:
    """``x * sigmoid(1.702 x)``, CLIP's activation, written with one fused kernel."""
    return F.silu(1.702 * x).mul_(1 / 1.702)  # in place: the kernel's backward wants its input only


def hidden_width(dim: int, ratio: float) -> int:
    """Whole channels in ``dim * ratio``; as a ratio, 15 of 44 channels are 15 again, not 14."""
    return int(dim * ratio + 1e-6)


def frugal(step: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a step of which nothing but its input is kept for backward.

    Meant for something cheap followed by a linear layer or a convolution. Of these, backward wants
    the input alone, so that only the cheap part runs again: recomputation stops where all is found
    that backward asks for.

    Args:
        step: A function of one tensor; its other inputs are parameters.
        x: The tensor.
    """
    out: Tensor = checkpoint(step, x, use_reentrant=False, preserve_rng_state=False)
    return out


class MLP(nn.Module):
    """Norm and two linear layers with an activation between them."""

    def __init__(self, dim: int, *, ratio: float) -> None:
        super().__init__()
        hidden = hidden_width(dim, ratio)
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., C]`` to the same shape."""
        hidden = frugal(lambda x: self.up(self.norm(x)), x)
        return frugal(lambda x: self.down(quick_gelu(x)), hidden)


class TemporalConv(nn.Conv2d):
    """Convolution over the frames of each position, ``[B, T, N, C]`` to ``[B, T', N, C']``.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Frames seen at once; zeros stand beyond the first and the last frame.
        stride: Frames per output frame; with a stride nothing is padded.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int = 1
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, (kernel, 1), (stride, 1), (padding, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; the permutations are views: the convolution reads channels-last memory."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class TemporalStem(nn.Module):
    """Patches of all frames, each mixed with the same patch of its neighbours in time.

    Equal to a 3-D convolution with kernel ``(kernel, p, p)`` and stride ``(1, p, p)``.
    """

    def __init__(self, width: int, *, patch_size: int, kernel: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv = TemporalConv(3 * patch_size**2, width, kernel=kernel)

    def forward(self, video: Tensor) -> Tensor:
        """Turn ``[B, T, 3, H*p, W*p]`` into ``[B, T, H, W, Ct]``."""
        p = self.patch_size
        rows = video.unflatten(4, (-1, p)).unflatten(3, (-1, p))  # [B, T, 3, H, p, W, p]
        grid = rows.shape[3], rows.shape[5]
        patches = rows.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)  # [B, T, H*W, 3*p*p]
        out: Tensor = self.conv(patches)
        return out.unflatten(2, grid)


class TemporalBlock(nn.Module):
    """Residual pair of convolutions, first over time, then over space, at full resolution."""

    def __init__(self, width: int, *, kernel: int, ratio: float) -> None:
        super().__init__()
        hidden = hidden_width(width, ratio)
        self.norm = nn.LayerNorm(width)
        self.temporal = TemporalConv(width, hidden, kernel=kernel)
        self.spatial = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, T, H, W, Ct]`` to the same shape; the skip path is activated too."""
        b, _, h, w, _ = x.shape
        y = frugal(lambda x: self.temporal(self.norm(x).flatten(2, 3)), x)  # [B, T, H*W, hidden]
        frames = y.flatten(0, 1).unflatten(1, (h, w)).permute(0, 3, 1, 2)  # [B*T, hidden, H, W]
        y = frugal(lambda x: self.spatial(quick_gelu(x)), frames).permute(0, 2, 3, 1)
        return quick_gelu(x + y.unflatten(0, (b, -1)))


class TemporalToIntegration(nn.Module):
    """Fuse the frames between two kept ones and speak the integration branch's width."""

    def __init__(self, temporal_dim: int, dim: int, *, num_frames: int, frame_ratio: int) -> None:
        super().__init__()
        self.fuse = TemporalConv(temporal_dim, dim, kernel=frame_ratio, stride=frame_ratio)
        # Stands where the image tower has its class token, for which the map has no position.
        self.cls_token = nn.Parameter(torch.zeros(num_frames, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``[B, T, H, W, Ct]`` into ``[B, Ts, 1 + H*W, Ci]``."""
        patches = self.fuse(x.flatten(2, 3))  # [B, Ts, H*W, Ci]
        token = self.cls_token.to(patches.dtype).expand(len(x), -1, -1).unsqueeze(2)
        return torch.cat([token, patches], dim=2)


class IntegrationToTemporal(nn.Linear):
    """Give the temporal encoder what the branch knows of each kept frame's patches."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn ``[B, Ts, 1 + H*W, Ci]`` into ``[B, Ts, H*W, Ct]``, without the class position."""
        # Narrowing after the linear layer is a view; before it, a copy of the wide tokens.
        return super().forward(tokens)[:, :, 1:]


class TemporalFFN(nn.Module):
    """Norm, then a mix of the kept frames of every token position in a narrow space."""

    def __init__(self, dim: int, *, kernel: int, ratio: float) -> None:
        super().__init__()
        hidden = hidden_width(dim, ratio)
        self.norm = nn.LayerNorm(dim)
        self.down = nn.Linear(dim, hidden)
        self.mix = TemporalConv(hidden, hidden, kernel=kernel)
        self.up = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[B, Ts, N, Ci]`` to the same shape."""
        mixed = self.mix(frugal(lambda x: self.down(self.norm(x)), tokens))
        return frugal(lambda x: self.up(quick_gelu(x)), mixed)


class IntegrationNet(nn.Module):
    """Channel and temporal mixing in parallel; the residual path lies outside."""

    def __init__(self, dim: int, *, kernel: int, ratio: float, temporal_ratio: float) -> None:
        super().__init__()
        self.ffn = MLP(dim, ratio=ratio)
        self.temporal_ffn = TemporalFFN(dim, kernel=kernel, ratio=temporal_ratio)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[B, Ts, N, Ci]`` to the same shape."""
        mixed: Tensor = self.ffn(tokens) + self.temporal_ffn(tokens)
        return mixed
