"""Any labelled data set as a base-to-novel protocol: classes in two parts, few-shot lists."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from video_adapt.errors import AnnotationError, ConfigurationError

from .annotations import Manifest, VideoEntry
from .classes import ClassNames


class Parts(NamedTuple):
    """Labels of a data set in two parts; a label's place in its part is its new label.

    Attributes:
        base: Labels that are trained on, ascending.
        novel: Labels that only testing sees, ascending.
    """

    base: list[int]
    novel: list[int]


@dataclass(frozen=True)
class SplitSpec:
    """How a data set is split.

    Args:
        novel: Names of the novel classes; empty = drawn at random.
        novel_share: Share of the classes that is drawn.
        shots: Training videos of each base class.
        draws: Training lists, each drawn anew.
        seed: Seed of all draws.

    Raises:
        ConfigurationError: If a value is impossible.
    """

    novel: tuple[str, ...] = ()
    novel_share: float = 0.5
    shots: int = 16
    draws: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 < self.novel_share < 1 or self.shots < 1 or self.draws < 1:
            raise ConfigurationError(
                f"novel share {self.novel_share}, {self.shots} shots, {self.draws} draws: the "
                "share lies between 0 and 1, the others are at least 1"
            )


def split_classes(names: Sequence[str], spec: SplitSpec) -> Parts:
    """Tell base and novel classes apart.

    Raises:
        ConfigurationError: If there is no such class, or one part would be empty.
    """
    known = ClassNames(tuple(names))
    try:
        novel = {known.index(name) for name in spec.novel}
    except ValueError as error:
        raise ConfigurationError(f"novel classes: {error}") from error
    if not novel:
        count = round(spec.novel_share * len(names))
        rng = np.random.default_rng(spec.seed)
        novel = set(rng.permutation(len(names))[:count].tolist())
    if not 0 < len(novel) < len(names):
        raise ConfigurationError(
            f"{len(novel)} of {len(names)} classes would be novel; each part needs at least one"
        )
    return Parts([i for i in range(len(names)) if i not in novel], sorted(novel))


def draw_shots(entries: Sequence[VideoEntry], spec: SplitSpec, draw: int) -> list[VideoEntry]:
    """``shots`` videos of every class, all of a smaller one, in the order of the list."""
    rng = np.random.default_rng([spec.seed, draw])
    taken: list[int] = []
    for label in sorted({entry.label for entry in entries}):
        rows = [row for row, entry in enumerate(entries) if entry.label == label]
        taken += rng.permutation(rows)[: spec.shots].tolist()
    return [entries[row] for row in sorted(taken)]


def protocol_files(
    train: Manifest, val: Manifest, spec: SplitSpec, descriptions: Mapping[str, str]
) -> tuple[dict[str, str], Parts]:
    """The files of the protocol by name: classes, a list per draw, two test lists.

    Args:
        train: Training videos of all classes.
        val: Validation videos of all classes.
        spec: How to split.
        descriptions: A sentence about some classes, by name.

    Returns:
        Content by file name, and the labels of the parts.

    Raises:
        AnnotationError: If a base class has no training video, or a described class is unknown.
        ConfigurationError: If the classes cannot be split so.
    """
    names = train.classes.names
    if unknown := sorted(set(descriptions) - set(names)):
        raise AnnotationError(f"descriptions: no class is called {unknown[0]!r}; mend the name")
    parts = split_classes(names, spec)
    seen = {entry.label for entry in train.entries}
    if empty := [names[label] for label in parts.base if label not in seen]:
        raise AnnotationError(
            f"{train.root}: base class {empty[0]!r} has no training video; name it with --novel"
        )
    classes = {
        part: [_item(names[label], descriptions) for label in labels]
        for part, labels in parts._asdict().items()
    }
    files = {"classes.json": json.dumps(classes, indent=1, ensure_ascii=False) + "\n"}
    base = _of(train, parts.base)
    for draw in range(1, spec.draws + 1):
        drawn = draw_shots(base, spec, draw)
        files[f"train_{spec.shots}shot_s{draw}.csv"] = _list(drawn, train.root)
    files["val_base.csv"] = _list(_of(val, parts.base), val.root)
    files["test_novel.csv"] = _list(_of(val, parts.novel), val.root)
    return files, parts


def data_part(root: Path, lists: Path, spec: SplitSpec) -> str:
    """The ``data`` part of an experiment on the protocol, as YAML."""
    arguments: dict[str, Any] = {
        "root": str(root.absolute()),
        "lists": str(lists.absolute()),
        "classes": "classes.json",
        "part": "base",
        "train": f"train_{spec.shots}shot_s{{draw}}.csv",
        "draw": 1,
        "val": "val_base.csv",
        "test_sets": {
            "base": {"videos": "val_base.csv"},
            "novel": {"videos": "test_novel.csv", "part": "novel"},
        },
    }
    data = {"class_path": "OpenVocabularyDataModule", "init_args": arguments}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def read_descriptions(path: Path) -> dict[str, str]:
    """Read ``{class name: sentence}``.

    Raises:
        AnnotationError: If the file is no such JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnnotationError(f"{path}: cannot read it: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise AnnotationError(f"{path}:1: expected an object {{class name: sentence}}")
    return found


def _item(name: str, descriptions: Mapping[str, str]) -> dict[str, str]:
    if text := descriptions.get(name, "").strip():
        return {"name": name, "entry": f"{name}: {text}"}
    return {"name": name}


def _of(manifest: Manifest, labels: Sequence[int]) -> list[VideoEntry]:
    """Videos of some classes, with their places among these as labels."""
    place = {label: new for new, label in enumerate(labels)}
    return [
        entry._replace(label=place[entry.label])
        for entry in manifest.entries
        if entry.label in place
    ]


def _list(entries: Iterable[VideoEntry], root: Path) -> str:
    """A ``path,label`` list, with times where a clip is a part of its video."""
    rows = list(entries)
    cut = any(entry.start_s is not None or entry.end_s is not None for entry in rows)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "start_s", "end_s"] if cut else ["path", "label"])
    for entry in rows:
        path, top = Path(entry.path), root.absolute()
        shown = path.relative_to(top) if path.is_relative_to(top) else path
        times = [entry.start_s, entry.end_s] if cut else []
        table.writerow([shown.as_posix(), entry.label, *times])
    return text.getvalue()
