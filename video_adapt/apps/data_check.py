"""``video-adapt data-check``: look at every video of a data set before training on it.

Lists of trimmed clips, annotations of segments in long videos and captions are told apart by the
class that an experiment file names or, without one, by ``--segments`` (or a JSON object with a
``database``) and ``--captions``. Test sets with classes of their own come from experiment files.
"""

import argparse
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_adapt.errors import ConfigurationError

from .outputs import whole_file

if TYPE_CHECKING:
    from data_modules import (
        KineticsDataModule,
        MSRVTTDataModule,
        OpenVocabularyDataModule,
        THUMOSDataModule,
    )
    from data_modules.checks import VideoFacts
    from data_modules.problems import Problem, Problems

    DataModule = KineticsDataModule | THUMOSDataModule | MSRVTTDataModule | OpenVocabularyDataModule

HELP = "find missing, broken, copied, leaking, mislabelled and uncaptioned videos of a data set"
_LIST_ARGUMENTS = ("root", "train", "val", "test", "classes", "format")
_SEGMENT_ARGUMENTS = (
    *("root", "train", "val", "test", "classes", "subsets", "exclude"),
    *("ignore_labels", "video_path", "features", "sampler", "frames_per_chunk"),
)
_CAPTION_ARGUMENTS = (
    *("root", "train", "val", "test", "captions", "video_path"),
    *("paragraph", "until_s", "max_words"),
)
_VOCABULARY_ARGUMENTS = (
    *("root", "train", "val", "classes", "format", "part", "test_sets", "lists"),
    *("draw", "exchanged", "labels", "match"),
)
_ARGUMENTS = {
    "THUMOSDataModule": _SEGMENT_ARGUMENTS,
    "MSRVTTDataModule": _CAPTION_ARGUMENTS,
    "OpenVocabularyDataModule": _VOCABULARY_ARGUMENTS,
}
_LISTS = "KineticsDataModule"
_FLAGS = (*_LIST_ARGUMENTS, "captions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, help="experiment file; its `data` is checked")
    parser.add_argument("--root", type=Path, help="folder that paths in lists start at")
    parser.add_argument("--list", "--train", dest="train", help="training list or folder")
    parser.add_argument("--val", help="validation list or folder")
    parser.add_argument("--test", help="test list or folder")
    parser.add_argument("--classes", help="class names file")
    parser.add_argument("--format", help="format of the lists (default: told from their content)")
    parser.add_argument(
        "--segments", action="store_true", help="the lists tell of segments in long videos"
    )
    parser.add_argument(
        "--captions",
        nargs="+",
        metavar="FILE",
        help="captions of the videos that the lists name; without a list, of training",
    )
    parser.add_argument("--decode", action="store_true", help="decode every frame, not the headers")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="parallel readers")
    parser.add_argument("--json", type=Path, help="also write the report to this file")


def run(args: argparse.Namespace) -> int:
    """Check and report; 1 if anything is wrong.

    Raises:
        AnnotationError: If a list or the class names cannot be read at all.
        ConfigurationError: If neither a config with `data` nor a root is given.
    """
    from data_modules.problems import Problems

    problems = Problems(strict=False)
    module = _data_module(args)
    manifests = _read(module, problems)
    paths = {entry.path for manifest in manifests.values() for entry in manifest.entries}
    inspect = _inspector(module, decode=args.decode)
    facts = _inspect(sorted(paths), inspect, workers=args.workers)
    _check(module, manifests, facts, problems)
    found = list(dict.fromkeys(problems.found))
    counts: dict[str, int] = {split: len(manifest) for split, manifest in manifests.items()}
    _print(found, counts, module.unit)
    if args.json is not None:
        _write_json(args.json, found, counts, module.unit)
    return 1 if found else 0


def _data_module(args: argparse.Namespace) -> "DataModule":
    import data_modules

    name, given = _data_of(args.config) if args.config else ("", {})
    given |= {key: found for key in _FLAGS if (found := getattr(args, key)) is not None}
    if "root" not in given:
        raise ConfigurationError("data-check needs -c EXPERIMENT.yaml or --root FOLDER")
    if args.captions and not any(given.get(key) for key in ("train", "val", "test")):
        given["train"] = args.captions[0]
    if args.captions:
        name = "MSRVTTDataModule"
    elif args.segments or (not name and _has_database(given)):
        name = "THUMOSDataModule"
    known = _ARGUMENTS.get(name, _LIST_ARGUMENTS)
    chosen = _built({key: value for key, value in given.items() if key in known})
    module: DataModule = getattr(data_modules, name if name in _ARGUMENTS else _LISTS)(**chosen)
    return module


def _has_database(given: Mapping[str, Any]) -> bool:
    """Whether the first list is a JSON object, where lists of clips are JSON arrays."""
    from data_modules.annotations import find_source

    named = next((given[key] for key in ("train", "val", "test") if given.get(key)), None)
    source = find_source(Path(given["root"]), named)
    if source is None or source.suffix != ".json" or not source.is_file():
        return False
    with source.open(encoding="utf-8-sig") as file:
        return file.read(64).lstrip().startswith("{")


