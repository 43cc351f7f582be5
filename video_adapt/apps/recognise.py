"""``video-adapt recognise``: what is happening in these videos?"""

import argparse
import csv
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from video_adapt.errors import ConfigurationError, VideoDecodeError

from .outputs import whole_file

if TYPE_CHECKING:
    from video_adapt.reports.sheets import SheetRow

    from .recogniser import Recognition

logger = logging.getLogger(__name__)

HELP = "name what happens in videos, with a trained checkpoint"


def __getattr__(name: str) -> Any:
    # Reading the help must not cost the import of torch.
    if name in ("Recogniser", "Recognition"):
        from . import recogniser

        return getattr(recogniser, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint written by training")
    parser.add_argument("videos", nargs="+", type=Path, help="video files, or folders of them")
    parser.add_argument("--top", type=int, default=5, help="labels per video (default 5)")
    parser.add_argument(
        "--window", type=float, metavar="SECONDS", help="one result per stretch of this length"
    )
    parser.add_argument("--json", metavar="FILE", help="write results as JSON; - is the output")
    parser.add_argument("--csv", metavar="FILE", help="write results as CSV; - is the output")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE|DIR",
        help="draw frames with their labels: one picture, or one per video in a folder",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)"
    )


def run(args: argparse.Namespace) -> int:
    """Recognise all videos; 1 if any of them could not be read.

    Raises:
        ConfigurationError: If an option makes no sense or there is no video.
        WeightsError: If the checkpoint cannot be used.
    """
    if args.top < 1:
        raise ConfigurationError(f"--top {args.top} asks for no label; give 1 or more")
    videos = list(find_videos(args.videos))
    if not videos:
        raise ConfigurationError(f"{args.videos[0]}: no video in this folder; name files instead")
    from .recogniser import Recogniser

    recognise = Recogniser(args.checkpoint, device=args.device)
    found: list[Recognition] = []
    broken: dict[str, str] = {}
    quiet = "-" in (args.json, args.csv)
    for video in _with_progress(videos):
        try:
            results = list(recognise.windows(video, args.window))
        except VideoDecodeError as error:
            broken[str(video)] = str(error)
            logger.warning("%s", error)
            continue
        found += results if args.plot else [r._replace(frames=r.frames[:0]) for r in results]
        if not quiet:
            sys.stdout.write(describe(results, args.top))
    _write(args, found, broken)
    if broken:
        sys.stderr.write(f"{len(broken)} of {len(videos)} videos could not be read\n")
    return 1 if broken else 0


def find_videos(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are named, folders by all videos below them in alphabetical order."""
    from video_adapt.video import VIDEO_SUFFIXES

    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
            yield from sorted(inside)
        else:
            yield path


def describe(results: Sequence["Recognition"], top: int) -> str:
    """Lines for a reader: the video, then its labels, one line per window if there are several."""
    lines = [results[0].video]
    if len(results) == 1:
        lines += [f"  {score:6.1%}  {label}" for label, score in results[0].top(top)]
    else:
        for result in results:
            labels = ", ".join(f"{label} {score:.0%}" for label, score in result.top(min(top, 3)))
            lines.append(f"  {clock(result.start_s)} - {clock(result.end_s)}  {labels}")
    return "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """Seconds as ``minutes:seconds``, the way players show them."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def as_records(results: Iterable["Recognition"], top: int) -> list[dict[str, Any]]:
    """Results as plain values."""
    return [
        {
            "video": result.video,
            "start_s": round(result.start_s, 3),
            "end_s": round(result.end_s, 3),
            "labels": [{"label": name, "score": score} for name, score in result.top(top)],
        }
        for result in results
    ]


def _write(
    args: argparse.Namespace, found: Sequence["Recognition"], broken: dict[str, str]
) -> None:
    records = as_records(found, args.top)
    if args.json:
        failures = [{"video": video, "error": error} for video, error in broken.items()]
        text = json.dumps({"results": records, "broken": failures}, indent=1, ensure_ascii=False)
        _write_text(args.json, text + "\n")
    if args.csv:
        _write_rows(args.csv, records)
    if args.plot and found:
        _plot(args.plot, found, args.top)


def _write_text(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text)
    else:
        with whole_file(target) as file:
            file.write(text)


def _write_rows(target: str, records: Iterable[dict[str, Any]]) -> None:
    if target == "-":
        _fill(sys.stdout, records)
        return
    with whole_file(target) as file:
        _fill(file, records)


def _fill(file: TextIO, records: Iterable[dict[str, Any]]) -> None:
    table = csv.writer(file)
    table.writerow(["video", "start_s", "end_s", "rank", "label", "score"])
    for record in records:
        for rank, entry in enumerate(record["labels"], start=1):
            place = record["video"], record["start_s"], record["end_s"]
            table.writerow([*place, rank, entry["label"], f"{entry['score']:.6g}"])


def _plot(target: Path, found: Sequence["Recognition"], top: int) -> None:
    """One picture of everything, or one per video where the target is a folder."""
    from video_adapt.metrics import save_figure
    from video_adapt.reports.sheets import plot_sheet

    if target.suffix.lower() == ".png":
        save_figure(plot_sheet([_sheet_row(result, top) for result in found]), target)
        return
    for number, video in enumerate(dict.fromkeys(result.video for result in found)):
        rows = [_sheet_row(result, top) for result in found if result.video == video]
        save_figure(plot_sheet(rows), target / f"{number:03d}_{Path(video).stem}.png")


def _sheet_row(result: "Recognition", top: int) -> "SheetRow":
    from video_adapt.reports.sheets import SheetRow

    stretch = f"{clock(result.start_s)} - {clock(result.end_s)}"
    title = "/".join(Path(result.video).parts[-2:])  # the folder often is the class
    return SheetRow(title, stretch, result.frames, result.frame_times_s, result.top(min(top, 5)))


def _with_progress(videos: Sequence[Path]) -> Iterator[Path]:
    """A bar on the terminal, nothing in a log."""
    if len(videos) < 2 or not sys.stderr.isatty():
        yield from videos
        return
    from rich.console import Console
    from rich.progress import Progress

    # Above the bar on the same terminal; but an output that is a file is not the bar's business.
    same = sys.stdout.isatty()
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=same) as bar:
        yield from bar.track(videos, description="recognising")
