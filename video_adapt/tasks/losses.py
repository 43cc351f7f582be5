"""Losses that several methods share."""

from torch import Tensor
from torch.nn import functional as F


def soft_target_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy against class indices or against a distribution over classes.

    Args:
        logits: ``[B, K]``.
        target: int64 ``[B]``, or probabilities ``[B, K]`` (mixing, label smoothing).

    Returns:
        Mean over the batch, a float32 scalar: ``-mean_b sum_k y_bk log softmax(logits)_bk``.
    """
    return F.cross_entropy(logits.float(), target)
