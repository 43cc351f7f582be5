"""Losses of the anchor-free detectors, in float32 whatever the precision of the network."""

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

# Below this length or overlap a quotient is not formed.
EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class PointLoss:
    """How the losses of points are summed up.

    Args:
        normalizer: First value of the running number of positive points.
        momentum: How much of it a training step keeps.
        label_smoothing: Share of every class target that is spread over all classes.
        regression_weight: Factor on the regression term; None makes it as large as the
            classification term.
    """

    normalizer: float = 100.0
    momentum: float = 0.9
    label_smoothing: float = 0.0
    regression_weight: float | None = 1.0

    def smooth(self, classes: Tensor) -> Tensor:
        """Smooth targets ``[..., K]``; the background counts as one more class."""
        e = self.label_smoothing
        return classes * (1 - e) + e / (classes.shape[-1] + 1)

    def weigh(self, classification: Tensor, regression: Tensor) -> dict[str, Tensor]:
        """The two terms by name, weighted."""
        weight: float | Tensor
        if self.regression_weight is None:
            weight = classification.detach() / regression.detach().clamp(min=0.01)
        else:
            weight = self.regression_weight
        return {"classification": classification, "regression": regression * weight}


class RunningCount(nn.Module):
    """A running mean of how many positive points a step has; losses are divided by it.

    With several processes it takes the mean count of them all, so that it is the same in each and
    the averaged gradient weighs every positive alike; the released code keeps the first one's.

    Args:
        initial: Value before the first step.
        momentum: How much of the value a training step keeps.
    """

    def __init__(self, initial: float, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.tensor(initial, dtype=torch.float32))
        self.value: Tensor

    def forward(self, count: Tensor) -> Tensor:
        """What to divide by, at least 1: the updated mean in training, else this step's count."""
        if not self.training:
            return count.clamp(min=1)
        count = _mean_over_processes(count.float()).clamp(min=1)
        self.value.lerp_(count, 1 - self.momentum)
        # A copy: the value changes in the next step, while backward may still want this one.
        return self.value.clone()


def _mean_over_processes(count: Tensor) -> Tensor:
    if not distributed.is_initialized():
        return count
    total = count.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def focal_loss(
    logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Binary cross-entropy that hardly counts what is easy, element by element.

    Args:
        logits: Any shape.
        targets: Probabilities, the same shape.
        alpha: Weight of positives; negatives have ``1 - alpha``.
        gamma: How fast easy elements fade.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 5.
    """
    logits = logits.float()
    probs = logits.sigmoid()
    hit = probs * targets + (1 - probs) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return weight * (1 - hit) ** gamma * entropy


def point_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Overlap of segments around a common point, from their offsets to it.

    Two such segments touch, so that this is their generalised IoU as well, and never negative.

    Args:
        predicted: Distances to start and end, ``[M, 2]``, none negative.
        target: Likewise.

    Returns:
        Intersection over union, ``[M]``.
    """
    common = torch.minimum(predicted, target).sum(dim=-1)
    union = torch.maximum(predicted, target).sum(dim=-1)
    return common / union.clamp(min=EPSILON)


def distance_iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """One minus the overlap, plus the squared distance of centres over the squared common span.

    Args:
        predicted: Distances to start and end in grid positions, ``[M, 2]``, none negative.
        target: Likewise.

    Returns:
        The loss of each pair, ``[M]``.

    Source: Zheng et al., Distance-IoU Loss, AAAI 2020, eq. 7, on one axis.
    """
    span = torch.maximum(predicted, target).sum(dim=-1)
    shift = (predicted - target).diff(dim=-1).squeeze(-1) / 2  # of the centres
    return 1 - point_iou(predicted, target) + shift**2 / (span**2).clamp(min=EPSILON)
