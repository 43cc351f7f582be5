"""Class names: read from a file or from the labels of a list, looked up by name or by index."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_adapt.errors import AnnotationError


@dataclass(frozen=True)
class ClassNames:
    """The classes of a data set in the order of their indices.

    Args:
        names: Plain names, unique.
    """

    names: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the names."""
        object.__setattr__(self, "_index", {name: i for i, name in enumerate(self.names)})

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.names)

    def index(self, label: int | str) -> int:
        """The index of a class given by index or by name; folders write ``_`` for a space.

        Raises:
            ValueError: If there is no such class; the message says what there is.
        """
        if isinstance(label, str):
            for name in (clean(label), clean(label).replace("_", " ")):
                if name in self._index:
                    return self._index[name]
            if not label.strip().isdecimal():
                raise ValueError(f"unknown label {label!r}{self._nearest(label)}")
        if not 0 <= int(label) < len(self):
            raise ValueError(
                f"label {label} is out of range, {len(self)} classes have the indices 0 to "
                f"{len(self) - 1}; mend the label or the class names file"
            )
        return int(label)

    def _nearest(self, label: str) -> str:
        near = difflib.get_close_matches(clean(label), self.names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the first class is {self.names[0]!r}"
        return f", not among {len(self)} classes; {hint}"


def clean(name: str) -> str:
    """A name without double quotes and outer space; Kinetics puts some names in quotes."""
    return name.replace('"', "").strip()


def class_names_from_labels(labels: Iterable[int | str]) -> ClassNames:
    """Classes in alphabetical order; called by their numbers where the labels are numbers."""
    found = {clean(label) if isinstance(label, str) else str(label) for label in labels}
    if all(name.isdecimal() for name in found):
        return ClassNames(tuple(str(i) for i in range(max(map(int, found), default=-1) + 1)))
    return ClassNames(tuple(sorted(found)))


def read_class_names(path: Path) -> ClassNames:
    """Read ``{name: index}`` or ``[name, ...]`` from JSON, or a text file with a name per line.

    Indices may be strings. Double quotes in names are removed and names are stripped.

    Raises:
        AnnotationError: If the file is missing or malformed, a name is empty or appears twice, or
            the indices are not 0 to K-1.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot read the class names ({error.strerror}); check `classes`"
        ) from error
    named = _from_json(path, text) if path.suffix == ".json" else _from_lines(text)
    return _ordered(path, named)


def _from_lines(text: str) -> list[tuple[str, int, int]]:
    """Name, index and line of every non-empty line."""
    lines = [(line, n) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [(name, index, line) for index, (name, line) in enumerate(lines)]


def _from_json(path: Path, text: str) -> list[tuple[str, int, int]]:
    """Name, index and 1 as the line: JSON does not tell where its entries stand."""
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return [(name, index, 1) for index, name in enumerate(found)]
    if isinstance(found, dict):
        try:
            return [(name, int(index), 1) for name, index in found.items()]
        except (TypeError, ValueError) as error:
            raise AnnotationError(f"{path}:1: a class index is not an integer: {error}") from error
    raise AnnotationError(f"{path}:1: expected an object {{name: index}} or a list of names")


def _ordered(path: Path, named: list[tuple[str, int, int]]) -> ClassNames:
    by_index: dict[int, str] = {}
    seen: dict[str, int] = {}
    for raw, index, line in named:
        name = clean(raw)
        if not name:
            raise AnnotationError(f"{path}:{line}: class {index} has an empty name")
        if name in seen or index in by_index:
            raise AnnotationError(
                f"{path}:{line}: class {name!r} with index {index} repeats "
                f"{by_index.get(index, name)!r}; names and indices must be unique"
            )
        seen[name], by_index[index] = index, name
    if not by_index:
        raise AnnotationError(f"{path}: holds no class names")
    if missing := set(range(len(by_index))) - set(by_index):
        raise AnnotationError(
            f"{path}: {len(by_index)} classes must have the indices 0 to {len(by_index) - 1}; "
            f"{min(missing)} is missing"
        )
    return ClassNames(tuple(by_index[index] for index in range(len(by_index))))
