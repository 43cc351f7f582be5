"""AIM: the attention of an image model used over time as well, and three bottlenecks.

Source: Yang et al., AIM: Adapting Image Models for Efficient Video Action Recognition, ICLR 2023,
section 3.
"""

from collections.abc import Callable

from torch import Tensor

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter, Grid

from .ffn_adapter import Bottleneck, FFNBlockAdapter, build_bottleneck, check_ratio
from .inject import Adapter, require_image_backbone


class AIMBlockAdapter(FFNBlockAdapter):
    """Time, space and MLP adaptation of one block, each with a bottleneck that starts at zero.

    In front of the block's attention over a frame, ``x += time(attention(norm(x)))`` over the
    frames at each place, the class token's included, with the same weights. What the attention
    over a frame writes is ``y + space(y)``, and the MLP has a bottleneck at its side.

    Args:
        time: Bottleneck behind the attention over time.
        space: Bottleneck behind the attention over a frame.
        mlp: Bottleneck beside the MLP.
        scale: Factor of the one beside the MLP.
    """

    def __init__(
        self, *, time: Bottleneck, space: Bottleneck, mlp: Bottleneck, scale: float
    ) -> None:
        super().__init__(mlp, scale)
        self.time = time
        self.space = space

    def reuse_attention(
        self, tokens: Tensor, attend: Callable[[Tensor], Tensor], *, num_frames: int, grid: Grid
    ) -> Tensor:
        """Let every place look along time, ``[B*T, N, D]``."""
        tracks = tokens.unflatten(0, (-1, num_frames)).transpose(1, 2)  # [B, N, T, D]
        mixed = self.time(attend(tracks.flatten(0, 1))).view_as(tracks)
        return tokens + mixed.transpose(1, 2).flatten(0, 1)

    def behind_attention(self, written: Tensor) -> Tensor:
        """Edit what the attention over a frame has written, ``[B*T, N, D]``."""
        return written + self.space(written)


class AIM(Adapter):
    """Adapters for time, space and both together in all blocks.

    The attention runs twice, so a step costs half as much again as the plain backbone's.

    Args:
        ratio: Width of the bottlenecks as a share of the backbone's.
        scale: Factor of the bottleneck beside the MLP.

    Raises:
        ConfigurationError: If the ratio is not positive.
    """

    def __init__(self, *, ratio: float = 0.25, scale: float = 0.5) -> None:
        check_ratio(self, ratio)
        self.ratio = ratio
        self.scale = scale

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the bottlenecks of one block; all edit the class token, so they are always read.

        Raises:
            ConfigurationError: If the backbone is a model of video, or a bottleneck has no channel.
        """
        require_image_backbone(self, backbone)
        time, space, mlp = (build_bottleneck(self, backbone, self.ratio) for _ in range(3))
        return AIMBlockAdapter(time=time, space=space, mlp=mlp, scale=self.scale)
