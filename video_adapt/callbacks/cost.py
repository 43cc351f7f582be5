"""What a method costs: parameters, multiply-adds, time of a step, time spent waiting for data."""

import contextlib
import logging
import statistics
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from video_adapt.batches import CaptionBatch, ClipBatch, SegmentBatch

from .tracking import log_to_all

logger = logging.getLogger(__name__)


class Cost(Callback):
    """Log what the method costs, once per run, and each epoch how its time was spent.

    Once: ``cost/trained_parameters``, ``cost/total_parameters``, ``cost/multiply_adds`` (of one
    view, the figure that papers print as GFLOPs when divided by 1e9). Each training epoch:
    ``cost/step_ms`` (median over the batches, forward to optimiser) and ``data/wait_share``, the
    share of the epoch's time, validation excluded, that the main process waited for the loader.
    """

    def __init__(self) -> None:
        self.multiply_adds: int | None = None
        self._fetch = _FetchClock(PassThroughProfiler())
        self._steps = _StepClock()
        self._epoch_began_s = self._validation_began_s = self._validation_s = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the trainer's profiler, which is told when a batch is fetched."""
        host: Any = trainer  # Lightning does not declare the attribute
        if not isinstance(host.profiler, _FetchClock):
            host.profiler = _FetchClock(host.profiler)
        self._fetch = host.profiler

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set all clocks to zero: a run resumed inside an epoch starts none."""
        self._start_clocks()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set all clocks to zero."""
        self._start_clocks()

    def _start_clocks(self) -> None:
        self._fetch.waited_s = self._validation_s = 0.0
        self._steps = _StepClock()
        self._epoch_began_s = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock of a step."""
        self._steps.start(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the clock of a step; count the multiply-adds behind the first one."""
        self._steps.stop(pl_module.device)
        self._count(trainer, pl_module, batch)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is not part of the training time."""
        self._validation_began_s = time.perf_counter()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the multiply-adds of a run that only validates."""
        self._count(trainer, pl_module, batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is not part of the training time."""
        self._validation_s += time.perf_counter() - self._validation_began_s

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log how the epoch's time was spent."""
        epoch_s = time.perf_counter() - self._epoch_began_s - self._validation_s
        step_ms = self._steps.median_ms()
        share = self._fetch.waited_s / epoch_s
        values = {"cost/step_ms": step_ms, "data/wait_share": share}
        pl_module.log_dict(values, on_epoch=True, sync_dist=True)
        if trainer.is_global_zero:
            logger.info(
                "epoch %d: %.1f s, step %.0f ms, waited for data %.0f %% of the time",
                trainer.current_epoch,
                epoch_s,
                step_ms,
                100 * share,
            )

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the multiply-adds of a run that only tests."""
        self._count(trainer, pl_module, batch)

    def _count(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        inputs = _one_of(batch)
        if self.multiply_adds is not None or inputs is None:
            return
        if any(isinstance(parameter, DTensor) for parameter in pl_module.parameters()):
            return  # shares of weights (FSDP); in validation they are whole
        with trainer.precision_plugin.forward_context():
            self.multiply_adds = count_multiply_adds(pl_module, *inputs)
        parameters = list(pl_module.parameters())
        values = {
            "cost/trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "cost/total_parameters": sum(p.numel() for p in parameters),
            "cost/multiply_adds": self.multiply_adds,
        }
        log_to_all(trainer, values)
        if trainer.is_global_zero:
            trained, total, macs = values.values()
            logger.info(
                "%.3f of %.3f million parameters train; %.3f G multiply-adds a view of %s",
                trained / 1e6,
                total / 1e6,
                macs / 1e9,
                "x".join(map(str, batch.video.shape[1:])),
            )


def _one_of(batch: Any) -> tuple[Tensor, ...] | None:
    """What a method takes, for the first clip, window or video; None for an unknown batch."""
    match batch:
        case ClipBatch():
            return (batch.video[:1],)
        case SegmentBatch():
            return batch.video[:1], batch.mask[:1]
        case CaptionBatch():
            return batch.video[:1], batch.video_mask[:1]
    return None


def count_multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of one forward pass in eval mode, half of what FLOPs count.

    Nothing is computed and nothing allocated: the pass runs on tensors that have a shape, a type
    and a device but no content, so that the whole window of a detector is counted on any machine.

    Args:
        network: Any module; modes, gradients and random state are left as they were.
        *inputs: What it takes, such as ``[B, T, C, H, W]``; the count is for the whole batch.
    """
    counter = FlopCounterMode(display=False)
    # Plain attributes of modules, such as kept text embeddings, join in as they are.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    # Fused attention hides from the counter: on the CPU it counts as nothing, and a fused encoder
    # layer in eval mode bypasses it altogether.
    guards = _untouched(network), _no_fast_path(), sdpa_kernel(SDPBackend.MATH)
    with contextlib.ExitStack() as stack, torch.inference_mode(False), torch.no_grad():
        for guard in (*guards, fake, counter):
            stack.enter_context(guard)
        named = chain(network.named_parameters(), network.named_buffers())
        weights = {name: _empty(tensor) for name, tensor in named}
        # A module that lies in two places would get back what it was lent for the other one.
        functional_call(network, weights, tuple(map(_empty, inputs)), tie_weights=False)
    return int(counter.get_total_flops()) // 2


def _empty(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


@contextlib.contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """Eval mode inside; behind it every module has the attributes that it had before.

    A module that keeps something it computed would otherwise keep a tensor without content.
    """
    before = {module: dict(vars(module)) for module in network.modules()}
    for module in before:
        module.training = False
    try:
        yield
    finally:
        for module, attributes in before.items():
            vars(module).clear()
            vars(module).update(attributes)


@contextlib.contextmanager
def _no_fast_path() -> Iterator[None]:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


class _StepClock:
    """Duration of steps; on a GPU by events, so that no step waits for the device."""

    def __init__(self) -> None:
        self._began_s: list[float] = []
        self._ended_s: list[float] = []
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self, device: torch.device) -> None:
        if device.type == "cuda":
            pair = tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))
            pair[0].record()
            self._events.append((pair[0], pair[1]))
        else:
            self._began_s.append(time.perf_counter())

    def stop(self, device: torch.device) -> None:
        if device.type == "cuda":
            self._events[-1][1].record()
        else:
            self._ended_s.append(time.perf_counter())

    def median_ms(self) -> float:
        if self._events:
            self._events[-1][1].synchronize()
        steps = [began.elapsed_time(ended) for began, ended in self._events]
        pairs = zip(self._began_s, self._ended_s, strict=False)
        steps += [1000 * (ended - began) for began, ended in pairs]
        return statistics.median(steps) if steps else float("nan")


class _FetchClock(Profiler):
    """Hands everything on to the trainer's own profiler; adds up the time spent fetching."""

    def __init__(self, inner: Profiler) -> None:
        super().__init__()
        self.inner = inner
        self.waited_s = 0.0
        self._began_s = 0.0

    def start(self, action_name: str) -> None:
        self.inner.start(action_name)
        if action_name.endswith(".train_dataloader_next"):
            self._began_s = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(".train_dataloader_next"):
            self.waited_s += time.perf_counter() - self._began_s
        self.inner.stop(action_name)

    def summary(self) -> str:
        return self.inner.summary()

    def describe(self) -> None:
        self.inner.describe()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        self.inner.setup(stage, local_rank, log_dir)

    def teardown(self, stage: str | None) -> None:
        self.inner.teardown(stage)
