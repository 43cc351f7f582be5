"""From a key to decoded windows of long videos, and from samples to one packed batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from video_adapt.batches import DecodedWindows
from video_adapt.errors import VideoDecodeError
from video_adapt.video import WindowSampler
from video_adapt.video.window_base import GridWindow
from video_adapt.video.windows import Segments, Window, distinct_events

from .dataset import MAX_DRAWS, REPLACEMENT, BrokenVideo
from .loader import BatchLoader
from .samplers import Key
from .segments import VideoSegments
from .window_sources import Content, OpenedVideo, WindowSource


class WindowOf(NamedTuple):
    """A window of evaluation.

    Attributes:
        row: Row of the video in its manifest.
        number: Number of the window in its video.
        window: Its place on the video's grid.
    """

    row: int
    number: int
    window: Window


class WindowSample(NamedTuple):
    """One decoded window.

    Attributes:
        content: Its frames or features.
        place: Where it lies, and what happens in it.
        labels: Class indices of what happens in it, int64 ``[G]``.
        row: Row of the video in its manifest.
        number: Number of the window in its video; 0 in training.
        duration_s: Length of the video in seconds.
        seed: Seed of its augmentation.
    """

    content: Content
    place: GridWindow
    labels: NDArray[np.int64]
    row: int
    number: int
    duration_s: float
    seed: int


class WindowSamples(NamedTuple):
    """What some keys became.

    Attributes:
        windows: Windows that could be read.
        broken: Videos that failed on the way.
    """

    windows: tuple[WindowSample, ...]
    broken: tuple[BrokenVideo, ...] = ()


class PackedWindows(NamedTuple):
    """:class:`DecodedWindows` with all pixels in one tensor: one piece of shared memory a batch."""

    pixels: Tensor
    shapes: list[tuple[int, ...]]
    mask: Tensor
    segments: Tensor
    labels: Tensor
    counts: list[int]
    numbers: Tensor
    times: Tensor
    broken: tuple[BrokenVideo, ...]

    def unpack(self) -> DecodedWindows:
        """Views into the packed pixels, nothing is copied."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        windows = zip(self.pixels.split(sizes), self.shapes, strict=True)
        video_id, window, seed = self.numbers
        offset_s, step_s, duration_s = self.times
        return DecodedWindows(
            [flat.view(shape) for flat, shape in windows],
            self.mask,
            list(self.segments.split(self.counts)),
            list(self.labels.split(self.counts)),
            video_id,
            window,
            offset_s,
            step_s,
            duration_s,
            seed,
        )


def pack(samples: Sequence[WindowSample], positions: int) -> PackedWindows:
    """Join windows of ``positions`` grid positions."""
    shapes = [sample.content.shape for sample in samples]
    sizes = [int(np.prod(shape)) for shape in shapes]
    dtype = samples[0].content.pool.dtype if samples else torch.uint8
    pixels = torch.empty(sum(sizes), dtype=dtype)
    for sample, flat in zip(samples, pixels.split(sizes) if sizes else (), strict=True):
        sample.content.copy_to(flat.view(sample.content.shape))
    valid = torch.tensor([sample.place.valid for sample in samples], dtype=torch.int64)
    segments = [np.empty((0, 2), np.float32), *(sample.place.segments for sample in samples)]
    labels = [np.empty(0, np.int64), *(sample.labels for sample in samples)]
    numbers = [(s.row, s.number, s.seed) for s in samples]
    times = [(s.place.offset_s, s.place.step_s, s.duration_s) for s in samples]
    return PackedWindows(
        pixels,
        shapes,
        torch.arange(positions) < valid[:, None],
        torch.from_numpy(np.concatenate(segments)),
        torch.from_numpy(np.concatenate(labels)),
        [len(sample.labels) for sample in samples],
        torch.tensor(numbers, dtype=torch.int64).reshape(-1, 3).T.contiguous(),
        torch.tensor(times, dtype=torch.float64).reshape(-1, 3).T.contiguous(),
        (),
    )


class WindowLoader(BatchLoader[DecodedWindows]):
    """Batches of windows of long videos."""


