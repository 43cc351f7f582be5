"""Class files of open-vocabulary protocols: names, descriptions, parts with labels of their own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.vocabulary import Vocabulary

from .classes import ClassNames, clean, read_class_names


@dataclass(frozen=True)
class ClassList:
    """The classes of one label space, in the order of their labels.

    Args:
        names: Plain names, which lists and folders use.
        titles: Names as a sentence has them: published files write some of them differently.
        descriptions: A sentence about each class, empty where there is none.
    """

    names: tuple[str, ...]
    titles: tuple[str, ...]
    descriptions: tuple[str, ...]

    @property
    def labels(self) -> ClassNames:
        """Labels by plain name."""
        return ClassNames(self.names)

    def vocabulary(self, name: str, *, described: bool = True) -> Vocabulary:
        """What a recogniser is told: titles with descriptions, or plain names alone."""
        if described and any(self.descriptions):
            return Vocabulary(name, self.titles, self.descriptions)
        return Vocabulary(name, self.names)

    def exchanged(self, pairs: Sequence[tuple[str, str]]) -> "ClassList":
        """The list with both classes of each pair in the other's place; pairs not in it are kept.

        Label ``i`` then means what its videos show, where a published file has two names the wrong
        way round.
        """
        order = list(range(len(self.names)))
        for one, other in pairs:
            if {one, other} <= set(self.names):
                i, j = self.names.index(one), self.names.index(other)
                order[i], order[j] = order[j], order[i]
        names, titles, descriptions = (
            tuple(column[i] for i in order)
            for column in (self.names, self.titles, self.descriptions)
        )
        return ClassList(names, titles, descriptions)


Parts = Mapping[str | None, ClassList]
"""Class lists by part; of a file without parts the only one is called None."""


def read_classes(path: Path) -> Parts:
    """Read a class file.

    JSON ``{"base": [...], "novel": [...]}`` with one list per part, or one list; an item is a plain
    name or ``{"name": ..., "entry": "Name: description"}``. Also what
    :func:`~data_modules.classes.read_class_names` knows: ``{name: index}`` and a name per line.

    Raises:
        AnnotationError: If the file is missing or malformed, a part has no class, a name is empty,
            appears twice, or in two parts.
    """
    found = _load(path)
    if isinstance(found, dict) and found and all(isinstance(v, list) for v in found.values()):
        parts = {part: _class_list(path, part, items) for part, items in found.items()}
        _refuse_shared(path, parts)
        return parts
    if isinstance(found, list) and any(isinstance(item, dict) for item in found):
        return {None: _class_list(path, None, found)}
    names = read_class_names(path).names
    return {None: _class_list(path, None, names)}


def part_of(parts: Parts, part: str | None, path: Path) -> ClassList:
    """One part of a class file; a file without parts is one itself.

    Raises:
        ConfigurationError: If there is no such part, or the file has parts and none is named.
    """
    if part in parts:
        return parts[part]
    known = ", ".join(str(name) for name in parts)
    if part is None:
        raise ConfigurationError(f"{path}: has the parts {known}; name one of them with `part`")
    has = "no parts" if None in parts else f"the parts {known}"
    raise ConfigurationError(f"{path}: no part {part!r}, the file has {has}; mend `part`")


def require_pairs(parts: Parts, pairs: Sequence[tuple[str, str]], path: Path) -> None:
    """Refuse pairs to exchange that are in no part of a class file.

    Raises:
        ConfigurationError: If there is such a pair.
    """
    for pair in pairs:
        if not any(set(pair) <= set(classes.names) for classes in parts.values()):
            raise ConfigurationError(
                f"{path}: no part has both {pair[0]!r} and {pair[1]!r}; mend `exchanged`"
            )


def require_apart(known: Vocabulary, new: Vocabulary) -> None:
    """Refuse classes that a test of unseen classes shares with training.

    Raises:
        AnnotationError: If a class is in both.
    """
    names = {_key(name) for name in known.classes}
    if both := [name for name in new.classes if _key(name) in names]:
        raise AnnotationError(
            f"class {both[0]!r} is in both {known.name!r} and {new.name!r}: its videos would not "
            "be new; remove it from one of the two class files"
        )


def _load(path: Path) -> Any:
    """The content of a JSON file; None where it is something that plain class files are."""
    if path.suffix != ".json":
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot read the class names ({error.strerror}); check `classes`"
        ) from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error


def _class_list(path: Path, part: str | None, items: Sequence[Any]) -> ClassList:
    where = f"{path}: " + (f"part {part!r}: " if part else "")
    if not items:
        raise AnnotationError(f"{where}holds no class; name at least one")
    read = [_item(where, label, item) for label, item in enumerate(items)]
    names, titles, descriptions = (tuple(column) for column in zip(*read, strict=True))
    for column in (names, titles):
        seen: dict[str, int] = {}
        for label, name in enumerate(column):
            if (first := seen.setdefault(_key(name), label)) != label:
                raise AnnotationError(
                    f"{where}{name!r} is the name of the classes {first} and {label}; "
                    "names must be unique"
                )
    return ClassList(names, titles, descriptions)


def _item(where: str, label: int, item: Any) -> tuple[str, str, str]:
    """Name, title and description of one class."""
    given = {"name": item} if isinstance(item, str) else item
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise AnnotationError(
            f"{where}class {label} is {item!r}; expected a name or an object with `name` and "
            "`entry`"
        )
    name, entry = clean(given["name"]), str(given.get("entry") or "")
    if not name:
        raise AnnotationError(f"{where}class {label} has an empty name; name it")
    title, colon, description = entry.partition(":")
    if entry and not (colon and title.strip() and description.strip()):
        raise AnnotationError(
            f"{where}entry of class {label} is {entry!r}; expected `Name: description`"
        )
    return name, title.strip() or name, description.strip()


def _refuse_shared(path: Path, parts: Mapping[str, ClassList]) -> None:
    owner: dict[str, str] = {}
    for part, classes in parts.items():
        for name in classes.names:
            if (first := owner.setdefault(_key(name), part)) != part:
                raise AnnotationError(
                    f"{path}: class {name!r} is in both {first!r} and {part!r}; remove it from one"
                )


def _key(name: str) -> str:
    """Case and outer space do not tell classes apart."""
    return name.strip().lower()
