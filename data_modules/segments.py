"""Annotated long videos become one manifest, checked before anything runs."""

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from video_adapt.errors import AnnotationError
from video_adapt.video import VIDEO_SUFFIXES

from .annotations import SPLIT_WORDS, FileFinder, Split, report_missing
from .classes import ClassNames, class_names_from_labels
from .problems import Problems
from .segment_formats import Event, VideoRow


class Events(NamedTuple):
    """The ``G`` events of a set of videos.

    Attributes:
        video_id: Row of the video in its manifest, int64 ``[G]``.
        segments_s: Start and end in seconds, float64 ``[G, 2]``.
        label: Class index, int64 ``[G]``.
    """

    video_id: NDArray[np.int64]
    segments_s: NDArray[np.float64]
    label: NDArray[np.int64]


class VideoSegments(NamedTuple):
    """One long video.

    Attributes:
        name: What the annotation calls it.
        path: Absolute path of the video, or of its features.
        where: ``file:line`` of the list that names it, for errors.
        duration_s: Length in seconds as annotated; None = as the file has it.
        num_frames: Number of frames as annotated; None = as the file has it.
        segments_s: Start and end of its events in seconds, float64 ``[G, 2]``.
        labels: Their class indices, int64 ``[G]``.
    """

    name: str
    path: str
    where: str
    duration_s: float | None
    num_frames: int | None
    segments_s: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class SegmentManifest:
    """All long videos of one split.

    Args:
        entries: The videos; a video's row in here is its ``video_id``.
        classes: Class names in the order of the labels.
        root: Folder that relative paths start at.
        missing: Videos left out because their files do not exist.
    """

    entries: Sequence[VideoSegments]
    classes: ClassNames
    root: Path
    missing: Sequence[VideoSegments] = ()

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.entries)

    def digest(self) -> str:
        """SHA-256 of names, lengths and events: equal on every machine."""
        digest = hashlib.sha256()
        for entry in self.entries:
            events = [*zip(entry.segments_s.tolist(), entry.labels.tolist(), strict=True)]
            line = f"{entry.name}\t{entry.duration_s}\t{entry.num_frames}\t{events}\n"
            digest.update(line.encode())
        return digest.hexdigest()

    def events(self) -> Events:
        """All events, in the order of the videos."""
        counts = [len(entry.labels) for entry in self.entries]
        return Events(
            np.repeat(np.arange(len(self.entries)), counts),
            np.concatenate([np.empty((0, 2)), *(entry.segments_s for entry in self.entries)]),
            np.concatenate([np.empty(0, np.int64), *(entry.labels for entry in self.entries)]),
        )


@dataclass(frozen=True)
class SegmentRules:
    """What an annotation file does not say.

    Args:
        path: Where a video lies below the root, with ``{name}`` in it; without a suffix that of
            any video is tried.
        own_paths: Whether paths that the annotation gives go before ``path``.
        exclude: Names of videos to leave out.
        ignore_labels: Labels whose events are left out.
        skip_missing: Leave out videos without a file instead of raising.
    """

    path: str
    own_paths: bool = True
    exclude: Collection[str] = ()
    ignore_labels: Collection[str] = ()
    skip_missing: bool = False


def classes_of(
    rows: Iterable[VideoRow], source: Path, ignore_labels: Collection[str]
) -> ClassNames:
    """Classes named by the events, in alphabetical order.

    Raises:
        AnnotationError: If there is no event.
    """
    labels = (event.label for row in rows for event in row.events)
    classes = class_names_from_labels(label for label in labels if label not in ignore_labels)
    if not classes:
        raise AnnotationError(
            f"{source}: holds no event; give events, or a class names file (`classes`)"
        )
    return classes


