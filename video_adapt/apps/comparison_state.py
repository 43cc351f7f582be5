"""What has been done of a comparison already, read off the folders of runs."""

import csv
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from video_adapt.reports.spent import read_spent

from .comparison_config import differences, digest_of
from .comparison_file import PlannedRun

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """How far a run is.

    Attributes:
        folder: Where it lies, ``run.json`` in it.
        finished: Whether there is nothing left to do.
        checkpoint: From where to go on; None = from the beginning.
        begun: Whether this very run was begun there, so that beginning anew loses nothing else.
        trained: Whether it only lacks the test behind its training.
        problem: Why it can neither be used nor begun; empty if it can.
    """

    folder: Path
    finished: bool = False
    checkpoint: Path | None = None
    begun: bool = False
    trained: bool = False
    problem: str = ""


class Records:
    """The runs that lie in some folders, by their settings.

    Args:
        folders: Where to look, at any depth.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = {
            path.resolve(): path for root in folders for path in sorted(root.rglob("run.json"))
        }
        self._records = {path.parent: _read(path) for path in paths.values()}
        self._by_digest: dict[str, list[Path]] = {}
        for folder, record in self._records.items():
            if record:
                digest = digest_of(record["command"], record["config"])
                self._by_digest.setdefault(digest, []).append(folder)

    def find(self, run: PlannedRun, config: dict[str, Any]) -> Found:
        """How far a planned run is.

        Args:
            run: The run.
            config: All its settings.
        """
        equal = self._by_digest.get(digest_of(run.command, config), [])
        own = result_folder(run)
        for folder in sorted(equal, key=lambda folder: folder != own):
            if is_finished(folder) and _is_tested(run, folder):
                return Found(folder, finished=True)
        if own in equal and is_finished(own):
            return Found(own, begun=True, trained=True)
        if own in equal:
            checkpoint = run.folder / "checkpoints/last.ckpt"
            found = checkpoint if checkpoint.is_file() else None
            return Found(own, checkpoint=found, begun=True)
        if (other := self._records.get(own)) is not None:
            return Found(own, problem=_explain(own, config, other.get("config", {})))
        return Found(own)


def result_folder(run: PlannedRun) -> Path:
    """Where a run records itself: training in its folder, an evaluation in one below."""
    return run.folder if run.command == "fit" else run.folder / run.command


def is_finished(folder: Path) -> bool:
    """Whether a run came to its end: an evaluation wrote its figures, training its last epoch."""
    if read_spent(folder).get("finished"):
        return True
    record = _read(folder / "run.json")
    if record["command"] != "fit":
        return (folder / "metrics.json").is_file()
    epochs = record["config"]["trainer"]["max_epochs"]
    return epochs is not None and _last_epoch(folder / "metrics.csv") == epochs - 1


def _is_tested(run: PlannedRun, folder: Path) -> bool:
    return not run.test or (folder / "test/metrics.json").is_file()


def _last_epoch(table: Path) -> int | None:
    """Number of the last epoch that was closed; what closes one is logged behind all else."""
    if not table.is_file():
        return None
    with table.open(newline="", encoding="utf-8") as file:
        closed = [row["epoch"] for row in csv.DictReader(file) if row.get("cost/step_ms")]
    return int(float(closed[-1])) if closed else None


def _explain(folder: Path, config: dict[str, Any], other: dict[str, Any]) -> str:
    names = differences(config, other)
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"{folder} holds a run of other settings ({listed or 'another command'}); move it away, or "
        "add --overwrite"
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        logger.warning("%s: cannot be read (%s), so this run is not used", path, error)
        return {}
    return content
