"""Windows of long videos: where they lie, which frames they hold, what happens in them.

Index arithmetic only, no files. A video is looked at through its *units*: every ``frame_stride``-th
frame, or the rows of a file of features. A window is ``S`` positions of a grid with a fixed number
of units to each. Draws of chance come from a function ``(low, high) -> int``, both ends included.

Source: AdaTAD (CVPR 2024) as released, data sets of untrimmed videos.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .sampling import Indices

Segments: TypeAlias = NDArray[np.float32]
Draw: TypeAlias = Callable[[int, int], int]
_MAX_DRAWS = 200


class Window(NamedTuple):
    """Positions ``first`` to ``stop - 1`` of a video's grid."""

    first: int
    stop: int


class Cut(NamedTuple):
    """The part of a video that a training window holds.

    Attributes:
        start: First unit.
        stop: The unit behind the last one.
        segments: What happens in it, in units after ``start``, ``[G', 2]``.
        kept: Which of the video's events these are, int64 ``[G']``.
    """

    start: int
    stop: int
    segments: Segments
    kept: Indices


def frames_by_share(segments_s: ArrayLike, duration_s: float, num_frames: int) -> Segments:
    """Seconds to whole frames by their share of the video (THUMOS-14, MultiTHUMOS, Ego4D-MQ)."""
    share = np.asarray(segments_s, dtype=np.float64).reshape(-1, 2) / duration_s
    return np.trunc(share * num_frames).astype(np.float32)


def frames_by_rate(segments_s: ArrayLike, fps: float) -> Segments:
    """Seconds to whole frames at a fixed rate (EPIC-Kitchens-100, Charades)."""
    seconds = np.asarray(segments_s, dtype=np.float64).reshape(-1, 2)
    return np.trunc(seconds * fps).astype(np.float32)


def positions_by_share(segments_s: ArrayLike, duration_s: float, positions: int) -> Segments:
    """Seconds to fractional positions of a whole video cut into ``positions`` (ActivityNet)."""
    share = np.asarray(segments_s, dtype=np.float64).reshape(-1, 2) / duration_s
    return (np.clip(share, 0, 1).astype(np.float32) * np.float32(positions)).astype(np.float32)


def distinct_events(segments: Segments, labels: Indices) -> Indices:
    """Numbers of the events that differ from all before them in time or in label."""
    seen: dict[tuple[float, ...], int] = {}
    for number, (segment, label) in enumerate(zip(segments.tolist(), labels, strict=True)):
        seen.setdefault((*segment, int(label)), number)
    return np.array(list(seen.values()), dtype=np.int64)


def sliding_windows(
    count: int, positions: int, overlap: float, *, cover: bool = False
) -> list[Window]:
    """Windows over a grid of ``count`` positions, at least one.

    They start at multiples of ``positions * (1 - overlap)``. The first that passes the end is
    shifted back to end with the video and is the last one; it can repeat the one before it. With
    an overlap below one half the end of a video can remain unseen.

    Args:
        count: Positions of the video.
        positions: Positions ``S`` of a window.
        overlap: Share of a window that the next one repeats, in [0, 1).
        cover: Add a last window where the end remains unseen.
    """
    step = max(int(positions * (1 - overlap)), 1)
    windows: list[Window] = []
    for first in range(0, max(count // step, 1) * step, step):
        if first + positions > count:
            windows.append(Window(max(count - positions, 0), count))
            break
        windows.append(Window(first, first + positions))
    if cover and windows[-1].stop < count:
        windows.append(Window(count - positions, count))
    return windows


def random_cut(
    available: int,
    length: int,
    segments: Segments,
    *,
    min_kept: float,
    crop: tuple[float, float] | None,
    draw: Draw,
) -> Cut:
    """A random part of a video that holds at least one event, if 200 draws find one.

    A video that is no longer than ``length`` is taken whole, or cut to a random share of itself.
    Events of which less than ``min_kept`` lies inside are dropped, the others end with the window.

    Args:
        available: Units of the video.
        length: Units of the window.
        segments: Events in units, ``[G, 2]``.
        min_kept: Smallest share of an event that makes it count.
        crop: Smallest and largest share of a short video that is kept; None = all of it.
        draw: Source of chance.
    """
    if available <= length:
        whole = Cut(0, available, segments, np.arange(len(segments)))
        if crop is None:
            return whole
        low, high = (round(share * available) for share in crop)
        length = draw(max(low, 1), min(high, available))
        if length == available:
            return whole
    for _ in range(_MAX_DRAWS):
        start = draw(0, available - length)
        cut = _cut(start, start + length, segments, min_kept)
        if len(cut.kept):
            break
    return cut


def _cut(start: int, stop: int, segments: Segments, min_kept: float) -> Cut:
    inside = np.clip(segments, np.float32(start), np.float32(stop))
    kept = np.nonzero(_share_inside(segments, inside) >= np.float32(min_kept))[0]
    return Cut(start, stop, inside[kept] - np.float32(start), kept)


def events_inside(
    segments: Segments, first: float, last: float, *, min_kept: float
) -> tuple[Segments, Indices]:
    """Events of which more than ``min_kept`` lies between two times, ended there.

    Returns:
        Their segments after ``first``, ``[G', 2]``, and their numbers ``[G']``.
    """
    inside = np.clip(segments, np.float32(first), np.float32(last))
    kept = np.nonzero(_share_inside(segments, inside) > np.float32(min_kept))[0]
    return inside[kept] - np.float32(first), kept


def _share_inside(segments: Segments, inside: Segments) -> Segments:
    """Share of each event that is left; of one without length nothing is."""
    length = np.diff(segments)[:, 0]
    left = np.diff(inside)[:, 0]
    return np.divide(left, length, out=np.zeros_like(length), where=length > 0)


def padded_units(start: int, stop: int, length: int) -> Indices:
    """Units from ``start`` on, the last one before ``stop`` repeated up to ``length``."""
    return np.minimum(np.arange(start, start + length), stop - 1)


def resized_indices(num_frames: int, count: int) -> Indices:
    """``count`` frames in the middles of equal parts of a video; a short one repeats some.

    Rounded half to even.
    """
    step = num_frames / count
    # As numpy adds up its steps, which decides some roundings; it can find one step too many.
    middles = np.arange(step / 2 - 0.5, num_frames + step / 2 - 0.5, step)[:count]
    return np.rint(np.clip(middles, 0, num_frames - 1)).astype(np.int64)


def snippet_indices(
    centres: ArrayLike, clip_frames: int, interval: int, num_frames: int
) -> Indices:
    """A short clip around every grid position, for backbones that see one snippet at a time.

    Args:
        centres: Frame of every position, ``[S]``.
        clip_frames: Frames of a clip.
        interval: Distance of two of its frames.
        num_frames: Frames of the video; what lies outside repeats its first or last frame.

    Returns:
        ``[S, clip_frames]``.
    """
    around = (np.arange(clip_frames) - clip_frames // 2) * interval
    wanted = np.asarray(centres, dtype=np.int64)[:, None] + around
    return np.clip(wanted, 0, num_frames - 1)
