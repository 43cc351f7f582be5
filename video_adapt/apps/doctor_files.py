"""Experiment files and what they need: variables, data, weights; without building anything."""

import mimetypes
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .doctor_findings import Finding
from .doctor_weights import examine_weights

_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)(?:,\s*([^}]*))?\}")
_LISTS = ("train", "val", "test", "classes", "captions", "exclude")
_MANY = 10_000  # enough to know that a folder is full


class Experiment(NamedTuple):
    """An experiment file with those that it names in their places.

    Attributes:
        path: The file.
        content: What it says; a variable that is not set stays as it was written.
        unset: Names of these variables.
        problems: What is wrong with the files.
    """

    path: Path
    content: Any
    unset: list[str]
    problems: list[str]


def examine_experiment(path: Path) -> Iterator[Finding]:
    """Look for all that an experiment file names; each thing once."""
    experiment = read_experiment_file(path)
    for problem in experiment.problems:
        yield Finding("experiment", "fail", problem, f"mend the file, or the path in {path}")
    for name in dict.fromkeys(experiment.unset):
        mend = f"export {name}=/path/to/it"
        yield Finding("experiment", "fail", f"{path}: the variable {name} is not set", mend)
    if not experiment.problems and not experiment.unset:
        yield Finding("experiment", "ok", f"{path}")
    nodes = [experiment.content, *_nodes(experiment.content)]
    data = next((node["data"] for node in nodes if _is_data(node)), None)
    if data is not None:
        yield from _examine_data(data.get("init_args", data))
    weights = (finding for node in nodes for finding in examine_weights(node))
    yield from dict.fromkeys(weights)


def read_experiment_file(path: Path) -> Experiment:
    """Read an experiment file, the files that it names, and the environment's variables in it."""
    experiment = Experiment(path, None, [], [])
    return experiment._replace(content=_read(path, experiment))


def examine_variables(folder: Path) -> Iterator[Finding]:
    """Look where the variables lead that experiment files of a folder name.

    Args:
        folder: Where the experiment files are; without any there is nothing to tell.
    """
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.yaml")))
    names = sorted(
        {
            found[1]
            for text in texts
            for found in _VARIABLE.finditer(text)
            if not found[2] and not found[1].startswith("WANDB_")
        }
    )
    given = {name: Path(os.environ[name]).expanduser() for name in names if name in os.environ}
    for name, place in given.items():
        if place.exists():
            yield Finding("data", "ok", f"{name}={place}")
        else:
            # What is no path may be a secret: it is not shown.
            mend = f"export {name}=/path/to/it"
            yield Finding("data", "fail", f"{name} leads to nothing that is there", mend)
    if unset := [name for name in names if name not in given]:
        text = f"not set, each wanted by experiments of its own only: {', '.join(unset)}"
        yield Finding("data", "ok", text)


def examine_path(path: Path) -> Finding:
    """Look at a folder of videos or a file."""
    if path.is_file():
        return Finding("path", "ok", f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if not path.is_dir():
        return Finding("path", "fail", f"{path} is not there", "check the path")
    videos = count_videos(path)
    if videos:
        return Finding("path", "ok", f"{path}: {_number(videos)} videos")
    return Finding("path", "warn", f"{path}: no videos in it", "check the path")


def count_videos(folder: Path) -> int:
    """Number of files below a folder that are videos by their name, at most ten thousand."""
    found = 0
    for _, _, names in os.walk(folder, followlinks=True):
        found += sum((mimetypes.guess_type(name)[0] or "").startswith("video/") for name in names)
        if found >= _MANY:
            return _MANY
    return found


def _read(path: Path, experiment: Experiment) -> Any:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        experiment.problems.append(f"{path}: {error.strerror}")
        return None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        experiment.problems.append(f"{path}: {' '.join(str(error).split())}")
        return None
    return _filled_in(content, path.parent, experiment)


def _filled_in(value: Any, folder: Path, experiment: Experiment) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled_in(inner, folder, experiment) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled_in(inner, folder, experiment) for inner in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        name, otherwise = found.groups()
        if name not in os.environ and otherwise is None:
            experiment.unset.append(name)
            return found[0]
        return os.environ.get(name, otherwise or "")

    text = _VARIABLE.sub(variable, value)
    if text.endswith((".yaml", ".yml")) and "$" not in text:
        return _read(folder / text, experiment)
    return text


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping below a value."""
    inner = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list):
        return
    for child in inner:
        if isinstance(child, Mapping):
            yield dict(child)
        yield from _nodes(child)


def _is_data(node: Any) -> bool:
    return isinstance(node, Mapping) and isinstance(node.get("data"), Mapping)


def _examine_data(arguments: Mapping[str, Any]) -> Iterator[Finding]:
    """Look for the root and the lists; ``video-adapt data-check`` looks into them."""
    root = arguments.get("root")
    if not isinstance(root, str) or "$" in root:
        return
    folder = Path(root).expanduser()
    if not folder.is_dir():
        mend = "put the data there, or say --data.init_args.root=/path/to/it"
        yield Finding("data", "fail", f"{folder} is not a folder", mend)
        return
    places = [Path(), folder]
    if isinstance(lists := arguments.get("lists"), str):
        places.append(Path(lists).expanduser())
    absent = [
        name
        for name in _named_files(arguments)
        if "$" not in name and not any((place / name).exists() for place in places)
    ]
    for name in absent:
        yield Finding("data", "fail", f"{name} is not in {places[-1]}", "get it, or name another")
    if absent:
        return
    videos = count_videos(folder)
    if videos or arguments.get("features") is not None:
        yield Finding("data", "ok", f"{folder}: all lists, {_number(videos)} videos")
    else:
        yield Finding("data", "warn", f"{folder}: no videos below it", "put the videos there")


def _named_files(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Lists and class files of a data module, of its test sets too."""
    values: list[Any] = [arguments.get(key) for key in _LISTS if key != "exclude"]
    if isinstance(exclude := arguments.get("exclude"), str):
        values.append(exclude)
    sets = arguments.get("test_sets") or {}
    values += [given.get("videos") for given in sets.values() if isinstance(given, Mapping)]
    for value in values:
        for name in (
            value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        ):
            if isinstance(name, str):
                yield name.replace("{draw}", str(arguments.get("draw")))


def _number(videos: int) -> str:
    return f"{videos} or more" if videos == _MANY else str(videos)
