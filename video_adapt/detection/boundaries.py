"""Where a segment may begin or end: the peaks of a sequence of boundary probabilities."""

from torch import Tensor
from torch.nn import functional as F


def boundary_mask(probs: Tensor) -> Tensor:
    """Find the positions where a boundary is likely: peaks and high places.

    A position counts if neither neighbour is higher, or if it exceeds half of its row's maximum.
    The first start and the last end, which G-TAD always keeps, are the caller's to add.

    Args:
        probs: Probability of a boundary at each grid position, ``[..., S]``.

    Returns:
        True where a boundary may be, bool of the same shape.

    Source: Lin et al., BSN, ECCV 2018, section 3.3, as in Xu et al., G-TAD, CVPR 2020.
    """
    rows = probs.reshape(-1, 1, probs.shape[-1])  # [B, 1, S]
    highest_near = F.max_pool1d(rows, kernel_size=3, stride=1, padding=1).view_as(probs)
    high = probs > 0.5 * probs.amax(-1, keepdim=True)
    return (probs == highest_near) | high
