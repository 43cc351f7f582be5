"""Figures of open-vocabulary protocols: harmonic mean, spread over splits, accuracy by test set."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torchmetrics import Metric

from video_adapt.batches import ClipLogits

from .accuracy import AccuracyResult, VideoAccuracy


class Spread(NamedTuple):
    """Several values of one figure.

    Attributes:
        mean: Their mean.
        std: Their sample standard deviation; nan of a single one.
    """

    mean: float
    std: float


def harmonic_mean(base: float, novel: float) -> float:
    """``2 b n / (b + n)`` of the accuracies on base and on novel classes; 0 where both are 0."""
    total = base + novel
    return 2 * base * novel / total if total else total


def spread_of(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of a figure over splits or draws.

    Raises:
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError("no value, so no mean")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), std)


def has_top5(num_classes: int) -> bool:
    """Whether "among the best five" says anything of so many classes."""
    return num_classes >= 5


class AccuracyBySet(Metric):
    """Accuracy of several test sets, each over classes of its own, and of several readings of them.

    Args:
        num_classes: Number of classes by set.
        readings: Names of what is measured on every clip: the method, zero-shot CLIP ...
    """

    full_state_update = False

    def __init__(self, num_classes: dict[str, int], readings: Sequence[str]) -> None:
        super().__init__()
        self.readings = tuple(readings)
        # Names of sets are not attributes: one could be called `train`.
        self.parts = nn.ModuleDict(
            {
                _key(place, reading): VideoAccuracy(count)
                for place, count in enumerate(num_classes.values())
                for reading in readings
            }
        )
        self.places = {name: place for place, name in enumerate(num_classes)}

    def update(self, name: str, reading: str, clips: ClipLogits) -> None:
        """Add a batch of clips of a set as one reading has them."""
        self._part(name, reading).update(clips)

    def compute(self) -> dict[str, dict[str, AccuracyResult]]:
        """Figures by set and reading, over the clips of all processes."""
        return {
            name: {reading: self._part(name, reading).compute() for reading in self.readings}
            for name in self.places
        }

    def _part(self, name: str, reading: str) -> Any:
        return self.parts[_key(self.places[name], reading)]


def _key(place: int, reading: str) -> str:
    return f"{reading}_{place}"
