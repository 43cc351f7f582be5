"""Annotation files of any known format become one manifest, checked before anything runs."""

import hashlib
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

from video_adapt.errors import AnnotationError

from .classes import ClassNames, class_names_from_labels
from .formats import Format, Row, parse
from .problems import Problems

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
SPLIT_WORDS: dict[Split, set[str]] = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validate", "validation"},
    "test": {"test", "testing"},
}


class Listed(Protocol):
    """An entry of a manifest, of whatever kind."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def where(self) -> str:
        """``file:line`` of the list that names it."""


class InSplit(Protocol):
    """A row that may say which split it belongs to."""

    @property
    def split(self) -> str | None:
        """Name of the split as written, or None."""


RowT = TypeVar("RowT", bound=InSplit)


class VideoEntry(NamedTuple):
    """One clip of a data set.

    Attributes:
        path: Absolute path of the video.
        label: Class index; -1 where the list gives none.
        start_s: Start of the clip in the video in seconds; None = from its beginning.
        end_s: End of the clip in the video in seconds; None = to its end.
        where: ``file:line`` of the list that names it, for errors.
    """

    path: str
    label: int
    start_s: float | None
    end_s: float | None
    where: str


@dataclass(frozen=True)
class Manifest:
    """All clips of one split.

    Args:
        entries: The clips; a clip's row in here is its ``video_id``.
        classes: Class names in the order of the labels.
        root: Folder that relative paths start at.
        missing: Entries left out because their files do not exist.
    """

    entries: Sequence[VideoEntry]
    classes: ClassNames
    root: Path
    missing: Sequence[VideoEntry] = ()

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.entries)

    def digest(self) -> str:
        """SHA-256 of paths below the root, labels and times: equal on every machine."""
        digest, top = hashlib.sha256(), f"{self.root.absolute()}{os.sep}"
        for entry in self.entries:
            path = entry.path.removeprefix(top).replace(os.sep, "/")
            line = f"{path}\t{entry.label}\t{entry.start_s}\t{entry.end_s}\n"
            digest.update(line.encode())
        return digest.hexdigest()


def read_manifest(
    source: Path,
    *,
    root: Path,
    split: Split,
    format: Format = "auto",  # noqa: A002
    classes: ClassNames | None = None,
    skip_missing: bool = False,
    problems: Problems | None = None,
    find: "FileFinder | None" = None,
) -> Manifest:
    """Read one list, look up its labels and files, and refuse what cannot be true.

    Args:
        source: A list file, or a folder with a folder per class.
        root: Folder that relative paths start at.
        split: Which rows are wanted where the list has a split column with several values; only
            in ``test`` may a row come without a label.
        format: Format of the list; ``auto`` tells it from its content.
        classes: Class names; None = the labels of this list, in alphabetical order.
        skip_missing: Leave out entries without a file instead of raising.
        problems: Where faults go; None = the first is raised.
        find: How a listed path becomes a file below the root; None = literally.

    Raises:
        AnnotationError: On the first fault, with file and line, cause and mend.
    """
    problems = problems or Problems()
    require_folder(root)
    if not source.exists():
        raise AnnotationError(f"{source}: no such list or folder; check `{split}` and `root`")
    rows = of_split(list(parse(source, format, problems)), split, source)
    if not rows:
        raise AnnotationError(f"{source}: names no video; expected lines or `<class>/*.mp4`")
    classes = classes or _classes_of(rows, source)
    find = find or FileFinder(root.absolute())
    entries: list[VideoEntry] = []
    missing: list[VideoEntry] = []
    for entry, found in _entries(rows, classes, split, find, problems):
        (entries if found else missing).append(entry)
    if missing and not skip_missing:
        report_missing(missing, len(rows), root, problems)
    if not entries and problems.strict:
        raise AnnotationError(f"{source}: none of its {len(rows)} videos exists below {root}")
    return Manifest(entries, classes, root, missing)


def hold_out(manifest: Manifest, every: int = 5) -> tuple[Manifest, Manifest]:
    """Split a data set without a validation part: every fifth clip of each class validates.

    The clips of a class are counted in the order of their paths' hashes: the choice looks random,
    yet is the same in every run and wherever the data set lies.

    Returns:
        The training and the validation manifest.
    """
    top = f"{manifest.root.absolute()}{os.sep}"
    shuffled = sorted(
        manifest.entries,
        key=lambda e: hashlib.sha256(e.path.removeprefix(top).encode()).digest(),
    )
    counts: dict[int, int] = {}
    parts: tuple[list[VideoEntry], list[VideoEntry]] = ([], [])
    for entry in shuffled:
        counts[entry.label] = counts.get(entry.label, 0) + 1
        parts[counts[entry.label] % every == 0].append(entry)
    train, val = (
        Manifest(sorted(part), manifest.classes, manifest.root, manifest.missing) for part in parts
    )
    return train, val


def find_source(root: Path, path: str | Path | None) -> Path | None:
    """A list as named: in the working directory or, where it is not there, below the root."""
    if path is None:
        return None
    below = root / path
    return below if below.exists() and not Path(path).exists() else Path(path)


def require_folder(root: Path) -> None:
    """Refuse a data root that is none.

    Raises:
        AnnotationError: If it is not a folder.
    """
    if not root.is_dir():
        raise AnnotationError(
            f"{root}: the data root is not a folder; set `root` to where the videos are"
        )


def of_split(rows: list[RowT], split: Split, source: Path) -> list[RowT]:
    """Rows of one split where the list holds several; all of them where it holds one or none.

    Raises:
        AnnotationError: If it holds several, and not this one.
    """
    if len({row.split for row in rows}) < 2:
        return rows
    wanted = [row for row in rows if (row.split or "").lower() in SPLIT_WORDS[split]]
    if not wanted:
        names = ", ".join(sorted({repr(row.split) for row in rows}))
        raise AnnotationError(f"{source}: no row of the split {split!r}; it has {names}")
    return wanted


def _classes_of(rows: Iterable[Row], source: Path) -> ClassNames:
    classes = class_names_from_labels(row.label for row in rows if row.label is not None)
    if not classes:
        raise AnnotationError(f"{source}: has no labels; give a class names file (`classes`)")
    if all(name.isdecimal() for name in classes.names):
        logger.warning(
            "%s: classes are called 0 to %d; a text head needs a class names file (`classes`)",
            source,
            len(classes) - 1,
        )
    return classes


def _entries(
    rows: Iterable[Row], classes: ClassNames, split: Split, find: "FileFinder", problems: Problems
) -> Iterator[tuple[VideoEntry, bool]]:
    """Checked entries, each with whether its file exists."""
    seen: dict[tuple[str, float | None, float | None], str] = {}
    for row in rows:
        label = _label(row, classes, split, problems)
        if label is None or not _times_are_sound(row, problems):
            continue
        path = find(row.paths)
        entry = VideoEntry(
            path or find.absolute(row.paths[0]), label, row.start_s, row.end_s, row.where
        )
        key = entry.path, entry.start_s, entry.end_s
        if first := seen.get(key):
            text = f"{row.paths[0]} is already in {first}; remove one of the two lines"
            problems.add("duplicate", row.where, text)
            continue
        seen[key] = row.where
        yield entry, path is not None


def _label(row: Row, classes: ClassNames, split: Split, problems: Problems) -> int | None:
    if row.label is None:
        if split == "test":
            return -1
        problems.add("label", row.where, f"has no label; every row of {split!r} needs one")
        return None
    try:
        return classes.index(row.label)
    except ValueError as error:
        problems.add("label", row.where, str(error))
        return None


def _times_are_sound(row: Row, problems: Problems) -> bool:
    start_s = 0.0 if row.start_s is None else row.start_s
    end_s = math.inf if row.end_s is None else row.end_s
    if start_s < 0 or math.isnan(start_s) or not start_s < end_s:
        text = f"the clip runs from {row.start_s} s to {row.end_s} s; the end must come after"
        problems.add("time", row.where, f"{text} the start, and the start not before 0")
        return False
    return True


def report_missing(missing: Sequence[Listed], total: int, root: Path, problems: Problems) -> None:
    """One sentence for all of them where the first fault stops everything, else one for each."""
    if not problems.strict:
        for entry in missing:
            problems.add("missing", entry.where, f"{entry.path} does not exist")
        return
    problems.add(
        "missing",
        missing[0].where,
        f"{len(missing)} of {total} files are missing below {root}, first {missing[0].path}; "
        "`video-adapt data-check` lists them; set on_broken=skip to train without them",
    )


class FileFinder:
    """Looks files up in folder listings: one listing is cheaper than thousands of stat calls."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.listings: dict[str, frozenset[str]] = {}

    def absolute(self, path: str) -> str:
        """A path below the root as it is opened."""
        return os.path.normpath(os.path.join(self.root, path))  # noqa: PTH118

    def __call__(self, paths: Iterable[str]) -> str | None:
        """The first of the paths that exists, absolute."""
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name in self._names(folder):
                return self.absolute(path)
        return None

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self.listings:
            try:
                names = os.listdir(os.path.join(self.root, folder))  # noqa: PTH118, PTH208
            except OSError:
                names = []
            self.listings[folder] = frozenset(names)
        return self.listings[folder]
