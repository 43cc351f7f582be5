"""What every way to cut long videos into windows answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from numpy.typing import ArrayLike

from .sampling import Indices
from .windows import Draw, Segments, Window


class Timing(NamedTuple):
    """How long a video is.

    Attributes:
        duration_s: Its length in seconds.
        num_frames: Its frames, counted at ``fps``.
        fps: Frames per second.
    """

    duration_s: float
    num_frames: int
    fps: float


class GridWindow(NamedTuple):
    """A window of a video, ready to be read.

    Attributes:
        start: First unit that it holds.
        stop: The unit behind the last one.
        valid: Grid positions that lie within the video.
        segments: Its events on its own grid, ``[G', 2]``.
        kept: Which of the video's events these are, int64 ``[G']``.
        offset_s: Time of its grid position 0.
        step_s: Seconds from one position to the next.
    """

    start: int
    stop: int
    valid: int
    segments: Segments
    kept: Indices
    offset_s: float
    step_s: float


@dataclass(frozen=True)
class WindowSampler(ABC):
    """Cuts videos into windows of ``S`` grid positions with ``T`` frames.

    Args:
        positions: Grid positions ``S`` of a window, which is what the detector sees.
        frames_per_position: Frames of each of them.
    """

    positions: int
    frames_per_position: int

    @property
    def num_frames(self) -> int:
        """Frames ``T`` of a window."""
        return self.positions * self.frames_per_position

    @property
    @abstractmethod
    def counts_frames(self) -> bool:
        """Whether windows depend on the number of frames, not on the length in seconds alone."""

    @abstractmethod
    def timing(self, duration_s: float, num_frames: int) -> Timing:
        """Length of a video as its grid counts it.

        Args:
            duration_s: Its length in seconds.
            num_frames: Its frames as annotated or, where they are not, as the file has them;
                anything where :attr:`counts_frames` is false.
        """

    @abstractmethod
    def events(self, segments_s: ArrayLike, timing: Timing) -> Segments:
        """Seconds to the unit in which the grid is counted, ``[G, 2]``."""

    @abstractmethod
    def trainable(self, events: Segments, timing: Timing) -> Indices:
        """Numbers of the events that are long enough to be learnt from."""

    @abstractmethod
    def windows(self, timing: Timing) -> list[Window]:
        """Windows that cover a video in evaluation."""

    @abstractmethod
    def available(self, total: int) -> int:
        """Units of a video of which ``total`` frames can be read."""

    @abstractmethod
    def random(
        self, available: int, per_position: int, events: Segments, timing: Timing, draw: Draw
    ) -> GridWindow:
        """A training window.

        Args:
            available: Units of the video.
            per_position: Units of a grid position: ``frames_per_position``, or 1 for features.
            events: Result of :meth:`events`.
            timing: Length of the video.
            draw: Source of chance.
        """

    @abstractmethod
    def place(
        self, window: Window, available: int, per_position: int, events: Segments, timing: Timing
    ) -> GridWindow:
        """A window of evaluation; see :meth:`random`."""

    @abstractmethod
    def frames(self, window: GridWindow, total: int) -> Indices:
        """Frame numbers of a window of a video of ``total`` frames, ``[T]``."""

    @abstractmethod
    def describe(self, timing: Timing) -> str:
        """What a window is in seconds, in words."""
