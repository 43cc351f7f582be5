"""Losses that give rare and frequent outcomes the same say; BMN's, which G-TAD inherits.

Source: BMN, Lin et al., ICCV 2019, section 3.4; corner cases as in the published code.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Draw = Callable[[Tensor], Tensor]


def balanced_bce(logits: Tensor, positive: Tensor) -> Tensor:
    """Mean binary cross entropy in which positives and negatives weigh the same in sum.

    With none on one side it is the plain mean.

    Args:
        logits: Any shape.
        positive: Which of them should be high, bool, of the same shape.
    """
    total, high = positive.numel(), positive.sum()
    weight = torch.where(positive, 0.5 * total / high, 0.5 * total / (total - high))
    one_sided = (high == 0) | (high == total)
    return F.binary_cross_entropy_with_logits(
        logits.float(), positive.float(), torch.where(one_sided, 1.0, weight)
    )


def balanced_l2(
    predicted: Tensor,
    target: Tensor,
    *,
    low: float,
    high: float,
    weight: float,
    draw: Draw = torch.rand_like,
) -> Tensor:
    """Mean square error over all high targets and as many drawn medium and low ones.

    Medium and low targets are drawn independently, with the probability that makes their expected
    number that of the high ones. Two corners are the published code's: where a group is smaller
    than the high one or empty, every position counts once more, members of other groups too; and
    without a high target the plain error is returned, not multiplied by ``weight``.

    Args:
        predicted: Probabilities, any shape.
        target: Values in [0, 1], of the same shape.
        low: Targets up to this one are low.
        high: Targets above this one are high.
        weight: Factor of the loss.
        draw: Makes uniform numbers in [0, 1) of a tensor's shape; asked for the medium group first.
    """
    is_high, is_low = target > high, target <= low
    num_high = is_high.sum()
    count = is_high.float()
    for group in (~is_high & ~is_low, is_low):
        share = num_high / group.sum()  # infinite where the group is empty
        count = count + (draw(target) * group > 1 - share)
    nothing_high = num_high == 0
    count = torch.where(nothing_high, 1.0, count)
    error = (predicted.float() - target).square()
    return (error * count).sum() / count.sum() * torch.where(nothing_high, 1.0, weight)
