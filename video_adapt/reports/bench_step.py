"""A training step of each method at real size, each in a process of its own, side by side."""

import argparse
import gc
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, seed_everything
from torch import Tensor

from video_adapt.adapters import STAdapter
from video_adapt.backbones import CLIP
from video_adapt.baselines import EVL, TunedClassifier
from video_adapt.batches import ClipBatch
from video_adapt.methods import DiST
from video_adapt.tasks import OptimizerSpec

BACKBONE = "ViT-B-16-quickgelu"
FRAMES = 8
CLASSES = [f"class {i}" for i in range(16)]
RECIPE = OptimizerSpec(lr=1e-4)
# Otherwise the C library keeps freed blocks, and the peak is that of its hoard.
HONEST_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
REFERENCE = "full fine-tuning, 8 frames"


class StepRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: What was measured.
        seconds: Median time of a step: forward, backward and AdamW.
        cpu_seconds: Median time of all threads of the process in a step; unlike the other it
            does not grow where other programs use the machine.
        megabytes: Peak memory above the imports (on CUDA: peak allocated).
        trained: Number of trained parameters, in millions.
    """

    name: str
    seconds: float
    cpu_seconds: float
    megabytes: float
    trained: float


def _dist(backbone: CLIP) -> LightningModule:
    return DiST(backbone, class_names=CLASSES, optimizer=RECIPE, num_frames=2 * FRAMES)


def _full(backbone: CLIP) -> LightningModule:
    return TunedClassifier(
        backbone,
        class_names=CLASSES,
        optimizer=RECIPE,
        tuning="full",
        readout="embedding",
        head="text",
    )


def _probe(backbone: CLIP) -> LightningModule:
    return TunedClassifier(backbone, class_names=CLASSES, optimizer=RECIPE)


def _evl(backbone: CLIP) -> LightningModule:
    return EVL(backbone, class_names=CLASSES, optimizer=RECIPE, num_frames=FRAMES)


def _st_adapter(backbone: CLIP) -> LightningModule:
    return TunedClassifier(
        backbone,
        class_names=CLASSES,
        optimizer=RECIPE,
        tuning="adapter",
        adapter=STAdapter(),
        readout="mean_then_norm",
    )


# Name -> frames of a clip, how the method is built; None is the bare frozen tower.
CONTENDERS: dict[str, tuple[int, Callable[[CLIP], LightningModule] | None]] = {
    "frozen tower, forward only, 8 frames": (FRAMES, None),
    REFERENCE: (FRAMES, _full),
    "DiST, 8+16 frames": (2 * FRAMES, _dist),
    "linear probe, 8 frames": (FRAMES, _probe),
    "EVL, 8 frames": (FRAMES, _evl),
    "ST-Adapter, 8 frames": (FRAMES, _st_adapter),
}


def run(*, batch_size: int = 2, steps: int = 5, device: str = "cpu") -> list[StepRow]:
    """Measure every contender, one after the other.

    Time and memory come from processes of their own: a C library that gives every block back has
    to have it filled with zeros again, which costs whoever keeps many of them a quarter more time.

    Args:
        batch_size: Clips per step.
        steps: Steps measured, after one that is not.
        device: ``cpu`` or ``cuda``.
    """
    rows = []
    for name in CONTENDERS:
        words = (name, "--batch-size", batch_size, "--device", device, "--steps")
        row = _in_own_process(*words, steps)
        if device == "cpu":
            row = row._replace(megabytes=_in_own_process(*words, 1, env=HONEST_MALLOC).megabytes)
        rows.append(row)
    return rows


def _in_own_process(*words: object, env: Mapping[str, str] | None = None) -> StepRow:
    answer = subprocess.run(
        [sys.executable, "-m", __name__, *map(str, words)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    return StepRow(**json.loads(answer.stdout.splitlines()[-1]))


def measure(name: str, *, batch_size: int, steps: int, device: str) -> StepRow:
    """Build one contender and time its steps; to be called in a fresh process."""
    seed_everything(0, verbose=False)
    imported = resident_bytes()
    backbone = CLIP(BACKBONE, weights=None).to(device)
    frames, build = CONTENDERS[name]
    size = backbone.pixels.image_size
    video = torch.randn(batch_size, frames, 3, size, size, device=device)
    step, trained = _bare(backbone, video) if build is None else _training(build(backbone), video)
    times = [_timed_twice(step, device) for _ in range(steps + 1)][1:]
    seconds, cpu_seconds = (statistics.median(column) for column in zip(*times, strict=True))
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - imported
    return StepRow(name, seconds, cpu_seconds, peak / 1e6, trained / 1e6)


def _timed_twice(step: Callable[[], Any], device: str) -> tuple[float, float]:
    """Seconds on the clock and of all threads."""
    start = time.process_time()
    return timed(step, device), time.process_time() - start


def _bare(backbone: CLIP, video: Tensor) -> tuple[Callable[[], Any], int]:
    backbone.eval()
    return torch.no_grad()(lambda: backbone(video)), 0


def _training(method: Any, video: Tensor) -> tuple[Callable[[], Any], int]:
    method.to(video.device).train()
    method.log = lambda *args, **kwargs: None  # there is no trainer to log to
    optimizer = torch.optim.AdamW(method.parameter_groups(RECIPE))
    zero = torch.zeros(len(video), dtype=torch.long, device=video.device)
    batch = ClipBatch(video, zero, None, zero, zero)

    def step() -> None:
        optimizer.zero_grad()
        method.training_step(batch, 0).backward()
        optimizer.step()

    return step, method.parameter_count().trained


def timed(step: Callable[[], Any], device: str) -> float:
    """Seconds that a call takes, including what it left to the device."""
    gc.collect()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def resident_bytes() -> int:
    """Memory that this process occupies now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def main() -> None:
    """Measure one contender and print its row as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=list(CONTENDERS))
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    logging.disable()
    row = measure(args.name, batch_size=args.batch_size, steps=args.steps, device=args.device)
    sys.stdout.write(json.dumps(row._asdict()) + "\n")


if __name__ == "__main__":
    main()
