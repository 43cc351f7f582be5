"""What a comparison file asks for: experiments, the lines in which they differ, their seeds."""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from video_adapt.errors import ConfigurationError

COMMANDS = ("fit", "validate", "test")
CHECKPOINTS = ("best", "last", "averaged")
_TOP = ("title", "out", "runs", "reuse", "seeds", "test", "set", "experiments")
_OF_ONE = ("title", "file", "command", "seeds", "test", "set")


class PlannedRun(NamedTuple):
    """One run of one experiment: an ordinary command of the program.

    Attributes:
        command: ``fit``, ``validate`` or ``test``.
        file: The experiment file.
        lines: The stated lines, as arguments.
        seed: The seed; the environment variable ``SEED`` of the run's process.
        folder: Where the run writes.
        test: Checkpoint that is tested behind training, such as ``last``; empty = none.
    """

    command: str
    file: Path
    lines: tuple[str, ...]
    seed: int
    folder: Path
    test: str = ""

    @property
    def name(self) -> str:
        """What identifies the run: experiment and seed."""
        return self.folder.name

    @property
    def words(self) -> list[str]:
        """The command and its arguments."""
        return self._with(self.command)

    @property
    def test_words(self) -> list[str]:
        """The command that tests what was trained."""
        return [*self._with("test"), f"--ckpt_path={self.folder}/checkpoints/{self.test}.ckpt"]

    def _with(self, command: str) -> list[str]:
        own = (f"--seed_everything={self.seed}", f"--run_dir={self.folder}")
        return [command, "--config", str(self.file), *self.lines, *own]


class Entry(NamedTuple):
    """One experiment, a row of the comparison.

    Attributes:
        title: What the report calls it.
        difference: Its file and the lines stated for it alone.
        runs: One for each seed.
    """

    title: str
    difference: str
    runs: tuple[PlannedRun, ...]


class Comparison(NamedTuple):
    """A comparison file.

    Attributes:
        path: The file.
        title: Title of the report.
        out: Folder of the report and of the runs' logs.
        runs_folder: Where its runs write, each in a folder of its own.
        reuse: Folders in which finished runs of equal settings may lie already.
        entries: The experiments in their order.
    """

    path: Path
    title: str
    out: Path
    runs_folder: Path
    reuse: tuple[Path, ...]
    entries: tuple[Entry, ...]

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs: every experiment with the first seed, then with the next one."""
        longest = max(len(entry.runs) for entry in self.entries)
        return [
            entry.runs[place]
            for place in range(longest)
            for entry in self.entries
            if place < len(entry.runs)
        ]


def read_comparison(path: Path) -> Comparison:
    """Read and check a comparison file.

    Files that it names are looked for beside it, folders where the program runs, as everywhere.

    Raises:
        ConfigurationError: If it is missing, is no YAML, lacks something or says something unknown.
    """
    content = _read(path)
    _check_keys(content, _TOP, required=("out", "experiments"), place=str(path))
    experiments = _mapping(content["experiments"], f"{path}: experiments")
    if not experiments:
        raise ConfigurationError(f"{path}: experiments is empty; name at least one")
    out = Path(str(content["out"]))
    runs_folder = Path(str(content.get("runs", out / "runs")))
    entries = tuple(
        _entry(name, _mapping(part, f"{path}: experiments.{name}"), content, path, runs_folder)
        for name, part in experiments.items()
    )
    reuse = content.get("reuse", [])
    if not isinstance(reuse, list):
        raise ConfigurationError(f"{path}: reuse wants a list of folders, got {reuse!r}")
    title = str(content.get("title", path.stem.replace("_", " ").capitalize()))
    return Comparison(path, title, out, runs_folder, tuple(map(Path, reuse)), entries)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file; name a comparison file") from error
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise ConfigurationError(f"{path}: is no YAML: {line}") from error
    return _mapping(content, str(path))


def _entry(
    name: str, part: dict[str, Any], content: dict[str, Any], path: Path, runs_folder: Path
) -> Entry:
    place = f"{path}: experiments.{name}"
    if not re.fullmatch(r"\w+", name):
        raise ConfigurationError(f"{place}: names a folder; use letters, digits and _ alone")
    _check_keys(part, _OF_ONE, required=("file",), place=place)
    command = part.get("command", "fit")
    if command not in COMMANDS:
        raise ConfigurationError(f"{place}: command={command}; choose {', '.join(COMMANDS)}")
    file = _beside(path, part["file"])
    common = _lines(content.get("set", {}), path, f"{path}: set")
    own = _lines(part.get("set", {}), path, f"{place}.set")
    seeds = _seeds(part.get("seeds", content.get("seeds", [0])), place)
    test = _test(part.get("test", content.get("test")), place) if command == "fit" else ""
    runs = tuple(
        PlannedRun(command, file, (*common, *own), seed, runs_folder / f"{name}_{seed}", test)
        for seed in seeds
    )
    return Entry(str(part.get("title", name)), " ".join([str(file), *own]), runs)


def _seeds(found: Any, place: str) -> list[int]:
    fine = isinstance(found, list) and found and all(type(seed) is int for seed in found)
    if not fine or len(set(found)) != len(found):
        raise ConfigurationError(
            f"{place}: seeds={found!r}; give a list of different whole numbers, such as [0, 1, 2]"
        )
    return list(found)


def _test(found: Any, place: str) -> str:
    if found is not None and found not in CHECKPOINTS:
        raise ConfigurationError(f"{place}: test={found}; choose {', '.join(CHECKPOINTS)}")
    return found or ""


def _lines(found: Any, path: Path, place: str) -> tuple[str, ...]:
    """Settings by their dotted names as arguments of the command line."""
    settings = _mapping(found, place)
    return tuple(f"--{name}={_value(value, path)}" for name, value in settings.items())


def _value(value: Any, path: Path) -> str:
    if isinstance(value, str):
        return str(_beside(path, value)) if value.endswith(".yaml") else value
    return json.dumps(value)


def _beside(path: Path, name: Any) -> Path:
    """A file that another one names.

    Raises:
        ConfigurationError: If it is not there.
    """
    found = Path(os.path.normpath(path.parent / str(name)))
    if not found.is_file():
        raise ConfigurationError(f"{path}: {name} is not there; looked for {found}")
    return found


def _mapping(found: Any, place: str) -> dict[str, Any]:
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise ConfigurationError(f"{place}: wants names with values, got {found!r}")
    return dict(found)


def _check_keys(
    found: Collection[str], known: Sequence[str], *, required: Sequence[str], place: str
) -> None:
    if unknown := [key for key in found if key not in known]:
        raise ConfigurationError(f"{place}: {unknown[0]!r} is unknown; known: {', '.join(known)}")
    if missing := [key for key in required if key not in found]:
        raise ConfigurationError(f"{place}: {missing[0]} is missing")
