"""``video-adapt split-classes``: any labelled data set becomes a base-to-novel protocol."""

import argparse
import sys
from pathlib import Path

from video_adapt.errors import ConfigurationError

from .outputs import whole_file

HELP = "split the classes of a data set into base and novel ones, with few-shot lists"
_LISTS = ("train", "val", "classes", "format")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("out", type=Path, help="folder to make; receives lists and class file")
    parser.add_argument("--root", type=Path, required=True, help="folder that paths start at")
    parser.add_argument("--train", help="training list or folder (default: found below the root)")
    parser.add_argument("--val", help="validation list or folder (default: found, or held out)")
    parser.add_argument("--classes", help="class names file (default: the labels of the lists)")
    parser.add_argument("--format", help="format of the lists (default: told from their content)")
    parser.add_argument("--novel", nargs="+", default=(), help="the novel classes (default: drawn)")
    parser.add_argument("--novel-share", type=float, default=0.5, help="share of novel classes")
    parser.add_argument("--shots", type=int, default=16, help="training videos of a base class")
    parser.add_argument("--draws", type=int, default=3, help="training lists, each drawn anew")
    parser.add_argument("--descriptions", type=Path, help="JSON {class name: sentence about it}")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split")
    parser.add_argument("--skip-missing", action="store_true", help="leave missing files out")


def run(args: argparse.Namespace) -> int:
    """Write the protocol and say what is in it.

    Raises:
        AnnotationError: If a list says something that cannot be true.
        ConfigurationError: If the folder is not empty, or the classes cannot be split so.
    """
    from data_modules import KineticsDataModule
    from data_modules.class_split import (
        SplitSpec,
        data_part,
        protocol_files,
        read_descriptions,
    )

    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ConfigurationError(f"{args.out}: is not empty; name a new folder")
    spec = SplitSpec(tuple(args.novel), args.novel_share, args.shots, args.draws, args.seed)
    given = {key: found for key in _LISTS if (found := getattr(args, key)) is not None}
    module = KineticsDataModule(
        args.root, **given, on_broken="skip" if args.skip_missing else "error"
    )
    train, val = module.manifest("train"), module.manifest("val")
    if train is None or val is None:
        raise ConfigurationError(
            f"{args.root}: a split needs training and validation videos; give --train and --val"
        )
    described = read_descriptions(args.descriptions) if args.descriptions else {}
    files, parts = protocol_files(train, val, spec, described)
    files["data.yaml"] = data_part(args.root, args.out, spec)
    for name, content in files.items():
        with whole_file(args.out / name) as file:
            file.write(content)
    sys.stdout.write(
        f"{args.out}: {len(parts.base)} base and {len(parts.novel)} novel classes, "
        f"{spec.draws} lists of {spec.shots} videos a class; name {args.out}/data.yaml as `data` "
        "of an experiment\n"
    )
    return 0
