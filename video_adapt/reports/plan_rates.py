"""How long a device takes for a step: each of its operations is tried on it, alone and small."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from .plan_memory import LiveBytes, Work
from .plan_operations import Operation
from .plan_step import Precision, timed

_ROWS, _WIDTH = 1024, 768  # tokens of a few frames, the width of a base model
_REPEATS, _FEW_REPEATS = 5, 3
_LARGE_S, _LONG_S, _SHORT_S = 0.02, 0.005, 0.0005


class Rates(NamedTuple):
    """What a device does in a second.

    Attributes:
        multiply_adds: In a product of matrices as large as those of a base model.
        moved: Bytes read and written by an operation on every element.
        call_s: What torch and Python need for any operation, beside what it does.
        step_s: What they need once in a step, with caches that others have filled meanwhile.
    """

    multiply_adds: float
    moved: float
    call_s: float = 0.0
    step_s: float = 0.0

    def seconds(self, operation: Operation) -> float:
        """Time of an operation at full speed."""
        return operation.flops / 2 / self.multiply_adds + operation.moved / self.moved


class Stopwatch:
    """Tells the time of a step from that of its operations, each tried once and remembered.

    An operation that would take long is tried with a part of its batch, so that neither time nor
    memory stands against the plan of a step that the device cannot take.

    Args:
        device: ``cpu`` or ``cuda``.
        rates: What the device does in a second: judges which operation is long, and stands in for
            those that cannot be tried, such as kernels of another device.
        clock: Tells the time in seconds.
    """

    def __init__(
        self, device: str, rates: Rates, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._device, self.rates, self._clock = device, rates, clock
        self._known: dict[Operation, float] = {}

    @torch.no_grad()
    def seconds(self, work: Work) -> float:
        """Time of a step.

        On a GPU an operation takes what its kernel or its launch takes, whichever is longer; on a
        CPU one follows the other.
        """
        each = [(self._one(operation), times) for operation, times in work.operations.items()]
        if self._device == "cuda":
            inside = sum(times * max(one, self.rates.call_s) for one, times in each)
        else:
            inside = sum(times * one for one, times in each) + work.calls * self.rates.call_s
        return self.rates.step_s + inside

    def _one(self, operation: Operation) -> float:
        if operation not in self._known:
            self._known[operation] = self._try(operation)
        return self._known[operation]

    def _try(self, operation: Operation) -> float:
        expected = self.rates.seconds(operation)
        small = operation.smaller(expected / _LARGE_S) if expected > _LARGE_S else operation
        try:
            args, kwargs = small.arguments(self._device)
            live = LiveBytes()
            with live:
                operation.func(*args, **kwargs)
            tried = next(iter(live.operations), operation)
            scale = operation.work / max(1, tried.work)
            return scale * self.median_s(
                lambda: operation.func(*args, **kwargs), stays=operation.stays
            )
        except (RuntimeError, TypeError, ValueError):
            return expected

    def median_s(self, function: Callable[[], Any], *, stays: bool = False) -> float:
        """Time of a call, of several with the first left out.

        Args:
            function: What is called.
            stays: Whether what it returns is kept meanwhile: each call then wants memory that the
                system has to give, which takes as long as many an operation.
        """
        first = self._run(function, 1, None)
        times = max(1, min(50, math.ceil(_SHORT_S / max(first, 1e-6))))
        kept: list[Any] | None = [] if stays else None
        repeats = _FEW_REPEATS if first > _LONG_S else _REPEATS
        return statistics.median(self._run(function, times, kept) for _ in range(repeats))

    def _run(self, function: Callable[[], Any], times: int, kept: list[Any] | None) -> float:
        def repeat() -> None:
            for _ in range(times):
                made = function()
                if kept is not None:
                    kept.append(made)

        return timed(repeat, self._device, self._clock) / times


def benchmark(
    device: str, precision: str, *, clock: Callable[[], float] = time.perf_counter
) -> Stopwatch:
    """Measure a device; takes a second.

    Args:
        device: ``cpu`` or ``cuda``.
        precision: As in ``trainer.precision``.
        clock: Tells the time in seconds.
    """
    setting = Precision(precision, device)

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, dtype=setting.dtype)

    tokens, weights, large = (
        make(_ROWS, _WIDTH),
        make(_WIDTH, 4 * _WIDTH),
        make(4 * _ROWS, 4 * _WIDTH),
    )
    watch = Stopwatch(device, Rates(1.0, 1.0), clock=clock)
    with setting.context(), torch.no_grad():
        product_s = watch.median_s(lambda: tokens @ weights)
        element_s = watch.median_s(lambda: large + 1)
    moved = 2 * large.numel() * large.element_size()
    watch.rates = Rates(_ROWS * weights.numel() / product_s, moved / element_s)
    # The line through two steps of next to no work, of few calls and of many.
    (few, short_s), (many, long_s) = (_idle_step(watch, device, clock, n) for n in (1, 5))
    call_s = max(0.0, (long_s - short_s) / (many - few))
    step_s = max(0.0, short_s - few * call_s)
    watch.rates = watch.rates._replace(call_s=call_s, step_s=step_s)
    return watch


def _idle_step(
    watch: Stopwatch, device: str, clock: Callable[[], float], blocks: int
) -> tuple[int, float]:
    """Calls of a step of next to no work, and what it takes beside its operations."""
    layers = [nn.TransformerEncoderLayer(8, 1, 8, dropout=0.0) for _ in range(blocks)]
    network = nn.Sequential(*layers).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), foreach=device == "cuda")
    x = torch.ones(2, 4, 8, device=device)

    def step() -> None:
        loss = network(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    live = LiveBytes()
    with live:
        live.watch([x, *network.parameters()])
        step()
    work, times = live.work(), []
    for _ in range(_REPEATS):
        gc.collect()  # as before a measured step: no cache stays warm
        times.append(timed(step, device, clock))
    inside = 0.0 if device == "cuda" else watch.seconds(work)
    return work.calls, max(0.0, statistics.median(times) - inside)
