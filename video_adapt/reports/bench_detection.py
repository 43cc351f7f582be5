"""Time and memory of one training step on a long video, by what trains in the backbone."""

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import seed_everything
from torch import Tensor

from video_adapt.adapters import TIA, inject
from video_adapt.backbones import VideoMAE
from video_adapt.backbones.videomae_run import Recompute
from video_adapt.tasks import FrozenBackboneMixin, Tuning

from .bench_step import HONEST_MALLOC, resident_bytes, timed

REFERENCE = "frozen, forward only"


class Contender(NamedTuple):
    """One way to train.

    Attributes:
        tuning: What trains inside the backbone.
        recompute: Whether blocks are computed anew in the backward pass.
        lengths: Lengths of the video at which it is measured, as multiples of the shortest.
    """

    tuning: Tuning
    recompute: Recompute
    lengths: tuple[int, ...]


CONTENDERS = {
    REFERENCE: Contender("frozen", "auto", (1, 4)),
    "side": Contender("side", "auto", (1, 4)),
    "adapter": Contender("adapter", "auto", (1, 4)),
    "adapter, nothing recomputed": Contender("adapter", "never", (1,)),
    "full": Contender("full", "auto", (1,)),
}


class MemoryRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: What was measured.
        chunks: Length of the video in chunks of sixteen frames.
        forward_s: Seconds of the forward pass.
        backward_s: Seconds of the backward pass.
        megabytes: Peak memory above the loaded model; on CUDA, of tensors.
        trained: Number of trained parameters, in millions.
    """

    name: str
    chunks: int
    forward_s: float
    backward_s: float
    megabytes: float
    trained: float


class _Encoder(FrozenBackboneMixin):
    def __init__(self, backbone: VideoMAE, tuning: Tuning) -> None:
        super().__init__()
        if tuning in ("adapter", "side"):
            # As published: adapters inside all blocks, or beside those of the second half.
            last = backbone.depth // 2 if tuning == "side" else None
            inject(backbone, TIA(last_blocks=last))
        self.backbone = backbone
        self.freeze_backbone(tuning)


def run(
    *, size: str = "base", image_size: int = 160, chunks: int = 4, device: str = "cpu"
) -> list[MemoryRow]:
    """Measure every contender, each in a process of its own, one after the other.

    Args:
        size: Size of VideoMAE.
        image_size: Side of the frames in pixels.
        chunks: Length of the shortest video in chunks of sixteen frames.
        device: ``cpu`` (float32) or ``cuda`` (bfloat16).
    """
    rows = []
    for name, contender in CONTENDERS.items():
        for length in contender.lengths:
            options = {
                "--size": size,
                "--image-size": image_size,
                "--chunks": chunks * length,
                "--device": device,
            }
            words = [str(word) for option in options.items() for word in option]
            answer = subprocess.run(
                [sys.executable, "-m", __name__, name, *words],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | HONEST_MALLOC,
            )
            rows.append(MemoryRow(**json.loads(answer.stdout.splitlines()[-1])))
    return rows


def measure(name: str, *, size: str, image_size: int, chunks: int, device: str) -> MemoryRow:
    """Build one contender and run one step; to be called in a fresh process."""
    seed_everything(0, verbose=False)
    contender = CONTENDERS[name]
    backbone = VideoMAE(size, None, image_size=image_size, recompute=contender.recompute)
    method = _Encoder(backbone, contender.tuning).to(device).train()
    loaded = _forget_peak(device)
    video = torch.randn(1, chunks * 16, 3, image_size, image_size, device=device)
    found: list[Tensor] = []

    def forward() -> None:
        with _precision(device):
            found.append(method.encode_sequence(video).float().square().mean())

    forward_s = timed(forward, device)
    backward_s = timed(found[0].backward, device) if found[0].requires_grad else 0.0
    grown = _peak_bytes(device) - loaded
    trained = method.parameter_count().trained
    return MemoryRow(name, chunks, forward_s, backward_s, grown / 1e6, trained / 1e6)


def render(rows: Sequence[MemoryRow], *, title: str) -> str:
    """A Markdown table; memory also as a share of the frozen model's on the same video."""
    frozen = {row.chunks: row.megabytes for row in rows if row.name == REFERENCE}
    lines = [
        f"| {title} | chunks of 16 | forward s | backward s | memory MB | of frozen | trained M |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.chunks} | {row.forward_s:.2f} | {row.backward_s:.2f} "
        f"| {row.megabytes:.0f} | {row.megabytes / frozen[row.chunks]:.2f} | {row.trained:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _precision(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16) if device == "cuda" else nullcontext()


def _forget_peak(device: str) -> int:
    """Start the peak anew; bytes in use now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # building left a peak of its own
    return resident_bytes()


def _peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(kilobytes) * 1024


def main() -> None:
    """Measure one contender and print its row as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=list(CONTENDERS))
    parser.add_argument("--size", default="base")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    logging.disable()
    sys.stdout.write(json.dumps(measure(**vars(args))._asdict()) + "\n")


if __name__ == "__main__":
    main()
