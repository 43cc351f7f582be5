"""How the learning rate moves during training, one value for every optimiser step."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from video_adapt.errors import ConfigurationError


class Schedule(ABC):
    """The rate of every parameter group at every step, from the group's own base rate.

    Lengths are in epochs and independent of where the trainer stops: an epoch is a pass over the
    training data, whatever the trainer's ``max_epochs``.
    """

    @abstractmethod
    def rate(self, lr: float, step: int, *, steps_per_epoch: int, epochs: int | None) -> float:
        """Learning rate with which an optimiser step is taken.

        Args:
            lr: Base rate of the group.
            step: Number of the optimiser step, from 0.
            steps_per_epoch: Optimiser steps in one pass over the training data.
            epochs: Where the trainer stops; None where it counts steps only.

        Raises:
            ConfigurationError: If the schedule needs ``epochs`` and there are none.
        """


def warmup_cosine(
    epoch: float,
    *,
    lr: float,
    max_epochs: float,
    warmup_epochs: float = 0.0,
    warmup_start_lr: float = 0.0,
) -> float:
    """Cosine from ``lr`` to 0 over the whole training; warm-up is a line that ends on it.

    The base rate itself is never reached when there is a warm-up: the line meets the cosine where
    it already has fallen.

    Args:
        epoch: Position in training, fractional.
        lr: Height of the cosine at epoch 0.
        max_epochs: Where the cosine ends.
        warmup_epochs: Where the line meets the cosine.
        warmup_start_lr: Where the line starts.

    Source: schedule of DiST (ICCV 2023), as trained.
    """

    def cosine(at: float) -> float:
        return lr * (1.0 + math.cos(math.pi * at / max_epochs)) / 2.0

    if epoch >= warmup_epochs:
        return cosine(epoch)
    end = cosine(warmup_epochs)
    return warmup_start_lr + (end - warmup_start_lr) * epoch / warmup_epochs


@dataclass(frozen=True, kw_only=True)
class DistCosine(Schedule):
    """:func:`warmup_cosine` over all epochs of the trainer.

    Args:
        warmup_epochs: Where the line of the warm-up meets the cosine.
        warmup_start_share: Where that line starts, as a share of the base rate.

    Source: schedule of DiST (ICCV 2023), as trained.
    """

    warmup_epochs: float = 0.0
    warmup_start_share: float = 0.0

    def rate(self, lr: float, step: int, *, steps_per_epoch: int, epochs: int | None) -> float:
        """See :meth:`Schedule.rate`."""
        if epochs is None:
            raise ConfigurationError("the schedule runs over epochs: set trainer.max_epochs")
        return warmup_cosine(
            step / steps_per_epoch,
            lr=lr,
            max_epochs=epochs,
            warmup_epochs=self.warmup_epochs,
            warmup_start_lr=self.warmup_start_share * lr,
        )


@dataclass(frozen=True, kw_only=True)
class WarmupCosine(Schedule):
    """A line from 0 to the base rate, then a cosine from there to ``min_lr``.

    The line divides by one step less than it has: the first step of all changes nothing, and the
    base rate is used twice, at the end of the line and at the start of the cosine. A trainer that
    stops earlier cuts the cosine short; one that goes on keeps ``min_lr``.

    Args:
        max_epochs: Where the cosine ends; the trainer may stop before.
        warmup_epochs: Length of the line.
        min_lr: Rate of every group at the end of the cosine.

    Raises:
        ConfigurationError: If the line is longer than the whole.

    Source: AdaTAD (CVPR 2024), as trained.
    """

    max_epochs: float
    warmup_epochs: float = 0.0
    min_lr: float = 1e-8

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.warmup_epochs < self.max_epochs:
            raise ConfigurationError(
                f"warmup_epochs is {self.warmup_epochs}, max_epochs of the schedule "
                f"{self.max_epochs}: the warm-up must be shorter"
            )

    def rate(self, lr: float, step: int, *, steps_per_epoch: int, epochs: int | None) -> float:
        """See :meth:`Schedule.rate`."""
        warmup = round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return lr * step / max(warmup - 1, 1)
        end = round(self.max_epochs * steps_per_epoch)
        share = (min(step, end) - warmup) / (end - warmup)
        return self.min_lr + (lr - self.min_lr) * (1.0 + math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True, kw_only=True)
class PlateauCosine(Schedule):
    """A line up to the base rate, then half a cosine down to a share of it, by fractional epochs.

    Args:
        warmup_epochs: Length of the line.
        start_share: Where the line starts, as a share of the base rate.
        end_share: Where the cosine ends, as a share of the base rate.
        max_epochs: Where the cosine ends; None = where the trainer stops.

    Source: schedule of FROSTER (ICLR 2024), as trained.
    """

    warmup_epochs: float = 2.0
    start_share: float = 0.01
    end_share: float = 0.01
    max_epochs: float | None = None

    def rate(self, lr: float, step: int, *, steps_per_epoch: int, epochs: int | None) -> float:
        """See :meth:`Schedule.rate`."""
        end = epochs if self.max_epochs is None else self.max_epochs
        if end is None:
            raise ConfigurationError("the schedule runs over epochs: set trainer.max_epochs")
        return self.at(step / steps_per_epoch, lr=lr, end_epoch=end)

    def at(self, epoch: float, *, lr: float, end_epoch: float) -> float:
        """Learning rate at a fractional epoch of a training of ``end_epoch`` epochs."""
        if epoch < self.warmup_epochs:
            start = self.start_share * lr
            return start + (lr - start) * epoch / self.warmup_epochs
        if epoch >= end_epoch:
            return self.end_share * lr
        share = (epoch - self.warmup_epochs) / (end_epoch - self.warmup_epochs)
        low = self.end_share * lr
        return low + (lr - low) * (1.0 + math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True, kw_only=True)
class MultiStep(Schedule):
    """The base rate, multiplied by ``gamma`` at the start of each epoch of a list.

    Args:
        milestones: Those epochs.
        gamma: Factor at each of them.
    """

    milestones: tuple[float, ...]
    gamma: float = 0.1

    def rate(self, lr: float, step: int, *, steps_per_epoch: int, epochs: int | None) -> float:
        """See :meth:`Schedule.rate`."""
        passed = sum(step >= round(epoch * steps_per_epoch) for epoch in self.milestones)
        rate: float = lr * self.gamma**passed
        return rate


class StepSchedule(LRScheduler):
    """Sets the rate of every group at every step, also of groups added during training.

    Args:
        optimizer: Its groups' rates at construction are their base rates.
        rate: Base rate and number of the step in, rate of that step out.
    """

    def __init__(self, optimizer: Optimizer, rate: Callable[[float, int], float]) -> None:
        self._rate = rate
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Rates of all groups at the current step."""
        groups = self.optimizer.param_groups
        bases = [group.setdefault("initial_lr", group["lr"]) for group in groups]
        return [self._rate(base, self.last_epoch) for base in bases]

    def state_dict(self) -> dict[str, Any]:
        """The number of the step and the rates in use: plain values for a checkpoint."""
        return {"last_epoch": self.last_epoch, "_last_lr": self._last_lr}
