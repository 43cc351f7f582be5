"""``video-adapt reproduce``: make a finished run again and compare every figure with it."""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from video_adapt.errors import ConfigurationError

from .outputs import whole_file
from .reproduce_changes import Fact, changes_since
from .reproduce_compare import Figure, compare_results, compare_tables
from .reproduce_record import Recorded, command_of, read_record

HELP = "make a run again from its record and compare its figures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "run", type=Path, help="folder of a run, or of an evaluation such as runs/x/test"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the new run (default: the run's name with _again)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what has changed and the command, run nothing"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="compare with this run, which is there already, e.g. from a cluster; run nothing",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        help="difference that counts as none, absolute plus relative (default: 0, equal bits)",
    )


def run(args: argparse.Namespace) -> int:
    """Say what has changed, run the command, compare; 1 if a figure differs.

    Writes ``reproduction.json`` into the new run's folder.

    Raises:
        ConfigurationError: If there is no record, the new folder is taken, or the run fails.
        WeightsError: If the weights that the run began with are gone.
    """
    recorded = read_record(args.run)
    if args.against is not None:
        return _judge(recorded, args.against, [], args.tolerance)
    run_dir = recorded.run_dir
    out = args.out or run_dir.with_name(f"{run_dir.name}_again")
    command = command_of(recorded, out)
    changed = changes_since(recorded)
    _announce(recorded, changed, command)
    if args.dry_run:
        return 0
    _check_folder(out)
    _check_launcher(recorded)
    code = subprocess.run(
        command, cwd=recorded.start_folder, env=_environment(recorded), check=False
    ).returncode
    if code:
        raise ConfigurationError(
            f"the run ended with code {code}: mend what it said above, or restore what has changed"
        )
    return _judge(recorded, out, changed, args.tolerance)


def _announce(recorded: Recorded, changed: Sequence[Fact], command: Sequence[str]) -> None:
    lines = [f"changed since: {fact.what}: {fact.then} -> {fact.now}" for fact in changed]
    lines = lines or ["nothing that was recorded has changed: versions, code, machine, data"]
    if recorded.facts["seed"] is None:
        lines.append("the run had no seed: it cannot be made again exactly")
    if recorded.command == "fit" and recorded.facts["config"].get("ckpt_path"):
        begun = recorded.checkpoint or "the beginning, as if it had never been interrupted"
        lines.append(f"the run was resumed; made again from {begun}")
    if words := recorded.started.get("words"):
        lines.append(f"was: {shlex.join(words)}")
    threads = "".join(f"{key}={value} " for key, value in _settings(recorded).items())
    lines.append(f"now: cd {recorded.start_folder} && {threads}{shlex.join(command)}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()  # before the run itself speaks


def _settings(recorded: Recorded) -> dict[str, str]:
    """Environment that decides a result: sums round differently over more threads."""
    threads = recorded.facts["machine"].get("threads")
    return {} if threads is None else {"OMP_NUM_THREADS": str(threads)}


def _environment(recorded: Recorded) -> dict[str, str]:
    """This process's, with what decides a result; a repetition is no new run for W&B."""
    return {
        "WANDB_MODE": "disabled",
        **os.environ,
        # Another program of this name in the folder must not be taken for the installed one.
        "PYTHONSAFEPATH": "1",
        **_settings(recorded),
    }


def _check_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(
            f"{out} is not empty; choose another --out, or compare with what lies there: "
            f"--against {out}"
        )


def _check_launcher(recorded: Recorded) -> None:
    if (nodes := recorded.facts["config"]["trainer"]["num_nodes"]) > 1:
        raise ConfigurationError(
            f"the run used {nodes} nodes, which only your launcher can start: give it the command "
            "above, then compare with --against DIR"
        )


def _judge(recorded: Recorded, out: Path, changed: Sequence[Fact], tolerance: float) -> int:
    """Compare, print what differs and write it down."""
    figures = _compared(recorded, out, tolerance)
    off = [figure for figure in figures if not figure.equal]
    lines = [f"differs: {figure.name}: {figure.where}{_apart(figure)}" for figure in off]
    values = sum(figure.values for figure in figures)
    within = f"within {tolerance:g}" if tolerance else "to the last bit"
    if off:
        count = f"{len(off)} of {len(figures)} figures differ"
        lines.append(f"NOT reproduced: {count}; {_mend(recorded, changed)}")
    else:
        lines.append(f"reproduced: {len(figures)} figures, {values} values, equal {within}")
    sys.stdout.write("\n".join(lines) + "\n")
    report = {
        "run": str(recorded.folder),
        "tolerance": tolerance,
        "reproduced": not off,
        "changed": [fact._asdict() for fact in changed],
        "figures": [figure._asdict() for figure in figures],
    }
    with whole_file(out / "reproduction.json") as file:
        file.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return 1 if off else 0


def _apart(figure: Figure) -> str:
    return "" if figure.apart is None else f" (at most {figure.apart:.3g} apart)"


def _mend(recorded: Recorded, changed: Sequence[Fact]) -> str:
    if changed:
        return "restore what has changed since: " + ", ".join(fact.what for fact in changed)
    if recorded.facts["machine"]["device"] not in ("x86_64", "aarch64", "arm64", "AMD64"):
        return (
            "a GPU adds up in no fixed order: allow for it with --tolerance 0.01, or train with "
            "--trainer.deterministic=true"
        )
    return "the first difference of the earliest figure says where to look"


def _compared(recorded: Recorded, out: Path, tolerance: float) -> list[Figure]:
    """Figures of the table and of the last evaluation.

    Raises:
        ConfigurationError: If one of the runs has neither, or only one has one of them.
    """
    pairs = (
        (compare_tables, recorded.table(recorded.run_dir), recorded.table(out)),
        (
            compare_results,
            recorded.results(recorded.run_dir) / "metrics.json",
            recorded.results(out) / "metrics.json",
        ),
    )
    found: list[Figure] = []
    for compare, then, now in pairs:
        if then.is_file() and not now.is_file():
            raise ConfigurationError(
                f"{now}: not there, so that {then} has nothing to be compared with"
            )
        if then.is_file():
            found += compare(then, now, tolerance)
    if not found:
        raise ConfigurationError(
            f"{recorded.folder}: no metrics.csv and no metrics.json to compare"
        )
    return found
