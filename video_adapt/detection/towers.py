"""Small stacks of convolutions that turn every level of a pyramid into statements about points."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from .convolutions import MaskedConv, TimeConv

PRIOR = 0.01  # probability of every class before training


class Tower(nn.Module):
    """Masked convolutions and an output convolution; one tower serves every level of a pyramid.

    The output is not masked, as in the released code.

    Args:
        widths: Width of the input, then of every layer.
        outputs: Channels of the output.
        kernel: Positions that each convolution sees; odd.
    """

    def __init__(self, widths: Iterable[int], outputs: int, *, kernel: int) -> None:
        super().__init__()
        sizes = list(widths)
        self.layers = nn.ModuleList(
            MaskedConv(narrow, wide, kernel=kernel)
            for narrow, wide in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.out = TimeConv(sizes[-1], outputs, kernel=kernel)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``[B, S, C]`` to ``[B, S, outputs]`` under the mask ``[B, S]``."""
        for layer in self.layers:
            x = layer(x, mask)
        return self.out(x)


@dataclass(frozen=True, kw_only=True)
class Towers:
    """Sizes of the convolutions that read the pyramid, shared by its levels.

    Args:
        width: Channels of every layer.
        layers: Layers before the output.
        kernel: Positions seen by each layer; odd.
    """

    width: int = 512
    layers: int = 2
    kernel: int = 3

    def build(self, width: int, outputs: int, *, kernel: int | None = None) -> Tower:
        """A tower on features of a width."""
        widths = [width, *[self.width] * self.layers]
        return Tower(widths, outputs, kernel=kernel or self.kernel)


def class_tower(towers: Towers, width: int, num_classes: int) -> Tower:
    """A tower whose classes are all improbable before training."""
    tower = towers.build(width, num_classes)
    bias = tower.out.bias
    assert bias is not None
    nn.init.constant_(bias, -math.log((1 - PRIOR) / PRIOR))
    return tower
