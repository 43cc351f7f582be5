"""Frames of a video file by number or time, exactly, decoding no more than is needed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import numpy as np
import torch
from av import VideoFrame
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from video_adapt.errors import VideoDecodeError

from .frame_stream import decode_frames
from .packet_index import open_video, read_index
from .sampling import StreamHeader

Image = NDArray[np.uint8]
# Names by which a folder is searched for videos; a listed file may be called anything.
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts", ".mpg", ".mpeg", ".wmv")
_STEPS_BACK = 3


class VideoInfo(NamedTuple):
    """What a file's header and packets say.

    Attributes:
        path: The file.
        num_frames: Frames that can be read.
        duration_s: Time from the first frame to the end of the last one.
        fps: Mean frames per second.
        width: Displayed width in pixels, after rotation.
        height: Displayed height in pixels, after rotation.
        rotation: Degrees by which the stored picture is turned for display.
        codec: Name of the codec.
    """

    path: str
    num_frames: int
    duration_s: float
    fps: float
    width: int
    height: int
    rotation: int
    codec: str


def probe(path: str | Path) -> VideoInfo:
    """Describe a file; its packets are read, one frame of it is decoded.

    Raises:
        VideoDecodeError: If the file is missing, no video, or holds no frame.
    """
    with VideoReader(path) as reader:
        return reader.info


class VideoReader(AbstractContextManager["VideoReader"]):
    """Random access to the frames of one file; a context manager.

    A frame is found through an index of packets: seek to the key frame before it, decode until
    its presentation time comes out. So it is exact for variable frame rates, B frames, containers
    without a frame count and times that do not start at 0. Rotation flags are obeyed. Frames
    between the wanted ones are decoded only as far as others depend on them, and never converted.

    Args:
        path: The file.
        short_side: Pixels of the short side, scaled in one pass; never enlarged; None = as stored.

    Attributes:
        timestamps_s: Time of every frame after the first one in seconds, rising, ``[N]``.

    Raises:
        VideoDecodeError: If the file is missing, no video, or holds no frame.
    """

    def __init__(self, path: str | Path, *, short_side: int | None = None) -> None:
        self.path = Path(path)
        self._short_side = short_side
        self._index = read_index(self.path)
        self.timestamps_s = self._index.times_s
        self._stack = ExitStack()
        self._container, self._stream = self._stack.enter_context(open_video(self.path))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file; garbage collection would keep its buffers for long."""
        self._stack.close()

    @property
    def info(self) -> VideoInfo:
        """What header and packets say."""
        index = self._index
        width, height = index.width, index.height
        if index.rotation % 180:
            width, height = height, width
        return VideoInfo(
            path=str(self.path),
            num_frames=len(index.pts),
            duration_s=float(self.timestamps_s[-1]) + 1 / index.fps,
            fps=index.fps,
            width=width,
            height=height,
            rotation=index.rotation,
            codec=self._stream.codec_context.codec.canonical_name,
        )

    @property
    def header(self) -> StreamHeader:
        """What the header alone says, right or wrong: published samplers went by it."""
        stream, index = self._stream, self._index
        ticks = None if stream.duration is None else stream.duration / len(index.pts)
        return StreamHeader(float(stream.average_rate or index.fps), ticks)

    @property
    def lost(self) -> int:
        """Frames that the header promises beyond those that can be read: the file was cut off."""
        return max(self._index.promised - len(self._index.pts), 0)

    def frames_at(self, indices: ArrayLike) -> Tensor:
        """Read frames by their number in presentation order.

        Args:
            indices: Numbers in [0, N), in any order, repeated at will, ``[T]``.

        Returns:
            RGB, uint8 ``[T, 3, H, W]``.

        Raises:
            VideoDecodeError: If there is no such frame, or it is damaged.
        """
        numbers = np.asarray(indices, dtype=np.int64)
        count = len(self._index.pts)
        if numbers.ndim != 1 or not len(numbers):
            raise ValueError(f"indices must be a non-empty list, got shape {numbers.shape}")
        if numbers.min() < 0 or numbers.max() >= count:
            wrong = numbers.max() if numbers.max() >= count else numbers.min()
            raise VideoDecodeError(
                f"{self.path}: has frames 0 to {count - 1}, not {wrong}; check times and lengths"
            )
        unique, place = np.unique(numbers, return_inverse=True)
        pixels = self._read(unique)
        in_order = len(unique) == len(numbers) and bool((place[1:] > place[:-1]).all())
        return torch.from_numpy(pixels if in_order else pixels[place]).permute(0, 3, 1, 2)

    def frames_at_times(self, times_s: ArrayLike) -> Tensor:
        """Read the frame that is on display at each time.

        Args:
            times_s: Seconds after the first frame, ``[T]``; clamped to the video.

        Returns:
            RGB, uint8 ``[T, 3, H, W]``.

        Raises:
            VideoDecodeError: If a frame is damaged.
        """
        return self.frames_at(self.numbers_at(times_s))

    def numbers_at(self, times_s: ArrayLike) -> NDArray[np.int64]:
        """Number of the frame that is on display at each time.

        Args:
            times_s: Seconds after the first frame, ``[T]``; clamped to the video.
        """
        shown = np.searchsorted(self.timestamps_s, np.asarray(times_s) + 1e-9, side="right") - 1
        return np.clip(shown, 0, None)

    def iter_frames(self, wanted: ArrayLike | None = None) -> Iterator[Tensor]:
        """Decode a file in order, one frame ``[3, H, W]`` at a time.

        Args:
            wanted: Rising numbers of the frames to yield; the others are decoded, not converted,
                and nothing behind the last of them. None = all frames.

        Raises:
            VideoDecodeError: If a frame is damaged or missing.
        """
        index, count = self._index, 0
        asked = np.arange(len(index.pts)) if wanted is None else np.asarray(wanted)
        remaining = iter(asked.tolist())
        target = next(remaining, None)
        with open_video(self.path) as source:  # its own, for frames may be asked for meanwhile
            for frame, intact in decode_frames(*source, by_time=index.by_time):
                if index.by_time and (frame.pts is None or frame.pts < index.pts[0]):
                    continue
                if not intact or (index.by_time and frame.pts != index.pts[count]):
                    break
                if count == target:
                    yield torch.from_numpy(self._image(frame)).permute(2, 0, 1)
                    target = next(remaining, None)
                count += 1
                if target is None:
                    return
        raise self._damaged(count)

    def _read(self, numbers: NDArray[np.int64]) -> Image:
        """Pictures of rising frame numbers ``[T, H, W, 3]``, one run of a key frame at a time."""
        index = self._index
        wanted = index.pts[numbers]
        found = _Pictures(wanted)
        keys = np.searchsorted(index.key_pts, wanted, side="right") - 1
        for key in np.unique(keys[keys >= 0]):
            self._read_behind(int(key), {int(pts) for pts in wanted[keys == key]}, found)
        if missing := {int(pts) for pts in wanted} - found.times:
            self._read_from_start(missing, found)
        for number, pts in zip(numbers, wanted, strict=True):
            if int(pts) not in found.times:
                raise self._damaged(int(number))
        return found.pixels

    def _read_behind(self, key: int, wanted: set[int], found: "_Pictures") -> None:
        """Decode from a key frame, or from earlier ones where something is missing then."""
        for step in range(min(_STEPS_BACK, key + 1)):
            start, target = self._index.key_pts[key - step], self._index.key_seek[key - step]
            try:
                self._container.seek(int(target), stream=self._stream, backward=True)
            except av.FFmpegError:
                return  # this container cannot seek; the caller reads it from the start
            frames = decode_frames(
                *(self._container, self._stream), start=int(start), wanted=wanted, spare=step == 0
            )
            for frame, intact in frames:
                if frame.pts in wanted and intact:
                    found.put(frame.pts, self._image(frame))
            if wanted <= found.times:
                return

    def _read_from_start(self, wanted: set[int], found: "_Pictures") -> None:
        """Decode everything up to the last wanted frame, in order."""
        self._stack.close()
        self._container, self._stream = self._stack.enter_context(open_video(self.path))
        last, by_time = max(wanted), self._index.by_time
        frames = decode_frames(self._container, self._stream, by_time=by_time)
        for count, (frame, intact) in enumerate(frames):
            number = frame.pts if by_time else count
            if number in wanted and intact:
                found.put(number, self._image(frame))
            if number is not None and number >= last:
                return

    def _image(self, frame: VideoFrame) -> Image:
        """Convert and scale in one pass, then turn upright; ``[H, W, 3]``.

        Recordings of broadcasts change their size on the way; all frames get that of the first.
        """
        width, height = self._index.width, self._index.height
        short_side = min(width, height)
        if self._short_side is not None and self._short_side < short_side:
            scale = self._short_side / short_side
            width, height = round(width * scale), round(height * scale)
        # Bicubic only where pixels are resampled: it also changes the colours of 10 bit video.
        scaled = (width, height) != (frame.width, frame.height)
        image: Image = frame.to_ndarray(  # type: ignore[assignment]  # rgb24 is always uint8
            format="rgb24",
            width=width,
            height=height,
            interpolation="BICUBIC" if scaled else None,
        )
        turns = self._index.rotation // 90
        return np.ascontiguousarray(np.rot90(image, k=turns)) if turns else image

    def _damaged(self, number: int) -> VideoDecodeError:
        time_s = self.timestamps_s[number] if number < len(self.timestamps_s) else float("nan")
        return VideoDecodeError(
            f"{self.path}: frame {number} of {len(self._index.pts)} (at {time_s:.2f} s) is damaged "
            "or missing; replace the file (in training on_broken=skip leaves such videos out)"
        )


class _Pictures:
    """The wanted pictures, each copied to its place at once, so that none is held twice.

    Args:
        wanted: Presentation times, rising, ``[T]``.

    Attributes:
        times: Presentation times of those that are there.
        pixels: ``[T, H, W, 3]``.
    """

    def __init__(self, wanted: NDArray[np.int64]) -> None:
        self.times: set[int] = set()
        self.pixels: Image = np.empty((0, 0, 0, 3), np.uint8)
        self._row = {int(pts): row for row, pts in enumerate(wanted)}

    def put(self, pts: int, image: Image) -> None:
        """Take a picture ``[H, W, 3]``; all have the size of the first."""
        if not self.times:
            self.pixels = np.empty((len(self._row), *image.shape), np.uint8)
        self.pixels[self._row[pts]] = image
        self.times.add(pts)
