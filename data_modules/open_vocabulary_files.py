"""Test sets, and their videos in one's own copy: other extensions or folders, the same video."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from video_adapt.video import VIDEO_SUFFIXES

from .annotations import FileFinder

_YOUTUBE = re.compile(r"([\w-]{11})(?:_\d{6}_\d{6})?")
"""Name of a Kinetics video: the 11 characters of its id, perhaps with the seconds of the clip."""


@dataclass(frozen=True)
class TestSet:
    """Videos with classes of their own, tested without further training.

    Args:
        videos: List of the videos, or a folder with one folder per class.
        part: Part of the class file that its labels count in; None = that of training, or of a
            class file of its own, the whole.
        classes: Class file; None = that of training.
        root: Folder that paths in the list start at; None = that of the data module.
        group: What the set is a split of; splits of one group are reported as mean and spread.
    """

    __test__ = False  # no test of pytest

    videos: str | Path
    part: str | None = None
    classes: str | Path | None = None
    root: str | Path | None = None
    group: str | None = None


class CopyFinder(FileFinder):
    """Finds a listed video with any extension and, on demand, by its YouTube id anywhere.

    Args:
        root: Folder that paths in lists start at.
        by_id: Whether a video that is not where the list says is looked for by the 11 characters
            of its id, as copies of Kinetics differ in folders, times and extensions.
    """

    def __init__(self, root: Path, *, by_id: bool) -> None:
        super().__init__(root)
        self.by_id = by_id

    def __call__(self, paths: Iterable[str]) -> str | None:
        """The first of the paths that exists, or a copy of its video, absolute."""
        named = list(paths)
        if found := super().__call__(named) or super().__call__(_other_extensions(named)):
            return found
        return self._copy_of(named[0]) if self.by_id else None

    def _copy_of(self, path: str) -> str | None:
        """The video with this id; of several the one in the most similar place."""
        listed = PurePosixPath(path)
        match = _YOUTUBE.fullmatch(listed.stem)
        copies = self._copies.get(match[1], ()) if match else ()
        return min(copies, key=lambda copy: _strangeness(copy, listed), default=None)

    @cached_property
    def _copies(self) -> dict[str, list[str]]:
        """Every video below the root by its id."""
        copies: dict[str, list[str]] = {}
        for path in sorted(Path(self.root).rglob("*")):
            match = _YOUTUBE.fullmatch(path.stem)
            if match and path.suffix.lower() in VIDEO_SUFFIXES:
                copies.setdefault(match[1], []).append(str(path))
        return copies


def _other_extensions(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        stem, dot, suffix = path.rpartition(".")
        if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES:
            yield from (f"{stem}{other}" for other in VIDEO_SUFFIXES)


def _strangeness(copy: str, listed: PurePosixPath) -> tuple[bool, bool, bool, str]:
    """How unlike the listed place a copy's is: times, class folder, split folder; smallest best."""
    path = Path(copy)
    return (
        path.stem != listed.stem,
        path.parent.name != listed.parent.name,
        listed.parts[0] not in path.parts,
        copy,
    )
