"""The lines of a plan: what each regime needs, whether it fits, how long it takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from video_adapt.apps.plan_experiment import Experiment, Regime, Samples
from video_adapt.errors import VideoAdaptError

from .plan_batches import random_batch
from .plan_measure import Measured, measure_apart
from .plan_memory import StepNeeds, predict
from .plan_rates import Stopwatch

USABLE = 0.9
"""Share of the memory that tensors may take; the rest is the library's and the allocator's."""
_LARGEST = 4096


class PlanRow(NamedTuple):
    """What one regime costs.

    Attributes:
        regime: What trains, and from what.
        words: What to add to the command line for it.
        impossible: Why it cannot be had, with its mend; None where it can.
        batch_size: Samples of a step on one device.
        needs: The prediction.
        seconds: Predicted time of a step.
        filling_s: Time of a step of the first epoch, where it fills caches of teachers.
        measured: What a real step took; None where none was asked for.
        largest_batch: The largest that fits; 0 = none does, None = no memory was given.
        epoch_s: Time of an epoch; None where its samples are not known.
        run_s: Time of all epochs.
    """

    regime: str
    words: tuple[str, ...]
    impossible: str | None
    batch_size: int
    needs: StepNeeds | None = None
    seconds: float | None = None
    filling_s: float | None = None
    measured: Measured | None = None
    largest_batch: int | None = None
    epoch_s: float | None = None
    run_s: float | None = None

    @property
    def peak(self) -> int:
        """Bytes that the step takes: measured where it was, else predicted."""
        assert self.needs is not None
        return self.needs.peak if self.measured is None else self.measured.allocated

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **self._asdict(),
            "needs": None if self.needs is None else self.needs.as_dict(),
            "measured": None if self.measured is None else self.measured._asdict(),
        }


class Planner:
    """Makes the lines of a plan, one regime at a time.

    Args:
        experiment: The file.
        device: ``cpu`` or ``cuda``.
        stopwatch: Tells the time of a step on the device.
        memory: Bytes of its memory; None = nobody asks whether it fits.
        measures: Whether a real step is taken as well.
        samples: Length of the training.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        device: str,
        stopwatch: Stopwatch,
        memory: int | None,
        measures: bool,
        samples: Samples,
    ) -> None:
        self._experiment, self._device, self._stopwatch = experiment, device, stopwatch
        self._memory, self._measures, self._samples = memory, measures, samples
        self._data = experiment.data()
        self._frozen_epoch_s: float | None = None

    def row(self, regime: Regime) -> PlanRow:
        """Plan one regime."""
        size = self._experiment.batch_size
        name = f"{regime.name}, cached" if regime.cached else regime.name
        row = PlanRow(name, regime.words, None, size)
        try:
            needs = self._needs(regime, size)
        except VideoAdaptError as error:
            return row._replace(impossible=str(error))
        row = row._replace(needs=needs, seconds=self._stopwatch.seconds(needs.work))
        if needs.filling is not None:
            row = row._replace(filling_s=self._stopwatch.seconds(needs.filling))
        if self._measures:
            found = measure_apart(self._experiment, regime, batch_size=size, device=self._device)
            if found is None:
                mend = "a real step ran out of memory; take a smaller data.loader.batch_size"
                return row._replace(impossible=mend)
            row = row._replace(measured=found, filling_s=found.filling_s)
        if self._memory is not None:
            limit = int(USABLE * self._memory)
            largest = largest_batch(lambda b: self._needs(regime, b).peak, limit, size)
            row = row._replace(largest_batch=largest)
        return self._timed(row, cached=regime.cached)

    def _needs(self, regime: Regime, batch_size: int) -> StepNeeds:
        method = self._experiment.build(regime, content=False)
        batch = random_batch(
            method, self._data, batch_size, lambda shape: torch.empty(shape, device="meta")
        )
        return predict(
            method,
            batch,
            self._experiment.precision,
            cached=regime.cached,
            foreach=self._device == "cuda",
        )

    def _timed(self, row: PlanRow, *, cached: bool) -> PlanRow:
        number, epochs = self._samples.number, self._samples.epochs
        if number is None:
            return row
        step_s = row.seconds if row.measured is None else row.measured.seconds
        assert step_s is not None
        steps = number // (row.batch_size * self._experiment.devices)
        epoch_s = steps * step_s
        # Every clip passes the backbone once before the cache is there; that of a teacher is
        # filled by the first epoch itself.
        first_s = self._frozen_epoch_s if cached else 0.0
        if not cached:
            self._frozen_epoch_s = epoch_s
        if row.filling_s is not None:
            first_s = steps * (row.filling_s - step_s)
        run_s = None if epochs is None or first_s is None else first_s + epochs * epoch_s
        return row._replace(epoch_s=epoch_s, run_s=run_s)


def largest_batch(peak: Callable[[int], int], limit: int, size: int) -> int:
    """The largest batch whose peak is within the limit.

    The peak grows with the batch almost along a line; where that line promised too much, the
    answer comes down until it is true.

    Args:
        peak: Bytes that a batch needs.
        limit: Bytes that there are.
        size: Where to start.
    """
    other = max(1, size // 2) if size > 1 else 2
    low, high = sorted((size, other))
    at_low, at_high = peak(low), peak(high)
    slope = max(1.0, (at_high - at_low) / (high - low))
    largest = min(_LARGEST, int(high + (limit - at_high) / slope))
    while largest > 0 and peak(largest) > limit:
        largest -= max(1, largest // 20)
    return max(0, largest)