def _built(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with the components that decide which files are looked at, and how."""
    from data_modules import FeatureFiles, TestSet
    from video_adapt import video

    if (features := arguments.get("features")) is not None:
        arguments["features"] = FeatureFiles(**features.get("init_args", features))
    if (sets := arguments.get("test_sets")) is not None:
        arguments["test_sets"] = {name: TestSet(**given) for name, given in sets.items()}
    if (sampler := arguments.get("sampler")) is not None:
        spec: dict[str, Any] = {"class_path": sampler} if isinstance(sampler, str) else sampler
        name = str(spec["class_path"]).rpartition(".")[2]
        if name not in video.__all__:
            raise ConfigurationError(f"data.sampler: no sampler {name!r}; name SlidingWindows")
        arguments["sampler"] = getattr(video, name)(**spec.get("init_args", {}))
    return arguments


def _data_of(config: Path) -> tuple[str, dict[str, Any]]:
    """Class and arguments of the ``data`` part of an experiment, includes followed."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        data = _part(config)
        if isinstance(data, str):
            data = _part(config.parent / data)
        arguments = data.get("init_args", data) if isinstance(data, DictConfig) else {}
        name = str(data.get("class_path", "")) if isinstance(data, DictConfig) else ""
        name = name.rpartition(".")[2]
        keys = _ARGUMENTS.get(name, _LIST_ARGUMENTS)
        # One by one: other values may refer to parts of the experiment that are not loaded here.
        given = {key: arguments.get(key) for key in keys}
        plain = {
            key: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
            for key, value in given.items()
            if value is not None
        }
    except OmegaConfBaseException as error:
        raise ConfigurationError(f"{config}: {' '.join(str(error).split())}") from error
    if "root" not in plain:
        raise ConfigurationError(f"{config}: has no `data` with a `root`; give --root instead")
    return name, plain


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


def _read(module: "DataModule", problems: "Problems") -> dict[str, Any]:
    """Manifests by split, and by the names of test sets that have classes of their own."""
    from data_modules import OpenVocabularyDataModule
    from data_modules.annotations import Split

    splits: tuple[Split, ...] = ("train", "val", "test")
    named = [split for split in splits if module.sources[split] is not None]
    manifests: dict[str, Any] = {split: module.read(split, problems) for split in named}
    if isinstance(module, OpenVocabularyDataModule):
        for name in module.test_sets:
            module.vocabulary(name)  # refuses classes that are not new
            manifests[name] = module.read_test_set(name, problems)
    return {split: manifest for split, manifest in manifests.items() if manifest is not None}


def _inspector(module: "DataModule", *, decode: bool) -> "Callable[[str], VideoFacts]":
    """How one file is looked at."""
    from data_modules.checks import inspect_video
    from data_modules.segment_checks import inspect_features

    features = getattr(module, "features", None)
    if features is not None:
        return partial(inspect_features, files=features)
    return partial(inspect_video, decode=decode)


def _check(
    module: "DataModule",
    manifests: Mapping[Any, Any],
    facts: "Mapping[str, VideoFacts]",
    problems: "Problems",
) -> None:
    from data_modules import MSRVTTDataModule, THUMOSDataModule
    from data_modules.caption_checks import check_captions
    from data_modules.checks import check_manifests
    from data_modules.segment_checks import check_segments, check_subsets

    if isinstance(module, MSRVTTDataModule):
        check_captions(manifests, facts, module, _token_counter(), problems)
    elif isinstance(module, THUMOSDataModule):
        for rows in module.annotated(problems):
            check_subsets(rows, module.subsets, problems)
        check_segments(manifests, facts, module, problems)
    else:
        check_manifests(manifests, facts, problems)


def _token_counter() -> "Callable[[str], int]":
    """Counts the tokens that CLIP makes of a caption, with those of its start and end."""
    from open_clip import SimpleTokenizer  # takes seconds, and only captions need it

    tokenizer = SimpleTokenizer()
    return lambda text: len(tokenizer.encode(text)) + 2


def _inspect(
    paths: list[str], inspect: "Callable[[str], VideoFacts]", *, workers: int
) -> "Mapping[str, VideoFacts]":
    """Facts about every file; libav lets go of the interpreter, so threads are enough."""
    from rich.console import Console
    from rich.progress import track

    with _quiet_decoder(), ThreadPoolExecutor(workers) as pool:
        looks = pool.map(inspect, paths)
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


def _print(found: "Iterable[Problem]", counts: Mapping[str, int], unit: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    kinds = Counter(problem.kind for problem in found)
    for problem in found:
        console.print(f"{problem.kind}: {problem.where}: {problem.message}", markup=False)
    table = Table("check", "found", title=", ".join(f"{k}: {n} {unit}" for k, n in counts.items()))
    for kind, count in kinds.most_common():
        table.add_row(kind, str(count))
    if not kinds:
        table.add_row("all", "nothing wrong")
    console.print(table)


def _write_json(
    path: Path, found: "Iterable[Problem]", counts: Mapping[str, int], unit: str
) -> None:
    report = {unit: dict(counts), "problems": [problem._asdict() for problem in found]}
    with whole_file(path) as file:
        file.write(json.dumps(report, indent=1) + "\n")
