"""One video file again, in the form that is fastest to train from.

Small pictures, a key frame every few frames and no B frames: what is decoded in vain on the way to
a wanted frame costs more than everything else, and this makes it little.
"""

import errno
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from torch import Tensor

from video_adapt.errors import ConfigurationError, VideoDecodeError

from .decode import VideoReader
from .packet_index import PacketIndex, open_video, read_index

_MAKER = "video-adapt prepare"


class Encoding(NamedTuple):
    """How files are written.

    Attributes:
        short_side: Pixels of the short side; smaller pictures are not enlarged.
        gop: Frames from one key frame to the next.
        crf: Quality of H.264 from 0 (lossless) to 51; 6 more halve the file.
    """

    short_side: int = 224
    gop: int = 12
    crf: int = 23


def transcode(source: Path, target: Path, encoding: Encoding) -> bool:
    """Write a video as H.264 in MP4: upright, without sound, every frame at its own time.

    The target appears when it is complete and was read back. Sides are even numbers: an odd last
    row or column is cut off.

    Args:
        source: The file to read; it is not changed.
        target: The file to write; a current one, as :func:`is_current` says, is left as it is.
        encoding: How to write it.

    Returns:
        Whether the file was written.

    Raises:
        VideoDecodeError: If the source is damaged, or the target does not read back.
        ConfigurationError: If the target is a file that was not written by this function.
        OSError: If the target cannot be written.
    """
    index = read_index(source)
    if is_current(source, target, encoding):
        return False
    if target.exists() and not _read_note(target).startswith(_MAKER):
        raise ConfigurationError(
            f"{target}: exists and is no copy made by prepare; name another folder"
        )
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        _write(source, partial, index, encoding)
        _check_times(partial, index)
        _check_pictures(partial)
        partial.replace(target)
    except av.FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise VideoDecodeError(f"{source}: cannot be encoded ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return True


def is_current(source: Path, target: Path, encoding: Encoding) -> bool:
    """Whether the target was made from this very source, in this very way, and is complete.

    Raises:
        VideoDecodeError: If the source cannot be read.
    """
    index = read_index(source)
    if not target.is_file():
        return False
    try:
        _check_times(target, index)
    except VideoDecodeError:
        return False
    return _read_note(target) == _note(source, encoding)


def _note(source: Path, encoding: Encoding) -> str:
    """What a target says of its origin."""
    return f"{_MAKER}: {source.name} of {source.stat().st_size} bytes, {encoding}"


def _read_note(path: Path) -> str:
    try:
        with open_video(path) as (container, _):
            return container.metadata.get("comment", "")
    except VideoDecodeError:
        return ""


def _write(source: Path, target: Path, index: PacketIndex, encoding: Encoding) -> None:
    time_base, fps = _time_base(index), Fraction(index.fps).limit_denominator(1001)
    ticks = (index.pts - index.pts[0]).tolist()
    with (
        VideoReader(source, short_side=encoding.short_side) as reader,
        av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        container.metadata["comment"] = _note(source, encoding)
        stream = container.add_stream("libx264", rate=fps, options=_options(encoding))
        stream.pix_fmt = "yuv420p"
        # Many files are written at a time; a second thread for each would only be in the way.
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = stream.time_base = time_base
        for tick, picture in zip(ticks, reader.iter_frames(), strict=True):
            frame = _even_frame(picture)
            if not tick:
                stream.width, stream.height = frame.width, frame.height
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _time_base(index: PacketIndex) -> Fraction:
    """Seconds per unit of ``index.pts``, also where that only counts frames."""
    return index.time_base if index.by_time else 1 / Fraction(index.fps).limit_denominator(1001)


def _options(encoding: Encoding) -> dict[str, str]:
    # Key frames at fixed places and nowhere else: each costs as much as several others. Without
    # x264's macroblock tree, since with it one and the same input gives other bytes now and then.
    exact = f"keyint={encoding.gop}:min-keyint={encoding.gop}:scenecut=0:bframes=0:mbtree=0"
    return {"crf": str(encoding.crf), "x264-params": exact}


def _even_frame(picture: Tensor) -> av.VideoFrame:
    """A frame of pixels ``[3, H, W]`` without an odd last row or column."""
    height, width = picture.shape[1] // 2 * 2, picture.shape[2] // 2 * 2
    pixels = np.ascontiguousarray(picture[:, :height, :width].permute(1, 2, 0).numpy())
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def _check_times(target: Path, index: PacketIndex) -> None:
    """Compare the times of all frames of the target with those of its source.

    Raises:
        VideoDecodeError: If their number or a time differs.
    """
    found = read_index(target).times_s
    wanted = (index.pts - index.pts[0]) * float(_time_base(index))
    if len(found) != len(wanted) or not np.allclose(found, wanted, rtol=0, atol=1e-4):
        raise VideoDecodeError(
            f"{target}: does not have the {len(wanted)} frames of its source at their times"
        )


def _check_pictures(target: Path) -> None:
    """Decode all of the target.

    Raises:
        VideoDecodeError: If a frame is damaged or missing.
    """
    with VideoReader(target) as reader:
        for _ in reader.iter_frames():
            pass
