"""``video-adapt prepare``: a copy of a data set that decodes several times faster."""

import argparse
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import starmap
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from video_adapt.errors import ConfigurationError, VideoDecodeError

if TYPE_CHECKING:
    from video_adapt.video.transcode import Encoding

HELP = "copy a folder of videos as small H.264 files that decode fast; resumes, verifies"
_SAMPLE = 16
# Small pictures need more bits per pixel than large ones, and so do short groups of pictures.
_SHRINKING, _SHORT_GOP = 0.75, 1.5


class Job(NamedTuple):
    """A video and where its copy goes."""

    source: Path
    target: Path


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        source: The video.
        state: ``kept`` is a copy that was there already; ``cut short`` has one of what can be read.
        cause: Why, where something is wrong.
        size: Bytes of the copy.
    """

    source: Path
    state: Literal["written", "kept", "cut short", "broken"]
    cause: str = ""
    size: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", type=Path, help="folder of videos; nothing in it is changed")
    parser.add_argument("target", type=Path, help="folder of the copies, with the same tree in it")
    parser.add_argument("--short-side", type=int, default=224, help="pixels; never enlarges")
    parser.add_argument("--gop", type=int, default=12, help="frames between key frames")
    parser.add_argument("--crf", type=int, default=23, help="quality, 0 (lossless) to 51")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")


def run(args: argparse.Namespace) -> int:
    """Write the copies and report; 1 if a video is broken.

    Raises:
        ConfigurationError: If an argument is impossible, the folders are in each other's way, or
            the disk is too small, or a name is taken by another file.
        OSError: If the disk fills up after all.
    """
    encoding = _encoding(args)
    jobs = plan(args.source, args.target)
    check_space(jobs, args.target, encoding.short_side)
    outcomes = _prepare_all(jobs, encoding, args.workers)
    _print(args.target, outcomes)
    return 1 if any(outcome.cause for outcome in outcomes) else 0


def _encoding(args: argparse.Namespace) -> "Encoding":
    # The video package imports torch, which `video-adapt --help` must not wait for.
    from video_adapt.video.transcode import Encoding

    if args.short_side < 16 or args.gop < 1 or not 0 <= args.crf <= 51 or args.workers < 1:
        raise ConfigurationError(
            f"--short-side {args.short_side} --gop {args.gop} --crf {args.crf} "
            f"--workers {args.workers}: need at least 16, 1, between 0 and 51, at least 1"
        )
    return Encoding(short_side=args.short_side, gop=args.gop, crf=args.crf)


def plan(source: Path, target: Path) -> list[Job]:
    """Every video below ``source`` and the MP4 file that it becomes below ``target``.

    Raises:
        ConfigurationError: If there is no video, two would become the same file, or a copy would
            lie among the originals.
    """
    from video_adapt.video import VIDEO_SUFFIXES

    if not source.is_dir():
        raise ConfigurationError(f"{source}: is not a folder; name the folder of the videos")
    if target.exists() and not target.is_dir():
        raise ConfigurationError(f"{target}: is not a folder; name another one")
    inner, outer = source.resolve(), target.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ConfigurationError(
            f"{target}: one folder lies in the other, so copies would mix with originals; name a "
            f"folder beside {source}"
        )
    found = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES)
    videos = [path for path in found if path.is_file() and not path.name.startswith(".")]
    if not videos:
        raise ConfigurationError(f"{source}: holds no video ({', '.join(VIDEO_SUFFIXES)})")
    jobs = [Job(path, (target / path.relative_to(source)).with_suffix(".mp4")) for path in videos]
    _check_targets(jobs)
    return jobs


def _check_targets(jobs: Sequence[Job]) -> None:
    taken = {job.source.resolve(): job.source for job in jobs}
    for job in jobs:
        other = taken.setdefault(job.target.resolve(), job.source)
        if other is not job.source or job.target.resolve() == job.source.resolve():
            raise ConfigurationError(
                f"{job.source}: its copy {job.target} would replace {other} or its copy; rename "
                "one, or name another folder"
            )


def check_space(jobs: Sequence[Job], target: Path, short_side: int) -> None:
    """Compare an estimate of what is still to be written with the free space.

    Raises:
        ConfigurationError: If the disk is too small.
    """
    missing = [job.source for job in jobs if not job.target.exists()]
    needed = int(sum(path.stat().st_size for path in missing) * _share(missing, short_side))
    place = next(path for path in (target, *target.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ConfigurationError(
            f"{target}: the copies need about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are "
            "free; make room, name a folder on another disk, or lower --short-side"
        )


def _share(sources: Sequence[Path], short_side: int) -> float:
    """Expected bytes of the copies for a byte of the originals, from a sample of them."""
    from video_adapt.video import probe

    shares = []
    for path in sources[:: max(len(sources) // _SAMPLE, 1)]:
        try:
            info = probe(path)
        except VideoDecodeError:
            continue  # it will be named when its turn comes
        scale = min(short_side / min(info.width, info.height), 1.0)
        shares.append(_SHORT_GOP * scale ** (2 * _SHRINKING))
    return sum(shares) / len(shares) if shares else 0.0


def _prepare_all(jobs: Sequence[Job], encoding: "Encoding", workers: int) -> list[Outcome]:
    from rich.console import Console
    from rich.progress import track

    outcomes = _outcomes(jobs, encoding, workers)
    return list(track(outcomes, "preparing", len(jobs), console=Console(stderr=True)))


def _outcomes(jobs: Sequence[Job], encoding: "Encoding", workers: int) -> Iterator[Outcome]:
    work = partial(prepare, encoding=encoding)
    if workers == 1:
        yield from starmap(work, jobs)
        return
    # Spawned, not forked: this process may run threads (torch, a progress bar).
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), logging.disable) as pool:
            yield from pool.map(work, *zip(*jobs, strict=True))
    except BrokenProcessPool as error:
        raise ConfigurationError(
            "a process was killed, perhaps for lack of memory; run again with fewer --workers, "
            "finished copies are kept"
        ) from error


def prepare(source: Path, target: Path, encoding: "Encoding") -> Outcome:
    """Write one copy; what is wrong with a video is returned, not raised.

    Raises:
        OSError: If the copy cannot be written.
    """
    from video_adapt.video.packet_index import read_index
    from video_adapt.video.transcode import transcode

    try:
        written = transcode(source, target, encoding)
        index = read_index(source)
    except VideoDecodeError as error:
        return Outcome(source, "broken", str(error))
    size = target.stat().st_size
    if index.promised > len(index.pts):
        cause = f"{source}: its header promises {index.promised} frames, the file holds only"
        return Outcome(source, "cut short", f"{cause} {len(index.pts)}; copy it again", size)
    return Outcome(source, "written" if written else "kept", size=size)


def _print(target: Path, outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, markup=False, highlight=False)
    for outcome in outcomes:
        if outcome.cause:
            console.print(f"{outcome.state}: {outcome.cause}")
    copied = [outcome for outcome in outcomes if outcome.size]
    before = sum(outcome.source.stat().st_size for outcome in copied)
    after = sum(outcome.size for outcome in copied)
    counts = Counter(outcome.state for outcome in outcomes)
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    console.print(f"{target}: {states}; {before / 1e6:.1f} MB became {after / 1e6:.1f} MB")
