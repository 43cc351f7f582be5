"""Channel shift: a share of every key and value comes from the neighbours in time.

Source: Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019,
moved to the keys and values of attention by the code of Open-VCLIP and FROSTER.
"""

import torch
from torch import Tensor

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter, look_plainly
from video_adapt.errors import ConfigurationError

from .inject import Adapter, require_image_backbone

_PUBLISHED_FRAMES = 8  # the official code never learns the number of frames


class ChannelShiftBlockAdapter(BlockAdapter):
    """The first quarter of channels from the next frame, the second from the previous one.

    Outside the clip there are zeros.

    Args:
        as_published: Reproduce the official code, which reads its memory in the wrong order.
    """

    def __init__(self, *, as_published: bool) -> None:
        super().__init__()
        self.as_published = as_published

    def look(self, queries: Tensor, keys: Tensor, values: Tensor, *, num_frames: int) -> Tensor:
        """Attend inside each frame to shifted keys, all ``[B*T, N, heads, D / heads]``.

        Raises:
            ConfigurationError: If the official code could not run on this number of frames.
        """
        if self.as_published and len(keys) % _PUBLISHED_FRAMES:
            raise ConfigurationError(
                f"ChannelShift: the official code takes every {_PUBLISHED_FRAMES} frames for a "
                f"clip, got {len(keys)} in all; set as_published: false"
            )
        frames = _PUBLISHED_FRAMES if self.as_published else num_frames
        shifted = (self._shift(part, frames) for part in (keys, values))
        return look_plainly(queries, *shifted)

    def _shift(self, part: Tensor, num_frames: int) -> Tensor:
        clips = part.flatten(2).unflatten(0, (-1, num_frames))  # [B, T, N, D]
        quarter = clips.shape[-1] // 4
        moved = torch.zeros_like(clips)
        moved[:, :-1, :, :quarter] = clips[:, 1:, :, :quarter]
        moved[:, 1:, :, quarter : 2 * quarter] = clips[:, :-1, :, quarter : 2 * quarter]
        moved[..., 2 * quarter :] = clips[..., 2 * quarter :]
        moved = moved.flatten(0, 1)  # [B*T, N, D]
        if not self.as_published:
            return moved.view_as(part)
        # The official code holds channels before tokens and takes that for tokens before channels.
        count, heads, side = part.shape[1:]
        return moved.transpose(1, 2).reshape(-1, heads, count, side).transpose(1, 2)


class ChannelShift(Adapter):
    """Shifted keys and values in every block; no weight, so any tuning fits.

    Args:
        as_published: Reproduce the official code, which scrambles the shifted keys and values and
            knows clips of 8 frames only.
    """

    def __init__(self, *, as_published: bool = False) -> None:
        self.as_published = as_published

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the shift of one block; the class token reads it, whatever the read-out.

        Raises:
            ConfigurationError: If the backbone is a model of video.
        """
        require_image_backbone(self, backbone)
        return ChannelShiftBlockAdapter(as_published=self.as_published)
