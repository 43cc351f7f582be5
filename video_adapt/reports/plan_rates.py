"""How fast a device multiplies and moves, from a short benchmark, and what a step takes of it."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .plan_memory import StepNeeds
from .plan_step import Precision

_ROWS, _WIDTH = 1024, 768  # tokens of a few frames, the width of a base model
_REPEATS = 7


class Rates(NamedTuple):
    """What a device does in a second.

    Attributes:
        multiply_adds: In a product of matrices as large as those of a base model.
        moved: Bytes read and written by an operation on every element.
    """

    multiply_adds: float
    moved: float

    def seconds(self, needs: StepNeeds) -> float:
        """Time of a step, if products and everything else follow one another at full speed."""
        return needs.multiply_adds / self.multiply_adds + needs.moved / self.moved


def benchmark(device: str, precision: str) -> Rates:
    """Measure the device; takes a second.

    Args:
        device: ``cpu`` or ``cuda``.
        precision: As in ``trainer.precision``.
    """
    setting = Precision(precision, device)
    tokens = torch.randn(_ROWS, _WIDTH, device=device, dtype=setting.dtype)
    weights = torch.randn(_WIDTH, 4 * _WIDTH, device=device, dtype=setting.dtype)
    large = torch.randn(4 * _ROWS, 4 * _WIDTH, device=device, dtype=setting.dtype)
    with setting.context(), torch.no_grad():
        product_s = _median_s(lambda: tokens @ weights, device)
        element_s = _median_s(lambda: large + 1, device)
    moved = 2 * large.numel() * large.element_size()
    return Rates(_ROWS * weights.numel() / product_s, moved / element_s)


def _median_s(operation: Callable[[], Any], device: str) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        operation()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
