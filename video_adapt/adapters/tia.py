"""TIA: the temporal-informative adapter, inside a frozen backbone or beside it.

Source: Liu et al., End-to-End Temporal Action Detection with 1B Parameters Across 1000 Frames
(AdaTAD), CVPR 2024, section 3.3 (inside) and 3.4 (beside, "AdaTAD-dagger").
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter, BottleneckAdapter
from video_adapt.checkpoints import KeyRule
from video_adapt.errors import ConfigurationError

from .inject import Adapter


class TIABlockAdapter(BottleneckAdapter):
    """``u = GELU(down(x))``; ``x += gamma * up(u + pointwise(depthwise(u)))``, eq. 3 to 5.

    The depthwise convolution runs over all time steps of the video, padded with zeros. ``up``
    starts at zero, so the start is an identity.

    Args:
        token_width: Width ``D`` of the tokens.
        width: Channels ``R`` of the bottleneck.
        kernel: Time steps that the convolution sees; odd.
    """

    def __init__(self, token_width: int, width: int, kernel: int) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.down = nn.Linear(token_width, width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.pointwise = nn.Linear(width, width)
        self.up = nn.Linear(width, token_width)
        self.gamma = nn.Parameter(torch.ones(1))
        nn.init.trunc_normal_(self.down.weight, std=0.02)
        nn.init.normal_(self.depthwise.weight, std=(2 / kernel) ** 0.5)
        nn.init.normal_(self.pointwise.weight, std=(2 / width) ** 0.5)
        nn.init.zeros_(self.up.weight)
        for layer in (self.down, self.depthwise, self.pointwise, self.up):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def squeeze(self, tokens: Tensor) -> Tensor:
        """``GELU(down(x))``: ``[..., D]`` to ``[..., R]``."""
        return F.gelu(self.down(tokens))

    def mix(self, hidden: Tensor, *, num_frames: int) -> Tensor:
        """Add what the convolutions over time say, ``[B*T, N, R]``."""
        # As a 2-D convolution over (T, N) of a channels-last view it needs no copy.
        planes = F.conv2d(
            hidden.unflatten(0, (-1, num_frames)).permute(0, 3, 1, 2),
            self.depthwise.weight.unsqueeze(-1),
            self.depthwise.bias,
            padding=(self.depthwise.kernel_size[0] // 2, 0),
            groups=self.depthwise.groups,
        )  # [B, R, T, N]
        mixed: Tensor = self.pointwise(planes.permute(0, 2, 3, 1).flatten(0, 1))
        return hidden + mixed

    def expand(self, hidden: Tensor) -> Tensor:
        """``gamma * up(hidden)``: ``[..., R]`` to ``[..., D]``."""
        # Scaling the small matrix spares the backward pass a copy of the wide product.
        return F.linear(hidden, self.gamma * self.up.weight, self.gamma * self.up.bias)


class TIA(Adapter):
    """Temporal-informative adapters behind blocks (``tuning: adapter``) or beside (``side``).

    Args:
        ratio: Width of the bottleneck as a share of the backbone's.
        kernel: Time steps that the convolution sees; odd.
        last_blocks: How many blocks to adapt, counted from the last; null adapts all.
        blocks: Numbers of the blocks to adapt, instead of ``last_blocks``.

    Raises:
        ConfigurationError: If the kernel is even, the ratio not positive, or both choices of
            blocks are given.
    """

    def __init__(
        self,
        *,
        ratio: float = 0.25,
        kernel: int = 3,
        last_blocks: int | None = None,
        blocks: Sequence[int] | None = None,
    ) -> None:
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigurationError(
                f"TIA: kernel={kernel} must be odd; an even extent would shift the time steps"
            )
        if ratio <= 0:
            raise ConfigurationError(f"TIA: ratio={ratio} must be positive, such as 0.25")
        if last_blocks is not None and blocks is not None:
            raise ConfigurationError("TIA: last_blocks and blocks both choose; give one of them")
        self.ratio = ratio
        self.kernel = kernel
        self.last_blocks = last_blocks
        self.blocks = blocks

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the adapter of one block.

        It edits the class token too, so it is read whatever the read-out.

        Raises:
            ConfigurationError: If a chosen block does not exist, or the bottleneck has no channel.
        """
        width = int(backbone.width * self.ratio)
        if width < 1:
            raise ConfigurationError(
                f"TIA: ratio={self.ratio} leaves no channel of the {backbone.width} of "
                f"{backbone.name}; give at least {1 / backbone.width:.3g}"
            )
        if block not in self._chosen(backbone):
            return None
        return TIABlockAdapter(backbone.width, width, self.kernel)

    def _chosen(self, backbone: Backbone) -> set[int]:
        depth = backbone.depth
        if self.blocks is not None:
            if unknown := set(self.blocks) - {*range(depth)}:
                raise ConfigurationError(
                    f"TIA: blocks={sorted(unknown)} do not exist, {backbone.name} has blocks 0 to "
                    f"{depth - 1}"
                )
            return set(self.blocks)
        count = depth if self.last_blocks is None else self.last_blocks
        if not 0 < count <= depth:
            raise ConfigurationError(
                f"TIA: last_blocks={count}, but {backbone.name} has {depth} blocks; "
                f"give 1 to {depth}"
            )
        return set(range(depth - count, depth))


TIA_KEYS = (
    KeyRule(r"down_proj\.(.+)", r"down.\1"),
    KeyRule(r"dwconv\.(.+)", r"depthwise.\1"),
    KeyRule(r"conv\.weight", "pointwise.weight", lambda kernel: kernel.squeeze(-1)),
    KeyRule(r"conv\.bias", "pointwise.bias"),
    KeyRule(r"up_proj\.(.+)", r"up.\1"),
    KeyRule("gamma", "gamma"),
)


def tia_keys(blocks: Sequence[int], *, prefix: str = "") -> tuple[KeyRule, ...]:
    """Key map from the adapters of AdaTAD's checkpoints to those of an adapted backbone.

    Args:
        blocks: The adapted blocks in ascending order. The official code numbers adapters inside
            blocks by their block, and those beside by their place in this list.
        prefix: What our names begin with, e.g. ``backbone.``.
    """
    return tuple(
        KeyRule(rf"(?:.+\.)?{place}\.{rule.pattern}", f"{target}{rule.replacement}", rule.convert)
        for number, block in enumerate(blocks)
        for target in [f"{prefix}adapters.{block}."]
        for place in (rf"blocks\.{block}\.adapter", rf"ladders\.adapters\.{number}")
        for rule in TIA_KEYS
    )
