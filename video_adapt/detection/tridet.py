"""TriDet: an SGP pyramid whose points place both ends of a segment as the mean of a distribution.

Source: Shi et al., TriDet: Temporal Action Detection with Relative Boundary Modeling, CVPR 2023,
and the released code where the two differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError

from .assign import Assignment, Points, assign_points, check_ranges, make_points
from .convolutions import apply_mask
from .head import Candidates, Detector, SegmentHead
from .losses import PointLoss, RunningCount, distance_iou_loss, focal_loss, point_iou
from .pyramid import FeaturePyramid, Pyramid
from .sgp import NORM_GROUPS, SGP, SGPBlock
from .towers import Tower, Towers, class_tower

# The power of an overlap of zero has an infinite slope; below this overlap the slope is zero.
LEAST_IOU = 1e-6


@dataclass(frozen=True, kw_only=True)
class TriDet(Detector):
    """Settings of TriDet; the defaults are those of the released THUMOS-14 model, at 768 positions.

    Args:
        pyramid: Sizes of the feature pyramid.
        sgp: Sizes of its blocks.
        towers: Sizes of what reads it.
        boundary_kernel: Positions that convolutions see in the towers of starts and ends; odd.
        assignment: Which points learn which segment.
        loss: How losses are summed up.
        bins: Positions on each side over which an end is distributed.
        iou_power: How strongly a badly placed segment lowers the class target's weight.
    """

    pyramid: Pyramid = field(default_factory=Pyramid)
    sgp: SGP = field(default_factory=SGP)
    towers: Towers = field(default_factory=Towers)
    boundary_kernel: int = 3
    assignment: Assignment = field(default_factory=Assignment)
    loss: PointLoss = field(default_factory=PointLoss)
    bins: int = 16
    iou_power: float = 0.2

    def build(self, width: int, num_classes: int) -> "TriDetHead":
        """Make the network.

        Raises:
            ConfigurationError: If the pyramid's width is no multiple of 16, or the numbers of
                ranges or windows are not that of levels.
        """
        return TriDetHead(self, width, num_classes)


class TriDetOutputs(NamedTuple):
    """What the network says about every point, levels joined.

    Attributes:
        logits: Of every class, ``[B, P, K]``.
        bins: What a point says about the bins of its start and of its end, ``[B, P, 2, J]`` with
            ``J = bins + 1``.
        starts: Logits that a segment starts, ``[B, P', K]``: each level behind ``bins`` zeros.
        ends: Logits that a segment ends, ``[B, P', K]``: each level in front of ``bins`` zeros.
        reach: Which rows of ``starts`` and of ``ends`` a point sees, int64 ``[P, J]``.
        mask: Valid points, bool ``[B, P]``.
        points: Where they are.
    """

    logits: Tensor
    bins: Tensor
    starts: Tensor
    ends: Tensor
    reach: Tensor
    mask: Tensor
    points: Points


class TriDetHead(SegmentHead):
    """The network.

    Args:
        settings: Of the detector.
        width: Width ``D`` of the features.
        num_classes: Number of classes ``K``.
    """

    def __init__(self, settings: TriDet, width: int, num_classes: int) -> None:
        super().__init__()
        sizes = settings.pyramid
        windows = settings.sgp.window_per_level(sizes.levels)
        check_ranges(settings.assignment.ranges, sizes.levels)
        if sizes.width % NORM_GROUPS:
            raise ConfigurationError(
                f"TriDet: the pyramid's width {sizes.width} is no multiple of {NORM_GROUPS}"
            )
        self.settings = settings
        self.num_classes = num_classes

        def block(window: int, stride: int, drop_path: float) -> SGPBlock:
            return SGPBlock(
                settings.sgp, sizes.width, window=window, stride=stride, drop_path=drop_path
            )

        self.pyramid = FeaturePyramid(
            sizes,
            width,
            stem=(block(1, 1, 0.0) for _ in range(sizes.stem_layers)),
            branch=(block(window, 2, sizes.drop_path) for window in windows[1:]),
            spans=windows,
            pads_training=False,
        )
        towers = settings.towers
        boundary = replace(towers, kernel=settings.boundary_kernel)
        self.class_tower = class_tower(towers, sizes.width, num_classes)
        self.offset_tower = Tower(towers, sizes.width, 2 * (settings.bins + 1))
        self.start_tower = Tower(boundary, sizes.width, num_classes)
        self.end_tower = Tower(boundary, sizes.width, num_classes)
        self.scales = nn.ParameterList(torch.ones(()) for _ in range(sizes.levels))
        self.positives = RunningCount(settings.loss.normalizer, settings.loss.momentum)

    def forward(self, features: Tensor, mask: Tensor) -> TriDetOutputs:
        """Classify every point and say where segments start and end; see :class:`SegmentHead`."""
        levels, masks = self.pyramid(features, mask)
        bins = self.settings.bins
        columns: list[tuple[Tensor, ...]] = []
        for x, valid, scale in zip(levels, masks, self.scales, strict=True):
            # Boundaries teach their towers alone, not the pyramid.
            still = x.detach()
            columns.append(
                (
                    self.class_tower(x, valid),
                    F.relu(self.offset_tower(x, valid) * scale).unflatten(-1, (2, bins + 1)),
                    F.pad(self.start_tower(still, valid), (0, 0, bins, 0)),
                    F.pad(self.end_tower(still, valid), (0, 0, 0, bins)),
                )
            )
        logits, offsets, starts, ends = (
            torch.cat(column, dim=1) for column in zip(*columns, strict=True)
        )
        lengths = [valid.shape[1] for valid in masks]
        strides, ranges = self.settings.pyramid.strides, self.settings.assignment.ranges
        points = make_points(lengths, strides, ranges, features.device)
        reach = _reach(lengths, bins).to(features.device)
        return TriDetOutputs(logits, offsets, starts, ends, reach, torch.cat(masks, dim=1), points)

    def losses(
        self, outputs: TriDetOutputs, segments: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Focal loss weighted by overlap, and distance-IoU loss; see :class:`SegmentHead`.

        The overlap that weighs the focal loss is not detached, as in the released code.
        """
        rules, loss = self.settings.assignment, self.settings.loss
        targets = assign_points(
            outputs.points, segments, labels, num_classes=self.num_classes, rules=rules
        )
        assigned = targets.classes.bool() & outputs.mask.unsqueeze(-1)  # [B, P, K]
        count = self.positives(assigned.any(dim=-1).sum())
        sample, point, label = assigned.nonzero(as_tuple=True)  # [M] each

        # Every class of a point has a segment of its own, and each of them learns.
        stride = outputs.points.stride[point].unsqueeze(-1)
        predicted = expected_offsets(outputs, sample, point, label) * stride
        target = targets.offsets[sample, point] * stride
        iou = point_iou(predicted, target).clamp(min=LEAST_IOU)
        missed = distance_iou_loss(predicted, target)
        focal = apply_mask(focal_loss(outputs.logits, loss.smooth(targets.classes)), outputs.mask)
        focal = focal * torch.ones_like(focal).index_put(
            (sample, point, label), iou**self.settings.iou_power
        )
        # The released code divides classes by the running mean in evaluation too.
        return loss.weigh(focal.sum() / self.positives.value.clone(), missed.sum() / count)

    @torch.no_grad()
    def candidates(self, outputs: TriDetOutputs) -> list[Candidates]:
        """Segments of every class at every valid point; see :class:`SegmentHead`."""
        found = []
        for i, valid in enumerate(outputs.mask):
            point = valid.nonzero()  # [N, 1]
            label = torch.arange(self.num_classes, device=point.device)  # [K]
            position, stride = outputs.points.position[point], outputs.points.stride[point]
            offsets = expected_offsets(outputs, torch.full_like(point, i), point, label)
            left, right = (offsets * stride.unsqueeze(-1)).unbind(dim=-1)  # [N, K]
            segments = torch.stack([position - left, position + right], dim=-1)
            found.append(Candidates(segments, outputs.logits[i][valid].float().sigmoid()))
        return found


def _reach(lengths: Sequence[int], bins: int) -> Tensor:
    """Rows that each point sees of levels joined with ``bins`` rows between them, ``[P, J]``."""
    # With the size stated, shapes are known without looking at numbers.
    level = torch.repeat_interleave(
        torch.arange(len(lengths)), torch.tensor(lengths), output_size=sum(lengths)
    )
    first = torch.arange(len(level)) + level * bins
    return first[:, None] + torch.arange(bins + 1)


def expected_offsets(
    outputs: TriDetOutputs, sample: Tensor, point: Tensor, label: Tensor
) -> Tensor:
    """Strides from points back to the start and on to the end of the segment of a class.

    The distribution over bins is a softmax of what the positions there say about a boundary of the
    class, plus what the point itself says about the bin.

    Args:
        outputs: Of the network.
        sample: Index into the batch, int64; the three indices broadcast to some shape ``[...]``.
        point: Index of a point.
        label: Index of a class.

    Returns:
        ``[..., 2]``.

    Source: TriDet, section 3.3, eq. 5 to 8.
    """
    rows = outputs.reach[point]  # [..., J]
    where = (sample.unsqueeze(-1), rows, label.unsqueeze(-1))
    start, end = outputs.starts[where].float(), outputs.ends[where].float()  # [..., J]
    left, right = outputs.bins[sample, point].float().unbind(dim=-2)
    distance = torch.arange(rows.shape[-1], device=rows.device, dtype=torch.float32)
    back = ((start + left).softmax(dim=-1) * distance.flip(0)).sum(dim=-1)
    ahead = ((end + right).softmax(dim=-1) * distance).sum(dim=-1)
    return torch.stack([back, ahead], dim=-1)
