"""ActionFormer: a transformer pyramid whose every point says what happens there and how far.

Source: Zhang et al., ActionFormer: Localizing Moments of Actions with Transformers, ECCV 2022, and
the released code where the two differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError

from .assign import Assignment, Points, assign_points, check_ranges, make_points
from .attention import ConvAttention
from .convolutions import apply_mask, linear, max_pool, residual_scale
from .head import Candidates, Detector, SegmentHead
from .losses import PointLoss, RunningCount, distance_iou_loss, focal_loss
from .pyramid import FeaturePyramid, Pyramid
from .towers import Tower, Towers, class_tower


@dataclass(frozen=True, kw_only=True)
class ActionFormer(Detector):
    """Settings of ActionFormer; the defaults are those of AdaTAD on THUMOS-14.

    Args:
        pyramid: Sizes of the feature pyramid.
        towers: Sizes of what reads it.
        assignment: Which points learn which segment.
        loss: How losses are summed up.
        heads: Attention heads.
        windows: Positions that attention sees, half of them on each side; None: the whole level.
            One value for all levels, or one per level.
    """

    pyramid: Pyramid = field(default_factory=Pyramid)
    towers: Towers = field(default_factory=Towers)
    assignment: Assignment = field(default_factory=Assignment)
    loss: PointLoss = field(default_factory=PointLoss)
    heads: int = 4
    windows: int | tuple[int | None, ...] | None = None

    def build(self, width: int, num_classes: int) -> "ActionFormerHead":
        """Make the network.

        Raises:
            ConfigurationError: If heads do not divide the width, or the numbers of ranges or
                windows are not that of levels.
        """
        return ActionFormerHead(self, width, num_classes)

    def window_per_level(self) -> list[int | None]:
        """The window of every level.

        Raises:
            ConfigurationError: If a window is not positive, or they are not one per level.
        """
        levels = self.pyramid.levels
        windows = self.windows if isinstance(self.windows, tuple) else (self.windows,) * levels
        if len(windows) != levels or any(w is not None and w < 1 for w in windows):
            raise ConfigurationError(
                f"ActionFormer: windows={self.windows} for {levels} levels; give one value or "
                f"{levels} of them, each positive or null for the whole level"
            )
        return list(windows)


class TransformerBlock(nn.Module):
    """Attention and an MLP, each behind a norm and beside a skip path; strided between levels.

    Args:
        width: Channels.
        heads: Attention heads.
        stride: 1, or 2 for a block that makes the next level.
        window: Positions that attention sees; None: all.
        drop_path: Share of samples that a branch loses in training.
    """

    def __init__(
        self, width: int, *, heads: int, stride: int, window: int | None, drop_path: float
    ) -> None:
        super().__init__()
        self.stride = stride
        self.attention_norm = nn.LayerNorm(width)
        self.attention = ConvAttention(width, heads=heads, stride=stride, window=window)
        self.attention_scale = residual_scale(width, drop_path)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = linear(width, 4 * width)
        self.down = linear(4 * width, width)
        self.mlp_scale = residual_scale(width, drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``[B, S * stride, C]`` to ``[B, S, C]`` under the mask ``[B, S]`` of the output."""
        skip = x if self.stride == 1 else max_pool(x)
        attended = self.attention(self.attention_norm(x), mask)
        x = apply_mask(skip, mask) + self.attention_scale(attended)
        mixed = self.down(F.gelu(self.up(self.mlp_norm(x))))
        return x + self.mlp_scale(apply_mask(mixed, mask))


class ActionFormerOutputs(NamedTuple):
    """What the network says about every point, levels joined.

    Attributes:
        logits: Of every class, ``[B, P, K]``.
        offsets: Strides back to the start and on to the end of the segment, ``[B, P, 2]``.
        mask: Valid points, bool ``[B, P]``.
        points: Where they are.
    """

    logits: Tensor
    offsets: Tensor
    mask: Tensor
    points: Points


class ActionFormerHead(SegmentHead):
    """The network.

    Args:
        settings: Of the detector.
        width: Width ``D`` of the features.
        num_classes: Number of classes ``K``.
    """

    def __init__(self, settings: ActionFormer, width: int, num_classes: int) -> None:
        super().__init__()
        sizes, windows = settings.pyramid, settings.window_per_level()
        check_ranges(settings.assignment.ranges, sizes.levels)
        if sizes.width % settings.heads:
            raise ConfigurationError(
                f"ActionFormer: {settings.heads} heads do not divide the pyramid's width "
                f"{sizes.width}"
            )
        self.settings = settings
        self.num_classes = num_classes

        def block(window: int | None, stride: int) -> TransformerBlock:
            return TransformerBlock(
                sizes.width,
                heads=settings.heads,
                stride=stride,
                window=window,
                drop_path=sizes.drop_path,
            )

        self.pyramid = FeaturePyramid(
            sizes,
            width,
            stem=(block(windows[0], 1) for _ in range(sizes.stem_layers)),
            branch=(block(window, 2) for window in windows[1:]),
            spans=[max(2 * ((window or 1) // 2), 1) for window in windows],
            pads_training=True,
        )
        self.class_tower = class_tower(settings.towers, sizes.width, num_classes)
        self.offset_tower = Tower(settings.towers, sizes.width, 2)
        self.scales = nn.ParameterList(torch.ones(()) for _ in range(sizes.levels))
        self.positives = RunningCount(settings.loss.normalizer, settings.loss.momentum)

    def forward(self, features: Tensor, mask: Tensor) -> ActionFormerOutputs:
        """Classify every point and measure its segment; see :class:`SegmentHead`."""
        levels, masks = self.pyramid(features, mask)
        logits = [self.class_tower(x, m) for x, m in zip(levels, masks, strict=True)]
        offsets = [
            F.relu(self.offset_tower(x, m) * scale)
            for x, m, scale in zip(levels, masks, self.scales, strict=True)
        ]
        settings = self.settings
        points = make_points(
            [m.shape[1] for m in masks],
            settings.pyramid.strides,
            settings.assignment.ranges,
            features.device,
        )
        return ActionFormerOutputs(
            torch.cat(logits, dim=1), torch.cat(offsets, dim=1), torch.cat(masks, dim=1), points
        )

    def losses(
        self, outputs: ActionFormerOutputs, segments: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Focal loss of classes and distance-IoU loss of segments; see :class:`SegmentHead`."""
        rules, loss = self.settings.assignment, self.settings.loss
        points = outputs.points
        targets = assign_points(points, segments, labels, num_classes=self.num_classes, rules=rules)
        positive = targets.classes.any(dim=-1) & outputs.mask  # [B, P]
        count = self.positives(positive.sum())
        focal = focal_loss(outputs.logits, loss.smooth(targets.classes))
        classification = apply_mask(focal, outputs.mask).sum() / count
        stride = points.stride[:, None]
        predicted = (outputs.offsets.float() * stride)[positive]
        missed = distance_iou_loss(predicted, (targets.offsets * stride)[positive])
        return loss.weigh(classification, missed.sum() / count)

    @torch.no_grad()
    def candidates(self, outputs: ActionFormerOutputs) -> list[Candidates]:
        """Every valid point's segment and class probabilities; see :class:`SegmentHead`."""
        probs = outputs.logits.float().sigmoid()
        position, stride = outputs.points.position[:, None], outputs.points.stride[:, None]
        reach = outputs.offsets.float() * stride  # [B, P, 2]
        segments = torch.cat([position - reach[..., :1], position + reach[..., 1:]], dim=-1)
        return [
            Candidates(segments[i][valid], probs[i][valid]) for i, valid in enumerate(outputs.mask)
        ]
