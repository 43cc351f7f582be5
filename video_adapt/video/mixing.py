"""Mixup and cutmix of whole batches, with soft targets and label smoothing."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from video_adapt.errors import ConfigurationError


class CutBox(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of a picture, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Mixing:
    """Mix every clip of a batch with the one at the mirrored place, as one draw says for all.

    An odd batch mixes its middle clip with itself.

    Args:
        mixup_alpha: Parameter of the Beta law of mixup's share; 0 = no mixup.
        cutmix_alpha: Parameter of the Beta law of cutmix's share; 0 = no cutmix.
        switch: Probability of cutmix where both are possible.
        probability: Probability that a batch is mixed at all.
        label_smoothing: Share of each target that is spread evenly over all classes.

    Raises:
        ConfigurationError: If a value is impossible.

    Source: DiST (ICCV 2023), released recipes.
    """

    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    switch: float = 0.5
    probability: float = 1.0
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        """Check the values."""
        if min(self.mixup_alpha, self.cutmix_alpha) < 0:
            raise ConfigurationError("mixup_alpha and cutmix_alpha must not be negative; 0 = off")
        for name in ("switch", "probability", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: it must be in [0, 1]")

    def __call__(
        self, video: Tensor, label: Tensor, num_classes: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            video: ``[B, T, C, H, W]``, normalised or not.
            label: Class index, int64 ``[B]``.
            num_classes: Number of classes ``K``.
            seed: Seed of the draws.

        Returns:
            Mixed video ``[B, T, C, H, W]`` and soft targets ``[B, K]``.

        Raises:
            ConfigurationError: If a clip has no label or one beyond the classes.
        """
        rng = np.random.default_rng(seed)
        share = 1.0
        if rng.random() < self.probability:
            cut = rng.random() < self.switch if self.mixup_alpha else True
            if cut and self.cutmix_alpha:
                share = rng.beta(self.cutmix_alpha, self.cutmix_alpha)
                height, width = video.shape[-2:]
                centre = (int(rng.integers(height)), int(rng.integers(width)))
                video, share = cutmix(video, cut_box(height, width, share, centre))
            elif self.mixup_alpha:
                share = rng.beta(self.mixup_alpha, self.mixup_alpha)
                video = mixup(video, share)
        return video, soft_targets(label, num_classes, self.label_smoothing, share)


def mixup(video: Tensor, share: float) -> Tensor:
    """Blend each clip with its partner.

    Args:
        video: ``[B, ...]``.
        share: What each clip keeps, in [0, 1].

    Source: Zhang et al., mixup, ICLR 2018; partner = reversed batch.
    """
    return torch.lerp(video.flip(0), video, share)


def cutmix(video: Tensor, box: CutBox) -> tuple[Tensor, float]:
    """Replace a box of each clip, in all its frames, by that of its partner.

    Args:
        video: ``[B, ..., H, W]``.
        box: What is replaced.

    Returns:
        Mixed video and the share of its pixels that each clip keeps.

    Source: Yun et al., CutMix, ICCV 2019; partner = reversed batch.
    """
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    mixed = video.clone()
    mixed[..., rows, columns] = video[..., rows, columns].flip(0)
    replaced = (box.bottom - box.top) * (box.right - box.left)
    return mixed, 1 - replaced / (video.shape[-2] * video.shape[-1])


def cut_box(height: int, width: int, share: float, centre: tuple[int, int]) -> CutBox:
    """The box around a centre (row, column) that leaves ``share``, clipped to the picture."""
    side = math.sqrt(1 - share)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    y, x = centre
    return CutBox(
        max(y - half_height, 0),
        min(y + half_height, height),
        max(x - half_width, 0),
        min(x + half_width, width),
    )


def soft_targets(label: Tensor, num_classes: int, smoothing: float, share: float = 1.0) -> Tensor:
    """Targets of a mixed batch.

    Args:
        label: Class index of each clip before mixing, int64 ``[B]``.
        num_classes: Number of classes ``K``.
        smoothing: Share that is spread evenly over all classes.
        share: What each clip kept of itself.

    Returns:
        float32 ``[B, K]``; rows sum to 1.

    Raises:
        ConfigurationError: If a label is not in [0, K).
    """
    if ((label < 0) | (label >= num_classes)).any():
        raise ConfigurationError(
            f"labels {sorted(set(label.tolist()))} cannot be mixed: they must be in "
            f"[0, {num_classes}); give every training clip a label"
        )
    one_hot = (label[:, None] == torch.arange(num_classes, device=label.device)).float()
    smooth = one_hot * (1 - smoothing) + smoothing / num_classes
    return torch.lerp(smooth.flip(0), smooth, share)
