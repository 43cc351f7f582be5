"""Points of a pyramid, and which segment each of them has to find."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from video_adapt.errors import ConfigurationError

Ranges = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """How ground truth is spread over the points of a pyramid.

    Args:
        ranges: For each level, least and most grid positions from a point to the farther end of
            its segment, both included.
        centre_radius: Points learn a segment within this many strides of its centre; None: within
            the whole segment.
        shortest_only: Whether a point learns the classes of the shortest segment (and of others
            of its length) alone, or of all segments that it could learn.
    """

    ranges: Ranges = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))
    centre_radius: float | None = 1.5
    shortest_only: bool = True


class Points(NamedTuple):
    """All points of a pyramid, finest level first.

    Attributes:
        position: On the grid, ``[P]``.
        low: Least distance to the farther end of its segment, ``[P]``.
        high: Largest such distance, ``[P]``.
        stride: Grid positions per position of its level, ``[P]``.
    """

    position: Tensor
    low: Tensor
    high: Tensor
    stride: Tensor


class Targets(NamedTuple):
    """What points have to learn.

    Attributes:
        classes: 1 for every class of a point, else 0, float ``[B, P, K]``.
        offsets: Strides from the point back to the start and on to the end of its segment,
            ``[B, P, 2]``; without meaning where the point has no class.
    """

    classes: Tensor
    offsets: Tensor


def make_points(
    lengths: Sequence[int], strides: Sequence[int], ranges: Ranges, device: torch.device
) -> Points:
    """Lay out the points of levels with these lengths."""
    columns = []
    for length, stride, (low, high) in zip(lengths, strides, ranges, strict=True):
        position = torch.arange(length, device=device, dtype=torch.float32) * stride
        rest = [torch.full_like(position, value) for value in (low, high, stride)]
        columns.append(torch.stack([position, *rest]))
    return Points(*torch.cat(columns, dim=1))


def check_ranges(ranges: Ranges, levels: int) -> None:
    """Refuse ranges that are not one per level.

    Raises:
        ConfigurationError: If the numbers differ.
    """
    if len(ranges) != levels:
        raise ConfigurationError(
            f"Assignment: {len(ranges)} ranges for {levels} levels of the pyramid; give one each"
        )


def assign_points(
    points: Points,
    segments: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    num_classes: int,
    rules: Assignment,
) -> Targets:
    """Give every point its classes and the ends of its segment.

    Args:
        points: Of the pyramid.
        segments: Ground truth of each window on the grid, ``B`` tensors ``[G, 2]``; may be empty.
        labels: Class indices, ``B`` tensors int64 ``[G]``.
        num_classes: ``K``.
        rules: How to choose.

    Source: Zhang et al., ActionFormer, ECCV 2022, section 3.3; the classes of equal lengths as in
    the released code.
    """
    # Missing rows are zeros, segments without an inside, which no point learns. There is one more
    # in any case: so the minimum over segments is never over none.
    truth = F.pad(pad_sequence(list(segments), batch_first=True).float(), (0, 0, 0, 1))
    classes = F.pad(pad_sequence(list(labels), batch_first=True), (0, 1))  # [B, G]

    start, end = truth[:, None].unbind(dim=-1)  # [B, 1, G]
    position, low, high, stride = (column[:, None] for column in points)  # [P, 1]
    left, right = position - start, end - position  # [B, P, G]
    learnable = _is_central(start, end, position, stride, rules.centre_radius)
    reach = torch.maximum(left, right)
    learnable &= (reach >= low) & (reach <= high)

    length = (end - start).expand_as(left).masked_fill(~learnable, torch.inf)
    shortest, index = length.min(dim=-1, keepdim=True)  # [B, P, 1]
    chosen = learnable & (length <= shortest + 1e-3) if rules.shortest_only else learnable
    one_hot = F.one_hot(classes, num_classes).float()  # [B, G, K]
    learned = (chosen.float() @ one_hot > 0).float()  # exact under autocast too
    offsets = torch.cat([left.gather(2, index), right.gather(2, index)], dim=-1)
    return Targets(learned, offsets / stride)


def _is_central(
    start: Tensor, end: Tensor, position: Tensor, stride: Tensor, radius: float | None
) -> Tensor:
    """Which points ``[P, 1]`` lie strictly inside the centre of which segments ``[B, 1, G]``."""
    if radius is not None:
        centre = (start + end) / 2
        reach = radius * stride
        start, end = torch.maximum(centre - reach, start), torch.minimum(centre + reach, end)
    return (position > start) & (position < end)
