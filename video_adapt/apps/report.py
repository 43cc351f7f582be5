"""``video-adapt report``: a page about one run, or about several side by side."""

import argparse
import sys
from pathlib import Path

HELP = "write a short report of a run, or compare several"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN_DIR",
        help="folders of runs; those that differ in their seed alone share a row",
    )
    parser.add_argument(
        "--out", type=Path, help="where to write (default: RUN_DIR/report; needed for several)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the report and name the page.

    Raises:
        ConfigurationError: If a folder holds no run, several runs are of different kinds, or
            several runs come without ``--out``.
    """
    from video_adapt.reports.run_report import report

    page = report(args.runs, args.out)
    sys.stdout.write(f"{page}\n")
    return 0
