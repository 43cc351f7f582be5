"""``video-adapt doctor``: what is here, what is missing, and what to do about it, a line each."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from .doctor_findings import Finding
from .outputs import whole_file

HELP = "look at packages, codecs, GPU, disk, W&B, weights and data: a line each, with the mend"
_EXPERIMENTS = Path("experiments")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "paths", nargs="*", type=Path, help="folders of videos and files of weights to look for"
    )
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="experiment file whose data and weights are looked for; may be repeated",
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where runs will write (default: runs)"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print the findings as JSON instead, or write them to this file as well",
    )


def run(args: argparse.Namespace) -> int:
    """Examine and print; 1 if anything would stop a run."""
    found = []
    for finding in examine(args.paths, args.config, args.runs):
        found.append(finding)
        if args.json != "-":
            sys.stdout.write(f"{line_of(finding)}\n")
            sys.stdout.flush()  # some answers take seconds
    counts = {status: sum(f.status == status for f in found) for status in ("ok", "warn", "fail")}
    text = json.dumps([finding._asdict() for finding in found], indent=1, ensure_ascii=False)
    if args.json == "-":
        sys.stdout.write(f"{text}\n")
    else:
        sys.stdout.write(", ".join(f"{count} {status}" for status, count in counts.items()) + "\n")
    if args.json not in (None, "-"):
        with whole_file(args.json) as file:
            file.write(f"{text}\n")
    return 1 if counts["fail"] else 0


def examine(paths: Sequence[Path], configs: Sequence[Path], runs: Path) -> Iterator[Finding]:
    """Look at everything, one thing after the other.

    Args:
        paths: Folders of videos and files of weights.
        configs: Experiment files.
        runs: Where runs will write.
    """
    from .doctor_files import examine_experiment, examine_path, examine_variables
    from .doctor_machine import examine_machine
    from .doctor_packages import examine_packages
    from .doctor_weights import examine_hub

    packages = list(examine_packages())
    yield from packages
    if any(finding.status == "fail" for finding in packages):
        return  # what comes next imports them
    yield from examine_machine(runs)
    yield _examine_tracking()
    if configs:
        for path in configs:
            yield from examine_experiment(path)
    else:
        yield examine_hub()
        yield from examine_variables(_EXPERIMENTS)
    for path in paths:
        yield examine_path(path)


def line_of(finding: Finding) -> str:
    """A finding as a line: status, subject, what was found, and the mend."""
    mend = f" -> {finding.mend}" if finding.mend else ""
    return f"{finding.status:<5} {finding.subject:<14} {finding.text}{mend}"


def _examine_tracking() -> Finding:
    """What becomes of runs in W&B; that there is a key is told, never the key."""
    from video_adapt.wandb_account import has_wandb_key, wandb_mode, wandb_server

    server, mode = wandb_server(), wandb_mode()
    # The host alone: an address may hold a password.
    has_key = has_wandb_key(server)
    text = f"{mode}; key for {urlsplit(server).hostname}: {'yes' if has_key else 'no'}"
    if os.environ.get("WANDB_MODE"):
        return Finding("W&B", "ok", f"{text}; WANDB_MODE decides")
    if mode == "online":
        return Finding("W&B", "ok", text)
    if has_key:
        mend = "runs are kept below RUN/wandb; `wandb sync` sends them where there is internet"
        return Finding("W&B", "warn", f"{text}; the server cannot be reached", mend)
    mend = "`wandb login` if runs are to be sent; they are kept below RUN/wandb"
    return Finding("W&B", "ok", text, mend)
