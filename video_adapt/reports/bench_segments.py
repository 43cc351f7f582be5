"""Time of measuring and suppressing detected segments, beside the obvious loop."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from video_adapt.metrics import Detections, GroundTruth, detection_map
from video_adapt.segments import segment_iou, soft_nms

_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
_ROUNDS = 5


class SegmentRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: What was done.
        seconds: Best wall time of several rounds.
        loop: Wall time of a loop over segments in Python that does the same; None = not measured.
    """

    name: str
    seconds: float
    loop: float | None


def run() -> list[SegmentRow]:
    """Measure at the sizes of a THUMOS-14 test video and test set."""
    given = random_segments(12_000, classes=20, seconds=600.0)
    found, events = random_detections(40_000, videos=200, classes=20)
    return [
        SegmentRow(
            "soft-NMS, 12,000 segments, 20 classes, 2,000 kept",
            _best(lambda: soft_nms(*given, sigma=0.7, limit=2000)),
            _once(lambda: soft_nms_loop(*given, sigma=0.7, limit=2000)),
        ),
        SegmentRow(
            "mAP, 40,000 detections, 200 videos, 20 classes, 5 thresholds",
            _best(lambda: detection_map(found, events, _THRESHOLDS)),
            None,
        ),
    ]


def render(rows: Sequence[SegmentRow]) -> str:
    """A Markdown table."""
    lines = ["| segments | ms | Python loop, ms |", "|---|---|---|"]
    lines += [
        f"| {row.name} | {1000 * row.seconds:.0f} "
        f"| {'' if row.loop is None else f'{1000 * row.loop:.0f}'} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def random_segments(
    count: int, *, classes: int, seconds: float, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Segments ``[S, 2]``, scores and labels ``[S]``, uniformly at random."""
    noise = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, generator=noise) * seconds
    half = torch.rand(count, generator=noise) * 10
    segments = torch.stack([centre - half, centre + half], dim=1)
    scores = torch.rand(count, generator=noise)
    return segments, scores, torch.randint(classes, (count,), generator=noise)


def random_detections(
    count: int, *, videos: int, classes: int, seed: int = 0
) -> tuple[Detections, GroundTruth]:
    """Events, and detections of which half lie near one of them."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 200, (videos * 15, 1))
    truth = np.concatenate([start, start + rng.uniform(1, 10, start.shape)], axis=1)
    events = GroundTruth(
        np.repeat(np.arange(videos), 15), truth, rng.integers(classes, size=len(truth))
    )
    chosen = rng.integers(len(truth), size=count)
    near = rng.random((count, 1)) < 0.5
    moved = truth[chosen] + np.where(near, rng.normal(0, 0.5, (count, 2)), rng.uniform(-50, 50))
    segments = np.sort(moved, axis=1)
    found = Detections(events.video_id[chosen], segments, rng.random(count), events.label[chosen])
    return found, events


def soft_nms_loop(
    segments: Tensor, scores: Tensor, labels: Tensor, *, sigma: float, limit: int
) -> list[int]:
    """Gaussian soft-NMS as one writes it first: the best one, then decay its class, and again."""
    left = scores.clone()
    kept = []
    for _ in range(limit):
        best = int(left.argmax())
        kept.append(best)
        overlap = segment_iou(segments[best], segments)
        left = torch.where(labels == labels[best], left * torch.exp(-(overlap**2) / sigma), left)
        left[best] = -1.0
    return kept


def _best(work: Callable[[], object]) -> float:
    return min(_once(work) for _ in range(_ROUNDS))


def _once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
