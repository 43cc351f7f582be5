"""Token shift: some patches of a frame are read from its neighbours in time, without a weight.

Source: Liu et al., TS2-Net: Token Shift and Selection Transformer for Text-Video Retrieval,
ECCV 2022, section 3.2; the places are those of the official code.
"""

from torch import Tensor

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter, Grid
from video_adapt.errors import ConfigurationError

from .inject import Adapter, require_image_backbone

# First token that comes from the previous frame, and from the next one; the class token is 0.
_FROM_PREVIOUS, _FROM_NEXT = 1, 4


class TokenShiftBlockAdapter(BlockAdapter):
    """Shift whole tokens in front of the attention; what is added to the residual stays in place.

    Of ``N`` tokens, every ``N // divisor``-th from 1 takes the value of the previous frame and
    every one from 4 that of the next. The first and the last frame keep theirs. With 7x7 patches
    and divisor 7 these are columns 0 and 3.

    Args:
        divisor: Number of shifted tokens of a kind, about.
    """

    def __init__(self, divisor: int) -> None:
        super().__init__()
        self.divisor = divisor

    def inside_attention(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Let the attention read the shifted tokens, ``[B*T, N, D]``."""
        fold = tokens.shape[1] // self.divisor
        clips = tokens.unflatten(0, (-1, num_frames))  # [B, T, N, D]
        shifted = clips.clone()
        shifted[:, 1:, _FROM_PREVIOUS::fold] = clips[:, :-1, _FROM_PREVIOUS::fold]
        shifted[:, :-1, _FROM_NEXT::fold] = clips[:, 1:, _FROM_NEXT::fold]
        return shifted.flatten(0, 1)


class TokenShift(Adapter):
    """TS2-Net's token shift in the last blocks; it adds no weight, so it goes with any tuning.

    Args:
        last_blocks: How many blocks shift, counted from the last; the paper's two.
        divisor: Tokens of a frame are shifted in steps of their number divided by this; 7 is made
            for 7x7 patches.

    Raises:
        ConfigurationError: If the divisor is not positive.
    """

    def __init__(self, *, last_blocks: int = 2, divisor: int = 7) -> None:
        if divisor < 1:
            raise ConfigurationError(f"TokenShift: divisor={divisor} must be positive, such as 7")
        self.last_blocks = last_blocks
        self.divisor = divisor

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the shift of one block; the class token reads it, whatever the read-out.

        Raises:
            ConfigurationError: If the backbone sees several frames at once, has fewer blocks than
                ``last_blocks``, or fewer tokens than the divisor.
        """
        require_image_backbone(self, backbone)
        if not 0 < self.last_blocks <= backbone.depth:
            raise ConfigurationError(
                f"TokenShift: last_blocks={self.last_blocks}, but {backbone.name} has "
                f"{backbone.depth} blocks; give 1 to {backbone.depth}"
            )
        tokens = 1 + backbone.grid[0] * backbone.grid[1]
        if tokens < self.divisor:
            raise ConfigurationError(
                f"TokenShift: divisor={self.divisor}, but a frame of {backbone.name} has {tokens} "
                f"tokens; give 1 to {tokens}"
            )
        if block < backbone.depth - self.last_blocks:
            return None
        return TokenShiftBlockAdapter(self.divisor)
