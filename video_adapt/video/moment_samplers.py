"""Which frames stand for a video that a sentence describes: so many a second, at most so many.

Unlike the samplers of clips these look at the whole of a video, or of a part of it, whatever its
length: a short one gives fewer frames than there is room for, and the rest stays empty.
"""

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from video_adapt.errors import ConfigurationError, VideoDecodeError

from .decode import VideoInfo
from .sampling import Indices

Times = NDArray[np.float64]
_SLACK_S = 1e-6
"""Lengths come out of sums of fractions; a second that is over by less has not begun."""
_RATE_SLACK = 0.01
"""Rates are measured; 29.997 frames per second are 30, while 29.97 are not."""


class MomentSampler(ABC):
    """Chooses up to ``T`` frames of a video.

    Attributes:
        num_frames: Frames ``T`` that there is room for.
    """

    num_frames: int

    @abstractmethod
    def __call__(
        self,
        video: VideoInfo,
        times_s: Times,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> Indices:
        """Choose frames.

        Args:
            video: Length and rate of the video.
            times_s: Time of each of its ``N`` frames in seconds, rising, ``[N]``.
            start_s: Where the part that is looked at begins; None = with the video.
            end_s: Where it ends; None = with the video.

        Returns:
            At most ``T`` numbers in [0, N); none if the part lies behind the end of the video.

        Raises:
            VideoDecodeError: If the video's rate is too low for what is asked.
        """


@dataclass(frozen=True)
class SecondSampler(MomentSampler):
    """So many frames of every second; of too many, as many as there is room for.

    Args:
        num_frames: Frames ``T`` that there is room for.
        per_second: Frames of every second.
        keep: Which of too many frames stay: those at the beginning, at the end, or some in equal
            steps from the first to the last.
        order: Whether they come as filmed, from the last to the first, or shuffled, every video in
            an order of its own that depends on its name alone.
        count: What a second is: ``time`` reads the frame on display at each moment; ``index``
            counts frames at the whole number of frames per second below the true rate, as the
            released code does, which drifts (at 29.97 by a second every half minute), and takes
            the frames at the end of a part, too.

    Raises:
        ConfigurationError: If there is room for no frame, or no frame a second.

    Source: CLIP4Clip (Neurocomputing 2022) and TeachCLIP (CVPR 2024), as released.
    """

    num_frames: int = 12
    per_second: int = 1
    keep: Literal["first", "last", "even"] = "even"
    order: Literal["forward", "reversed", "shuffled"] = "forward"
    count: Literal["time", "index"] = "time"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.num_frames < 1 or self.per_second < 1:
            raise ConfigurationError(
                f"{self.num_frames} frames, {self.per_second} per second: both must be at least 1"
            )

    def __call__(
        self,
        video: VideoInfo,
        times_s: Times,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> Indices:
        """Choose frames, see :class:`MomentSampler`."""
        if self.count == "time":
            found = self._by_time(video, times_s, start_s or 0.0, end_s)
        else:
            found = self.by_index(video, start_s or 0.0, end_s)
        kept = kept_of(found, self.num_frames, self.keep)
        if self.order == "shuffled":
            seed = zlib.crc32(Path(video.path).name.encode())
            return np.random.default_rng(seed).permutation(kept)
        return kept if self.order == "forward" else kept[::-1]

    def by_index(
        self, video: VideoInfo, start_s: float = 0.0, end_s: float | None = None
    ) -> Indices:
        """All frames at whole fractions of counted seconds, ``[M]``.

        Args:
            video: Length and rate of the video.
            start_s: First second, in whole seconds.
            end_s: Last second, in whole seconds and looked at, too; None = that of the video.

        Raises:
            VideoDecodeError: If the video has fewer frames per second than are wanted.
        """
        rate = int(video.fps + _RATE_SLACK)
        if rate < self.per_second:
            raise VideoDecodeError(
                f"{video.path}: has {video.fps:.3g} frames per second, {self.per_second} are to be "
                "counted; leave it out (on_broken=skip) or set the sampler's count to time"
            )
        last = int(np.ceil(video.num_frames / rate))
        first = int(start_s)
        if end_s is not None:
            stop = max(int(np.ceil(end_s)), first + 1)
            last = min(stop, last)
        seconds = np.arange(first, last + 1)[:, None] * rate
        offsets = np.arange(self.per_second) * (rate // self.per_second)
        numbers = (seconds + offsets).ravel()
        return numbers[numbers < video.num_frames].astype(np.int64)

    def _by_time(
        self, video: VideoInfo, times_s: Times, start_s: float, end_s: float | None
    ) -> Indices:
        end_s = video.duration_s if end_s is None else min(end_s, video.duration_s)
        count = int(np.ceil((end_s - start_s) * self.per_second - _SLACK_S))
        moments_s = start_s + np.arange(max(count, 0)) / self.per_second
        shown = np.searchsorted(times_s, moments_s + _SLACK_S, side="right") - 1
        return np.clip(shown, 0, None).astype(np.int64)


@dataclass(frozen=True)
class MiddleSampler(MomentSampler):
    """The middle frame of each of ``T`` equal parts; a short video repeats its last frame.

    Args:
        num_frames: Frames ``T``, always all of them.

    Source: X-Pool (CVPR 2022), as released.
    """

    num_frames: int = 12

    def __call__(
        self,
        video: VideoInfo,
        times_s: Times,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> Indices:
        """Choose frames, see :class:`MomentSampler`."""
        end_s = np.inf if end_s is None else end_s
        first, last = np.searchsorted(times_s, [(start_s or 0.0) - _SLACK_S, end_s - _SLACK_S])
        middles = first + middle_indices(int(last - first), self.num_frames)
        return np.concatenate([middles, middles[-1:].repeat(self.num_frames - len(middles))])


def kept_of(frames: Indices, room: int, keep: Literal["first", "last", "even"]) -> Indices:
    """As many frames as there is room for, ``[min(M, room)]`` of ``[M]``."""
    if len(frames) <= room or keep == "first":
        return frames[:room]
    return frames[-room:] if keep == "last" else frames[even_indices(len(frames), room)]


def even_indices(available: int, count: int) -> Indices:
    """``count`` places in equal steps from the first to the last of ``available``, truncated."""
    return np.linspace(0, available - 1, count).astype(np.int64)


def middle_indices(num_frames: int, count: int) -> Indices:
    """Middles of ``count`` equal parts of a video, of fewer where it has fewer frames."""
    edges = np.linspace(0, num_frames, min(count, num_frames) + 1).astype(np.int64)
    return (edges[:-1] + edges[1:] - 1) // 2
