"""What a run recorded of itself, and the command that makes it again."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from video_adapt.errors import ConfigurationError, WeightsError

_COMMANDS = ("fit", "validate", "test")


class Recorded(NamedTuple):
    """The record of a finished run.

    Attributes:
        folder: Where ``run.json`` and ``config.yaml`` lie, absolute.
        facts: Content of ``run.json``.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def command(self) -> str:
        """``fit``, ``validate`` or ``test``."""
        return str(self.facts["command"])

    @property
    def run_dir(self) -> Path:
        """The run's own folder, in which evaluations have folders of their own."""
        return self.folder if self.command == "fit" else self.folder.parent

    @property
    def started(self) -> dict[str, Any]:
        """How it was started; empty in records of older versions."""
        return dict(self.facts.get("started", {}))

    @property
    def start_folder(self) -> Path:
        """Where relative paths of the settings begin."""
        return Path(self.started.get("folder", Path.cwd()))

    @property
    def checkpoint(self) -> Path | None:
        """The weights that the command begins with; None without any.

        Training that went on from its own checkpoint is made again from the beginning: that file
        was replaced since, and a resumed run equals an uninterrupted one.
        """
        given = self.facts["config"].get("ckpt_path")
        if given is None:
            return None
        path = self.start_folder / given
        own = not path.suffix or path.resolve().is_relative_to(self.run_dir.resolve())
        return None if self.command == "fit" and own else path

    def results(self, run_dir: Path) -> Path:
        """Where a run of this command in that folder writes ``metrics.json``."""
        return run_dir / ("val" if self.command == "fit" else self.command)

    def table(self, run_dir: Path) -> Path:
        """Where a run of this command in that folder writes its figures."""
        return (run_dir if self.command == "fit" else run_dir / self.command) / "metrics.csv"


def read_record(folder: Path) -> Recorded:
    """Read what a run recorded.

    Args:
        folder: Of the run, or of one of its evaluations, such as ``runs/x/test``.

    Raises:
        ConfigurationError: If there is no complete record, or one of another command.
    """
    path = folder / "run.json"
    if not path.is_file() or not (folder / "config.yaml").is_file():
        inside = sorted(found.parent.name for found in folder.glob("*/run.json"))
        mend = f"name one of {folder}/{{{','.join(inside)}}}" if inside else "name a run's folder"
        raise ConfigurationError(f"{folder}: no run.json and config.yaml here; {mend}")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path}: not valid JSON: {error}; restore the file") from error
    if facts.get("command") not in _COMMANDS:
        raise ConfigurationError(
            f"{path}: a run of {facts.get('command')!r} leaves no figures to compare; name a run "
            f"of {', '.join(_COMMANDS)}"
        )
    return Recorded(folder.resolve(), facts)


def command_of(recorded: Recorded, out: Path) -> list[str]:
    """Words, the interpreter first, that make a run again in another folder.

    Raises:
        WeightsError: If the weights that it began with are gone.
    """
    words = [
        *(sys.executable, "-m", "video_adapt", recorded.command),
        *("--config", str(recorded.folder / "config.yaml")),
        *("--run_dir", str(out.absolute()), "--overwrite=false"),
        # A logger of the settings could write into the folder of the run itself.
        "--trainer.logger=null",
    ]
    if (seed := recorded.facts["seed"]) is not None:
        words.append(f"--seed_everything={seed}")
    if (path := recorded.checkpoint) is not None:
        if not path.is_file():
            raise WeightsError(f"{path}: the run began with these weights, which are gone")
        words.append(f"--ckpt_path={path}")
    else:
        words.append("--ckpt_path=null")
    if moved := _moved(recorded.facts["config"]["trainer"].get("callbacks"), out.absolute()):
        words.append(f"--trainer.callbacks={json.dumps(moved)}")
    return words


def _moved(callbacks: Any, out: Path) -> list[dict[str, Any]] | None:
    """The callbacks, if any of them names a folder: that is in the new run's own."""
    found = list(callbacks or [])
    moved = []
    for number, callback in enumerate(found):
        arguments = dict(callback.get("init_args") or {})
        if arguments.get("dirpath"):
            arguments["dirpath"] = str(out / f"checkpoints_{number}")
        moved.append({**callback, "init_args": arguments} if arguments else callback)
    return moved if moved != found else None
