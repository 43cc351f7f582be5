"""Which frames make the views of an open-vocabulary clip: as published, and covering the video.

The published loader of Open-VCLIP and FROSTER takes one of two paths, by whether the container
states how long its stream is: mp4 and avi do, Matroska (mkv, webm) does not.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from .sampling import FrameSampler, Indices, StreamHeader, interval_indices


def timed_indices(
    num_frames: int, count: int, *, start: float, window: int, span: float, ticks: float
) -> Indices:
    """Frames out of a window that was cut by presentation time, the published path for mp4.

    The window keeps one frame behind its end. The frames are spread over ``span``, which is longer
    than the window: those behind it repeat its last frame.

    Args:
        num_frames: Frames ``N`` of the video.
        count: Frames ``T`` of the clip.
        start: Where the window begins, in frames, fractional.
        window: Its length in frames.
        span: Frames from the first to the last one taken, fractional.
        ticks: Units of the stream's time base per frame; times are truncated to whole units.

    Returns:
        ``T`` indices in [0, N).
    """
    start_pts, end_pts = int(start * ticks), int((start + window - 1) * ticks)
    first = math.ceil(start_pts / ticks)
    last = min(math.floor(end_pts / ticks) + 1, num_frames - 1)
    return first + interval_indices(last - first + 1, count, start=0, span=span)


@dataclass(frozen=True)
class PublishedViewSampler(FrameSampler):
    """Views as the released loader of Open-VCLIP and FROSTER takes them, by the container.

    Frames are chosen by time: a video of 15 frames per second gets half the stride in frames.
    Of a container that states its duration, ``V`` views begin at ``0/V ... (V-1)/V`` of what is
    left over, so the end of a video is never seen; the stride is about 18 instead of 16, and the
    last frame is repeated. :class:`CoveringSampler` does neither.

    Args:
        num_frames: Frames ``T`` of a clip.
        stride: Nominal distance of two frames, counted at ``target_fps``.
        target_fps: Frame rate at which ``stride`` is counted.
        ticks: Units of the stream's time base per frame; None = the container states no duration.
            Files say it themselves.
        header_fps: Frame rate that the header states; None = the measured one. Files say it
            themselves.

    Source: Open-VCLIP (ICML 2023) and FROSTER (ICLR 2024), as released.
    """

    num_frames: int = 8
    stride: int = 16
    target_fps: float = 30.0
    ticks: float | None = 512.0
    header_fps: float | None = None

    def for_file(self, header: StreamHeader) -> "PublishedViewSampler":
        """The path that this file's container takes."""
        return replace(self, ticks=header.ticks_per_frame, header_fps=header.fps)

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
        rate = (self.header_fps or fps) / self.target_fps
        length = max(1.0, self.stride * self.num_frames * rate)
        if self.ticks is None:
            slack = max(num_frames - length, 0)
            start: float = slack // 2 if views == 1 else view * (slack // (views - 1))
            if rng is not None:
                start = slack * rng.random()
            return interval_indices(num_frames, self.num_frames, start=start, span=length - 1)
        window = max(1, math.ceil(self.stride * (self.num_frames - 1) * rate))
        slack = max(num_frames - window, 0)
        share = view / views if rng is None else rng.random()
        return timed_indices(
            num_frames,
            self.num_frames,
            start=slack * share,
            window=window,
            span=length - 1,
            ticks=self.ticks,
        )


@dataclass(frozen=True)
class CoveringSampler(FrameSampler):
    """Frames at a true distance in time, views spread from the first frame to the last.

    The first view begins with the video, the last one ends with it, one alone stands in its middle.
    A video shorter than a clip is spread over the clip, so no frame repeats while others are left
    out. The container does not matter.

    Args:
        num_frames: Frames ``T`` of a clip.
        stride: Distance of two frames, counted at ``target_fps``.
        target_fps: Frame rate at which ``stride`` is counted.
    """

    num_frames: int = 8
    stride: int = 16
    target_fps: float = 30.0

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
        span = self.stride * (self.num_frames - 1) * fps / self.target_fps
        span = min(span, num_frames - 1)
        share = 0.5 if views == 1 else view / (views - 1)
        if rng is not None:
            share = rng.random()
        start = (num_frames - 1 - span) * share
        return np.rint(np.linspace(start, start + span, self.num_frames)).astype(np.int64)
