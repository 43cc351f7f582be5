"""The table of contents of a video file, read off its packets without decoding its frames."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av import Packet, VideoFrame
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from video_adapt.errors import VideoDecodeError
from video_adapt.reading import reading

logger = logging.getLogger(__name__)

# libav would write its own warnings to stderr, a flood with several loader workers.
av.logging.set_level(None)

_SEEK_BY_DTS = ("mpegts", "mpeg")
"""Containers that look for decoding times; sent to a presentation time they land behind it."""


class PacketIndex(NamedTuple):
    """Where the frames of a file are.

    Attributes:
        pts: Presentation time of every frame in units of ``time_base``, rising, int64 ``[N]``.
            Where ``by_time`` is false: numbers 0 to N - 1.
        key_pts: Those of frames at which decoding can begin, rising, ``[K]``. Empty where
            ``by_time`` is false.
        key_seek: Where to send the container for each of these, ``[K]``.
        by_time: Whether frames are found by presentation time. Some files (AVI with packed B
            frames, missing or repeated times) only allow counting in decoding order.
        time_base: Seconds per unit.
        fps: Mean frames per second.
        promised: Number of frames that the header states; 0 where it states none.
        width: Width of the first picture as stored, before it is turned.
        height: Its height.
        rotation: Degrees, counter-clockwise, by which a stored picture is turned for display.
    """

    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    key_seek: NDArray[np.int64]
    by_time: bool
    time_base: Fraction
    fps: float
    promised: int
    width: int
    height: int
    rotation: int

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Time of every frame after the first one, in seconds, ``[N]``."""
        if self.by_time:
            return (self.pts - self.pts[0]) * float(self.time_base)
        return self.pts / self.fps


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its main picture stream, decoding in one thread, and close it again.

    Raises:
        VideoDecodeError: If the file is missing, no video, or has no moving picture.
    """
    with reading(path), _opened(path) as container:
        stream: Any = container.streams.best("video")
        if stream is None or stream.disposition & Disposition.attached_pic:
            raise VideoDecodeError(f"{path}: has no moving picture, only sound or data; remove it")
        if stream.codec_context is None:
            raise VideoDecodeError(f"{path}: its codec is unknown; convert or replace the file")
        # Loaders run many processes; a second thread in each costs more than it saves.
        stream.codec_context.thread_count = 1
        try:
            # The AV1 decoder never lets go of the `skip_frame` it is opened with: open it plainly.
            stream.codec_context.open(strict=False)
        except av.FFmpegError as error:
            raise _unreadable(path, error) from error
        yield container, stream


def _opened(path: Path) -> InputContainer:
    try:
        return av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """Packets in decoding order, an empty one at the end.

    Where reading fails, as in a file that was cut off, what came before is good.
    """
    packets = container.demux(stream)
    try:
        yield from packets
    except av.FFmpegError as error:
        logger.debug("%s: reading ends early (%s)", container.name, error.strerror)


def read_index(path: Path) -> PacketIndex:
    """Read the table of contents, once per file and version of it.

    Raises:
        VideoDecodeError: If the file is missing, no video, or holds no frame.
    """
    try:
        with reading(path):
            status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _read_index(path, status.st_size, status.st_mtime_ns)


class _Entry(NamedTuple):
    """A packet that can be decoded; of one that is not shown, only others may depend."""

    pts: int | None
    dts: int | None
    is_key: bool
    is_shown: bool


@lru_cache(maxsize=4096)
def _read_index(path: Path, size: int, mtime_ns: int) -> PacketIndex:
    with open_video(path) as (container, stream):
        entries, first = _scan(container, stream)
        by_time = container.format.name != "avi" and _has_clear_times(entries)
        seek_by_dts = container.format.name in _SEEK_BY_DTS
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        promised, time_base = stream.frames, stream.time_base or Fraction(1)
    shown = [entry for entry in entries if entry.is_shown]
    if by_time and first is not None:
        shown = _without_orphans(shown, first)
    if not shown or first is None:
        raise VideoDecodeError(f"{path}: holds no frame that can be decoded; remove or replace it")
    # Frames that the container itself cuts off, as after a cut without encoding, are not missing.
    promised = max(promised - len(entries) + len(shown), 0)
    if promised > len(shown):
        logger.warning(
            "%s: cut short: its header promises %d frames, %d can be read",
            *(path, promised, len(shown)),
        )
    pts = np.sort([entry.pts for entry in shown]) if by_time else np.arange(len(shown))
    keys = sorted(entry for entry in shown if entry.is_key) if by_time else []
    seconds = float((pts[-1] - pts[0]) * time_base) if by_time else 0.0
    return PacketIndex(
        pts=pts,
        key_pts=np.array([key.pts for key in keys], dtype=np.int64),
        key_seek=np.array([key.dts if seek_by_dts else key.pts for key in keys], dtype=np.int64),
        by_time=by_time,
        time_base=time_base,
        fps=(len(pts) - 1) / seconds if seconds > 0 else rate,
        promised=promised,
        width=first.width,
        height=first.height,
        rotation=first.rotation % 360,
    )


def _scan(container: InputContainer, stream: VideoStream) -> tuple[list[_Entry], VideoFrame | None]:
    """Every packet that can be decoded, in decoding order, and the first frame, intact if any is.

    What precedes the first key frame cannot be decoded. Only a decoded frame shows rotation and
    true size, so packets are decoded until there is one.
    """
    entries: list[_Entry] = []
    first: VideoFrame | None = None
    in_front = 0
    for packet in read_packets(container, stream):
        if packet.is_corrupt or not (entries or packet.is_keyframe):
            in_front += not entries
            continue
        if packet.size:
            shown = not packet.is_discard
            entries.append(_Entry(packet.pts, packet.dts, packet.is_keyframe, shown))
        if first is None or first.is_corrupt:
            frames = _try_decode(packet)
            intact = (frame for frame in frames if not frame.is_corrupt)
            first = next(intact, first or next(iter(frames), None))
    if in_front and entries:
        text = "%s: begins with %d frames that cannot be decoded, for their key frame is missing"
        logger.warning(text, container.name, in_front)
    return entries, first


def _try_decode(packet: Any) -> list[VideoFrame]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return []  # reading this frame will name the damage


def _has_clear_times(entries: list[_Entry]) -> bool:
    times = [entry.pts for entry in entries]
    return None not in times and len(set(times)) == len(times)


def _without_orphans(entries: list[Any], first: Any) -> list[Any]:
    """Drop frames shown before the first key frame whose parents are in front of the file.

    A recording that was cut at an open group of pictures begins with them.
    """
    start = min(first.pts, entries[0].pts)
    return [entry for entry in entries if entry.pts >= start]


def _unreadable(path: Path, error: Exception) -> VideoDecodeError:
    if isinstance(error, FileNotFoundError):
        return VideoDecodeError(f"{path}: no such file; check the path, or the list and its root")
    if path.is_file() and not path.stat().st_size:
        return VideoDecodeError(f"{path}: the file is empty (0 bytes); copy it again or remove it")
    cause = getattr(error, "strerror", None) or type(error).__name__
    return VideoDecodeError(
        f"{path}: cannot be opened as a video ({cause}); copy it again, or remove it from the list"
    )
