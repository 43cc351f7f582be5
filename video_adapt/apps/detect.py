"""``video-adapt detect``: what happens in these videos, and when?"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from video_adapt.errors import ConfigurationError, VideoDecodeError

from .recognise import clock, find_videos

if TYPE_CHECKING:
    from video_adapt.reports.detections import Detection

    from .detector import SegmentDetector, VideoDetections

logger = logging.getLogger(__name__)

HELP = "find what happens when in long videos, with a trained detector"
_PRECISION, _SCORE = 0.5, 0.1
"""What is reported if nothing is asked for: with thresholds of validation, and without."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint written by training")
    parser.add_argument("videos", nargs="+", type=Path, help="video files, or folders of them")
    parser.add_argument("--top", type=int, help="segments per video, the best (default: all)")
    parser.add_argument(
        "--max-segments",
        type=int,
        help="segments that a video can have (default: as in training; hours may need more)",
    )
    least = parser.add_mutually_exclusive_group()
    least.add_argument(
        "--threshold",
        type=float,
        help="least score of a segment (default: the one with which validation reached a "
        f"precision of {_PRECISION}, or {_SCORE} where the checkpoint knows none)",
    )
    least.add_argument(
        "--threshold-for-precision",
        type=float,
        metavar="P",
        help="the least score with which validation reached this precision, e.g. 0.9",
    )
    parser.add_argument(
        "--per-class",
        action="store_true",
        help="with --threshold-for-precision: a threshold for each class, by its own precision",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write results as ActivityNet JSON; - is the output"
    )
    parser.add_argument("--csv", metavar="FILE", help="write results as CSV; - is the output")
    parser.add_argument(
        "--srt",
        type=Path,
        metavar="FILE|DIR",
        help="write subtitles that name what happens: a file, or one per video in a folder",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE|DIR",
        help="draw frames over a timeline: a picture, or one per video in a folder",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, help="windows that pass the model together (default 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Detect in all videos; 1 if any of them could not be read.

    Raises:
        ConfigurationError: If an option makes no sense or there is no video.
        WeightsError: If the checkpoint cannot be used.
    """
    videos = list(find_videos(args.videos))
    _check(args, videos)
    from .detector import SegmentDetector

    detect = SegmentDetector(
        args.checkpoint,
        device=args.device,
        batch_size=args.batch_size,
        max_segments=args.max_segments,
    )
    thresholds, why = _thresholds(detect, args)
    quiet = "-" in (args.json, args.csv)
    if not quiet:
        sys.stderr.write(f"{why}\n")
    names = unique_names(videos)
    results: dict[str, list[Detection]] = {}
    told, broken = "", 0
    for video in videos:
        try:
            with progress(Path(video).name) as on_progress:
                found = detect.examine(video, threshold=thresholds, on_progress=on_progress)
        except VideoDecodeError as error:
            broken += 1
            logger.warning("%s", error)
            continue
        found = found._replace(detections=found.detections[: args.top])
        results[names[video]] = found.detections
        if not quiet:
            if found.windows != told:
                told = found.windows
                sys.stderr.write(f"{told}\n")
            sys.stdout.write(describe(found))
        _write_of(args, video, names[video], found.detections)
    _write_all(args, results)
    if broken:
        sys.stderr.write(f"{broken} of {len(videos)} videos could not be read\n")
    return 1 if broken else 0


def describe(found: "VideoDetections") -> str:
    """Lines for a reader: the video, then its segments in the order of time."""
    count = len(found.detections)
    what = f"{count or 'no'} segment{'' if count == 1 else 's'} in {clock(found.duration_s)}"
    lines = [f"{found.video}  {what}"]
    width = len(clock(found.duration_s))
    for start_s, end_s, label, score in sorted(found.detections):
        stretch = f"{clock(start_s):>{width}} - {clock(end_s):>{width}}"
        lines.append(f"  {stretch}  {score:.2f}  {label}")
    return "\n".join(lines) + "\n"


def unique_names(videos: Sequence[Path]) -> dict[Path, str]:
    """Name of each video's results: that of the file, numbered where several are called so."""
    stems = [video.stem for video in videos]
    return {
        video: stem if stems.count(stem) == 1 else f"{number:03d}_{stem}"
        for number, (video, stem) in enumerate(zip(videos, stems, strict=True))
    }


@contextmanager
def progress(name: str) -> Iterator[Callable[[float, float], None]]:
    """A bar of seconds of video on the terminal, nothing in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
    )
    # The listing goes to the output, also where that is another place than the bar's.
    bar = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(name, total=None, at="")

        def on_progress(done_s: float, total_s: float) -> None:
            at = f"{clock(done_s)} of {clock(total_s)}"
            bar.update(task, completed=done_s, total=total_s, at=at)

        yield on_progress


def _check(args: argparse.Namespace, videos: Sequence[Path]) -> None:
    if not videos:
        raise ConfigurationError(f"{args.videos[0]}: no video in this folder; name files instead")
    if args.top is not None and args.top < 1:
        raise ConfigurationError(f"--top {args.top} asks for no segment; give 1 or more")
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ConfigurationError(f"--threshold {args.threshold:g}: scores lie in [0, 1]")
    wanted = args.threshold_for_precision
    if wanted is not None and not 0 < wanted <= 1:
        raise ConfigurationError(f"--threshold-for-precision {wanted:g} must lie in (0, 1]")
    if args.per_class and wanted is None:
        raise ConfigurationError("--per-class goes with --threshold-for-precision; give both")
    for option, suffix in (("srt", ".srt"), ("plot", ".png")):
        target = getattr(args, option)
        if target is not None and target.suffix.lower() == suffix and len(videos) > 1:
            raise ConfigurationError(
                f"--{option} {target} is one file for {len(videos)} videos; name a folder"
            )


def _thresholds(detect: "SegmentDetector", args: argparse.Namespace) -> tuple[list[float], str]:
    """Least score of each class, and a sentence on it."""
    from .detector import NEVER

    if args.threshold_for_precision is not None:
        precision: float = args.threshold_for_precision
    elif args.threshold is None and _knows(detect, _PRECISION):
        precision = _PRECISION
    else:
        score = _SCORE if args.threshold is None else args.threshold
        return [score] * len(detect.class_names), f"reporting scores of {score:g} and more"
    values = detect.thresholds(precision, per_class=args.per_class)
    reached = [value for value in values if value != NEVER]
    low, high = f"{min(reached):.3g}", f"{max(reached):.3g}"
    scores = low if low == high else f"{low} to {high}, by class,"
    why = f"reporting scores of {scores} and more: precision {precision:g} on validation"
    pairs = zip(detect.class_names, values, strict=True)
    if never := [name for name, value in pairs if value == NEVER]:
        why += f"; never reached by {', '.join(never)}, of which nothing is reported"
    return values, why


def _knows(detect: "SegmentDetector", precision: float) -> bool:
    try:
        detect.thresholds(precision)
    except ConfigurationError:
        return False
    return True


def _write_of(
    args: argparse.Namespace, video: Path, name: str, found: Sequence["Detection"]
) -> None:
    """Files that each video has for itself."""
    if args.srt is not None:
        from video_adapt.reports.detections import write_srt

        write_srt(found, _file(args.srt, name, ".srt"))
    if args.plot is not None:
        from video_adapt.reports.timeline import draw_timeline

        draw_timeline(video, found, out=_file(args.plot, name, ".png"))


def _write_all(args: argparse.Namespace, results: dict[str, list["Detection"]]) -> None:
    """Files of all videos together."""
    from video_adapt.callbacks.save_config import made_by
    from video_adapt.reports.detections import write_csv, write_json

    def write_signed(results: dict[str, list["Detection"]], out: Path) -> Path:
        return write_json(results, out, made_by=made_by(args.checkpoint))

    for target, write in ((args.json, write_signed), (args.csv, write_csv)):
        if target == "-":
            with TemporaryDirectory() as folder:
                sys.stdout.write(write(results, Path(folder) / "results").read_text("utf-8"))
        elif target is not None:
            write(results, Path(target))


def _file(target: Path, name: str, suffix: str) -> Path:
    return target if target.suffix.lower() == suffix else target / f"{name}{suffix}"
