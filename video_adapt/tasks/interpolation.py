"""Weights between an original model and its tuned copy."""

import copy
from collections.abc import Hashable

import torch
from torch import nn

from video_adapt.backbones import CLIP
from video_adapt.errors import ConfigurationError

from .text_classifier import has_content


def original_of(backbone: CLIP, *, shared: bool) -> CLIP:
    """The same model as it is now and without adapters, which never trains.

    Args:
        backbone: A model that has not been adapted or trained yet.
        shared: Whether both have the same weights in memory, which is enough where the towers of
            the backbone are frozen for ever; else the original has a copy.
    """
    original = copy.copy(backbone)
    original._modules = dict(backbone._modules)
    if not shared:
        original.towers = copy.deepcopy(backbone.towers).requires_grad_(False)
    original.adapters = nn.ModuleDict()
    return original.eval()


class Interpolation:
    """Towers at ``ratio * original + (1 - ratio) * tuned``, temperature included, for evaluation.

    Computed when it is first asked for and again whenever either side has changed.

    Args:
        ratio: Share of the original weights; 0 is the tuned model itself.

    Raises:
        ConfigurationError: If the ratio is not within [0, 1].

    Source: Ilharco et al., Patching open-vocabulary models by interpolating weights, NeurIPS 2022,
    as Open-VCLIP (ICML 2023) uses it.
    """

    def __init__(self, ratio: float) -> None:
        if not 0 <= ratio <= 1:
            raise ConfigurationError(
                f"patch_ratio is {ratio}: it is the share of the original weights, within [0, 1]"
            )
        self.ratio = ratio
        self._state: Hashable = None
        self._between: CLIP | None = None

    def __call__(self, original: CLIP, tuned: CLIP) -> CLIP:
        """The model in between, without gradient, with the adapters of the tuned one."""
        if self.ratio == 0 or not has_content(tuned):
            return tuned
        ends = [*original.towers.parameters(), *tuned.towers.parameters()]
        state = tuned.device, tuple(p._version for p in ends)
        if self._between is None or state != self._state:
            self._between = self._mix(original, tuned)
            self._state = state
        return self._between

    def _mix(self, original: CLIP, tuned: CLIP) -> CLIP:
        between = self._between
        # Outside of inference mode, so that the weights count their changes.
        with torch.inference_mode(False), torch.no_grad():
            if between is None:
                between = original_of(original, shared=False)
                between.adapters = tuned.adapters
            between.towers.to(tuned.device)
            for mixed, start, end in zip(
                between.towers.parameters(),
                original.towers.parameters(),
                tuned.towers.parameters(),
                strict=True,
            ):
                mixed.copy_(torch.lerp(end, start, self.ratio))
        return between
