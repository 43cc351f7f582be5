"""What each index of 100,000 vectors finds, and what it costs: speed, memory, disk."""

import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from video_adapt.retrieval import Backend, Entry, Hits, Index, create_index, open_index
from video_adapt.retrieval.index_vectors import Precision

from .plots import bars

VECTORS, WIDTH, QUERIES, HITS = 100_000, 512, 200, 10
_CENTRES, _SPREAD = 2000, 0.9
_ADDED_AT_ONCE = 10_000
_CHECKPOINT = "bench"

logger = logging.getLogger(__name__)


class Way(NamedTuple):
    """One kind of index.

    Attributes:
        backend: What searches.
        precision: How vectors are stored.
        package: What must be installed.
    """

    backend: Backend
    precision: Precision
    package: str


WAYS = {
    "torch float32": Way("torch", "float32", "torch"),
    "torch float16": Way("torch", "float16", "torch"),
    "torch int8": Way("torch", "int8", "torch"),
    "faiss IVF,SQ8 + float16": Way("faiss", "float16", "faiss"),
    "faiss IVF,SQ8 + int8": Way("faiss", "int8", "faiss"),
    "lancedb IVF_FLAT float16": Way("lancedb", "float16", "lancedb"),
}


class IndexRow(NamedTuple):
    """One line of the table.

    Attributes:
        name: Which index.
        recall: Share of the exact 10 nearest that are found.
        milliseconds: Wall time of a query alone, the median.
        cpu_milliseconds: CPU time of a query alone in all threads, the mean.
        per_second: Queries a second, all of them in one call.
        megabytes: Most memory that opening and searching took above the program itself.
        disk_megabytes: Size of the folder.
        build_seconds: Wall time of adding everything, 10,000 at a time.
    """

    name: str
    recall: float
    milliseconds: float
    cpu_milliseconds: float
    per_second: float
    megabytes: float
    disk_megabytes: float
    build_seconds: float


def run() -> list[IndexRow]:
    """Build and search, each index in processes of its own; what is not installed is left out."""
    missing = [way.package for way in WAYS.values() if not _installed(way)]
    if missing:
        logger.warning("not installed: %s; pip install video_adapt[index]", ", ".join(missing))
    names = [name for name, way in WAYS.items() if _installed(way)]
    return [_measured(name) for name in track(names, "indexing", console=Console(stderr=True))]


def render(rows: Sequence[IndexRow]) -> str:
    """A Markdown table."""
    columns = (
        *(f"recall@{HITS}", "ms a query", "its CPU ms", f"queries/s, {QUERIES} at once"),
        *("memory MB", "disk MB", "build s"),
    )
    lines = [
        f"| {VECTORS:,} vectors of {WIDTH} | {' | '.join(columns)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    lines += [
        f"| {row.name} | {row.recall:.3f} | {row.milliseconds:.1f} "
        f"| {row.cpu_milliseconds:.1f} | {row.per_second:.0f} "
        f"| {row.megabytes:.0f} | {row.disk_megabytes:.0f} | {row.build_seconds:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[IndexRow]) -> Figure:
    """Recall, speed and size as bars."""
    panels = {
        f"recall@{HITS}": [row.recall for row in rows],
        "CPU ms a query": [row.cpu_milliseconds for row in rows],
        "memory, MB": [row.megabytes for row in rows],
        "disk, MB": [row.disk_megabytes for row in rows],
    }
    return bars([row.name for row in rows], panels)


def clustered(vectors: int, queries: int, *, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    """Unit vectors around common centres, as embeddings of videos are, and queries among them."""
    noise = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(_CENTRES, width, generator=noise), dim=1)
    total = vectors + queries
    nearest = torch.randint(_CENTRES, (total,), generator=noise)
    away = F.normalize(torch.randn(total, width, generator=noise), dim=1)
    made = F.normalize(centres[nearest] + _SPREAD * away, dim=1)
    return made[:vectors], made[vectors:]


def build(name: str, folder: Path, *, vectors: int = VECTORS) -> float:
    """Fill an index; returns the seconds it took."""
    way = WAYS[name]
    stored, _ = clustered(vectors, QUERIES)
    began = time.perf_counter()
    index = create_index(
        folder, checkpoint=_CHECKPOINT, width=WIDTH, precision=way.precision, backend=way.backend
    )
    for rows in torch.arange(vectors).split(_ADDED_AT_ONCE):
        entries = [Entry(f"/videos/{row}.mp4", 0.0, 10.0) for row in rows.tolist()]
        index.add([str(row) for row in rows.tolist()], stored[rows], entries)
    return time.perf_counter() - began


def search(name: str, folder: Path, *, vectors: int = VECTORS) -> IndexRow:
    """Open and search; memory is right in a fresh process only."""
    stored, queries = clustered(vectors, QUERIES)
    nearest = (queries @ stored.T).topk(HITS).indices
    del stored
    # The library belongs to the program; what it holds for this index does not.
    importlib.import_module(WAYS[name].package)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the preparations
    before = _memory("VmRSS")
    index = open_index(folder, checkpoint=_CHECKPOINT)
    index.search(queries[:1], HITS)
    cpu_before = time.process_time()
    alone = [_seconds(index, query[None])[0] for query in queries]
    cpu_seconds = (time.process_time() - cpu_before) / len(alone)
    seconds, hits = _seconds(index, queries)
    found = torch.tensor([[int(name) for name in ids] for ids in hits.ids])
    return IndexRow(
        name,
        recall=float((found[:, :, None] == nearest[:, None]).any(dim=2).float().mean()),
        milliseconds=1000 * float(torch.tensor(alone).median()),
        cpu_milliseconds=1000 * cpu_seconds,
        per_second=len(queries) / seconds,
        megabytes=(_memory("VmHWM") - before) / 1e6,
        disk_megabytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6,
        build_seconds=0.0,
    )


def _seconds(index: Index, queries: Tensor) -> tuple[float, Hits]:
    began = time.perf_counter()
    hits = index.search(queries, HITS)
    return time.perf_counter() - began, hits


def _installed(way: Way) -> bool:
    return importlib.util.find_spec(way.package) is not None


def _memory(field: str) -> int:
    """Bytes that this program occupies (``VmRSS``) or did at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kilobytes) * 1024


def _measured(name: str) -> IndexRow:
    with tempfile.TemporaryDirectory() as folder:
        seconds = _in_own_process("build", name, folder)
        row = IndexRow(**_in_own_process("search", name, folder))
        return row._replace(build_seconds=seconds)


def _in_own_process(step: str, name: str, folder: str) -> Any:
    command = [sys.executable, "-m", __name__, step, name, folder]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    """Build or search one index, named on the command line, and print what it took as JSON."""
    step, name, folder = sys.argv[1:]
    done = build(name, Path(folder)) if step == "build" else search(name, Path(folder))._asdict()
    sys.stdout.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    main()
