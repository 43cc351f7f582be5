"""Where a run goes on: what ``--ckpt_path`` means, and the command that continues a stopped run."""

import logging
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_only

from .callbacks.checkpoint_file import LAST, PREVIOUS
from .callbacks.preemption import RunStopped
from .checkpoints import first_whole
from .errors import WeightsError

logger = logging.getLogger(__name__)

BEST, DAMAGED = "best.ckpt", "damaged.ckpt"
_NEWEST_FIRST = (LAST, PREVIOUS, BEST)
NAMED = {"last": _NEWEST_FIRST, "auto": _NEWEST_FIRST, "best": (BEST,)}
"""Checkpoints of the run's own folder that a word stands for, in the order they are wanted."""


class Start(NamedTuple):
    """From where a run goes on.

    Attributes:
        checkpoint: A file that is whole; None = the run begins anew.
        table_rows: Rows that ``metrics.csv`` held when it was written; None = it does not say.
        tracked_id: W&B's id of the run; None = it had none, or lies in another folder, and this run
            only begins from it.
    """

    checkpoint: Path | None = None
    table_rows: int | None = None
    tracked_id: str | None = None


def find_start(given: str | None, run_dir: Path, *, command: str) -> Start:
    """The checkpoint that ``--ckpt_path`` means.

    Args:
        given: A path; ``last`` or ``best``, one of the run's own folder; ``auto``, the last one
            where there is one and a new run otherwise; None.
        run_dir: Folder of the run.
        command: Training alone goes on from the last checkpoint but one where the last is damaged;
            whoever measures wants that one or none.

    Raises:
        WeightsError: If there is none, or it is damaged.
    """
    fits = command == "fit"
    if given is None:
        return Start()
    folder = run_dir / "checkpoints"
    wanted = [folder / name for name in NAMED.get(given, ())] or _beside(Path(given))
    found = [path for path in wanted if path.exists()]
    if not found and given == "auto" and fits:
        logger.info("no checkpoint in %s: the run begins anew", folder)
        return Start()
    if not found and given in NAMED:
        raise WeightsError(
            f"{folder}: holds no checkpoint for --ckpt_path {given}; give the path of one, or "
            "train first: fit with --ckpt_path auto goes on where it can and begins where not"
        )
    path, content = first_whole(found if found and fits else (found or wanted)[:1])
    if fits:
        _set_aside(path)
    record = content.get("video_adapt", {})
    own = path.parent.resolve() == folder.resolve()
    return Start(path, record.get("table_rows"), record.get("tracked_id") if own else None)


def is_begun(run_dir: Path) -> bool:
    """Whether a run's folder holds a checkpoint from which ``--ckpt_path last`` goes on."""
    return any((run_dir / "checkpoints" / name).exists() for name in _NEWEST_FIRST)


def go_on_line(words: Sequence[str], stop: RunStopped) -> str:
    """What to say of a run that was stopped, with the command that continues it.

    Args:
        words: The command line of the run.
        stop: How it ended.
    """
    if stop.checkpoint is None:
        return f"{stop} before there was anything to save; begin anew: {_command(words)}"
    rest = [*_without(words, "--ckpt_path", "--overwrite"), "--ckpt_path", "auto"]
    return f"{stop}; {stop.checkpoint} is written; go on: {_command(rest)}"


def named_error(error: WeightsError, checkpoint: Any) -> WeightsError:
    """An error about a checkpoint that names its file, whoever found it."""
    if checkpoint is None or str(checkpoint) in str(error):
        return error
    return WeightsError(f"{checkpoint}: {error}")


def _beside(path: Path) -> list[Path]:
    return [path, path.with_name(PREVIOUS)] if path.name == LAST else [path]


def _set_aside(taken: Path) -> None:
    """Move a damaged last checkpoint away, or the next one would push out the one that is whole."""
    first: Any = rank_zero_only
    damaged = taken.with_name(LAST)
    if taken.name == PREVIOUS and damaged.exists() and first.rank == 0:
        damaged.replace(taken.with_name(DAMAGED))


def _command(words: Sequence[str]) -> str:
    return shlex.join(["video-adapt", *words])


def _without(words: Sequence[str], *options: str) -> list[str]:
    """The words without some options, in either form, ``--x=1`` or ``--x 1``."""
    forms = tuple(f"{option}=" for option in options)
    return [
        word
        for before, word in pairwise(["", *words])
        if not (word in options or before in options or word.startswith(forms))
    ]
