"""The table of contents of a video file, read off its packets without decoding a frame."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from video_adapt.errors import VideoDecodeError

logger = logging.getLogger(__name__)

# libav would write its own warnings to stderr, a flood with several loader workers.
av.logging.set_level(None)


class PacketIndex(NamedTuple):
    """Where the frames of a file are.

    Attributes:
        pts: Presentation time of every frame in units of ``time_base``, rising, int64 ``[N]``.
            Where ``by_time`` is false: numbers 0 to N - 1.
        key_pts: Those of packets at which decoding can begin, rising; the first may precede what
            is shown. Empty where ``by_time`` is false.
        by_time: Whether frames are found by presentation time. Some files (AVI with packed B
            frames, missing or repeated times) only allow counting in decoding order.
        time_base: Seconds per unit.
        fps: Mean frames per second.
        promised: Number of frames that the header states; 0 where it states none.
        rotation: Degrees, counter-clockwise, by which a stored picture is turned for display.
    """

    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    by_time: bool
    time_base: Fraction
    fps: float
    promised: int
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
        VideoDecodeError: If the file is missing, no video, or has no picture.
    """
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error
    with container:
        stream: Any = container.streams.best("video")
        if stream is None:
            raise VideoDecodeError(f"{path}: has no picture, only sound or data; remove it")
        # Loaders run many processes; a second thread in each costs more than it saves.
        stream.codec_context.thread_count = 1
        yield container, stream


def read_index(path: Path) -> PacketIndex:
    """Read the table of contents, once per file and version of it.

    Raises:
        VideoDecodeError: If the file is missing, no video, or holds no frame.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _read_index(path, status.st_size, status.st_mtime_ns)


class _Packet(NamedTuple):
    """A packet that can be decoded; of one that is not shown, only others may depend."""

    pts: int | None
    is_key: bool
    is_shown: bool


@lru_cache(maxsize=4096)
def _read_index(path: Path, size: int, mtime_ns: int) -> PacketIndex:
    with open_video(path) as (container, stream):
        packets, rotation = _scan(path, container, stream)
        by_time = container.format.name != "avi" and _has_clear_times(packets)
        rate = stream.average_rate or stream.guessed_rate or 25
        promised, time_base = stream.frames, stream.time_base or Fraction(1)
    shown = [packet for packet in packets if packet.is_shown]
    if not shown:
        raise VideoDecodeError(f"{path}: holds no frame that can be decoded; remove or replace it")
    numbers = [packet.pts for packet in shown] if by_time else range(len(shown))
    pts = np.sort(np.array(numbers, dtype=np.int64))
    keys = [packet.pts for packet in packets if packet.is_key] if by_time else []
    seconds = float((pts[-1] - pts[0]) * time_base) if by_time else 0.0
    fps = (len(pts) - 1) / seconds if seconds > 0 else float(rate)
    # Frames that the container itself cuts off, as after a cut without encoding, are not missing.
    promised -= len(packets) - len(shown)
    if promised > len(pts):
        logger.warning(
            "%s: cut short: its header promises %d frames, %d can be read", path, promised, len(pts)
        )
    key_pts = np.sort(np.array(keys, dtype=np.int64))
    return PacketIndex(pts, key_pts, by_time, time_base, fps, max(promised, 0), rotation)


def _scan(path: Path, container: InputContainer, stream: VideoStream) -> tuple[list[_Packet], int]:
    """Every packet that can be decoded, in decoding order, and the rotation of the first frame.

    What precedes the first key frame cannot be decoded. Only a decoded frame shows the rotation,
    so packets are decoded until there is one.
    """
    packets: list[_Packet] = []
    rotation: int | None = None
    try:
        for packet in container.demux(stream):
            if not packet.size or packet.is_corrupt or not (packets or packet.is_keyframe):
                continue
            packets.append(_Packet(packet.pts, packet.is_keyframe, not packet.is_discard))
            if rotation is None:
                rotation = _rotation(packet.decode)
    except av.FFmpegError as error:
        # A file cut in the middle ends like this; what came before is good.
        logger.warning("%s: reading stops early (%s)", path, error.strerror)
    if rotation is None:
        rotation = _rotation(stream.codec_context.decode)
    return packets, rotation or 0


def _rotation(decode: Callable[[], list[Any]]) -> int | None:
    """Rotation of the next frame in [0, 360), None where none comes out yet."""
    try:
        frames = decode()
    except av.FFmpegError:
        return None  # reading this frame will name the damage
    return frames[0].rotation % 360 if frames else None


def _has_clear_times(packets: list[_Packet]) -> bool:
    times = [packet.pts for packet in packets]
    return None not in times and len(set(times)) == len(times)


def _unreadable(path: Path, error: Exception) -> VideoDecodeError:
    if isinstance(error, FileNotFoundError):
        return VideoDecodeError(f"{path}: no such file; check the list and the root folder")
    if path.is_file() and not path.stat().st_size:
        return VideoDecodeError(f"{path}: the file is empty (0 bytes); copy it again or remove it")
    cause = getattr(error, "strerror", None) or type(error).__name__
    return VideoDecodeError(
        f"{path}: cannot be opened as a video ({cause}); copy it again, or remove it from the list"
    )