def rows_of(
    rows: Sequence[VideoRow], split: Split, subset: str | None, source: Path
) -> list[VideoRow]:
    """The videos of one split.

    Args:
        rows: All videos of the file.
        split: Which split.
        subset: Name of its subset in the file; None = the one that is called like the split. A
            file with one subset, or none, belongs to the split as a whole.
        source: The file, for errors.

    Raises:
        AnnotationError: If no video is in the subset.
    """
    names = sorted({str(row.subset) for row in rows})
    if subset is None and len(names) < 2:
        return list(rows)
    words = SPLIT_WORDS[split] if subset is None else {subset}
    found = [row for row in rows if row.subset is not None and _said(row, words, subset)]
    if not found and subset is None and split == "test":
        return rows_of(rows, "val", None, source)
    if not found:
        raise AnnotationError(
            f"{source}: no video in the subset {subset or split!r}, only in {', '.join(names)}; "
            f"set data.subsets, e.g. {{{split}: {names[0]}}}"
        )
    return found


def _said(row: VideoRow, words: Collection[str], subset: str | None) -> bool:
    return (row.subset if subset else str(row.subset).lower()) in words


def build_manifest(
    rows: Sequence[VideoRow],
    *,
    source: Path,
    root: Path,
    classes: ClassNames,
    rules: SegmentRules,
    problems: Problems,
) -> SegmentManifest:
    """Look up files and labels, and refuse what cannot be true.

    Args:
        rows: The videos of a split.
        source: The file that names them.
        root: Folder that relative paths start at.
        classes: Class names in the order of the labels, also where training is class-agnostic.
        rules: What the file does not say.
        problems: Where faults go.

    Raises:
        AnnotationError: On the first fault (strict problems), with file and line.
    """
    find = FileFinder(root.absolute())
    entries: list[VideoSegments] = []
    missing: list[VideoSegments] = []
    kept = [row for row in rows if row.name not in rules.exclude]
    for row in kept:
        if row.duration_s is not None and not 0 < row.duration_s < math.inf:
            problems.add("time", row.where, f"{row.name} lasts {row.duration_s} s; mend `duration`")
            continue
        segments_s, labels = _events(row, classes, rules, problems)
        paths = _paths(row, rules)
        path = find(paths)
        entry = VideoSegments(
            row.name,
            path or find.absolute(paths[0]),
            row.where,
            row.duration_s,
            row.num_frames,
            segments_s,
            labels,
        )
        (entries if path else missing).append(entry)
    if missing and not rules.skip_missing:
        report_missing(missing, len(kept), root, problems)
    if not entries and problems.strict:
        raise AnnotationError(f"{source}: none of its {len(rows)} videos exists below {root}")
    return SegmentManifest(entries, classes, root, missing)


def _paths(row: VideoRow, rules: SegmentRules) -> tuple[str, ...]:
    if row.path is not None and rules.own_paths:
        return (row.path,)
    stem = rules.path.replace("{name}", row.name if row.path is None else Path(row.path).stem)
    return (stem,) if Path(rules.path).suffix else tuple(f"{stem}{end}" for end in VIDEO_SUFFIXES)


def _events(
    row: VideoRow, classes: ClassNames, rules: SegmentRules, problems: Problems
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    segments_s: list[tuple[float, float]] = []
    labels: list[int] = []
    for event in row.events:
        if event.label in rules.ignore_labels:
            continue
        label = _label(event, classes, problems)
        if label is None or not _runs_forwards(event, row.name, problems):
            continue
        segments_s.append((event.start_s, event.end_s))
        labels.append(label)
    return np.array(segments_s).reshape(-1, 2), np.array(labels, dtype=np.int64)


def _label(event: Event, classes: ClassNames, problems: Problems) -> int | None:
    try:
        return classes.index(event.label)
    except (TypeError, ValueError) as error:
        problems.add("label", event.where, str(error))
        return None


def _runs_forwards(event: Event, name: str, problems: Problems) -> bool:
    if math.isfinite(event.start_s) and event.start_s <= event.end_s < math.inf:
        return True
    text = f"{name}: the event {event.label!r} runs from {event.start_s} s to {event.end_s} s"
    problems.add("time", event.where, f"{text}; the end must come after the start")
    return False


def read_names(source: str | Path | Sequence[str]) -> frozenset[str]:
    """Names of videos: given one by one, in a text file a line each, or in JSON.

    JSON is a list of names, or an object whose keys they are.

    Raises:
        AnnotationError: If the file cannot be read.
    """
    if not isinstance(source, str | Path):
        return frozenset(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: cannot read the names of videos to exclude: {error}") from (
            error
        )
    return frozenset(str(name).strip() for name in names) - {""}
