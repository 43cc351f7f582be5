"""A training step of FROSTER with its teacher, in turns with the same step without one.

Both are the same model with the same optimiser: whatever differs is the teacher, whose text was
read before, as in every step of a run but the first few.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from lightning.pytorch import seed_everything

from video_adapt.adapters import ExpandedAttention
from video_adapt.backbones import CLIP
from video_adapt.batches import ClipBatch
from video_adapt.methods import FROSTER
from video_adapt.tasks import OpenVocabularyOptimizerSpec, PlateauCosine, Prompts
from video_adapt.tasks.prompts import TEMPLATES
from video_adapt.vocabulary import Vocabulary

from .bench_step import BACKBONE, FRAMES, timed

RECIPE = OpenVocabularyOptimizerSpec(schedule=PlateauCosine())
# As many as a step draws, so that the first round reads all that the teacher ever reads.
PROMPTS = Prompts(templates=TEMPLATES[:1])
DESCRIPTION = "A person is doing this with both hands in front of a house while others look on"
UNTAUGHT, TAUGHT = "without a teacher: plain fine-tuning", "FROSTER, the teacher's text kept"


class FrosterRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: What was measured.
        seconds: Median time of a step: forward, backward and AdamW; CPU time on a CPU.
        teacher: Median over rounds of the teacher's share of a step.
    """

    name: str
    seconds: float
    teacher: float


def run(
    *, batch_size: int = 1, classes: int = 8, rounds: int = 3, device: str = "cpu"
) -> list[FrosterRow]:
    """Measure ViT-B/16 on clips of 8 frames; on a CPU with one thread.

    Args:
        batch_size: Clips of a step.
        classes: Training classes; two sentences of each are read by the student.
        rounds: How often both have their turn, after one in which the teacher reads.
        device: ``cpu`` or ``cuda``.
    """
    seed_everything(0, verbose=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(batch_size, classes, rounds, device)
    finally:
        torch.set_num_threads(threads)


def _measure(batch_size: int, classes: int, rounds: int, device: str) -> list[FrosterRow]:
    method = _method(classes).to(device).train()
    side = method.backbone.pixels.image_size
    rows = torch.arange(batch_size, device=device)
    video = torch.randn(batch_size, FRAMES, 3, side, side, device=device)
    batch = ClipBatch(video, rows % classes, None, rows, torch.zeros_like(rows))
    optimizer = torch.optim.AdamW(method.parameter_groups(RECIPE))

    def step() -> None:
        optimizer.zero_grad()
        method.losses(batch, 0)["loss"].backward()
        optimizer.step()

    times = []
    for _ in range(rounds + 1):
        taken = {}
        for name, distillation in ((UNTAUGHT, 0.0), (TAUGHT, 2.0)):
            method.distillation = distillation
            taken[name] = _seconds(step, device)
        times.append(taken)
    return [_row(name, times[1:]) for name in times[0]]


def _method(classes: int) -> Any:
    names = tuple(f"doing number {number}" for number in range(classes))
    method = FROSTER(
        CLIP(BACKBONE, weights=None),
        class_names=names,
        optimizer=RECIPE,
        adapter=ExpandedAttention(),
        prompts=PROMPTS,
    )
    method.vocabulary = Vocabulary("train", names, (DESCRIPTION,) * classes)
    return method


def _seconds(step: Callable[[], None], device: str) -> float:
    start = time.process_time()
    on_the_clock = timed(step, device)
    # Other programs on the machine lengthen the time on the clock only.
    return on_the_clock if device == "cuda" else time.process_time() - start


def _row(name: str, times: list[dict[str, float]]) -> FrosterRow:
    shares = [1 - taken[UNTAUGHT] / taken[name] for taken in times]
    return FrosterRow(
        name, statistics.median(taken[name] for taken in times), statistics.median(shares)
    )


def render(rows: list[FrosterRow]) -> str:
    """A Markdown table."""
    lines = [
        f"| training step, {BACKBONE}, {FRAMES} frames | seconds | teacher's share |",
        "|---|---|---|",
    ]
    lines += [f"| {row.name} | {row.seconds:.2f} | {row.teacher:.1%} |" for row in rows]
    return "\n".join(lines) + "\n"
