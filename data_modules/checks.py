"""Faults of a data set that only its videos show: unreadable, copied, leaking, mislabelled."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from video_adapt.errors import VideoDecodeError
from video_adapt.video import VideoReader, probe
from video_adapt.video.packet_index import read_index

from .annotations import Manifest, VideoEntry
from .problems import Kind, Problems

Name = TypeVar("Name", bound=str)
"""A split, or a test set."""
TIME_SLACK_S = 0.1
"""Durations in headers are rounded, and the last frame's own duration is often left out."""


class VideoFacts(NamedTuple):
    """What one look at a video file tells.

    Attributes:
        path: The file.
        size: Bytes.
        duration_s: Length in seconds; None if it cannot be read.
        fault: Kind and cause if something is wrong with the file itself.
        num_frames: Frames, or rows of features; 0 if they cannot be read.
        fps: Frames per second; 0 if there are none.
    """

    path: str
    size: int
    duration_s: float | None
    fault: tuple[Kind, str] | None
    num_frames: int = 0
    fps: float = 0.0


def inspect_video(path: str, *, decode: bool = False) -> VideoFacts:
    """Read a video's header and packets, or decode all of it; faults are returned, not raised."""
    size = Path(path).stat().st_size
    if size == 0:
        return VideoFacts(path, size, None, ("empty", f"{path}: the file has 0 bytes"))
    try:
        info = probe(path)
        if decode:
            _decode_all(path)
    except VideoDecodeError as error:
        return VideoFacts(path, size, None, ("unreadable", str(error)))
    fault: tuple[Kind, str] | None = None
    if (promised := read_index(Path(path)).promised) > info.num_frames:
        text = f"{path}: its header promises {promised} frames, {info.num_frames} can be read"
        fault = ("truncated", f"{text}; copy it again or remove it")
    return VideoFacts(path, size, info.duration_s, fault, info.num_frames, info.fps)


def check_manifests(
    manifests: Mapping[str, Manifest], facts: Mapping[str, VideoFacts], problems: Problems
) -> None:
    """Note every fault of the videos of all splits.

    Args:
        manifests: The splits, and further test sets by name.
        facts: :func:`inspect_video` of every file in them.
        problems: Where faults go.
    """
    for split, manifest in manifests.items():
        for entry in manifest.entries:
            _check_file(entry, facts[entry.path], problems)
            _check_folder(entry, manifest, problems)
        if split == "train":
            _check_coverage(manifest, problems)
    entries = {split: manifest.entries for split, manifest in manifests.items()}
    check_copies(entries, facts, problems)


def _decode_all(path: str) -> None:
    with VideoReader(path) as reader:
        for _ in reader.iter_frames():  # raises at a damaged frame
            pass


def _check_file(entry: VideoEntry, facts: VideoFacts, problems: Problems) -> None:
    if facts.fault is not None:
        problems.add(facts.fault[0], entry.where, facts.fault[1])
    if facts.duration_s is None:
        return
    latest_s = max(entry.start_s or 0.0, entry.end_s or 0.0)
    if latest_s > facts.duration_s + TIME_SLACK_S or (entry.start_s or 0.0) >= facts.duration_s:
        text = f"{entry.path} lasts {facts.duration_s:.2f} s, the clip runs from"
        problems.add("time", entry.where, f"{text} {entry.start_s} s to {entry.end_s} s")


def _check_folder(entry: VideoEntry, manifest: Manifest, problems: Problems) -> None:
    """A file in the folder of another class is mislabelled, or lies in the wrong folder."""
    folder = Path(entry.path).parent.name
    if entry.label < 0 or folder.isdecimal():
        return
    try:
        expected = manifest.classes.index(folder)
    except ValueError:
        return
    if expected != entry.label:
        label = manifest.classes.names[entry.label]
        text = f"{entry.path} is labelled {label!r} ({entry.label}) but lies in {folder!r}"
        problems.add("mislabelled", entry.where, text)


def _check_coverage(manifest: Manifest, problems: Problems) -> None:
    present = {entry.label for entry in (*manifest.entries, *manifest.missing)}
    for label, name in enumerate(manifest.classes.names):
        if label not in present:
            text = f"class {name!r} ({label}) has no training clip"
            problems.add("label", str(manifest.root), text)


def check_copies(
    clips: Mapping[Name, Sequence[VideoEntry]],
    facts: Mapping[str, VideoFacts],
    problems: Problems,
) -> None:
    """Note the same pixels twice: within a split a duplicate, in training and evaluation a leak."""
    content = _content_ids(facts.values())
    seen: dict[str, list[tuple[str, VideoEntry]]] = defaultdict(list)
    for split, entries in clips.items():
        for entry in entries:
            known = seen[content[entry.path]]
            for other_split, other in known:
                if _overlap(entry, other):
                    _add_copy(split, entry, other_split, other, problems)
                    break
            known.append((split, entry))


def _add_copy(
    split: str, entry: VideoEntry, other_split: str, other: VideoEntry, problems: Problems
) -> None:
    same = "is also" if entry.path == other.path else "has the content of"
    text = f"{entry.path} {same} {other.path} of {other.where}"
    if split == other_split:
        problems.add("duplicate", entry.where, text)
    elif other_split == "train":
        problems.add("leakage", entry.where, f"{text}, which is in the training list")


def _overlap(one: VideoEntry, other: VideoEntry) -> bool:
    """Whether two clips of the same video share a moment."""
    one_ends_first = one.end_s is not None and one.end_s <= (other.start_s or 0.0)
    other_ends_first = other.end_s is not None and other.end_s <= (one.start_s or 0.0)
    return not one_ends_first and not other_ends_first


def _content_ids(facts: Iterable[VideoFacts]) -> dict[str, str]:
    """An id per path, equal for equal content; only files of equal size are read for it."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for fact in facts:
        by_size[fact.size].append(fact.path)
    ids: dict[str, str] = {}
    for size, paths in by_size.items():
        for path in paths:
            # All empty files are alike; each is reported as empty, not as a copy of the others.
            ids[path] = _hash(path) if len(paths) > 1 and size > 0 else path
    return ids


def _hash(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
