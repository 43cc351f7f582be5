"""Time and memory of temporally expanded attention, in turns with plain CLIP."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from video_adapt.adapters import ExpandedAttentionBlockAdapter
from video_adapt.backbones import CLIP, BlockAdapter
from video_adapt.backbones.block_adapter import look_plainly

from .bench_step import BACKBONE, FRAMES, timed


class ExpandedRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: What the blocks look at.
        seconds: Median time of forward and backward of all weights; CPU time of one thread on a
            CPU.
        of_plain: Median over rounds of the time as a multiple of plain CLIP's in the same round.
        megabytes: What waits for the backward pass, weights left out.
    """

    name: str
    seconds: float
    of_plain: float
    megabytes: float


class FramesOfZeros(BlockAdapter):
    """The attention as the official code has it: copies of all neighbours, zeros at the borders.

    Args:
        reach: Frames looked at to either side.
    """

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def look(self, queries: Tensor, keys: Tensor, values: Tensor, *, num_frames: int) -> Tensor:
        """Attend over several frames, all ``[B*T, N, heads, D / heads]``."""
        return look_plainly(queries, self._widen(keys, num_frames), self._widen(values, num_frames))

    def _widen(self, part: Tensor, num_frames: int) -> Tensor:
        clips = part.unflatten(0, (-1, num_frames))
        zeros = clips.new_zeros(len(clips), self.reach, *clips.shape[2:])
        padded = torch.cat([zeros, clips, zeros], dim=1)
        shifted = [padded[:, start : start + num_frames] for start in range(2 * self.reach + 1)]
        return torch.cat(shifted, dim=2).flatten(0, 1)


# Name -> what stands in every block; the first is what the others are compared with.
WAYS: dict[str, Callable[[], BlockAdapter]] = {
    "plain CLIP": BlockAdapter,
    "1 frame each way": lambda: ExpandedAttentionBlockAdapter(1),
    "1 frame each way, frames of zeros": lambda: FramesOfZeros(1),
    "2 frames each way": lambda: ExpandedAttentionBlockAdapter(2),
    "3 frames each way": lambda: ExpandedAttentionBlockAdapter(3),
}


def run(*, batch_size: int = 1, rounds: int = 3, device: str = "cpu") -> list[ExpandedRow]:
    """Measure ViT-B/16 on clips of 8 frames; on a CPU with one thread.

    Args:
        batch_size: Clips at once.
        rounds: How often every way has its turn, after one that is not counted.
        device: ``cpu`` or ``cuda``.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        backbone = CLIP(BACKBONE, weights=None).to(device)
        backbone.drop_text()
        side = backbone.pixels.image_size
        video = torch.randn(batch_size, FRAMES, 3, side, side, device=device)
        return measure(backbone, video, rounds=rounds)
    finally:
        torch.set_num_threads(threads)


def render(rows: Sequence[ExpandedRow]) -> str:
    """A Markdown table."""
    lines = [
        f"| forward and backward, ViT-B/16, {FRAMES} frames | s | of plain | kept MB | of plain |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.seconds:.2f} | {row.of_plain:.2f} | {row.megabytes:.0f} "
        f"| {row.megabytes / rows[0].megabytes:.2f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def measure(backbone: CLIP, video: Tensor, *, rounds: int) -> list[ExpandedRow]:
    """Give every way its turn, round by round.

    Args:
        backbone: Whose blocks are edited; plain again afterwards.
        video: ``[B, T, C, H, W]``.
        rounds: Rounds counted, after one that is not.
    """
    kept = {}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds + 1):
        for name, build in WAYS.items():
            for block in range(backbone.depth):
                backbone.adapters[str(block)] = build()
            seconds[name].append(_seconds(backbone, video))
            if name not in kept:
                kept[name] = kept_bytes(backbone, video) / 1e6
    backbone.adapters.clear()
    plain = seconds[next(iter(WAYS))]
    return [
        ExpandedRow(
            name,
            statistics.median(taken[1:]),
            statistics.median(a / b for a, b in zip(taken[1:], plain[1:], strict=True)),
            kept[name],
        )
        for name, taken in seconds.items()
    ]


def _seconds(backbone: CLIP, video: Tensor) -> float:
    def step() -> None:
        backbone.zero_grad()
        backbone(video).embedding.square().sum().backward()

    if video.is_cuda:
        return timed(step, "cuda")
    began = time.process_time()
    step()
    return time.process_time() - began


def kept_bytes(backbone: CLIP, video: Tensor) -> int:
    """Bytes that a forward pass leaves for the backward pass, weights and pixels left out."""
    known = {tensor.untyped_storage().data_ptr() for tensor in [video, *backbone.parameters()]}
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    def give(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, give):
        features = backbone(video)  # alive, so that no place in memory is used twice
    del features
    return sum(size for place, size in found.items() if place not in known)