@dataclass(frozen=True)
class WindowDataset(Dataset[WindowSamples]):
    """Decodes windows by key: of a video in training, of a window in evaluation.

    Args:
        entries: The videos.
        source: Opens them.
        sampler: Cuts them.
        windows: Windows of evaluation, those of a video in a row; None = training, a random window
            of each video.
        replace_broken: Training only: put another video, drawn by seed, in place of a broken one.
    """

    entries: Sequence[VideoSegments]
    source: WindowSource
    sampler: WindowSampler
    windows: Sequence[WindowOf] | None = None
    replace_broken: bool = False

    def __len__(self) -> int:
        """Number of keys."""
        return len(self.entries if self.windows is None else self.windows)

    def __getitems__(self, keys: Sequence[Key]) -> list[WindowSamples]:
        """Decode the windows of a batch; what windows of one video share is decoded once.

        A broken video comes back as a value, see :class:`ClipDataset`.
        """
        if self.windows is None:
            return [self._draw(row, seed) for row, seed in keys]
        wanted = [(self.windows[number], seed) for number, seed in keys]
        return [self._place(row, list(group)) for row, group in groupby(wanted, _row_of)]

    def collate(self, samples: Sequence[WindowSamples]) -> PackedWindows:
        """Join windows."""
        windows = [window for sample in samples for window in sample.windows]
        broken = tuple(broken for sample in samples for broken in sample.broken)
        return pack(windows, self.sampler.positions)._replace(broken=broken)

    def _draw(self, row: int, seed: int) -> WindowSamples:
        """A random window of a video or, where it is broken, of another one."""
        broken: list[BrokenVideo] = []
        draws = np.random.default_rng([seed, REPLACEMENT])
        for _ in range(MAX_DRAWS):
            entry = self.entries[row]
            try:
                with self.source.open(entry) as video:
                    sample = self._random(video, entry, row, seed)
                return WindowSamples((sample,), tuple(broken))
            except VideoDecodeError as error:
                broken.append(BrokenVideo(entry.path, entry.where, str(error)))
                if not self.replace_broken:
                    break
                row = int(draws.integers(len(self)))
        return WindowSamples((), tuple(broken))

    def _random(
        self, video: OpenedVideo, entry: VideoSegments, row: int, seed: int
    ) -> WindowSample:
        rng = np.random.default_rng(seed)

        def draw(low: int, high: int) -> int:
            return int(rng.integers(low, high, endpoint=True))

        events, labels = self._events(video, entry)
        enough = self.sampler.trainable(events, video.timing)
        place = self.sampler.random(
            video.available, video.per_position, events[enough], video.timing, draw
        )
        (content,) = video.read([place])
        kept = labels[enough][place.kept]
        return WindowSample(content, place, kept, row, 0, video.timing.duration_s, seed)

    def _place(self, row: int, group: list[tuple[WindowOf, int]]) -> WindowSamples:
        """Windows of one video."""
        entry = self.entries[row]
        try:
            with self.source.open(entry) as video:
                return WindowSamples(tuple(self._placed(video, entry, group)))
        except VideoDecodeError as error:
            return WindowSamples((), (BrokenVideo(entry.path, entry.where, str(error)),))

    def _placed(
        self, video: OpenedVideo, entry: VideoSegments, group: list[tuple[WindowOf, int]]
    ) -> Iterator[WindowSample]:
        events, labels = self._events(video, entry)
        places = [
            self.sampler.place(
                one.window, video.available, video.per_position, events, video.timing
            )
            for one, _ in group
        ]
        for (one, seed), place, content in zip(group, places, video.read(places), strict=True):
            kept, duration_s = labels[place.kept], video.timing.duration_s
            yield WindowSample(content, place, kept, one.row, one.number, duration_s, seed)

    def _events(
        self, video: OpenedVideo, entry: VideoSegments
    ) -> tuple[Segments, NDArray[np.int64]]:
        events = self.sampler.events(entry.segments_s, video.timing)
        distinct = distinct_events(events, entry.labels)
        return events[distinct], entry.labels[distinct]


def _row_of(wanted: tuple[WindowOf, int]) -> int:
    return wanted[0].row
