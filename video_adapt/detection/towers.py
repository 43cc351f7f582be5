"""Small stacks of convolutions that turn every level of a pyramid into statements about points."""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from .convolutions import MaskedConv, TimeConv

PRIOR = 0.01  # probability of every class before training


@dataclass(frozen=True, kw_only=True)
class Towers:
    """Sizes of the convolutions that read the pyramid.

    Args:
        width: Channels of every layer.
        layers: Layers before the output.
        kernel: Positions that each convolution sees; odd.
    """

    width: int = 512
    layers: int = 2
    kernel: int = 3


class Tower(nn.Module):
    """Masked convolutions and an output convolution; one tower serves every level of a pyramid.

    The output is not masked, as in the released code.

    Args:
        settings: Sizes.
        width: Channels of the pyramid.
        outputs: Channels of the output.
    """

    def __init__(self, settings: Towers, width: int, outputs: int) -> None:
        super().__init__()
        inner, kernel = settings.width, settings.kernel
        self.layers = nn.ModuleList(
            MaskedConv(inner if layer else width, inner, kernel=kernel)
            for layer in range(settings.layers)
        )
        self.out = TimeConv(inner if settings.layers else width, outputs, kernel=kernel)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``[B, S, C]`` to ``[B, S, outputs]`` under the mask ``[B, S]``."""
        for layer in self.layers:
            x = layer(x, mask)
        return self.out(x)


def class_tower(settings: Towers, width: int, num_classes: int) -> Tower:
    """A tower whose classes are all improbable before training."""
    tower = Tower(settings, width, num_classes)
    bias = tower.out.bias
    assert bias is not None
    nn.init.constant_(bias, -math.log((1 - PRIOR) / PRIOR))
    return tower
