"""What a report shows of a run that searched videos by sentences."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from video_adapt.callbacks.evaluation import Clip
from video_adapt.callbacks.retrieval_examples import Query, read_examples
from video_adapt.errors import VideoDecodeError
from video_adapt.metrics import save_figure
from video_adapt.video import VideoReader

from .document import Heading, Part, Picture
from .kind import Figure, Kind
from .ranking_sheet import FoundVideo, RankingRow, plot_rankings
from .runs import Run

logger = logging.getLogger(__name__)

_HEADLINE = "t2v_R@1"
_RANKS, _EXAMPLES = "ranks.csv", "examples.json"
_CURVES = {_HEADLINE: "R@1", "t2v_R@5": "R@5", "t2v_R@10": "R@10"}
_FRAMES, _FRAME_SIDE = 3, 120


def ranking_rows(queries: Sequence[Query], clips: Mapping[str, Clip]) -> list[RankingRow]:
    """Sentences with frames of what they find; videos that are gone have none."""
    frames: dict[str, Tensor | None] = {}
    for name in dict.fromkeys(name for query in queries for name in query.top):
        frames[name] = _frames(clips[name]) if name in clips else None
    return [
        RankingRow(
            query.caption,
            query.rank,
            [FoundVideo(name, frames[name], name == query.video) for name in query.top],
        )
        for query in queries
        if query.top
    ]


def _frames(clip: Clip) -> Tensor | None:
    """A few frames from the middle of equal parts; None, and a warning, if it cannot be read."""
    try:
        with VideoReader(clip.path, short_side=_FRAME_SIDE) as reader:
            start_s, end_s = clip.start_s or 0.0, clip.end_s or reader.info.duration_s
            share = (np.arange(_FRAMES) + 0.5) / _FRAMES
            return reader.frames_at_times(start_s + share * (end_s - start_s))
    except VideoDecodeError as error:
        logger.warning("an example without frames: %s", error)
        return None


def _summary(run: Run) -> str:
    found = run.results["t2v"]
    where = f"{run.results['captions']} captions, {run.results['videos']} videos ({run.stage_name})"
    if found is None:
        return f"No caption has its video: {where}."
    recall = ", ".join(f"R@{k} {found[f'R@{k}']:.1f}%" for k in (1, 5, 10))
    low, high = found["intervals"]["R@1"]
    return (
        f"Text-to-video {recall}, SumR {found['SumR']:.1f}, median rank {found['median_rank']:g} "
        f"among {where}. The 95 % interval of R@1 is {low:.1f} to {high:.1f}%."
    )


def _parts(run: Run, out: Path) -> list[Part]:
    path = run.folder / run.stage / _EXAMPLES
    rows = ranking_rows(*read_examples(path)) if path.is_file() else []
    if not rows:
        return []
    picture = save_figure(plot_rankings(rows), out / "examples.png")
    caption = (
        "Captions from the best placed to the worst, and the videos that each finds first; "
        "its own is framed in green"
    )
    return [Heading("Examples"), Picture(picture, caption)]


def _found(run: Run, direction: str, name: str) -> float | None:
    return (run.results.get(direction) or {}).get(name)


def _recall(name: str, direction: str = "t2v") -> Figure:
    title = name if direction == "t2v" else f"{name}, video-to-text"
    unit, digits = ("%", 1) if name.startswith("R@") else ("", 1)
    return Figure(title, partial(_found, direction=direction, name=name), unit, digits)


def _at_best_epoch(run: Run, name: str) -> float | None:
    """A figure of the epoch whose checkpoint is the best; None if the run never validated."""
    curves = [run.curves.get(f"val/{key}") for key in (_HEADLINE, f"t2v_{name}")]
    if curves[0] is None or curves[1] is None:
        return None
    return float(curves[1].value[int(np.argmax(curves[0].value))])


def _best(name: str, column: str = "") -> Figure:
    value = partial(_at_best_epoch, name=name)
    return Figure(f"{name}, epoch of the best R@1", value, "%" * (name != "SumR"), 1, 1.0, column)


def _kept(run: Run, bytes_each: int) -> float | None:
    numbers = (run.results.get("search") or {}).get("numbers_per_video")
    return None if numbers is None else bytes_each * numbers


def _pair(run: Run) -> float | None:
    return (run.results.get("search") or {}).get("multiply_adds_per_pair")


_R1, _SUM = _recall("R@1"), _recall("SumR")
_HALF = Figure(
    "storage of a video in float16", partial(_kept, bytes_each=2), " B", column="a video"
)
_PAIR = Figure("multiply-adds of a pair", _pair, column="MACs a pair")
_FIGURES = (
    _R1,
    _recall("R@5"),
    _recall("R@10"),
    _SUM,
    _recall("median_rank")._replace(title="median rank"),
    _recall("mean_rank")._replace(title="mean rank"),
    _best("R@1"),
    _best("SumR"),
    _recall("R@1", "v2t"),
    _recall("SumR", "v2t"),
    Figure("captions", lambda run: run.results.get("captions")),
    Figure("videos", lambda run: run.results.get("videos")),
    _HALF,
    Figure("storage of a video in float32", partial(_kept, bytes_each=4), " B"),
    _PAIR,
)
_LEGEND = (
    "Text-to-video of the last epoch, and SumR of that with the best R@1; what is kept of a video "
    "in float16; multiply-adds of comparing one caption with one video. "
)

RETRIEVAL = Kind(
    name="retrieval",
    files=(_RANKS,),
    headline=_HEADLINE,
    figures=lambda run: _FIGURES,
    columns=(_R1, _recall("R@5"), _recall("R@10"), _SUM, _best("SumR", "best SumR"), _HALF, _PAIR),
    learning="validation, text-to-video",
    curves=lambda run: _CURVES,
    summary=_summary,
    parts=_parts,
    percent=1.0,
    legend=_LEGEND,
)
