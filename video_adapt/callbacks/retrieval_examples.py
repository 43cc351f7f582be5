"""Some captions with the videos that they find, for whoever wants to see them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from video_adapt.metrics import RetrievalResult

from .evaluation import Clip

MOST_QUERIES = 8


@dataclass(frozen=True)
class Query:
    """A caption and what it finds.

    Args:
        caption: What it says.
        video: Name of its own video.
        rank: Place of that one, from 1.
        top: Names of the videos that it finds first, best first.
    """

    caption: str
    video: str
    rank: float
    top: tuple[str, ...]


def spread_by_rank(rank: NDArray[np.float64]) -> list[int]:
    """Numbers of a few captions from the best placed to the worst, evenly by their order."""
    order = np.argsort(rank, kind="stable")
    places = np.linspace(0, len(order) - 1, min(MOST_QUERIES, len(order))).round().astype(int)
    return [int(number) for number in order[places]]


def example_queries(
    result: RetrievalResult,
    top_videos: NDArray[np.int64],
    captions: Sequence[str],
    video_names: Sequence[str],
) -> list[Query]:
    """A few captions from the best placed to the worst.

    Args:
        result: What was measured.
        top_videos: ``video_id`` of what each caption finds first, best first, ``[Q, k]``.
        captions: Text of every caption, by its id.
        video_names: Name of every video, by its id.
    """
    if result.plain.t2v is None:
        return []
    ranking = result.plain.t2v.ranking
    return [
        Query(
            captions[result.caption_id[ranking.query[line]]],
            video_names[result.video_id[ranking.video[line]]],
            float(ranking.rank[line]),
            tuple(video_names[video] for video in top_videos[ranking.query[line]]),
        )
        for line in spread_by_rank(ranking.rank)
    ]


def clips_of(data: Any, stage: str) -> dict[str, Clip]:
    """Where the videos of a stage lie, by name; nothing if the data module does not tell."""
    if not hasattr(data, "manifest"):
        return {}
    entries = data.manifest(stage).entries
    clips = [Clip(entry.path, entry.start_s, entry.end_s) for entry in entries]
    return dict(zip(data.video_names(stage), clips, strict=True))


def write_examples(path: Path, queries: Sequence[Query], clips: dict[str, Clip]) -> None:
    """Write captions, what they find, and where those videos lie, as JSON."""
    named = {name for query in queries for name in (query.video, *query.top)}
    found = {name: clips[name]._asdict() for name in sorted(named & clips.keys())}
    content = {"queries": [asdict(query) for query in queries], "clips": found}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_examples(path: Path) -> tuple[list[Query], dict[str, Clip]]:
    """Read back what :func:`write_examples` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    queries = [Query(**{**row, "top": tuple(row["top"])}) for row in content["queries"]]
    return queries, {name: Clip(**clip) for name, clip in content["clips"].items()}
