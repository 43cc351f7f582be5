"""Where the content of windows comes from: frames of a video file, or rows of a feature file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from video_adapt.errors import VideoDecodeError
from video_adapt.video import SlidingWindows, VideoInfo, VideoReader, WindowSampler
from video_adapt.video.window_base import GridWindow, Timing

from .features import FeatureFiles
from .segments import VideoSegments

_SAME_RATE, _SAME_COUNT = 0.01, 0.02
"""Annotations round; a file of the same rate, or of as many frames, is the annotated one."""


class Content(NamedTuple):
    """What a window holds, not copied yet: windows of one video share what they overlap in.

    Attributes:
        pool: Frames ``[N, C, H, W]`` uint8, or features ``[N, D]``.
        picked: Which of them are the window's, in order, int64 ``[T]``.
    """

    pool: Tensor
    picked: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the content once it is copied."""
        return (len(self.picked), *self.pool.shape[1:])

    def copy_to(self, target: Tensor) -> None:
        """Write the content into a tensor of its shape."""
        torch.index_select(self.pool, 0, self.picked, out=target)


class OpenedVideo(ABC):
    """The content of one video, ready to be cut.

    Args:
        timing: Its length as its grid counts it.
        available: Units of it that can be read.
        per_position: Units of a grid position.
    """

    def __init__(self, timing: Timing, available: int, per_position: int) -> None:
        self.timing = timing
        self.available = available
        self.per_position = per_position

    @abstractmethod
    def read(self, windows: Sequence[GridWindow]) -> list[Content]:
        """Contents of windows of this video; what they share is read once.

        Raises:
            VideoDecodeError: If something cannot be read.
        """


class WindowSource(ABC):
    """Opens videos of a manifest."""

    sampler: WindowSampler

    def timing(self, entry: VideoSegments) -> Timing:
        """Length of a video as its grid counts it; its file is opened only where it must be.

        Raises:
            VideoDecodeError: If the file has to be opened and cannot be read.
        """
        known = entry.num_frames is not None or not self.sampler.counts_frames
        if entry.duration_s is not None and known:
            return self.sampler.timing(entry.duration_s, entry.num_frames or 1)
        with self.open(entry) as video:
            return video.timing

    @abstractmethod
    def open(self, entry: VideoSegments) -> AbstractContextManager[OpenedVideo]:
        """Open one video.

        Raises:
            VideoDecodeError: If it cannot be read or does not fit its annotation.
        """


@dataclass(frozen=True)
class FrameSource(WindowSource):
    """Frames, decoded and scaled in one pass.

    Args:
        sampler: Counts frames.
        short_side: Pixels that the short side is scaled down to; None = as stored.
        frames_per_chunk: Frames that a backbone looks at together; a shorter video is refused.
    """

    sampler: WindowSampler
    short_side: int | None
    frames_per_chunk: int

    @contextmanager
    def open(self, entry: VideoSegments) -> Iterator["OpenedFrames"]:
        """Open a video, see :class:`WindowSource`."""
        with VideoReader(entry.path, short_side=self.short_side) as reader:
            info = reader.info
            timing = self.sampler.timing(
                entry.duration_s or info.duration_s, entry.num_frames or info.num_frames
            )
            by_time = isinstance(self.sampler, SlidingWindows) and _differs(
                timing, info.num_frames, info.fps
            )
            total = round(info.duration_s * timing.fps) if by_time else info.num_frames
            opened = OpenedFrames(self.sampler, reader, timing, total, by_time=by_time)
            self._require_length(entry, opened, info)
            yield opened

    def _require_length(self, entry: VideoSegments, opened: OpenedVideo, info: VideoInfo) -> None:
        if opened.available < self.frames_per_chunk:
            raise VideoDecodeError(
                f"{entry.path}: {info.num_frames} frames give {opened.available} to look at, fewer "
                f"than the {self.frames_per_chunk} of one chunk; exclude the video or lower "
                "snippet_stride"
            )
        (*_, last) = self.sampler.windows(opened.timing)
        if last.first * opened.per_position >= opened.available:
            raise VideoDecodeError(
                f"{entry.path}: ends at {info.duration_s:.1f} s, before its last window begins; "
                f"annotated are {opened.timing.duration_s:.1f} s: mend `duration` and `frame`, or "
                "replace the file"
            )


