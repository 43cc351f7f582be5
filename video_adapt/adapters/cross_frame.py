"""Cross-frame messages: a token per frame that has heard the others and is read by its frame.

Source: Ni et al., Expanding Language-Image Pretrained Models for General Video Recognition
(X-CLIP), ECCV 2022, section 3.2.
"""

import torch
from torch import Tensor, nn

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter, Grid
from video_adapt.backbones.clip_block import attend

from .inject import Adapter, require_image_backbone


class CrossFrameBlockAdapter(BlockAdapter):
    """``m = fc(class token)``; ``m += attention_over_time(norm(m))``; tokens attend with ``m``.

    The message stands in front of the tokens while the block attends, and is dropped behind it.

    Args:
        token_width: Width ``D`` of the tokens.
        heads: Heads of the attention between messages.
    """

    def __init__(self, token_width: int, heads: int) -> None:
        super().__init__()
        self.fc = nn.Linear(token_width, token_width)
        self.norm = nn.LayerNorm(token_width)
        self.attention = nn.MultiheadAttention(token_width, heads, batch_first=True)

    def before_attention(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Put the message in front: ``[B*T, N, D]`` to ``[B*T, 1 + N, D]``."""
        message = self.fc(tokens[:, 0]).unflatten(0, (-1, num_frames))  # [B, T, D]
        message = message + attend(self.attention, self.norm(message))[0]
        return torch.cat([message.flatten(0, 1)[:, None], tokens], dim=1)

    def before_mlp(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Drop the message: ``[B*T, 1 + N, D]`` to ``[B*T, N, D]``."""
        return tokens[:, 1:]


class CrossFrameMessage(Adapter):
    """X-CLIP's message tokens in all blocks. A message is random before training, not nothing."""

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the messenger of one block; the class token reads it, whatever the read-out.

        Raises:
            ConfigurationError: If the backbone is a model of video.
        """
        require_image_backbone(self, backbone)
        return CrossFrameBlockAdapter(backbone.width, backbone.heads)
