"""Running what a run of a comparison lacks, one ordinary command after the other."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from video_adapt.reports.spent import read_spent, write_spent

from .comparison_file import PlannedRun
from .comparison_places import Place
from .comparison_processes import Processes
from .comparison_state import Found, result_folder
from .gpu_energy import EnergyMeter


class Outcome(NamedTuple):
    """What became of a run.

    Attributes:
        run: The run.
        state: ``reused`` it was finished before, ``done`` now, ``failed``, or ``missing``: not run.
        folder: Where its results lie.
        problem: Why it failed or is missing.
    """

    run: PlannedRun
    state: Literal["reused", "done", "failed", "missing"]
    folder: Path
    problem: str = ""


def commands_of(run: PlannedRun, found: Found, *, overwrite: bool) -> list[list[str]]:
    """The commands that begin a run, or go on with it, and bring it to its end.

    Args:
        run: The run.
        found: How far it is.
        overwrite: Whether it may replace what its folder holds.
    """
    more: list[str] = []
    if found.checkpoint is not None:
        more = [f"--ckpt_path={found.checkpoint}"]
    elif overwrite or found.begun:
        more = ["--overwrite=true"]
    commands = [] if found.trained else [[*run.words, *more]]
    if run.test:
        commands.append(run.test_words)
    return [[sys.executable, "-m", "video_adapt", *words] for words in commands]


def execute(
    words: Sequence[str], log: Path, *, environment: Mapping[str, str], processes: Processes
) -> int:
    """Run a command in a process of its own, its words and what it says going to a file.

    Args:
        words: The command.
        log: File that is appended to.
        environment: Variables that it has beside those of this process.
        processes: Those that a signal to stop is handed on to, this one among them.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: If this process was asked to stop.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        said = [f"{name}={value}" for name, value in environment.items()]
        file.write(f"$ {' '.join([*said, *words])}\n")
        file.flush()
        return processes.run(words, file, os.environ | environment)


def perform(
    run: PlannedRun,
    found: Found,
    log: Path,
    *,
    overwrite: bool,
    place: Place,
    processes: Processes,
) -> Outcome:
    """Begin a run or go on with it; note what it took.

    Args:
        run: The run.
        found: How far it is.
        log: File for what it says.
        overwrite: Whether it may replace what its folder holds.
        place: What it has of the machine.
        processes: Those that run meanwhile.

    Raises:
        KeyboardInterrupt: If this process was asked to stop.
    """
    folder = result_folder(run)
    goes_on = found.checkpoint is not None or found.trained
    before = read_spent(folder) if goes_on else {}
    environment = {"SEED": str(run.seed)} | place.environment
    # A counter counts a GPU, whoever works on it.
    meter = EnergyMeter("" if place.shares_gpu else place.gpus)
    began_s, began_j = time.monotonic(), meter.read_j()
    code: int | None = None
    try:
        for words in commands_of(run, found, overwrite=overwrite):
            code = execute(words, log, environment=environment, processes=processes)
            if code != 0:
                break
    finally:
        if (folder / "run.json").is_file():
            write_spent(
                folder,
                wall_s=before.get("wall_s", 0.0) + time.monotonic() - began_s,
                attempts=before.get("attempts", 0) + 1,
                finished=code == 0,
                gpu_j=_sum(before.get("gpu_j", 0.0), _difference(meter.read_j(), began_j)),
                at_once=max(before.get("at_once", 1), place.at_once),
                shares_gpu=before.get("shares_gpu", False) or place.shares_gpu,
            )
    if code == 0:
        return Outcome(run, "done", folder)
    return Outcome(run, "failed", folder, f"{last_word(log)} (exit code {code}, {log})")


def last_word(log: Path) -> str:
    """The line of a log that says most of a failure: the program's own message, or the last."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    said = [line for line in lines if line] or ["nothing was said"]
    own = [line for line in said if line.startswith("video-adapt: error: ")]
    return own[-1].removeprefix("video-adapt: error: ") if own else said[-1]


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
