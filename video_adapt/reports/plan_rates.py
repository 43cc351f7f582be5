"""How long a device takes for a step: each of its operations is tried on it, alone and small."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from video_adapt.backbones import CLIP, Features

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
        crowding: How much longer an operation takes among others, which use the same caches.
    """

    multiply_adds: float
    moved: float
    call_s: float = 0.0
    step_s: float = 0.0
    crowding: float = 1.0

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

    Attributes:
        untried: Names of the operations that could not be tried.
    """

    def __init__(
        self, device: str, rates: Rates, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._device, self.rates, self._clock = device, rates, clock
        self._known: dict[Operation, float] = {}
        self.untried: set[str] = set()

    @torch.no_grad()
    def seconds(self, work: Work) -> float:
        """Time of a step.

        On a GPU an operation takes what its kernel or its launch takes, whichever is longer; on a
        CPU one follows the other.
        """
        rates = self.rates
        if self._device == "cuda":
            each = [(self._one(operation), times) for operation, times in work.operations.items()]
            return rates.step_s + sum(times * max(one, rates.call_s) for one, times in each)
        return rates.step_s + work.calls * rates.call_s + rates.crowding * self.alone_s(work)

    @torch.no_grad()
    def alone_s(self, work: Work) -> float:
        """Time of the operations of a step, each as long as it takes alone."""
        return sum(self._one(operation) * times for operation, times in work.operations.items())

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
            self.untried.add(str(operation.func))
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
    """Measure a device; takes seconds.

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
    few, many = _try_step(watch, clock, *_probe(device)), _try_step(watch, clock, *_tower(device))
    call_s = max(0.0, (many.beside_s - few.beside_s) / (many.calls - few.calls))
    step_s = max(0.0, few.beside_s - few.calls * call_s)
    watch.rates = watch.rates._replace(call_s=call_s, step_s=step_s)
    if device != "cuda":
        busy = _try_step(watch, clock, *_tower(device, depth=2, width=192, clips=32))
        inside_s = busy.took_s - busy.beside_s
        crowding = (busy.took_s - step_s - busy.calls * call_s) / inside_s
        watch.rates = watch.rates._replace(crowding=max(1.0, crowding))
    return watch


class _Tried(NamedTuple):
    """A real step: its calls, what it took, and what of that its operations do not tell."""

    calls: int
    took_s: float
    beside_s: float


def _probe(device: str) -> tuple[nn.Module, Tensor]:
    """The smallest thing that trains, and its input."""
    return nn.Linear(8, 8).to(device), torch.ones(1, 8, device=device)


def _tower(
    device: str, *, depth: int = 5, width: int = 8, clips: int = 1
) -> tuple[nn.Module, Tensor]:
    """A small image tower, whose blocks run as those of methods do, and its input."""
    vision = {"image_size": 32, "patch_size": 8, "width": width, "layers": depth, "head_width": 8}
    text = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
    tower = CLIP.from_config({"embed_dim": 8, "vision_cfg": vision, "text_cfg": text})
    tower.towers.text.requires_grad_(False)
    return tower.to(device), torch.ones(clips, 1, 3, 32, 32, device=device)


def _try_step(
    watch: Stopwatch, clock: Callable[[], float], network: nn.Module, x: Tensor
) -> _Tried:
    device = x.device.type
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, foreach=device == "cuda")

    def step() -> None:
        result = network(x)
        loss = (result.embedding if isinstance(result, Features) else result).mean()
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
    took_s = statistics.median(times)
    alone_s = 0.0 if device == "cuda" else watch.alone_s(work)
    return _Tried(work.calls, took_s, max(0.0, took_s - alone_s))
