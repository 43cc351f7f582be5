"""``video-adapt data-check``: look at every video of a data set before training on it."""

import argparse
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_adapt.errors import ConfigurationError

if TYPE_CHECKING:
    from data_modules.annotations import Manifest, Split
    from data_modules.checks import VideoFacts
    from data_modules.kinetics import KineticsDataModule
    from data_modules.problems import Problem

HELP = "find missing, broken, copied, leaking and mislabelled videos of a data set"
_LIST_ARGUMENTS = ("root", "train", "val", "test", "classes", "format")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, help="experiment file; its `data` is checked")
    parser.add_argument("--root", type=Path, help="folder that paths in lists start at")
    parser.add_argument("--list", "--train", dest="train", help="training list or folder")
    parser.add_argument("--val", help="validation list or folder")
    parser.add_argument("--test", help="test list or folder")
    parser.add_argument("--classes", help="class names file")
    parser.add_argument("--format", help="format of the lists (default: told from their content)")
    parser.add_argument("--decode", action="store_true", help="decode every frame, not the headers")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="parallel readers")
    parser.add_argument("--json", type=Path, help="also write the report to this file")


def run(args: argparse.Namespace) -> int:
    """Check and report; 1 if anything is wrong.

    Raises:
        AnnotationError: If a list or the class names cannot be read at all.
        ConfigurationError: If neither a config with `data` nor a root is given.
    """
    from data_modules.checks import check_manifests
    from data_modules.problems import Problems

    problems = Problems(strict=False)
    manifests = _read(_data_module(args), problems)
    paths = {entry.path for manifest in manifests.values() for entry in manifest.entries}
    facts = _inspect(sorted(paths), decode=args.decode, workers=args.workers)
    check_manifests(manifests, facts, problems)
    found = list(dict.fromkeys(problems.found))
    counts: dict[str, int] = {split: len(manifest) for split, manifest in manifests.items()}
    _print(found, counts)
    if args.json is not None:
        _write_json(args.json, found, counts)
    return 1 if found else 0


def _data_module(args: argparse.Namespace) -> "KineticsDataModule":
    from data_modules.kinetics import KineticsDataModule

    stated = {key: getattr(args, key) for key in _LIST_ARGUMENTS if getattr(args, key) is not None}
    given = {**(_data_of(args.config) if args.config else {}), **stated}
    if "root" not in given:
        raise ConfigurationError("data-check needs -c EXPERIMENT.yaml or --root FOLDER")
    return KineticsDataModule(**given)


def _data_of(config: Path) -> dict[str, Any]:
    """The arguments that name files in the ``data`` part of an experiment, includes followed."""
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    try:
        data = _part(config)
        if isinstance(data, str):
            data = _part(config.parent / data)
        arguments = data.get("init_args", data) if isinstance(data, DictConfig) else {}
        # One by one: other values may refer to parts of the experiment that are not loaded here.
        given = {key: arguments.get(key) for key in _LIST_ARGUMENTS}
    except OmegaConfBaseException as error:
        raise ConfigurationError(f"{config}: {' '.join(str(error).split())}") from error
    if given["root"] is None:
        raise ConfigurationError(f"{config}: has no `data` with a `root`; give --root instead")
    return {key: value for key, value in given.items() if value is not None}


def _part(path: Path) -> Any:
    """The ``data`` part of a YAML file, the whole file where it is nothing else."""
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    try:
        content = OmegaConf.load(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read it: {error.strerror}") from error
    except YAMLError as error:
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}") from error
    return content.get("data", content) if isinstance(content, DictConfig) else None


def _read(module: "KineticsDataModule", problems: Any) -> "dict[Split, Manifest]":
    from data_modules.annotations import Split

    splits: tuple[Split, ...] = ("train", "val", "test")
    named = [split for split in splits if module.sources[split] is not None]
    read = {split: module.read(split, problems) for split in named}
    return {split: manifest for split, manifest in read.items() if manifest is not None}


def _inspect(paths: list[str], *, decode: bool, workers: int) -> "Mapping[str, VideoFacts]":
    """Facts about every file; libav lets go of the interpreter, so threads are enough."""
    from rich.console import Console
    from rich.progress import track

    from data_modules.checks import inspect_video

    with _quiet_decoder(), ThreadPoolExecutor(workers) as pool:
        looks = pool.map(partial(inspect_video, decode=decode), paths)
        console = Console(stderr=True)
        tracked = track(looks, "checking videos", total=len(paths), console=console)
        return {facts.path: facts for facts in tracked}


@contextmanager
def _quiet_decoder() -> Iterator[None]:
    """Without the decoder's own warnings: the report says the same with file and line."""
    log = logging.getLogger("video_adapt.video")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _print(found: "Iterable[Problem]", counts: Mapping[str, int]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    kinds = Counter(problem.kind for problem in found)
    for problem in found:
        console.print(f"{problem.kind}: {problem.where}: {problem.message}", markup=False)
    table = Table("check", "found", title=", ".join(f"{k}: {n} clips" for k, n in counts.items()))
    for kind, count in kinds.most_common():
        table.add_row(kind, str(count))
    if not kinds:
        table.add_row("all", "nothing wrong")
    console.print(table)


def _write_json(path: Path, found: "Iterable[Problem]", counts: Mapping[str, int]) -> None:
    report = {"clips": dict(counts), "problems": [problem._asdict() for problem in found]}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
