"""Which frames of a video make a clip: index arithmetic, no files.

A sampler is asked with a random generator in training and without one in evaluation. Indices are
positions in the list of decoded frames, sorted by time; a short video repeats some.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from video_adapt.errors import ConfigurationError

Indices: TypeAlias = NDArray[np.int64]


class StreamHeader(NamedTuple):
    """What the header of a file says of its picture stream.

    Attributes:
        fps: Frames per second.
        ticks_per_frame: Duration of a frame in units of the stream's time base; None where the
            container states no duration, as Matroska.
    """

    fps: float
    ticks_per_frame: float | None


class FrameSampler(ABC):
    """Chooses the frames of one clip.

    Attributes:
        num_frames: Frames ``T`` of a clip.
    """

    num_frames: int

    @abstractmethod
    def __call__(
        self,
        num_frames: int,
        fps: float,
        *,
        view: int = 0,
        views: int = 1,
        rng: np.random.Generator | None = None,
    ) -> Indices:
        """Choose frames.

        Args:
            num_frames: Frames ``N`` of the video.
            fps: Its frames per second.
            view: Number of the temporal view in evaluation.
            views: Number of temporal views in evaluation.
            rng: Source of chance in training; None in evaluation.

        Returns:
            ``T`` indices in [0, N).

        Raises:
            ConfigurationError: If the sampler cannot make that many views.
        """

    def for_file(self, header: StreamHeader) -> "FrameSampler":
        """The sampler for a file with that header: itself, unless containers matter to it."""
        return self


def segment_indices(num_frames: int, count: int, position: ArrayLike, *, parts: int = 1) -> Indices:
    """One frame of each of ``count`` equal segments of a video.

    Args:
        num_frames: Frames ``N`` of the video.
        count: Segments ``T``.
        position: Place within each segment, 0 its beginning and ``parts`` its end; ``[T]`` or one
            number.
        parts: Parts that a segment is divided into.

    Returns:
        Rounded half to even, within the video, ``[T]``.

    Source: DiST (ICCV 2023), as released; all in float32 as there, which decides some roundings.
    """
    edges = torch.linspace(0, num_frames, count + 1).numpy()
    start, length = edges[:-1], np.diff(edges)
    chosen = start + length * np.asarray(position, dtype=np.float32) / np.float32(parts)
    return np.rint(np.clip(chosen, 0, num_frames - 1)).astype(np.int64)


def interval_indices(num_frames: int, count: int, *, start: float, span: float) -> Indices:
    """``count`` frames evenly over ``span`` frames from ``start``, both fractional.

    Frames beyond the end repeat the last one.

    Source: DiST (ICCV 2023), interval mode of the released code; float32 as there.
    """
    chosen = torch.linspace(start, start + span, count)
    return chosen.clamp(0, num_frames - 1).long().numpy()


def dense_indices(
    num_frames: int, count: int, stride: int, *, start: int = 0, last: int | None = None
) -> Indices:
    """Every ``stride``-th frame from ``start``; those beyond ``last`` repeat it (None: the end)."""
    return np.minimum(start + stride * np.arange(count), num_frames - 1 if last is None else last)


@dataclass(frozen=True)
class SegmentSampler(FrameSampler):
    """Cut the whole video into ``T`` equal segments and take one frame of each.

    Training draws the place in each segment; one view takes the middles; view ``v`` of ``V`` takes
    the place ``(v + 1) / V``, so that the last view sits on the segments' ends.

    Args:
        num_frames: Frames ``T`` of a clip.

    Source: DiST (ICCV 2023), recipes of Kinetics-400 and Something-Something v2.
    """

    num_frames: int

    def __call__(
        self,
        num_frames: int,
        fps: float,
        *,
        view: int = 0,
        views: int = 1,
        rng: np.random.Generator | None = None,
    ) -> Indices:
        """Choose frames, see :class:`FrameSampler`."""
        if rng is not None:
            return segment_indices(num_frames, self.num_frames, rng.random(self.num_frames))
        if views == 1:
            return segment_indices(num_frames, self.num_frames, 0.5)
        return segment_indices(num_frames, self.num_frames, view + 1, parts=views)


@dataclass(frozen=True)
class IntervalSampler(FrameSampler):
    """Frames at a fixed distance in time, wherever the video is long enough.

    Training draws the beginning; one view takes the middle of the video; view ``v`` of ``V``
    begins at ``v / V`` of what is left over.

    Args:
        num_frames: Frames ``T`` of a clip.
        interval: Distance of two frames, counted at ``target_fps``.
        target_fps: Frame rate at which ``interval`` is counted.
        to_last_frame: Whether the span ends with the last frame taken instead of one interval
            behind it.

    Source: DiST (ICCV 2023), interval mode of the released code.
    """

    num_frames: int
    interval: int
    target_fps: float = 30.0
    to_last_frame: bool = False

    def __call__(
        self,
        num_frames: int,
        fps: float,
        *,
        view: int = 0,
        views: int = 1,
        rng: np.random.Generator | None = None,
    ) -> Indices:
        """Choose frames, see :class:`FrameSampler`."""
        window = self.num_frames * self.interval * fps / self.target_fps
        slack = max(num_frames - window, 0)
        start = slack / 2 if views == 1 else slack * view / views
        if rng is not None:
            start = slack * rng.random()
        last = self.interval if self.to_last_frame else 1
        return interval_indices(num_frames, self.num_frames, start=start, span=window - last)


@dataclass(frozen=True)
class DenseSampler(FrameSampler):
    """Every ``stride``-th frame, beginning anywhere.

    One view stands in the middle of the video; more are spread from its beginning to its end.

    Args:
        num_frames: Frames ``T`` of a clip.
        stride: Distance of two frames.

    Source: EVL (ECCV 2022) and ST-Adapter (NeurIPS 2022), recipes of Kinetics-400.
    """

    num_frames: int
    stride: int

    def __call__(
        self,
        num_frames: int,
        fps: float,
        *,
        view: int = 0,
        views: int = 1,
        rng: np.random.Generator | None = None,
    ) -> Indices:
        """Choose frames, see :class:`FrameSampler`."""
        slack = max(num_frames - self.stride * (self.num_frames - 1) - 1, 0)
        start = slack // 2 if views == 1 else round(slack / (views - 1) * view)
        last = num_frames - 1
        if rng is not None:
            start = int(rng.integers(slack, endpoint=True))
            # A short video repeats the last frame on its grid in training, its very last in tests.
            last -= (last - start) % self.stride
        return dense_indices(num_frames, self.num_frames, self.stride, start=start, last=last)


@dataclass(frozen=True)
class UniformSampler(FrameSampler):
    """One frame of each of ``T`` segments whose ends are frames and belong to both neighbours.

    Args:
        num_frames: Frames ``T`` of a clip.

    Source: EVL (ECCV 2022) and ST-Adapter (NeurIPS 2022), recipes of Something-Something v2.
    """

    num_frames: int

    def __call__(
        self,
        num_frames: int,
        fps: float,
        *,
        view: int = 0,
        views: int = 1,
        rng: np.random.Generator | None = None,
    ) -> Indices:
        """Choose frames, see :class:`FrameSampler`.

        Raises:
            ConfigurationError: If more than one temporal view is wanted.
        """
        if views > 1:
            raise ConfigurationError(
                "UniformSampler covers the whole video, so there is one temporal view: set "
                "eval_views=1, or spatial crops"
            )
        segment = (num_frames - 1) / self.num_frames
        ends = np.rint(segment * np.arange(self.num_frames + 1)).astype(np.int64)
        if rng is not None:
            return rng.integers(ends[:-1], ends[1:], endpoint=True)
        return (ends[:-1] + ends[1:]) // 2
