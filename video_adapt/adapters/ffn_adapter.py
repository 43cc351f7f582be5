"""FFN adapter: a bottleneck beside the MLP of every block.

Source: Chen et al., AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition,
NeurIPS 2022; the form is that of AIM (ICLR 2023), alone.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter
from video_adapt.errors import ConfigurationError

from .inject import Adapter


class Bottleneck(nn.Module):
    """``up(GELU(down(x)))``; ``up`` starts at zero.

    Args:
        token_width: Width ``D`` of the tokens.
        width: Channels of the bottleneck.
    """

    def __init__(self, token_width: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(token_width, width)
        self.up = nn.Linear(width, token_width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """The edit of every token, ``[..., D]``."""
        edit: Tensor = self.up(F.gelu(self.down(tokens)))
        return edit


class FFNBlockAdapter(BlockAdapter):
    """``x += mlp(norm(x)) + scale * bottleneck(norm(x))``.

    Args:
        bottleneck: What stands beside the MLP.
        scale: Factor of its output.
    """

    def __init__(self, bottleneck: Bottleneck, scale: float) -> None:
        super().__init__()
        self.mlp = bottleneck
        self.scale = scale

    def behind_mlp(self, read: Tensor, written: Tensor) -> Tensor:
        """Add the edit to what the MLP has written, ``[B*T, N, D]``."""
        return written + self.scale * self.mlp(read)


class FFNAdapter(Adapter):
    """Bottlenecks beside the MLPs of all blocks, of images or of video; each token on its own.

    Args:
        ratio: Width of the bottleneck as a share of the backbone's.
        scale: Factor of its output.

    Raises:
        ConfigurationError: If the ratio is not positive.
    """

    def __init__(self, *, ratio: float = 0.25, scale: float = 0.5) -> None:
        check_ratio(self, ratio)
        self.ratio = ratio
        self.scale = scale

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the bottleneck of one block; it edits the class token, so it is always read.

        Raises:
            ConfigurationError: If the bottleneck has no channel.
        """
        return FFNBlockAdapter(build_bottleneck(self, backbone, self.ratio), self.scale)


def check_ratio(adapter: Adapter, ratio: float) -> None:
    """Refuse bottlenecks without width.

    Raises:
        ConfigurationError: If the ratio is not positive.
    """
    if ratio <= 0:
        raise ConfigurationError(
            f"{type(adapter).__name__}: ratio={ratio} must be positive, such as 0.25"
        )


def build_bottleneck(adapter: Adapter, backbone: Backbone, ratio: float) -> Bottleneck:
    """A bottleneck for a backbone.

    Args:
        adapter: Whose it is, for the message.
        backbone: What is adapted.
        ratio: Width of the bottleneck as a share of the backbone's.

    Raises:
        ConfigurationError: If the bottleneck has no channel.
    """
    width = int(backbone.width * ratio)
    if width < 1:
        raise ConfigurationError(
            f"{type(adapter).__name__}: ratio={ratio} leaves no channel of the {backbone.width} of "
            f"{backbone.name}; give at least {1 / backbone.width:.3g}"
        )
    return Bottleneck(backbone.width, width)
