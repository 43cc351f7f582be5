"""``video-adapt search query``: what an index says, as lines, as JSON, and as a sheet of frames."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_adapt.errors import ConfigurationError

from .outputs import whole_file
from .recognise import clock

if TYPE_CHECKING:
    from .searcher import Hit, Searcher


def add_query_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the query."""
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="what to look for")
    parser.add_argument(
        "--video",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="look for what resembles this video; may be repeated",
    )
    parser.add_argument(
        "--span",
        type=float,
        nargs=2,
        metavar=("START", "END"),
        help="the part of --video that counts, in seconds (default: all of it)",
    )
    parser.add_argument("--top", type=int, default=5, help="hits per query (default 5)")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only hits that meet this, e.g. 'path=*/kitchen/*', 'start_s>=60'; may be repeated",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write hits as JSON; without a file, to the output. Sentences come before it",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE|DIR",
        help="draw the frames of each hit and how much each counts: a .png, or a folder with one "
        "per query",
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="the checkpoint of the index, where it was moved"
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)"
    )


def run_query(args: argparse.Namespace) -> int:
    """Answer all queries.

    Raises:
        ConfigurationError: If an option makes no sense, a query is empty, or there is no index.
        WeightsError: If the index is damaged or its checkpoint is another one.
        VideoDecodeError: If a video that is searched for cannot be read.
    """
    _check(args)
    from .search_folder import read_record
    from .search_where import where_all
    from .searcher import Searcher

    where = where_all(args.where)
    checkpoint = args.checkpoint or Path(read_record(args.index).checkpoint)
    if not checkpoint.exists():
        raise ConfigurationError(
            f"{checkpoint}: no such file; the index was made with it: name its new place with "
            "--checkpoint"
        )
    search = Searcher(checkpoint, args.index, device=args.device)
    found = [search(sentence, where=where) for sentence in args.sentences]
    found += [search.like(video, args.span, where=where) for video in args.video]
    answers = [(one.query, one.top(args.top)) for one in found]
    if args.json != "-":
        sys.stdout.write("\n".join(describe(query, hits) for query, hits in answers))
    if args.json:
        _write_json(args.json, answers)
    if args.plot:
        _plot(args.plot, search, answers)
    return 0


def describe(query: str, hits: Sequence["Hit"]) -> str:
    """Lines for a reader: the query, then its hits."""
    lines = [query, *(_line(hit) for hit in hits)]
    if not hits:
        lines.append("  nothing found")
    return "\n".join(lines) + "\n"


def as_record(query: str, hits: Sequence["Hit"]) -> dict[str, Any]:
    """An answer as plain values."""
    return {
        "query": query,
        "hits": [
            {
                "rank": rank,
                "score": round(hit.score, 6),
                "video": hit.video,
                "start_s": round(hit.start_s, 3),
                "end_s": round(hit.end_s, 3),
            }
            for rank, hit in enumerate(hits, start=1)
        ],
    }


def _line(hit: "Hit") -> str:
    return f"  {hit.score:6.3f}  {clock(hit.start_s)} - {clock(hit.end_s)}  {hit.video}"


def _check(args: argparse.Namespace) -> None:
    if not args.sentences and not args.video:
        raise ConfigurationError("nothing to look for: type a sentence, or name a --video")
    if args.top < 1:
        raise ConfigurationError(f"--top {args.top} asks for no hit; give 1 or more")
    if args.span and not args.video:
        raise ConfigurationError("--span is a part of --video; name one")
    count = len(args.sentences) + len(args.video)
    if args.plot and args.plot.suffix.lower() == ".png" and count > 1:
        raise ConfigurationError(
            f"--plot {args.plot} is one file for {count} queries; name a folder"
        )


def _write_json(target: str, answers: Sequence[tuple[str, Sequence["Hit"]]]) -> None:
    records = {"queries": [as_record(query, hits) for query, hits in answers]}
    text = json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    with whole_file(target) as file:
        file.write(text)


def _plot(target: Path, search: "Searcher", answers: Sequence[tuple[str, Sequence["Hit"]]]) -> None:
    """A sheet a query."""
    from video_adapt.metrics import save_figure

    from .search_sheet import look_at, plot_hits

    for number, (query, hits) in enumerate(answers):
        one = target.suffix.lower() == ".png"
        path = target if one else target / f"query_{number:02d}.png"
        save_figure(plot_hits(query, look_at(search, hits)), path)
