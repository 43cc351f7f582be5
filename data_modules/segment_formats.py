"""Annotations of what happens when in long videos, each format a function from a file to rows."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from video_adapt.errors import AnnotationError

from .formats import Row, parse
from .problems import Problems


class Event(NamedTuple):
    """Something that happens in a video.

    Attributes:
        start_s: When it begins, in seconds.
        end_s: When it is over.
        label: Class name or index.
        where: ``file:line`` that tells of it.
    """

    start_s: float
    end_s: float
    label: int | str
    where: str


class VideoRow(NamedTuple):
    """A video of an annotation file, before its file and its labels are looked up.

    Attributes:
        name: What the annotation calls it.
        where: ``file:line``.
        path: Where it lies below the root; None where the annotation has only names.
        subset: Name of its subset as written, or None.
        duration_s: Its length in seconds, or None.
        num_frames: Its number of frames, or None.
        events: What happens in it.
    """

    name: str
    where: str
    path: str | None
    subset: str | None
    duration_s: float | None
    num_frames: int | None
    events: tuple[Event, ...]


def parse_videos(source: Path, problems: Problems) -> list[VideoRow]:
    """Read an annotation file: JSON with a ``database``, or a CSV or JSONL manifest.

    Raises:
        AnnotationError: If it cannot be read at all or (strict problems) a row is malformed.
    """
    if source.is_dir():
        raise AnnotationError(f"{source}: is a folder; name an annotation file with segments")
    if source.suffix == ".json":
        return list(parse_database(source, problems))
    rows = parse(source, "jsonl" if source.suffix == ".jsonl" else "csv", problems)
    return group_rows(rows, problems)


def parse_database(source: Path, problems: Problems) -> Iterator[VideoRow]:
    """ActivityNet JSON, which most data sets of the field are handed around in.

    ``{"database": {name: {"subset", "duration", "frame" or "fps", "annotations": [{"segment":
    [start, end], "label"}]}}}`` with times in seconds; ``frame`` and ``fps`` may be missing.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
        content: Any = json.loads(text, object_pairs_hook=_Pairs)
    except OSError as error:
        raise AnnotationError(f"{source}: cannot read the annotations: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{source}: is not UTF-8 text; is it really JSON?") from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{source}:{error.lineno}: not valid JSON: {error.msg}") from error
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, _Pairs):
        raise AnnotationError(f'{source}:1: expected {{"database": {{video: ...}}}} of segments')
    lines = _lines_of_keys(text)
    for name in database.repeated:
        text = f"video {name!r} is annotated twice; only the last entry counts, merge them"
        problems.add("duplicate", f"{source}:{lines.get(name, 1)}", text)
    for name, video in database.items():
        where = f"{source}:{lines.get(name, 1)}"
        try:
            yield _video_of(name, video, where, problems)
        except (TypeError, ValueError, AttributeError) as error:
            text = f"video {name!r}: subset, duration, frame or annotations is malformed: {error}"
            problems.add("malformed", where, text)


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which keys it was given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs) if len(pairs) > len(self) else {}
        self.repeated = [key for key, count in counts.items() if count > 1]


def _lines_of_keys(text: str) -> dict[str, int]:
    """Line of the last object under each key, which ``json.loads`` does not tell."""
    lines: dict[str, int] = {}
    line, position = 1, 0
    for found in re.finditer(r'("(?:[^"\\]|\\.)*")\s*:\s*\{', text):
        line += text.count("\n", position, found.start())
        position = found.start()
        lines[json.loads(found.group(1))] = line
    return lines


def _video_of(name: str, video: Mapping[str, Any], where: str, problems: Problems) -> VideoRow:
    duration_s = None if video.get("duration") is None else float(video["duration"])
    num_frames = None if video.get("frame") is None else int(video["frame"])
    if num_frames is None and video.get("fps") is not None and duration_s is not None:
        num_frames = round(duration_s * float(video["fps"]))
    subset = None if video.get("subset") is None else str(video["subset"])
    events = tuple(_events_of(name, video.get("annotations") or (), where, problems))
    return VideoRow(name, where, None, subset, duration_s, num_frames, events)


def _events_of(name: str, annotations: Any, where: str, problems: Problems) -> Iterator[Event]:
    for number, annotation in enumerate(annotations, 1):
        try:
            start_s, end_s = (float(time) for time in annotation["segment"])
            label = annotation["label"]
            if not isinstance(label, int | str):
                raise TypeError(f"label {label!r}")
        except (KeyError, TypeError, ValueError) as error:
            text = f"video {name!r}, annotation {number}: expected `segment` and `label`: {error!r}"
            problems.add("malformed", where, text)
            continue
        yield Event(start_s, end_s, label, where)


def group_rows(rows: Iterable[Row], problems: Problems) -> list[VideoRow]:
    """Rows ``path,start_s,end_s,label[,split]`` by video, in the order of first mention.

    A row with a path alone names a video in which nothing happens.
    """
    first: dict[str, Row] = {}
    events: dict[str, list[Event]] = {}
    for row in rows:
        path = row.paths[0]
        known = first.setdefault(path, row)
        if known.split != row.split:
            text = f"{path} is in split {row.split!r}, but in {known.split!r} in {known.where}"
            problems.add("subset", row.where, f"{text}; a video belongs to one")
        events.setdefault(path, []).extend(_event_of(row, problems))
    return [
        VideoRow(path, row.where, path, row.split, None, None, tuple(events[path]))
        for path, row in first.items()
    ]


def _event_of(row: Row, problems: Problems) -> Iterator[Event]:
    if row.label is not None and row.start_s is not None and row.end_s is not None:
        yield Event(row.start_s, row.end_s, row.label, row.where)
    elif (row.label, row.start_s, row.end_s) != (None, None, None):
        text = "an event needs start_s, end_s and label, a video without events none of them"
        problems.add("malformed", row.where, text)
