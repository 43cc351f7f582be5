"""Every setting that a run would have, known before it starts."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from .comparison_file import PlannedRun
from .experiment_file import ParsedCLI

# Where a run writes, how it goes on and what it shows decide nothing of what comes out.
_ELSEWHERE = ("run_dir", "overwrite", "ckpt_path", "media")
_SHOWN = ("enable_progress_bar", "enable_model_summary")


class ConfigReader:
    """Reads the settings of planned runs; parsers take seconds to build and are kept."""

    def __init__(self) -> None:
        self._parsers: dict[str, LightningArgumentParser] = {}

    def __call__(self, run: PlannedRun) -> dict[str, Any]:
        """All settings of a run as ``run.json`` would record them.

        Raises:
            SystemExit: If the command line of the run is wrong; the parser has said why.
        """
        with _environment(run):
            parser = self._parser(run)
            text = parser.dump(parser.parse_args(run.words[1:]), skip_unset=False)
        config: dict[str, Any] = yaml.safe_load(text)
        return config

    def _parser(self, run: PlannedRun) -> LightningArgumentParser:
        if run.command not in self._parsers:
            # A seed would be set, and announced.
            sys.argv[1:] = [*run.words, "--seed_everything=false"]
            parsers: Any = ParsedCLI(run.command)._subcommand_parsers
            self._parsers[run.command] = parsers[run.command]
        return self._parsers[run.command]


@contextmanager
def _environment(run: PlannedRun) -> Iterator[None]:
    """The arguments, which errors quote, and the variable ``SEED`` of a run."""
    before, seed = sys.argv[1:], os.environ.get("SEED")
    sys.argv[1:] = run.words
    os.environ["SEED"] = str(run.seed)
    try:
        yield
    finally:
        sys.argv[1:] = before
        del os.environ["SEED"]
        if seed is not None:
            os.environ["SEED"] = seed


def folders_read(config: Any) -> set[Path]:
    """All folders above the files that settings name, such as that of a run whose teacher it is."""
    if isinstance(config, Mapping):
        return folders_read(list(config.values()))
    if isinstance(config, list):
        return {folder for value in config for folder in folders_read(value)}
    return set(Path(config).resolve().parents) if isinstance(config, str) else set()


def digest_of(command: str, config: Mapping[str, Any]) -> str:
    """A name for everything that decides what a run gives: SHA-256 of its settings."""
    text = json.dumps([command, _deciding(config)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(mine: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted names of the settings in which two runs differ, but for where they write."""
    ones, others = _flat(_deciding(mine)), _flat(_deciding(other))
    names = [*ones, *(name for name in others if name not in ones)]
    return [name for name in names if ones.get(name, "absent") != others.get(name, "absent")]


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in _ELSEWHERE}
    trainer = {k: v for k, v in config.get("trainer", {}).items() if k not in _SHOWN}
    return kept | {"trainer": trainer}


def _flat(config: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{place}{key}.")
        else:
            found[f"{place}{key}"] = value
    return found
