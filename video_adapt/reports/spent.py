"""What a run cost beside what it logs: time of its processes, hours and energy of its GPUs."""

import hashlib
import json
from pathlib import Path
from typing import Any

from video_adapt.callbacks.save_config import write_json

from .kind import Figure
from .runs import Run

_FILE = "spent.json"


def write_spent(
    folder: Path,
    *,
    wall_s: float,
    attempts: int,
    finished: bool,
    gpu_j: float | None,
    at_once: int,
    shares_gpu: bool,
) -> None:
    """Note what a run cost, and for which run that is true.

    Args:
        folder: Where its ``run.json`` lies.
        wall_s: Time of all its processes, from their start to their end.
        attempts: Number of processes it took.
        finished: Whether the last one came to its end.
        gpu_j: Energy that the GPUs took meanwhile, in joules; None = not known.
        at_once: How many runs shared the machine, this one among them.
        shares_gpu: Whether another one had the same GPU.
    """
    facts = {
        "wall_s": round(wall_s, 3),
        "attempts": attempts,
        "finished": finished,
        "gpu_j": gpu_j,
        "at_once": at_once,
        "shares_gpu": shares_gpu,
        "record": _record_digest(folder),
    }
    write_json(folder / _FILE, facts)


def read_spent(folder: Path) -> dict[str, Any]:
    """What the run that lies in a folder cost; empty if nobody noted it, or of an earlier run."""
    path = folder / _FILE
    if not path.is_file():
        return {}
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts if facts["record"] == _record_digest(folder) else {}


def _record_digest(folder: Path) -> str:
    return hashlib.sha256((folder / "run.json").read_bytes()).hexdigest()


def _spent(run: Run, key: str) -> float | None:
    value = read_spent(run.folder).get(key)
    return None if value is None else float(value)


def _gpu_hours(run: Run) -> float | None:
    """Hours of all GPUs; None where the time is not known or no GPU was its own."""
    spent = read_spent(run.folder)
    wall_s = None if spent.get("shares_gpu") else spent.get("wall_s")
    used = any(name.endswith("_allocated") for name in run.curves)
    processes = run.record.get("machine", {}).get("processes")
    if wall_s is None or not used or processes is None:
        return None
    return float(wall_s) / 3600 * processes


MINUTES = Figure("time of the run", lambda run: _spent(run, "wall_s"), " min", 1, 1 / 60, "time")
GPU_HOURS = Figure("GPU-hours", _gpu_hours, "", 2)
ENERGY = Figure("GPU energy", lambda run: _spent(run, "gpu_j"), " Wh", 1, 1 / 3600)
