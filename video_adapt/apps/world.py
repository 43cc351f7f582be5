"""``video-adapt world``: render the demonstration world as real video files."""

import argparse
import os
import sys
from pathlib import Path

HELP = "render the demonstration world: annotated videos of moving shapes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument(
        "--layout",
        choices=("trimmed", "untrimmed", "captioned", "openvocab"),
        default="trimmed",
        help="clips of one motion, long videos with segments, videos with captions, or clips of "
        "base and novel combinations of colour, shape and motion",
    )
    parser.add_argument("--train", type=int, default=800, help="number of training videos")
    parser.add_argument("--val", type=int, default=160, help="number of validation videos")
    parser.add_argument("--seconds", type=float, help="length of a video (default: by layout)")
    parser.add_argument("--size", type=int, default=64, help="side of the picture in pixels")
    parser.add_argument("--fps", type=int, default=16, help="frames per second")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another world")
    parser.add_argument("--motions", nargs="+", help="only these motions, e.g. 'moves left' grows")
    parser.add_argument("--actors", type=int, default=2, help="shapes of a captioned video")
    parser.add_argument(
        "--in-turn", action="store_true", help="show a captioned shape only while it performs"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="renderers")


def run(args: argparse.Namespace) -> int:
    """Render, unless the folder already holds this very world.

    Raises:
        ConfigurationError: If a value is impossible or the folder holds something else.
    """
    # The video package imports torch, which `video-adapt --help` must not wait for.
    from video_adapt.video.synthetic_files import WorldSpec, write_world

    spec = WorldSpec(
        layout=args.layout,
        train=args.train,
        val=args.val,
        seconds=args.seconds,
        size=args.size,
        fps=args.fps,
        seed=args.seed,
        motions=tuple(args.motions) if args.motions else None,
        actors=args.actors,
        in_turn=args.in_turn,
    )
    rendered = write_world(args.out, spec, workers=args.workers)
    found = f"{args.train} training and {args.val} validation videos"
    state = "rendered" if rendered else "already there"
    unit = "classes" if args.layout == "openvocab" else "motions"
    sys.stdout.write(f"{args.out}: {found}, {len(spec.class_names)} {unit}, {state}\n")
    return 0
