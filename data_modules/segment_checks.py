"""Faults of annotated long videos that only the files, or all of the annotation, show."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from video_adapt.errors import VideoDecodeError

from .annotations import SPLIT_WORDS, Split, VideoEntry
from .checks import TIME_SLACK_S, VideoFacts, check_copies
from .features import FeatureFiles
from .problems import Problems
from .segment_formats import VideoRow
from .segments import SegmentManifest, VideoSegments
from .windows import WindowDataModule

_LENGTH_SLACK_S, _LENGTH_SHARE, _RATE_SHARE = 0.5, 0.02, 0.01
"""Containers round, and sound can outlast the picture."""


def inspect_features(path: str, *, files: FeatureFiles) -> VideoFacts:
    """Read the shape of a file of features; faults are returned, not raised."""
    size = Path(path).stat().st_size
    try:
        return VideoFacts(path, size, None, None, len(files.rows(path)))
    except VideoDecodeError as error:
        return VideoFacts(path, size, None, ("features", str(error)))


def check_subsets(rows: Sequence[VideoRow], subsets: Mapping[str, str], problems: Problems) -> None:
    """Note videos whose subset belongs to no split."""
    if len({row.subset for row in rows}) < 2:
        return
    known = {word for words in SPLIT_WORDS.values() for word in words} | set(subsets.values())
    for row in rows:
        if row.subset not in known and str(row.subset).lower() not in known:
            text = f"{row.name} is in the subset {row.subset!r}, which no split reads; mend it"
            problems.add("subset", row.where, f"{text}, or name it in data.subsets")


def check_segments(
    manifests: Mapping[Split, SegmentManifest],
    facts: Mapping[str, VideoFacts],
    module: WindowDataModule,
    problems: Problems,
) -> None:
    """Note every fault of the videos of all splits.

    Args:
        manifests: The splits.
        facts: What :func:`data_modules.checks.inspect_video` or :func:`inspect_features` found out
            about every file in them.
        module: Cuts them into windows.
        problems: Where faults go.
    """
    for split, manifest in manifests.items():
        for entry in manifest.entries:
            fact = facts[entry.path]
            if fact.fault is not None:
                problems.add(fact.fault[0], entry.where, fact.fault[1])
            _check_length(entry, fact, module, problems)
            _check_events(entry, fact, problems)
        if not any(len(entry.labels) for entry in manifest.entries):
            text = f"no event in any of the {len(manifest)} videos of {split!r}"
            problems.add("events", str(manifest.root), f"{text}: nothing to learn or to find")
    _check_coverage(manifests, problems)
    videos = {split: _as_clips(manifest) for split, manifest in manifests.items()}
    check_copies(videos, facts, problems)


def _check_length(
    entry: VideoSegments, fact: VideoFacts, module: WindowDataModule, problems: Problems
) -> None:
    """Whether a file fits what the annotation says about it, and is long enough."""
    if not fact.num_frames:
        return
    if module.features is not None:
        _check_rows(entry, fact, module, problems)
        return
    if _differ(entry.duration_s, fact.duration_s, _LENGTH_SHARE, _LENGTH_SLACK_S):
        text = f"{entry.path} lasts {fact.duration_s:.2f} s, annotated are {entry.duration_s:.2f} s"
        problems.add("rate", entry.where, f"{text}; mend `duration` or replace the file")
    rate = getattr(module.sampler, "fps", None)
    if rate is None and entry.num_frames is not None and entry.duration_s is not None:
        rate = entry.num_frames / entry.duration_s
    if _differ(rate, fact.fps, _RATE_SHARE, 0.0) and _differ(
        entry.num_frames, fact.num_frames, _LENGTH_SHARE, 0.0
    ):
        text = f"{entry.path} has {fact.fps:.4g} frames per second, annotated are {rate:.4g}"
        problems.add("rate", entry.where, f"{text}; it is read by time, mend `frame` or the file")
    seen = module.sampler.available(fact.num_frames)
    if seen < module.frames_per_chunk:
        text = f"{entry.path} has {fact.num_frames} frames, of which {seen} are looked at"
        mend = f"fewer than the {module.frames_per_chunk} of one chunk; exclude it"
        problems.add("short", entry.where, f"{text}, {mend}")


def _check_rows(
    entry: VideoSegments, fact: VideoFacts, module: WindowDataModule, problems: Problems
) -> None:
    assert module.features is not None
    if entry.num_frames is None or not module.sampler.counts_frames:
        return
    try:
        module.features.require_stride(entry.path, fact.num_frames, entry.num_frames)
    except VideoDecodeError as error:
        problems.add("features", entry.where, str(error))


def _differ(stated: float | None, found: float | None, share: float, slack: float) -> bool:
    if stated is None or found is None:
        return False
    return abs(stated - found) > max(share * found, slack)


def _check_events(entry: VideoSegments, fact: VideoFacts, problems: Problems) -> None:
    duration_s = fact.duration_s or entry.duration_s
    for start_s, end_s in entry.segments_s.tolist():
        text = f"{entry.name}: the event from {start_s:g} s to {end_s:g} s"
        if start_s == end_s:
            problems.add("time", entry.where, f"{text} has no length and is left out")
        elif start_s < 0 or (duration_s is not None and end_s > duration_s + TIME_SLACK_S):
            lasts = "before the video" if start_s < 0 else f"outside of its {duration_s:.2f} s"
            problems.add("time", entry.where, f"{text} lies in part or whole {lasts}; mend it")


def _check_coverage(manifests: Mapping[Split, SegmentManifest], problems: Problems) -> None:
    train = manifests.get("train")
    if train is None:
        return
    present = {int(label) for entry in (*train.entries, *train.missing) for label in entry.labels}
    for label, name in enumerate(train.classes.names):
        if label not in present:
            text = f"class {name!r} ({label}) has no training event"
            problems.add("label", str(train.root), text)


def _as_clips(manifest: SegmentManifest) -> list[VideoEntry]:
    return [VideoEntry(entry.path, -1, None, None, entry.where) for entry in manifest.entries]
