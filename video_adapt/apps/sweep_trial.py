"""One trial of a sweep: the ordinary command in a process of its own, watched by its table."""

import csv
import io
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

OUTPUT, TABLE = "output.txt", "metrics.csv"
_POLL_S = 0.5
_PATIENCE_S = 60.0  # for the last checkpoint, after a trial was asked to stop
_ERROR = "video-adapt: error: "

State = Literal["complete", "pruned", "failed"]
WRONG_USAGE = 2
_STOPPED = 75  # training was asked to stop and is ready to go on


class Outcome(NamedTuple):
    """How a trial ended.

    Attributes:
        state: ``complete``, ``pruned`` (it fell behind) or ``failed``.
        value: The last value of the wanted figure; None where there is none.
        duration_s: How long it ran.
        note: Why it failed, in a line.
        code: Exit code of the command.
    """

    state: State
    value: float | None
    duration_s: float
    note: str = ""
    code: int = 0


def run_trial(
    command: Sequence[str],
    folder: Path,
    metric: str,
    *,
    group: str,
    lock: int,
    falls_behind: Callable[[int, float], bool],
) -> Outcome:
    """Run a command and look at its figure after every validation.

    Args:
        command: The words; what they say goes to ``output.txt``.
        folder: Folder of the run, which exists.
        metric: Column of ``metrics.csv``.
        group: Name under which W&B shows the trials together.
        lock: An open file that the process holds on to, so that nobody takes the trial for
            abandoned while it runs.
        falls_behind: Told the number of the validation, from 1, and the value; True stops.

    Raises:
        KeyboardInterrupt: If somebody stopped the run itself, as SLURM does with all of a job.
    """
    begin = time.monotonic()
    environment = {**os.environ, "WANDB_RUN_GROUP": group}
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        environment.pop(name, None)
    with (folder / OUTPUT).open("ab") as output:
        # A session of its own: whoever stops the sweep at the keyboard leaves the order to us.
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
        )
        try:
            pruned = _watch(process, folder, metric, falls_behind)
        finally:
            _stop(process)
    duration_s = time.monotonic() - begin
    values = read_values(folder / TABLE, metric)
    value = values[-1] if values and math.isfinite(values[-1]) else None
    if pruned:
        return Outcome("pruned", value, duration_s)
    if process.returncode == _STOPPED:
        raise KeyboardInterrupt
    if code := process.returncode:
        return Outcome("failed", value, duration_s, _reason(folder / OUTPUT, code), code)
    if value is None:
        note = f"{metric} has no value" if values else _unknown(folder / TABLE, metric)
        return Outcome("failed", None, duration_s, note)
    return Outcome("complete", value, duration_s)


def read_values(path: Path, metric: str) -> list[float]:
    """All values of a figure in a table that is perhaps being written at this moment."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    rows = csv.DictReader(io.StringIO(whole))
    return [float(text) for row in rows if (text := row.get(metric))]


def _watch(
    process: subprocess.Popen[bytes],
    folder: Path,
    metric: str,
    falls_behind: Callable[[int, float], bool],
) -> bool:
    """Wait for the end and tell every new value; True if the trial is to be stopped before."""
    seen, running = 0, True
    while running:
        try:
            process.wait(_POLL_S)
            running = False
        except subprocess.TimeoutExpired:
            pass
        values = read_values(folder / TABLE, metric)
        for place, value in enumerate(values[seen:], start=seen + 1):
            if math.isfinite(value) and falls_behind(place, value) and running:
                return True
        seen = max(seen, len(values))
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process that still runs to end; end it and its children if it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _reason(output: Path, code: int) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no word")
    return said[-1] if said else f"ended with code {code}: {last}"


def _unknown(table: Path, metric: str) -> str:
    if not table.is_file():
        return f"{metric} was never logged: there is no {TABLE}"
    header, _, _ = table.read_text(encoding="utf-8").partition("\n")
    known = [name for name in header.strip().split(",") if name.startswith("val/")]
    return f"{metric} was never logged; there are {', '.join(known) or 'no figures of val/'}"
