"""One training step as Lightning takes it, with input of the right shape and nothing behind it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from video_adapt.tasks import Task
from video_adapt.tasks.optim import configure

_HALF = {"16": torch.float16, "bf16": torch.bfloat16}


class Precision:
    """What ``trainer.precision`` means for a step.

    Args:
        name: As in an experiment file: ``32-true``, ``bf16-mixed``, ``16-true`` ...
        device: Type of the device.
    """

    def __init__(self, name: str | int, device: str) -> None:
        bits, _, kind = str(name).partition("-")
        self._half = _HALF.get(bits)
        self._mixed = kind != "true"
        self._device = device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and input."""
        return torch.float32 if self._half is None or self._mixed else self._half

    def context(self) -> AbstractContextManager[Any]:
        """Around every forward pass."""
        if self._half is None or not self._mixed:
            return nullcontext()
        return torch.autocast(self._device, dtype=self._half)


class RowsInMemory:
    """Stands in for the cache of a teacher: keeps what it says the first time."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Tensor]] = {}

    def fetch(
        self, kind: str, ids: Tensor, encode: Callable[[Tensor], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """See :meth:`video_adapt.row_store.RowStore.fetch`; every batch is the same here."""
        if kind not in self._rows:
            rows = encode(torch.arange(len(ids), device=ids.device))
            self._rows[kind] = {name: x.cpu() for name, x in rows.items()}
        return {name: x.to(ids.device, copy=True) for name, x in self._rows[kind].items()}

    def forget(self) -> None:
        """Begin anew."""
        self._rows.clear()


class TrainingStep:
    """Forward, gradients to zero, backward, optimiser: in the order of Lightning's own loop.

    Args:
        method: What trains, on its device.
        batch: What its ``training_step`` takes, on the same device.
        precision: See :class:`Precision`.
        foreach: Whether the optimiser works on all tensors at once, with a copy of them all: the
            default of torch on a GPU.

    Attributes:
        optimizer: That of the method's recipe, without a schedule.
        caches: Of the teachers that have one; the first step fills them, later ones read them.
    """

    def __init__(
        self, method: Task, batch: Any, precision: Precision, *, foreach: bool = False
    ) -> None:
        host: Any = method
        # There is no trainer to log to.
        host.log = host.log_dict = lambda *args, **kwargs: None
        method.train()
        self._method, self._batch, self._precision = host, batch, precision
        self.caches: list[RowsInMemory] = []
        for teacher in getattr(host, "teachers", ()):
            if teacher.cache_folder is not None:
                teacher.cache = RowsInMemory()
                self.caches.append(teacher.cache)
        spec: Any = method.optimizer
        loop = SimpleNamespace(
            lightning_module=method,
            max_epochs=1,
            estimated_stepping_batches=1,
            num_training_batches=1,
            accumulate_grad_batches=1,
        )
        trainer: Any = loop
        groups = method.parameter_groups(spec)
        self.optimizer: torch.optim.Optimizer = configure(groups, spec, trainer)["optimizer"]
        for group in self.optimizer.param_groups:
            group["foreach"] = foreach

    def __call__(self) -> None:
        """Take the step; the gradients of the one before are there until the forward pass ends."""
        with self._precision.context():
            loss = self._method.training_step(self._batch, 0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def make_gradients(self) -> list[Tensor]:
        """Gradients of zero for all that trains, as a step before would have left them."""
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in trained if parameter.grad is not None]

    def held(self) -> Iterator[Tensor]:
        """What is there before and after the step: weights, buffers and teachers."""
        for module in modules_of(self._method):
            yield from module.parameters()
            yield from module.buffers()


def modules_of(method: Task) -> list[nn.Module]:
    """The method and those who teach it, which are no part of it."""
    return [method, *getattr(method, "teachers", ())]


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors of a batch, in the order of its fields."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A batch with another tensor in the place of each."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: map_tensors(function, item) for name, item in value.items()}
    if isinstance(value, list):
        return [map_tensors(function, item) for item in value]
    if isinstance(value, tuple):
        items = [map_tensors(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def timed(function: Callable[[], Any], device: str, clock: Callable[[], float]) -> float:
    """Time of a call in seconds, what a GPU does for it included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start
