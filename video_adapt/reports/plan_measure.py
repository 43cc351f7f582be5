"""The memory and the time of one real training step, in a process of its own."""

import argparse
import gc
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from lightning.pytorch import seed_everything
from torch.profiler import ProfilerActivity, profile

from video_adapt.apps.plan_experiment import Experiment, Regime
from video_adapt.callbacks.gpu_memory import peak_rss, reset_peak_rss
from video_adapt.errors import ConfigurationError

from .plan_batches import from_features, random_batch
from .plan_step import Precision, TrainingStep, map_tensors, modules_of, tensors_of, timed

_ERROR = "video-adapt: error: "
_OUT_OF_MEMORY = 3


class Measured(NamedTuple):
    """What a step really took.

    Attributes:
        allocated: Most bytes of tensors that were alive at once.
        process: On a GPU what its allocator reserved; else how far the process grew, with what
            libraries keep for themselves.
        seconds: Median time of a step.
        filling_s: Time of a step that fills the caches of teachers; None where there are none.
    """

    allocated: int
    process: int
    seconds: float
    filling_s: float | None = None


def measure_apart(
    experiment: Experiment, regime: Regime, *, batch_size: int, device: str, steps: int = 2
) -> Measured | None:
    """Measure in a fresh process, so that nothing of another model counts.

    Args:
        experiment: The file and the words behind it.
        regime: Which way to train.
        batch_size: Samples of the step.
        device: ``cpu`` or ``cuda``.
        steps: Steps that are timed, after one that is not.

    Returns:
        None where the device's memory did not suffice.

    Raises:
        ConfigurationError: If the step cannot be taken.
    """
    words = [str(experiment.path), str(batch_size), device, str(steps), *regime.words]
    words += [*experiment.words, f"--classes={len(experiment.class_names)}"]
    words += ["--cached"] if regime.cached else []
    answer = subprocess.run(
        [sys.executable, "-m", __name__, *words], capture_output=True, text=True, check=False
    )
    if answer.returncode == _OUT_OF_MEMORY:
        return None
    lines = answer.stderr.strip().splitlines()
    if answer.returncode:
        said = lines[-1].removeprefix(_ERROR) if lines else f"ended with {answer.returncode}"
        raise ConfigurationError(f"{experiment.path}: the measured step failed: {said}")
    return Measured(**json.loads(answer.stdout.splitlines()[-1]))


def measure(
    experiment: Experiment,
    regime: Regime,
    *,
    batch_size: int,
    device: str,
    steps: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Build the method, take steps on random input; to be called in a fresh process.

    Args:
        experiment: The file and the words behind it.
        regime: Which way to train.
        batch_size: Samples of the step.
        device: ``cpu`` or ``cuda``.
        steps: Steps that are timed, after one that is not.
        clock: Tells the time in seconds.
    """
    seed_everything(0, verbose=False)
    before = reset_peak_rss()
    setting = Precision(experiment.precision, device)
    method: Any = experiment.build(regime, content=True)
    for module in modules_of(method):
        module.to(device=device, dtype=setting.dtype)
    batch = random_batch(method, experiment.data(), batch_size, torch.randn)
    batch = map_tensors(lambda tensor: _moved(tensor, device, setting.dtype), batch)
    if regime.cached:
        method, batch = from_features(method, batch)
        method.to(device=device, dtype=setting.dtype)
    step = TrainingStep(method, batch, setting, foreach=device == "cuda")
    step()  # from now on the optimiser has its state
    times = [_timed(step, device, clock) for _ in range(steps)]
    filling_s = None
    if step.caches:
        _forget(step)
        filling_s = _timed(step, device, clock)
        _forget(step)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        allocated, process = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    else:
        process = peak_rss() - before
        allocated = _allocated_on_cpu(step, batch)
    return Measured(allocated, process, statistics.median(times), filling_s)


def _forget(step: TrainingStep) -> None:
    for cache in step.caches:
        cache.forget()


def _allocated_on_cpu(step: TrainingStep, batch: Any) -> int:
    """Most bytes of tensors alive in a step, from torch's record of its allocator."""
    gc.collect()
    # Blocks from before the record began are unknown to it, so the gradients come anew inside.
    step.optimizer.zero_grad(set_to_none=True)
    kept = {t.untyped_storage()._cdata: t.untyped_storage() for t in _standing(step, batch)}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step.make_gradients()
        step()
    return sum(storage.nbytes() for storage in kept.values()) + _highest(record)


def _standing(step: TrainingStep, batch: Any) -> list[torch.Tensor]:
    state = [v for values in step.optimizer.state.values() for v in values.values()]
    return [*step.held(), *tensors_of(batch), *tensors_of(state)]


def _highest(record: Any) -> int:
    """The peak of allocated minus freed bytes over the events of a record."""
    found = record.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in found if e.name() == "[memory]"]
    in_time = sorted(changes, key=lambda change: change[0])
    return max(accumulate(size for _, size in in_time))


def _timed(step: TrainingStep, device: str, clock: Callable[[], float]) -> float:
    gc.collect()
    return timed(step, device, clock)


def _moved(tensor: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    large = tensor.is_floating_point() and tensor.ndim >= 3
    return tensor.to(device=device, dtype=dtype if large else tensor.dtype)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one regime and print what was found as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("batch_size", type=int)
    parser.add_argument("device")
    parser.add_argument("steps", type=int)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--cached", action="store_true")
    args, words = parser.parse_known_args(argv)
    logging.disable()
    experiment = Experiment(args.path, words, classes=args.classes)
    regime = Regime("", (), args.cached)
    try:
        found = measure(
            experiment, regime, batch_size=args.batch_size, device=args.device, steps=args.steps
        )
    except torch.OutOfMemoryError:
        return _OUT_OF_MEMORY
    sys.stdout.write(json.dumps(found._asdict()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
