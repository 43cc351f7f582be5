"""Videos and the captions that describe them become one manifest, checked before anything runs."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from video_adapt.errors import AnnotationError
from video_adapt.video import VIDEO_SUFFIXES

from .annotations import FileFinder, report_missing
from .caption_formats import CaptionRow
from .problems import Kind, Problem, Problems

logger = logging.getLogger(__name__)


class Caption(NamedTuple):
    """One sentence about a video.

    Attributes:
        text: What it says, without outer space.
        where: ``file:line`` that says it.
    """

    text: str
    where: str


class CaptionedVideo(NamedTuple):
    """One video, or a part of one, and all that is said about it.

    Attributes:
        name: What the files call it.
        path: Absolute path of the video.
        where: ``file:line`` of the list that names it, for errors.
        start_s: Start of the part that is described, in seconds; None = its beginning.
        end_s: End of that part in seconds; None = the end of the video.
        captions: At least one.
    """

    name: str
    path: str
    where: str
    start_s: float | None
    end_s: float | None
    captions: tuple[Caption, ...]


@dataclass(frozen=True)
class CaptionManifest:
    """All captioned videos of one split.

    A caption's number is its place in the captions of all videos, one video after the other.

    Args:
        entries: The videos; a video's row in here is its ``video_id``.
        root: Folder that relative paths start at.
        missing: Videos left out because their files do not exist.
    """

    entries: Sequence[CaptionedVideo]
    root: Path
    missing: Sequence[CaptionedVideo] = ()
    first_caption: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    """Number of the first caption of every video, and that of all captions, ``[V + 1]``."""

    def __post_init__(self) -> None:
        """Count the captions."""
        counts = [len(entry.captions) for entry in self.entries]
        object.__setattr__(self, "first_caption", np.cumsum([0, *counts], dtype=np.int64))

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.entries)

    @property
    def captions(self) -> list[str]:
        """Text of every caption, by its number."""
        return [caption.text for entry in self.entries for caption in entry.captions]

    @property
    def caption_video(self) -> NDArray[np.int64]:
        """Row of the video that a caption describes, by the caption's number, ``[Q]``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.first_caption))

    def digest(self) -> str:
        """SHA-256 of names, parts and captions: equal on every machine."""
        digest = hashlib.sha256()
        for entry in self.entries:
            told = [caption.text for caption in entry.captions]
            digest.update(f"{entry.name}\t{entry.start_s}\t{entry.end_s}\t{told}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class CaptionRules:
    """What a file of captions does not say.

    Args:
        path: Where a video lies below the root, with ``{name}`` in it; without a suffix that of
            any video is tried.
        paragraph: Join all captions of a video, in their order, to one.
        until_s: Seconds of a video behind which nothing is looked at; None = all of it.
        skip: Leave out videos without a file or a caption, and empty captions, counted and
            named, instead of raising.
    """

    path: str = "videos/{name}"
    paragraph: bool = False
    until_s: float | None = None
    skip: bool = False


class Told(NamedTuple):
    """Videos of a split and what is said about each, before files are looked up.

    Attributes:
        rows: The first row that names a video, by video and part.
        captions: Its captions, empty ones included, by the same key.
    """

    rows: dict["Key", CaptionRow]
    captions: dict["Key", list[Caption]]


Key = tuple[str, float | None, float | None]
"""Name of a video and the part of it that is described."""


def tell(
    rows: Iterable[CaptionRow], known: Mapping[str, Sequence[CaptionRow]], problems: Problems
) -> Told:
    """Bring captions to their videos, in the order in which these are named first.

    Args:
        rows: Captions of a split, or videos that are only named.
        known: Captions by video, for those that are only named.
        problems: Where faults go.
    """
    told = Told({}, {})
    named: dict[str, str] = {}
    for row in rows:
        if row.caption is not None:
            _add(told, row)
        elif (first := named.get(row.video)) is not None:
            text = f"{row.video} is already in {first}; remove one of the two lines"
            problems.add("duplicate", row.where, text)
        else:
            named[row.video] = row.where
            found = [one for one in known.get(row.video, ()) if one.caption is not None]
            for one in found:
                _add(told, one, where=row.where)
            if not found:
                told.rows.setdefault(_key(row), row)
    return told


def _add(told: Told, row: CaptionRow, where: str | None = None) -> None:
    key = _key(row)
    told.rows.setdefault(key, row._replace(where=where or row.where))
    caption = Caption(" ".join((row.caption or "").split()), row.where)
    told.captions.setdefault(key, []).append(caption)


def _key(row: CaptionRow) -> Key:
    return row.video, row.start_s, row.end_s


def build_manifest(
    told: Told, *, source: Path, root: Path, rules: CaptionRules, problems: Problems
) -> CaptionManifest:
    """Look up files, and refuse what cannot be learned from or searched.

    Args:
        told: Videos of a split and what is said about them.
        source: The file that names them.
        root: Folder that relative paths start at.
        rules: What the files do not say.
        problems: Where faults go.

    Raises:
        AnnotationError: On the first fault (strict problems), with file and line.
    """
    find = FileFinder(root.absolute())
    skipped = _Skipped(strict=problems.strict)
    faults = skipped if rules.skip and problems.strict else problems
    entries: list[CaptionedVideo] = []
    missing: list[CaptionedVideo] = []
    for key, row in told.rows.items():
        captions = tuple(_captions(row, told.captions.get(key, ()), rules, faults))
        if not captions or not _is_a_part(row, faults):
            continue
        paths = _paths(row.video, rules.path)
        found = find(paths)
        end_s = min(_times(row.end_s, rules.until_s), default=None)
        path = found or find.absolute(paths[0])
        entry = CaptionedVideo(row.video, path, row.where, row.start_s, end_s, captions)
        (entries if found else missing).append(entry)
    skipped.report()
    if missing and not rules.skip:
        report_missing(missing, len(told.rows), root, problems)
    if not entries and problems.strict:
        raise AnnotationError(
            f"{source}: none of its {len(told.rows)} videos exists below {root} as {rules.path} "
            "and has a caption; check data.root and data.video_path"
        )
    return CaptionManifest(entries, root, missing)


class _Skipped(Problems):
    """Captions that are left out, counted and named; other faults are raised."""

    def add(self, kind: Kind, where: str, message: str) -> None:
        """Note a fault of a caption, raise any other."""
        if kind != "caption":
            super().add(kind, where, message)
        self.found.append(Problem(kind, where, message))

    def report(self) -> None:
        """One warning for all of them."""
        if self.found:
            first = self.found[0]
            text = "%s: %s; %d more like it; all left out"
            logger.warning(text, first.where, first.message, len(self.found) - 1)


def _captions(
    row: CaptionRow, told: Sequence[Caption], rules: CaptionRules, problems: Problems
) -> Iterator[Caption]:
    """Captions that say something."""
    kept = []
    for caption in told:
        if caption.text:
            kept.append(caption)
        else:
            text = f"a caption of {row.video} is empty; fill it in or remove it"
            problems.add("caption", caption.where, text)
    if not told:
        text = f"{row.video} has no caption; add one or remove the video"
        problems.add("caption", row.where, text)
    if rules.paragraph and kept:
        kept = [Caption(" ".join(caption.text for caption in kept), kept[0].where)]
    yield from kept


def _is_a_part(row: CaptionRow, problems: Problems) -> bool:
    start_s = 0.0 if row.start_s is None else row.start_s
    end_s = np.inf if row.end_s is None else row.end_s
    if 0 <= start_s < end_s:
        return True
    text = f"{row.video} is described from {row.start_s} s to {row.end_s} s; the end must come"
    problems.add("time", row.where, f"{text} after the start, and the start not before 0")
    return False


def _times(*times_s: float | None) -> list[float]:
    return [time_s for time_s in times_s if time_s is not None]


def _paths(name: str, pattern: str) -> tuple[str, ...]:
    """Where a video may lie below the root; a name with a slash in it is a path itself."""
    stem = name if "/" in name else pattern.replace("{name}", name)
    if Path(pattern).suffix and "/" not in name:
        return (stem,)
    ending = Path(name).suffix.lower() in VIDEO_SUFFIXES
    bare = str(Path(stem).with_suffix("")) if ending else stem
    given = (stem, name) if ending else ()
    return (*given, *(f"{bare}{suffix}" for suffix in VIDEO_SUFFIXES))
