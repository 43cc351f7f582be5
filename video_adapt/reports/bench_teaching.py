"""A training step of TeachCLIP's student taught by three from caches, in turns with no teacher.

Both are the same model with the same optimiser: whatever differs is the teaching.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import seed_everything

from video_adapt.backbones import CLIP
from video_adapt.batches import CaptionBatch
from video_adapt.methods import TeachCLIP
from video_adapt.methods.teachclip import Taught
from video_adapt.retrieval.teachers import XCLIP, FeatureTeacher, TS2Net, XPool
from video_adapt.tasks import BertCosine, RetrievalOptimizerSpec

from .bench_step import timed

BACKBONE = "ViT-B-32-quickgelu"
FRAMES, WORDS = 12, 32
RECIPE = RetrievalOptimizerSpec(schedule=BertCosine())
UNTAUGHT, TAUGHT = "untaught", "taught by X-CLIP, TS2-Net and X-Pool, from caches"


class TeachingRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: Who teaches.
        seconds: Median time of a step: forward, backward and AdamW; CPU time on a CPU.
        of_untaught: Median over rounds of the time as a multiple of the untaught student's in the
            same round.
    """

    name: str
    seconds: float
    of_untaught: float


def heads(width: int) -> list[FeatureTeacher]:
    """The three teachers of the paper's best student."""
    return [XCLIP(width, words=WORDS, frames=FRAMES), TS2Net(width), XPool(width)]


def run(*, batch_size: int = 4, rounds: int = 5, device: str = "cpu") -> list[TeachingRow]:
    """Measure a student of ViT-B/32 on clips of 12 frames; on a CPU with one thread.

    Args:
        batch_size: Pairs of a step.
        rounds: How often both have their turn, after one that fills the caches.
        device: ``cpu`` or ``cuda``.
    """
    seed_everything(0, verbose=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(batch_size, rounds, device)
    finally:
        torch.set_num_threads(threads)


def _measure(batch_size: int, rounds: int, device: str) -> list[TeachingRow]:
    method: Any = TeachCLIP(CLIP(BACKBONE, weights=None), optimizer=RECIPE)
    method.to(device).train()
    method.log = lambda *args, **kwargs: None  # there is no trainer to log to
    optimizer = torch.optim.AdamW(method.parameter_groups(RECIPE))
    batch = _batch(method.backbone, batch_size, device)
    with tempfile.TemporaryDirectory() as folder:
        taught = _teachers(Path(folder), device)
        ways = {UNTAUGHT: (), TAUGHT: taught}

        def step(teachers: tuple[Taught, ...]) -> None:
            method.teachers = teachers
            optimizer.zero_grad()
            method.training_step(batch, 0).backward()
            optimizer.step()

        times = [_round(ways, step, device) for _ in range(rounds + 1)][1:]
    return [_row(name, times) for name in ways]


def _teachers(folder: Path, device: str) -> tuple[Taught, ...]:
    towers = CLIP(BACKBONE, weights=None)  # random ones say as much, and all can share them
    found = []
    for head in heads(towers.embed_dim):
        teacher = Taught(head, backbone=towers, cache=folder).to(device)
        teacher.open_cache({"frames": FRAMES, "words": WORDS})
        found.append(teacher)
    return tuple(found)


def _batch(backbone: CLIP, size: int, device: str) -> CaptionBatch:
    side, end = backbone.pixels.image_size, backbone.text.vocab_size - 1
    tokens = torch.randint(1, end, (size, WORDS))
    tokens[:, -1] = end
    rows = torch.arange(size)
    video = torch.randn(size, FRAMES, 3, side, side)
    mask = torch.ones(size, FRAMES, dtype=torch.bool)
    parts = (video, mask, tokens, rows, rows, rows)
    return CaptionBatch(*(part.to(device) for part in parts))


def _round(
    ways: dict[str, tuple[Taught, ...]], step: Callable[[tuple[Taught, ...]], None], device: str
) -> dict[str, float]:
    seconds = {}
    for name, teachers in ways.items():
        start = time.process_time()
        on_the_clock = timed(partial(step, teachers), device)
        # Other programs on the machine lengthen the time on the clock only.
        seconds[name] = on_the_clock if device == "cuda" else time.process_time() - start
    return seconds


def _row(name: str, times: list[dict[str, float]]) -> TeachingRow:
    shares = [taken[name] / taken[UNTAUGHT] for taken in times]
    return TeachingRow(
        name, statistics.median(taken[name] for taken in times), statistics.median(shares)
    )


def render(rows: list[TeachingRow]) -> str:
    """A Markdown table."""
    lines = [
        f"| student's training step, {BACKBONE}, {FRAMES} frames | seconds | of untaught |",
        "|---|---|---|",
    ]
    lines += [f"| {row.name} | {row.seconds:.2f} | {row.of_untaught:.3f} |" for row in rows]
    return "\n".join(lines) + "\n"
