"""Faults of captioned videos that only the files, or all of the captions, show."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from video_adapt.video import VIDEO_SUFFIXES

from .annotations import Split, VideoEntry
from .captions import CaptionedVideo, CaptionManifest
from .checks import VideoFacts, check_copies
from .msrvtt import MSRVTTDataModule
from .problems import Problems

_SHOWN = 60


def check_captions(
    manifests: Mapping[Split, CaptionManifest],
    facts: Mapping[str, VideoFacts],
    module: MSRVTTDataModule,
    count_tokens: Callable[[str], int],
    problems: Problems,
) -> None:
    """Note every fault of the videos and captions of all splits.

    Args:
        manifests: The splits.
        facts: What :func:`data_modules.checks.inspect_video` found out about every file in them.
        module: Says how long a caption may be and which lists there are.
        count_tokens: Text tokens of a caption, marks of start and end included.
        problems: Where faults go.
    """
    for manifest in manifests.values():
        for entry in manifest.entries:
            _check_file(entry, facts[entry.path], problems)
            _check_length(entry, module.max_words, count_tokens, problems)
    videos = {split: _as_clips(manifest.entries) for split, manifest in manifests.items()}
    check_copies(videos, facts, problems)
    _check_missing(manifests, problems)
    _check_uncaptioned(manifests.values(), module, problems)


def _check_file(entry: CaptionedVideo, fact: VideoFacts, problems: Problems) -> None:
    if fact.fault is not None:
        problems.add(fact.fault[0], entry.where, fact.fault[1])
    if fact.duration_s is not None and (entry.start_s or 0.0) >= fact.duration_s:
        text = f"{entry.path} lasts {fact.duration_s:.2f} s, it is described from"
        problems.add("time", entry.where, f"{text} {entry.start_s:g} s on; mend the times")


def _check_length(
    entry: CaptionedVideo, room: int, count_tokens: Callable[[str], int], problems: Problems
) -> None:
    for caption in entry.captions:
        if len(caption.text) > room - 2 and (count := count_tokens(caption.text)) > room:
            text = f"a caption of {entry.name} has {count} tokens, {room} are read, so its end is"
            mend = f"cut; shorten it or raise max_words: {caption.text[:_SHOWN]!r}"
            problems.add("long", caption.where, f"{text} {mend}")


def _check_missing(manifests: Mapping[Split, CaptionManifest], problems: Problems) -> None:
    """Videos without a file leak, too: lists often arrive before their videos."""
    train = manifests.get("train")
    if train is None:
        return
    trained = {entry.path: entry.where for entry in train.missing}
    for split, manifest in manifests.items():
        for entry in manifest.missing if split != "train" else ():
            if entry.path in trained:
                text = f"{entry.name} is also in {trained[entry.path]}, the training list"
                problems.add("leakage", entry.where, text)


def _check_uncaptioned(
    manifests: Iterable[CaptionManifest], module: MSRVTTDataModule, problems: Problems
) -> None:
    """Videos beside those that are described, of which no list knows."""
    known = {_bare(row.video.rpartition("/")[2]) for row in module.all_rows(problems)}
    folders = {Path(entry.path).parent for one in manifests for entry in one.entries}
    for folder in sorted(folders):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        if unknown := [path.name for path in files if _bare(path.name) not in known]:
            text = f"{len(unknown)} of {len(files)} videos in it have no caption and are in no list"
            problems.add(
                "caption", str(folder), f"{text}, first {unknown[0]}; describe or move them"
            )


def _bare(name: str) -> str:
    """The name of a video without the suffix of its file."""
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in VIDEO_SUFFIXES else name


def _as_clips(entries: Iterable[CaptionedVideo]) -> list[VideoEntry]:
    return [VideoEntry(one.path, -1, one.start_s, one.end_s, one.where) for one in entries]
