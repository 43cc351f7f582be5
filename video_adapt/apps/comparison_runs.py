"""Running what a comparison lacks, one ordinary command after the other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from video_adapt.reports.spent import read_spent, write_spent

from .comparison_file import PlannedRun
from .comparison_state import Found, result_folder
from .gpu_energy import EnergyMeter

_STOPS = (signal.SIGTERM, signal.SIGUSR1)


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


def execute(words: Sequence[str], log: Path, *, seed: int) -> int:
    """Run a command in a process of its own, its words and what it says going to a file.

    A signal that asks to stop is handed on, so that training can save before it stops.

    Args:
        words: The command.
        log: File that is appended to.
        seed: Value of the environment variable ``SEED``.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: If this process was asked to stop.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ SEED={seed} {' '.join(words)}\n")
        file.flush()
        process = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"SEED": str(seed)}
        )
        with _handing_on(process) as asked:
            try:
                code = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
    if asked:
        raise KeyboardInterrupt
    return code


def perform(run: PlannedRun, found: Found, log: Path, *, overwrite: bool) -> Outcome:
    """Begin a run or go on with it; note what it took.

    Args:
        run: The run.
        found: How far it is.
        log: File for what it says.
        overwrite: Whether it may replace what its folder holds.
    """
    folder = result_folder(run)
    goes_on = found.checkpoint is not None or found.trained
    before = read_spent(folder) if goes_on else {}
    meter = EnergyMeter()
    began_s, began_j = time.monotonic(), meter.read_j()
    code: int | None = None
    try:
        for words in commands_of(run, found, overwrite=overwrite):
            code = execute(words, log, seed=run.seed)
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


@contextmanager
def _handing_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Hand signals that ask to stop on to a process; yields those that came."""
    asked: list[int] = []

    def hand_on(number: int, frame: Any) -> None:
        asked.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in _STOPS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
