"""What a training step will need, from a step on tensors that have a shape but no content."""

import warnings
import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from video_adapt.tasks import Task

from .plan_batches import from_features
from .plan_operations import Operation, describe
from .plan_step import Precision, TrainingStep, map_tensors, modules_of, tensors_of

_aten = torch.ops.aten


class Work(NamedTuple):
    """What a step does.

    Attributes:
        multiply_adds: Of forward and backward.
        moved: Bytes that operations without multiply-adds read and write.
        calls: Operations, those included that only look at memory in another way.
        operations: How often each of the others is called.
    """

    multiply_adds: int
    moved: int
    calls: int
    operations: Counter[Operation]


class StepNeeds(NamedTuple):
    """What a step needs, in bytes and operations.

    Attributes:
        weights: Bytes of parameters and buffers, frozen ones and teachers included.
        gradients: Bytes of all gradients.
        optimizer: Bytes that the optimiser keeps.
        batch: Bytes of the input.
        activations: What the step needs beside these at its peak.
        peak: The most that is alive at once, all of the above included; that of the first epoch
            where it fills caches of teachers.
        trained: Number of trained parameters.
        work: What every step does.
        filling: What a step of the first epoch does instead; None where there is nothing to fill.
    """

    weights: int
    gradients: int
    optimizer: int
    batch: int
    activations: int
    peak: int
    trained: int
    work: Work
    filling: Work | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        amounts = ("multiply_adds", "moved", "calls")
        work = {name: getattr(self.work, name) for name in amounts}
        filling = self.filling and {name: getattr(self.filling, name) for name in amounts}
        return {**self._asdict(), "work": work, "filling": filling}


class LiveBytes(TorchDispatchMode):
    """Counts the memory of all tensors that are alive, as an allocator without waste would.

    Operations on tensors without content are answered without computing; those on real tensors
    (labels, masks, segments) really happen, so that what depends on them has its true size.

    Attributes:
        now: Bytes alive.
        peak: The most since :meth:`restart`.
        calls: Operations since then.
        operations: Those of them that compute or move something.
    """

    def __init__(self) -> None:
        parent: Any = super()
        parent.__init__()
        self.now = self.peak = self.calls = 0
        self.operations: Counter[Operation] = Counter()
        self._known: set[int] = set()

    def watch(self, tensors: Iterable[Tensor]) -> int:
        """Count tensors that are there already; returns how many bytes came with them."""
        before = self.now
        for tensor in tensors:
            self._note(tensor)
        return self.now - before

    def restart(self) -> None:
        """Forget the peak and what was counted, not what is alive."""
        self.peak, self.calls = self.now, 0
        self.operations = Counter()

    def work(self) -> Work:
        """What was done since :meth:`restart`."""
        counted = self.operations.items()
        return Work(
            sum(operation.flops * times for operation, times in counted) // 2,
            sum(operation.moved * times for operation, times in counted),
            self.calls,
            self.operations,
        )

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Let the operation happen, then count what it made."""
        if func is _aten.index.Tensor and isinstance(args[0], FakeTensor):
            args = (args[0], _as_numbers(args[1]))
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        new = [self._note(tensor) for tensor in made]
        self.calls += func.namespace == "aten"
        if made and (any(new) or func._schema.is_mutable):
            self.operations[describe(func, args, kwargs or {}, result)] += 1
        return result

    def _note(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return False
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key, size)
        return True

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def predict(
    method: Task, batch: Any, precision: str, *, cached: bool = False, foreach: bool = False
) -> StepNeeds:
    """What a step needs once training is under way: gradients and optimiser state are there.

    Nothing is computed: a step of a huge model takes as long as calling its operations.

    Args:
        method: What trains; its weights lose their content.
        batch: What its ``training_step`` takes, on the CPU; pixels and features, that is whatever
            is a float of three dimensions or more, lose theirs.
        precision: As in ``trainer.precision``.
        cached: Whether the step starts from stored features.
        foreach: Whether the optimiser works on all tensors at once, as on a GPU.

    Raises:
        ConfigurationError: If the method cannot do that.
    """
    setting = Precision(precision, "cpu")
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    batch = map_tensors(lambda tensor: _emptied(tensor, mode, setting.dtype), batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty_weights(method, mode, setting.dtype)
        if cached:
            method, batch = from_features(method, batch)
            empty_weights(method, mode, setting.dtype)
        return _count(TrainingStep(method, batch, setting, foreach=foreach), batch)


def _count(step: TrainingStep, batch: Any) -> StepNeeds:
    live = LiveBytes()
    weights, given = live.watch(step.held()), live.watch(tensors_of(batch))
    with live:
        trained = sum(gradient.numel() for gradient in step.make_gradients())
        gradients = live.now - weights - given
        step.optimizer.step()
        kept = live.now - weights - given - gradients
        standing = live.now
        live.restart()
        step()
        peak, work, filling = live.peak, live.work(), None
        if step.caches:
            live.restart()
            step()
            work, filling = live.work(), work
    return StepNeeds(
        weights=weights,
        gradients=gradients,
        optimizer=kept,
        batch=given,
        activations=peak - standing,
        peak=peak,
        trained=trained,
        work=work,
        filling=filling,
    )


def empty_weights(method: Task, mode: FakeTensorMode, dtype: torch.dtype) -> None:
    """Put tensors without content in the place of all weights and buffers."""

    def empty(tensor: Tensor) -> Tensor:
        return _empty(tensor, mode, dtype)

    for module in modules_of(method):
        module._apply(empty)


def _emptied(tensor: Tensor, mode: FakeTensorMode, dtype: torch.dtype) -> Tensor:
    large = tensor.is_floating_point() and tensor.ndim >= 3
    return _empty(tensor, mode, dtype) if large else tensor


def _empty(tensor: Tensor, mode: FakeTensorMode, dtype: torch.dtype) -> Tensor:
    kind = dtype if tensor.is_floating_point() else tensor.dtype
    with mode:
        return torch.empty(tensor.shape, dtype=kind, device="cpu")


def _as_numbers(indices: Any) -> list[Tensor | None]:
    """Indices in which a mask is the places where it is true; all of them where nobody knows."""
    numbers: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype != torch.bool:
            numbers.append(index)
        else:
            known = torch.ones(index.shape, dtype=torch.bool)
            known = known if isinstance(index, FakeTensor) else index
            numbers += known.nonzero().unbind(dim=1)
    return numbers