def _differs(timing: Timing, num_frames: int, fps: float) -> bool:
    """Whether a file has another rate than its frames are counted at: it was encoded again."""
    other_rate = abs(fps / timing.fps - 1) > _SAME_RATE
    return other_rate and abs(num_frames / timing.num_frames - 1) > _SAME_COUNT


class OpenedFrames(OpenedVideo):
    """The frames of one video.

    Args:
        sampler: Counts them.
        reader: Reads them.
        timing: Length of the video as its grid counts it.
        total: Frames as the grid counts them.
        by_time: Whether the grid has another rate than the file: frames are found by their time.
    """

    def __init__(
        self,
        sampler: WindowSampler,
        reader: VideoReader,
        timing: Timing,
        total: int,
        *,
        by_time: bool,
    ) -> None:
        super().__init__(timing, sampler.available(total), sampler.frames_per_position)
        self.reader, self.by_time = reader, by_time
        self._sampler, self._total = sampler, total

    def read(self, windows: Sequence[GridWindow]) -> list[Content]:
        """Contents of windows, see :class:`OpenedVideo`."""
        numbers = [self.numbers(window) for window in windows]
        wanted, places = np.unique(np.concatenate(numbers), return_inverse=True)
        pool = self.reader.frames_at(wanted)
        picked = torch.from_numpy(places).split([len(part) for part in numbers])
        return [Content(pool, part) for part in picked]

    def numbers(self, window: GridWindow) -> NDArray[np.int64]:
        """Numbers of a window's frames in the file, never falling, ``[T]``."""
        numbers = self._sampler.frames(window, self._total)
        return self.reader.numbers_at(numbers / self.timing.fps) if self.by_time else numbers


@dataclass(frozen=True)
class FeatureSource(WindowSource):
    """Rows of feature files.

    Args:
        sampler: Counts frames.
        files: Shape and stride of the rows.
    """

    sampler: WindowSampler
    files: FeatureFiles

    @contextmanager
    def open(self, entry: VideoSegments) -> Iterator[OpenedVideo]:
        """Open the features of a video, see :class:`WindowSource`."""
        assert entry.duration_s is not None, "the data module asks for it"
        rows = self.files.rows(entry.path)
        num_frames = entry.num_frames or len(rows) * self.files.stride
        timing = self.sampler.timing(entry.duration_s, num_frames)
        if isinstance(self.sampler, SlidingWindows):
            self.files.require_stride(entry.path, len(rows), timing.num_frames)
            rows = rows[:: self.sampler.snippet_stride // self.files.stride]
        yield _OpenedRows(self.sampler, rows, timing)


class _OpenedRows(OpenedVideo):
    def __init__(self, sampler: WindowSampler, rows: NDArray[np.floating], timing: Timing) -> None:
        super().__init__(timing, len(rows), per_position=1)
        self._sampler, self._rows = sampler, rows

    def read(self, windows: Sequence[GridWindow]) -> list[Content]:
        every = torch.arange(self._sampler.positions)
        return [Content(self._read(window), every) for window in windows]

    def _read(self, window: GridWindow) -> Tensor:
        rows = torch.from_numpy(np.array(self._rows[window.start : window.stop], dtype=np.float32))
        positions = self._sampler.positions
        if isinstance(self._sampler, SlidingWindows):
            return F.pad(rows, (0, 0, 0, positions - len(rows)))
        return F.interpolate(rows.T[None], size=positions, mode="linear")[0].T.contiguous()
