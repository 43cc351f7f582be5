"""``video-adapt recognise``: what is happening in these videos?"""

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_adapt.errors import ConfigurationError, VideoDecodeError

from .recognitions import clock as clock
from .recognitions import describe, write_results

if TYPE_CHECKING:
    from .recogniser import Recogniser, Recognition

logger = logging.getLogger(__name__)

HELP = "name what happens in videos, in classes of training or typed ones"


def __getattr__(name: str) -> Any:
    # Reading the help must not cost the import of torch.
    if name in ("Recogniser", "Recognition"):
        from . import recogniser

        return getattr(recogniser, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="checkpoint written by training; for zero-shot CLIP an experiment file on ZeroShot or "
        "MODEL:WEIGHTS, e.g. ViT-B-16-quickgelu:openai",
    )
    parser.add_argument("videos", nargs="+", type=Path, help="video files, or folders of them")
    _add_class_arguments(parser)
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


def _add_class_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME|FILE|FOLDER",
        help="classes to tell apart, of a model whose classes are text: names; one file (.txt a "
        "name per line, .csv with name and description, .json class file); or one folder with a "
        "folder of example videos per class, to which residual networks on a frozen CLIP are "
        "fitted first. Default: those of training",
    )
    parser.add_argument(
        "--descriptions", type=Path, metavar="FILE", help="JSON {class: sentence about it}"
    )
    parser.add_argument(
        "--templates",
        nargs="+",
        metavar="TEXT|FILE|SET",
        help="sentences around the name, {} in its place: themselves, a file with one per line, "
        "`published` (the 28 of FROSTER) or `name` (the name alone). Default: as in training",
    )
    parser.add_argument(
        "--reject-below",
        type=float,
        metavar="P",
        help="call it `none of these` where the best label is less probable than P. It is a "
        "probability among these classes: it says which fits best, not that one fits, so P holds "
        "for one list of classes alone; list what else may be seen, too. With examples, what it "
        "does to held-out ones is told",
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE.ckpt", help="keep what was fitted to examples"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        default=Path("runs/feature_cache"),
        help="where features of examples are kept (default runs/feature_cache)",
    )


def run(args: argparse.Namespace) -> int:
    """Recognise all videos; 1 if any of them could not be read.

    Raises:
        ConfigurationError: If an option makes no sense, classes cannot be told apart, or there is
            no video.
        WeightsError: If the checkpoint cannot be used.
    """
    _check(args)
    videos = list(find_videos(args.videos))
    if not videos:
        raise ConfigurationError(f"{args.videos[0]}: no video in this folder; name files instead")
    recognise = _recogniser(args)
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
            sys.stdout.write(describe(results, args.top, args.reject_below))
    write_results(args, found, broken)
    if broken:
        sys.stderr.write(f"{len(broken)} of {len(videos)} videos could not be read\n")
    return 1 if broken else 0


def _check(args: argparse.Namespace) -> None:
    if args.top < 1:
        raise ConfigurationError(f"--top {args.top} asks for no label; give 1 or more")
    if args.reject_below is not None and not 0 < args.reject_below <= 1:
        raise ConfigurationError(
            f"--reject-below {args.reject_below:g} is no probability; give one above 0, at most 1"
        )
    if args.descriptions and not args.classes:
        raise ConfigurationError("--descriptions are of typed classes; give --classes with them")


def _recogniser(args: argparse.Namespace) -> "Recogniser":
    from .recogniser import Recogniser
    from .typed_classes import read_templates, read_vocabulary

    templates = read_templates(args.templates) if args.templates else None
    if args.classes and len(args.classes) == 1 and Path(args.classes[0]).is_dir():
        recognise = _fitted(args, templates)
    else:
        if args.save:
            raise ConfigurationError("--save keeps what was fitted; give --classes FOLDER with it")
        classes = read_vocabulary(args.classes, args.descriptions) if args.classes else None
        recognise = Recogniser(
            args.checkpoint, classes=classes, templates=templates, device=args.device
        )
    if args.reject_below is not None and len(recognise.class_names) < 2:
        raise ConfigurationError(
            "--reject-below with one class, whose probability is 1 whatever is seen; list what "
            "else may be seen as a class"
        )
    return recognise


def _fitted(args: argparse.Namespace, templates: Sequence[str] | None) -> "Recogniser":
    """Fit a recogniser to a folder of examples, say how it went, and keep it where wanted."""
    from data_modules.class_split import read_descriptions

    from .few_shot import fit_examples, require_new, save_fitted
    from .few_shot_examples import read_examples
    from .recogniser import Recogniser, find_device
    from .recogniser_model import open_model
    from .typed_classes import vocabulary_of

    if args.save:
        require_new(args.save)
    examples = read_examples(Path(args.classes[0]))
    told = read_descriptions(args.descriptions) if args.descriptions else None
    vocabulary = vocabulary_of(examples.names, told)
    start = open_model(args.checkpoint, find_device(args.device), vocabulary)
    fitted = fit_examples(start, examples, vocabulary, templates=templates, cache=args.cache)
    sys.stderr.write(fitted.report.render(args.reject_below))
    if args.save:
        save_fitted(fitted.model, args.save)
        sys.stderr.write(f"{args.save}: what was fitted\n")
    return Recogniser(fitted.model, device=args.device)


def find_videos(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are named, folders by all videos below them in alphabetical order."""
    from video_adapt.video import VIDEO_SUFFIXES

    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
            yield from sorted(inside)
        else:
            yield path


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
