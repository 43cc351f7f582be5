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
    trust = _Trust(by_time, needs_key_frame=start is not None)
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
    """Knows which frames are intact: those with no damage between them and the key frame before.

    Args:
        by_time: Whether frames are known by presentation time; else damage is never overcome.
        needs_key_frame: Whether nothing is trusted until a key frame came out.
    """

    def __init__(self, by_time: bool, needs_key_frame: bool) -> None:
        self._by_time = by_time
        self._number: dict[int | None, int] = {}  # of a packet, in decoding order
        self._key = -1
        self._damaged = [-1] if needs_key_frame else []

    def give(self, pts: int | None, intact: bool) -> None:
        """Note the next packet that goes into the decoder."""
        if not intact:
            self._damaged.append(len(self._number))
        self._number[pts] = len(self._number)

    def covers(self, frame: VideoFrame) -> bool:
        """Judge the next frame that comes out of the decoder."""
        newest = len(self._number)
        number = self._number.get(frame.pts, newest) if self._by_time else newest
        if frame.is_corrupt:
            self._damaged.append(number)
        elif frame.key_frame and self._by_time:
            self._key = number
        return not any(self._key <= damaged <= number for damaged in self._damaged)
