"""Frames out of packets, each with whether it can be trusted."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import av
from av import Packet, VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream

from .packet_index import read_packets


def decode_frames(
    container: InputContainer,
    stream: VideoStream,
    *,
    by_time: bool = True,
    start: int | None = None,
    wanted: Collection[int] = (),
    spare: bool = False,
) -> Iterator[tuple[VideoFrame, bool]]:
    """Decode from where the container stands.

    Args:
        container: Just opened or sent elsewhere, so that its decoder is empty.
        stream: The pictures.
        by_time: Whether frames are known by presentation time. Otherwise they are counted, and
            nothing behind a gap can be trusted.
        start: Presentation time of the key frame to begin with; None: the first that comes.
        wanted: Presentation times; decoding ends when all their packets were given. Empty: it
            ends with the file.
        spare: Whether pictures on which no other depends are left out unless wanted.

    Yields:
        Frames in presentation order, each with whether it and all it depends on are intact.
    """
    context: Any = stream.codec_context
    context.skip_frame = "DEFAULT"
    waiting = set(wanted)
    # A container may land anywhere, and in a gradual refresh no picture stands on its own.
    trust = _Trust(by_time, lost=None if start is None else 0)
    for packet in _from_key_frame(read_packets(container, stream), start, wanted):
        if spare:
            context.skip_frame = "DEFAULT" if packet.pts in waiting else "NONREF"
        waiting.discard(packet.pts)
        is_last = bool(wanted) and not waiting
        frames, intact = _decode(packet)
        trust.give(packet.pts, intact)
        if is_last:  # drain the decoder, so that nothing behind the last target is decoded
            frames += context.decode(None)
        for frame in frames:
            yield frame, trust.covers(frame)
        if is_last:
            return


def _from_key_frame(
    packets: Iterable["Packet[VideoStream]"], start: int | None, wanted: Collection[int]
) -> Iterator["Packet[VideoStream]"]:
    """Packets from a key frame on, as long as a wanted one can still come."""
    begun = False
    for packet in packets:
        if wanted and packet.dts is not None and packet.dts > max(wanted):
            return
        begun = begun or (packet.is_keyframe if start is None else packet.pts == start)
        if begun:
            yield packet


def _decode(packet: Any) -> tuple[list[VideoFrame], bool]:
    """Frames that come out when a packet goes in, and whether the packet is intact."""
    if packet.is_corrupt:
        return [], False
    try:
        return packet.decode(), True
    except av.FFmpegError:
        return [], False


class _Trust:
    """Knows the intact frames: those decoded before any damage, and those from a key frame on.

    Args:
        by_time: Whether frames are known by presentation time.
        lost: Number of the packet at which the damage begins; None where there is none.
    """

    def __init__(self, by_time: bool, lost: int | None) -> None:
        self._by_time = by_time
        self._lost = lost
        self._order: dict[int | None, int] = {}

    def give(self, pts: int | None, intact: bool) -> None:
        """Note the next packet that goes into the decoder."""
        if not intact and self._lost is None:
            self._lost = len(self._order)
        self._order[pts] = len(self._order)

    def covers(self, frame: VideoFrame) -> bool:
        """Judge the next frame that comes out of the decoder."""
        newest = len(self._order)
        number = self._order.get(frame.pts, newest) if self._by_time else newest
        if frame.is_corrupt:
            self._lost = number if self._lost is None else min(self._lost, number)
        elif self._lost is not None and number >= self._lost and frame.key_frame and self._by_time:
            self._lost = None
        return self._lost is None or number < self._lost
