"""What G-TAD's two heads should say, from the segments of a window.

Source: G-TAD, Xu et al., CVPR 2020, section 3.4, after BMN, Lin et al., ICCV 2019, section 3.4.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BOUNDARY_REACH = 1.5  # positions on either side of a boundary that belong to it


def boundary_targets(segments: Sequence[Tensor], length: int) -> Tensor:
    """Positions that lie near a start, and near an end.

    The paper counts a position of which more than half lies within reach of a boundary. The
    published code keeps that share as a whole number, so all of the position has to; parity needs
    the code.

    Args:
        segments: Ground truth of each window on the grid, ``B`` tensors ``[G, 2]``.
        length: Positions ``T`` of the grid; position ``t`` stands for ``[t, t + 1]``.

    Returns:
        bool ``[B, 2, T]``, starts first; False where a window has no segment.
    """
    return torch.stack([_boundary_targets(window, length) for window in segments])


def _boundary_targets(segments: Tensor, length: int) -> Tensor:
    left = torch.arange(length, device=segments.device)
    boundary = segments.T.unsqueeze(2)  # [2, G, 1]
    near = (boundary - BOUNDARY_REACH <= left) & (boundary + BOUNDARY_REACH >= left + 1)
    return near.any(1)


def overlap_targets(segments: Sequence[Tensor], cells: Tensor) -> Tensor:
    """Intersection over union of every proposal with the ground truth it fits best.

    Args:
        segments: Ground truth of each window on the grid, ``B`` tensors ``[G, 2]``.
        cells: Proposals on the grid, ``[N, 2]``.

    Returns:
        In [0, 1], ``[B, N]``; zero where a window has no segment.
    """
    return torch.stack([_overlap_targets(window, cells) for window in segments])


def _overlap_targets(segments: Tensor, cells: Tensor) -> Tensor:
    start, end = segments.unsqueeze(1).unbind(2)  # [G, 1]
    shared = (end.minimum(cells[:, 1]) - start.maximum(cells[:, 0])).clamp(min=0)
    overlap = shared / (end - start + cells[:, 1] - cells[:, 0] - shared)  # [G, N]
    return torch.cat([overlap, overlap.new_zeros(1, len(cells))]).amax(0)
