"""How a long video becomes windows: the two ways of the field, named in experiment files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from video_adapt.errors import ConfigurationError

from .sampling import Indices
from .window_base import GridWindow, Timing, WindowSampler
from .windows import (
    Cut,
    Draw,
    Segments,
    Window,
    events_inside,
    frames_by_rate,
    frames_by_share,
    padded_units,
    positions_by_share,
    random_cut,
    resized_indices,
    sliding_windows,
)


@dataclass(frozen=True)
class SlidingWindows(WindowSampler):
    """Windows with a fixed distance of frames: a random one in training, all of them in tests.

    Args:
        positions: Grid positions ``S`` of a window.
        frames_per_position: Frames of each position; it divides ``snippet_stride``.
        snippet_stride: Frames of the video from one grid position to the next.
        overlap: Share of a window that the next one repeats in evaluation, in [0, 1).
        fps: Rate at which frames are counted; None = the video's own. A file of another rate is
            read by time.
        offset_frames: Frame of the video that grid position 0 stands for: half a snippet, where
            features of snippets are read that begin at frame 0.
        min_kept: Smallest share of an event that must lie in a window.
        crop: Smallest and largest share of a video shorter than a window that is kept in
            training; None = all of it.

    Raises:
        ConfigurationError: If no number of frames fits these values.

    Source: AdaTAD (CVPR 2024), all data sets but ActivityNet.
    """

    positions: int = 768
    frames_per_position: int = 1
    snippet_stride: int = 4
    overlap: float = 0.5
    fps: float | None = None
    offset_frames: float = 0.0
    min_kept: float = 0.75
    crop: tuple[float, float] | None = (0.9, 1.0)

    def __post_init__(self) -> None:
        """Check the values."""
        if min(self.positions, self.frames_per_position, self.snippet_stride) < 1:
            raise ConfigurationError(
                f"positions {self.positions}, frames_per_position {self.frames_per_position} and "
                f"snippet_stride {self.snippet_stride} must be positive"
            )
        if self.snippet_stride % self.frames_per_position:
            raise ConfigurationError(
                f"a position of {self.snippet_stride} frames cannot show every n-th of them "
                f"{self.frames_per_position} times: let frames_per_position divide snippet_stride"
            )
        if not 0 <= self.overlap < 1 or not 0 < self.min_kept <= 1:
            raise ConfigurationError(
                f"overlap is {self.overlap}, min_kept {self.min_kept}: they must lie in [0, 1) and "
                "in (0, 1]"
            )
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ConfigurationError(f"crop is {self.crop}: it must rise within (0, 1]")

    @property
    def frame_stride(self) -> int:
        """Frames of the video from one frame that is read to the next."""
        return self.snippet_stride // self.frames_per_position

    @property
    def counts_frames(self) -> bool:
        """True unless frames are counted at a fixed rate."""
        return self.fps is None

    def timing(self, duration_s: float, num_frames: int) -> Timing:
        """Length of a video, see :class:`WindowSampler`."""
        if self.fps is not None:
            return Timing(duration_s, max(int(duration_s * self.fps), 1), self.fps)
        return Timing(duration_s, num_frames, num_frames / duration_s)

    def events(self, segments_s: ArrayLike, timing: Timing) -> Segments:
        """Seconds to frames, see :class:`WindowSampler`."""
        if self.fps is not None:
            return frames_by_rate(segments_s, self.fps)
        return frames_by_share(segments_s, timing.duration_s, timing.num_frames)

    def trainable(self, events: Segments, timing: Timing) -> Indices:
        """Numbers of the events of at least one frame."""
        return np.nonzero(events[:, 1] > events[:, 0])[0]

    def windows(self, timing: Timing) -> list[Window]:
        """Windows that cover a video in evaluation."""
        count = -(-timing.num_frames // self.snippet_stride)
        return sliding_windows(count, self.positions, self.overlap, cover=True)

    def available(self, total: int) -> int:
        """Every ``frame_stride``-th frame from the first one on."""
        return -(-total // self.frame_stride)

    def random(
        self, available: int, per_position: int, events: Segments, timing: Timing, draw: Draw
    ) -> GridWindow:
        """A training window, see :class:`WindowSampler`."""
        per_unit = np.float32(self.snippet_stride / per_position)
        cut = random_cut(
            available,
            self.positions * per_position,
            (events - np.float32(self.offset_frames)) / per_unit,
            min_kept=self.min_kept,
            crop=self.crop,
            draw=draw,
        )
        return self._ready(cut, per_position, timing)

    def place(
        self, window: Window, available: int, per_position: int, events: Segments, timing: Timing
    ) -> GridWindow:
        """A window of evaluation, see :class:`WindowSampler`."""
        start, stop = (min(edge * per_position, available) for edge in window)
        first, last = (
            edge * self.snippet_stride + self.offset_frames
            for edge in (window.first, window.stop - 1)
        )
        inside, kept = events_inside(events, first, last, min_kept=self.min_kept)
        per_unit = np.float32(self.snippet_stride / per_position)
        return self._ready(Cut(start, stop, inside / per_unit, kept), per_position, timing)

    def frames(self, window: GridWindow, total: int) -> Indices:
        """Frame numbers of a window, see :class:`WindowSampler`."""
        return padded_units(window.start, window.stop, self.num_frames) * self.frame_stride

    def describe(self, timing: Timing) -> str:
        """What a window is in seconds, in words."""
        fps = timing.fps
        seconds = self.positions * self.snippet_stride / fps
        return (
            f"windows of {self.positions} positions: {seconds:.1f} s of video at {fps:.4g} frames "
            f"per second, of which {fps / self.frame_stride:.4g} are seen"
        )

    def _ready(self, cut: Cut, per_position: int, timing: Timing) -> GridWindow:
        step_s = self.snippet_stride / timing.fps
        return GridWindow(
            cut.start,
            cut.stop,
            min((cut.stop - cut.start) // per_position, self.positions),
            cut.segments / np.float32(per_position),
            cut.kept,
            cut.start / per_position * step_s + self.offset_frames / timing.fps,
            step_s,
        )


@dataclass(frozen=True)
class WholeVideo(WindowSampler):
    """One window that is the whole video, however long: its frames at equal distances.

    Args:
        positions: Grid positions ``S`` of a video.
        frames_per_position: Frames of each of them.
        min_share: Events shorter than this share of the video are not trained on.

    Raises:
        ConfigurationError: If a value is impossible.

    Source: AdaTAD (CVPR 2024), ActivityNet-1.3.
    """

    positions: int = 192
    frames_per_position: int = 4
    min_share: float = 0.01

    def __post_init__(self) -> None:
        """Check the values."""
        if min(self.positions, self.frames_per_position) < 1 or not 0 <= self.min_share < 1:
            raise ConfigurationError(
                f"positions {self.positions} and frames_per_position {self.frames_per_position} "
                f"must be positive, min_share {self.min_share} must lie in [0, 1)"
            )

    @property
    def counts_frames(self) -> bool:
        """False: positions are shares of the length."""
        return False

    def timing(self, duration_s: float, num_frames: int) -> Timing:
        """Length of a video, see :class:`WindowSampler`."""
        return Timing(duration_s, num_frames, num_frames / duration_s)

    def events(self, segments_s: ArrayLike, timing: Timing) -> Segments:
        """Seconds to grid positions, see :class:`WindowSampler`."""
        return positions_by_share(segments_s, timing.duration_s, self.positions)

    def trainable(self, events: Segments, timing: Timing) -> Indices:
        """Numbers of the events that are no shorter than ``min_share`` of the video."""
        return np.nonzero(np.diff(events)[:, 0] > self.min_share * self.positions)[0]

    def windows(self, timing: Timing) -> list[Window]:
        """The one window."""
        return [Window(0, self.positions)]

    def available(self, total: int) -> int:
        """All frames."""
        return total

    def random(
        self, available: int, per_position: int, events: Segments, timing: Timing, draw: Draw
    ) -> GridWindow:
        """The window, in which nothing is random."""
        return self.place(Window(0, self.positions), available, per_position, events, timing)

    def place(
        self, window: Window, available: int, per_position: int, events: Segments, timing: Timing
    ) -> GridWindow:
        """The window, see :class:`WindowSampler`."""
        step_s = timing.duration_s / self.positions
        kept = np.arange(len(events))
        return GridWindow(0, available, self.positions, events, kept, 0.0, step_s)

    def frames(self, window: GridWindow, total: int) -> Indices:
        """Frame numbers of the window, see :class:`WindowSampler`."""
        return resized_indices(total, self.num_frames)

    def describe(self, timing: Timing) -> str:
        """What a window is in seconds, in words."""
        return (
            f"windows of {self.positions} positions: a whole video, here {timing.duration_s:.1f} s "
            f"long, of which {self.num_frames / timing.duration_s:.4g} frames per second are seen"
        )
