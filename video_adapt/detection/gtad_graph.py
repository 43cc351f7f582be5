"""G-TAD's graph layer: every position talks to its neighbours in time and in meaning.

Source: G-TAD, Xu et al., CVPR 2020, section 3.2 (GCNeXt), eq. 2 to 4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS_PER_GROUP = 4


def nearest_neighbours(x: Tensor, count: int) -> Tensor:
    """Positions with the most similar features, the position itself among them.

    Args:
        x: ``[B, C, T]``.
        count: Neighbours ``k`` of a position.

    Returns:
        int64 ``[B, T, k]``, nearest first, by squared distance.
    """
    # A ranking of differences of large sums: half precision would decide it by rounding.
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.float()
        square = x.square().sum(1)
        distance = square.unsqueeze(2) - 2 * x.transpose(1, 2) @ x + square.unsqueeze(1)
        return distance.topk(count, dim=2, largest=False).indices


def gather_neighbours(x: Tensor, neighbours: Tensor) -> Tensor:
    """Features of the neighbours, ``[B, C, T]`` to ``[B, C, T, k]``."""
    b, t, k = neighbours.shape
    index = neighbours.view(b, 1, t * k).expand(-1, x.shape[1], -1)
    return x.gather(2, index).unflatten(2, (t, k))


class TemporalBranch(nn.Module):
    """Bottleneck with a grouped convolution over time."""

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        hidden = CHANNELS_PER_GROUP * groups
        self.reduce = nn.Conv1d(width, hidden, 1)
        self.mix = nn.Conv1d(hidden, hidden, 3, padding=1, groups=groups)
        self.expand = nn.Conv1d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, T]`` to the same shape."""
        out: Tensor = self.expand(F.relu(self.mix(F.relu(self.reduce(x)))))
        return out


class SemanticBranch(nn.Module):
    """Bottleneck on every edge to a neighbour, of which the strongest answer counts."""

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        hidden = CHANNELS_PER_GROUP * groups
        self.reduce = nn.Conv2d(2 * width, hidden, 1)
        self.mix = nn.Conv2d(hidden, hidden, 1, groups=groups)
        self.expand = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """Map ``[B, C, T]`` with neighbours ``[B, T, k]`` to ``[B, C, T]``."""
        # An edge is [neighbour, itself] and the first layer linear: both halves are computed once
        # per position and then gathered, not once per edge.
        theirs, own = self.reduce.weight.flatten(1).unsqueeze(2).chunk(2, dim=1)
        near = gather_neighbours(F.conv1d(x, theirs), neighbours)  # [B, hidden, T, k]
        edges = near + F.conv1d(x, own, self.reduce.bias).unsqueeze(3)
        out: Tensor = self.expand(F.relu(self.mix(F.relu(edges))))
        return out.max(3).values


class GCNeXt(nn.Module):
    """The graph layer: both branches on top of their input. Padding is a position like any other.

    Args:
        width: Channels ``C`` in and out.
        groups: Paths of each branch, of four channels each.
        neighbours: Nearest positions in feature space that each one sees, itself included.
    """

    def __init__(self, width: int, *, groups: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.temporal = TemporalBranch(width, groups=groups)
        self.semantic = SemanticBranch(width, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, T]`` to the same shape."""
        near = nearest_neighbours(x, self.neighbours)
        return F.relu(self.temporal(x) + x + self.semantic(x, near))
