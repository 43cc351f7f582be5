"""``video-adapt search``: index one's own videos, then find them by typing a sentence."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from video_adapt.errors import ConfigurationError

from .recognise import find_videos
from .search_query import add_query_arguments, run_query

if TYPE_CHECKING:
    from .search_catalogue import IndexedFile
    from .search_indexing import IndexingReport

HELP = "index videos with a trained retriever, and find them by typing a sentence"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    index = steps.add_parser("index", help="read videos and store a vector of each window")
    index.set_defaults(work=_index)
    _add_index_arguments(index)
    query = steps.add_parser("query", help="find the windows that fit a sentence or a video best")
    query.set_defaults(work=run_query)
    add_query_arguments(query)
    delete = steps.add_parser("delete", help="forget videos; the files stay as they are")
    delete.set_defaults(work=_delete)
    delete.add_argument(
        "paths", nargs="*", help="files, folders, or patterns like '*/kitchen/*' in quotes"
    )
    delete.add_argument(
        "--missing", action="store_true", help="forget all videos whose files are gone"
    )
    compact = steps.add_parser("compact", help="free the disk of what was deleted or replaced")
    compact.set_defaults(work=_compact)
    info = steps.add_parser("info", help="say what an index holds and what made it")
    info.set_defaults(work=_info)
    info.add_argument("--files", action="store_true", help="list the videos, too")
    for step in (index, query, delete, compact, info):
        step.add_argument("--index", type=Path, required=True, metavar="DIR", help="the index")


def run(args: argparse.Namespace) -> int:
    """Run one step.

    Returns:
        0, or 1 if a video could not be read.

    Raises:
        ConfigurationError: If an option makes no sense, or there is no index or no video.
        WeightsError: If the checkpoint or the index cannot be used.
    """
    code: int = args.work(args)
    return code


def _add_index_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint written by training")
    parser.add_argument("paths", nargs="+", type=Path, help="video files, or folders of them")
    parser.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="length of a window, the stretch that a hit names; inf: whole videos (default 30)",
    )
    parser.add_argument(
        "--stride",
        type=float,
        metavar="SECONDS",
        help="from one window to the next (default: a window, without overlap)",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "float16", "int8"],
        help="type of the stored numbers (default float16)",
    )
    parser.add_argument(
        "--backend",
        choices=["torch", "faiss", "lancedb"],
        help="what keeps and searches the vectors: torch is exact and in memory (default); faiss "
        "and lancedb, for a million and more, need video_adapt[index]",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="threads that decode"
    )
    parser.add_argument(
        "--batch-size", type=int, default=8, help="windows that pass the model together (default 8)"
    )
    parser.add_argument(
        "--on-broken",
        choices=["skip", "error"],
        default="skip",
        help="leave broken videos out, count and list them, or stop (default skip)",
    )
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave damaged files of the index out and read the videos that they were of again",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)"
    )


def _index(args: argparse.Namespace) -> int:
    """Index videos; 1 if any of them could not be read."""
    videos = list(find_videos(args.paths))
    if not videos:
        raise ConfigurationError(f"{args.paths[0]}: no video in this folder; name files instead")
    from .search_indexing import VideoIndexer, open_or_create
    from .search_model import SearchModel

    damaged: Literal["error", "skip"] = "skip" if args.skip_damaged else "error"
    model = SearchModel(args.checkpoint, device=args.device)
    folder = open_or_create(
        args.index,
        model,
        window_s=args.window,
        stride_s=args.stride,
        precision=args.precision,
        backend=args.backend,
        damaged=damaged,
    )
    index = VideoIndexer(
        model,
        folder,
        workers=args.workers,
        batch_size=args.batch_size,
        on_broken=args.on_broken,
    )
    with _progress(len(videos)) as on_progress:
        report = index(videos, on_progress=on_progress)
    _tell(report, args.index, len(folder.index))
    return 1 if report.broken else 0


def _tell(report: "IndexingReport", index: Path, held: int) -> None:
    """Say what became of the videos."""
    there = f", {report.kept} were there" if report.kept else ""
    sys.stdout.write(
        f"{index}: {_count(report.indexed, 'video')} indexed "
        f"({_count(report.windows, 'window')}){there}; it holds {_count(held, 'window')}\n"
    )
    if report.broken:
        total = report.indexed + report.kept + len(report.broken)
        sys.stderr.write(
            f"{len(report.broken)} of {total} videos could not be read: see {report.listing}\n"
        )


def _delete(args: argparse.Namespace) -> int:
    """Forget videos."""
    if not args.paths and not args.missing:
        raise ConfigurationError("nothing to delete: name files, folders or patterns, or --missing")
    from .search_folder import SearchFolder

    folder = SearchFolder.open(args.index)
    files = folder.files.files()
    gone = [file for file in files if args.missing and not Path(file.path).exists()]
    for asked in args.paths:
        meant = [file for file in files if _means(asked, file)]
        if not meant:
            raise ConfigurationError(
                f"{asked}: no video of {args.index} is called so; `video-adapt search info "
                "--files` lists them"
            )
        gone += meant
    count = folder.remove(set(gone))
    sys.stdout.write(
        f"{args.index}: {_count(len(set(gone)), 'video')} deleted ({_count(count, 'window')})\n"
    )
    return 0


def _means(asked: str, file: "IndexedFile") -> bool:
    """Whether a file is, lies in, or fits what was asked for."""
    path = str(Path(asked).absolute())
    return path == file.path or file.path.startswith(f"{path}/") or fnmatchcase(file.path, asked)


def _compact(args: argparse.Namespace) -> int:
    """Free the disk."""
    from .search_folder import SearchFolder

    folder = SearchFolder.open(args.index)
    before = _size(args.index)
    folder.index.compact()
    sys.stdout.write(f"{args.index}: {before} before, {_size(args.index)} now\n")
    return 0


def _info(args: argparse.Namespace) -> int:
    """Say what an index is."""
    from .search_folder import SearchFolder

    folder = SearchFolder.open(args.index)
    record, files = folder.record, folder.files.files()
    unfinished = sum(file.state is None for file in files)
    whole = "whole videos"
    windows = f"{record.window_s:g} s every {record.stride_s:g} s" if record.window_s else whole
    facts = {
        "checkpoint": record.checkpoint,
        "digest": record.digest[:12],
        "videos": f"{len(files):,}" + (f", {unfinished} unfinished" if unfinished else ""),
        "vectors": f"{len(folder.index):,} of {record.width} numbers in {record.precision}",
        "backend": record.backend,
        "windows": windows,
        "frames": " ".join(f"{key}={value}" for key, value in record.recipe["sampler"].items()),
        "disk": _size(args.index),
    }
    sys.stdout.writelines(f"{name:<11}{value}\n" for name, value in facts.items())
    if args.files:
        sys.stdout.writelines(f"{file.windows:>9}  {file.path}\n" for file in files)
    return 0


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[float, int], None]]:
    """A bar of videos on the terminal, nothing in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    stored = TextColumn(f"{{task.fields[stored]}} of {total} stored")
    columns = (TextColumn("indexing"), BarColumn(), stored, TimeRemainingColumn())
    console = Console(stderr=True)
    hidden = not sys.stderr.isatty()
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("indexing", total=total, stored=0)
        yield lambda read, stored: bar.update(task, completed=read, stored=stored)
