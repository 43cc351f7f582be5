"""Time and memory of ranking all pairs of a retrieval test set, beside sorting the matrix twice."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.metrics import FeatureScores, MatrixScores, count_wrong

_PAIRS, _WIDTH, _ROUNDS = 10_000, 512, 3


class RankingRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: What was done, in both directions.
        cpu_seconds: CPU time, the best of several rounds; of the sorts, one.
        megabytes: Most memory above the features, or above the matrix where that is given.
    """

    name: str
    cpu_seconds: float
    megabytes: float


def run() -> list[RankingRow]:
    """Measure on one thread, each way of ranking in a process of its own."""
    return [_in_own_process(name) for name in WAYS]


def render(rows: Sequence[RankingRow]) -> str:
    """A Markdown table."""
    lines = [
        f"| {_PAIRS:,} captions, {_PAIRS:,} videos, both directions | CPU s | of the sorts | MB |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.cpu_seconds:.2f} | 1/{rows[-1].cpu_seconds / row.cpu_seconds:.0f} "
        f"| {row.megabytes:.0f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _places_from_features(text: Tensor, video: Tensor) -> Callable[[], object]:
    return lambda: count_wrong(FeatureScores(text, video), torch.arange(len(text)))


def _places_from_matrix(text: Tensor, video: Tensor) -> Callable[[], object]:
    scores = MatrixScores(text @ video.T)
    return lambda: count_wrong(scores, torch.arange(len(text)))


def _two_sorts(text: Tensor, video: Tensor) -> Callable[[], object]:
    matrix = text @ video.T
    return lambda: (sorted_places(matrix), sorted_places(matrix.T))


def sorted_places(matrix: Tensor) -> Tensor:
    """Place of the diagonal in every sorted row, from 0: what sorting is done for ``[Q]``."""
    order = matrix.argsort(dim=1, descending=True)
    return (order == torch.arange(len(matrix))[:, None]).int().argmax(dim=1)


WAYS = {
    "places from features, products included": _places_from_features,
    "places from a matrix": _places_from_matrix,
    "two full sorts of a matrix": _two_sorts,
}


def measure(name: str, *, pairs: int = _PAIRS) -> RankingRow:
    """Rank one way; memory is right in a fresh process only."""
    noise = torch.Generator().manual_seed(0)
    text, video = F.normalize(torch.randn(2, pairs, _WIDTH, generator=noise), dim=2)
    WAYS[name](text[:64], video[:64])()  # what is loaded or set up at first use
    work = WAYS[name](text, video)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the preparations
    before = _memory("VmRSS")
    rounds = 1 if WAYS[name] is _two_sorts else _ROUNDS
    seconds = min(_cpu_seconds(work) for _ in range(rounds))
    return RankingRow(name, seconds, (_memory("VmHWM") - before) / 1e6)


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _memory(field: str) -> int:
    """Bytes that this program occupies (``VmRSS``) or did at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kilobytes) * 1024


def _in_own_process(name: str) -> RankingRow:
    command = [sys.executable, "-m", __name__, name]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return RankingRow(**json.loads(answer.stdout.splitlines()[-1]))


def main() -> None:
    """Measure one way, named on the command line, and print its row as JSON."""
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(measure(sys.argv[1])._asdict()) + "\n")


if __name__ == "__main__":
    main()
