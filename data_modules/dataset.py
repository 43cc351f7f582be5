"""From a key to decoded clips, and from samples to one packed batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from video_adapt.batches import DecodedClips
from video_adapt.errors import VideoDecodeError
from video_adapt.video import FrameSampler, VideoReader

from .annotations import VideoEntry
from .samplers import Key

# Streams of random numbers below a clip's seed; frames are drawn from the seed itself, and the
# transforms of video_adapt.video own the streams 1 and 2.
REPLACEMENT, MIXING = 3, 4
MAX_DRAWS = 10
_TIME_SLACK_S = 1e-4
"""Lists round their times; a frame this close before a start still belongs to the clip."""
_LOST_SHARE = 0.1
"""A file that lacks more of its frames than this was cut off; careless headers miss by a few."""


class BrokenVideo(NamedTuple):
    """A video that could not be decoded.

    Attributes:
        path: The file.
        where: ``file:line`` of the list that names it.
        cause: The decoder's message.
    """

    path: str
    where: str
    cause: str


class Sample(NamedTuple):
    """What one key became.

    Attributes:
        views: Clips of one video, each ``[T, C, H, W]`` uint8; none if it is broken.
        label: Class index; -1 where unknown.
        row: Row of the video in its manifest.
        seed: Seed of its augmentation.
        broken: Videos that failed on the way.
    """

    views: Sequence[Tensor]
    label: int
    row: int
    seed: int
    broken: tuple[BrokenVideo, ...] = ()


class PackedClips(NamedTuple):
    """:class:`DecodedClips` with all pixels in one tensor: one piece of shared memory a batch.

    A tensor per clip would use up the open files of a process where workers run far ahead.
    """

    pixels: Tensor
    shapes: list[tuple[int, ...]]
    label: Tensor
    video_id: Tensor
    view: Tensor
    seed: Tensor
    broken: tuple[BrokenVideo, ...]

    def unpack(self) -> DecodedClips:
        """Views into the packed pixels, nothing is copied."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        clips = zip(self.pixels.split(sizes), self.shapes, strict=True)
        frames = [flat.view(shape) for flat, shape in clips]
        return DecodedClips(frames, self.label, self.video_id, self.view, self.seed)


def collate(samples: Sequence[Sample]) -> PackedClips:
    """Join samples; a video with V views contributes V consecutive clips, a broken one none."""
    clips = [clip for sample in samples for clip in sample.views]
    rows = [(s.label, s.row, view, s.seed) for s in samples for view in range(len(s.views))]
    label, video_id, view, seed = torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).T
    pixels = [clip.flatten() for clip in clips] or [torch.empty(0, dtype=torch.uint8)]
    return PackedClips(
        torch.cat(pixels),
        [tuple(clip.shape) for clip in clips],
        label.contiguous(),
        video_id.contiguous(),
        view.contiguous(),
        seed.contiguous(),
        tuple(broken for sample in samples for broken in sample.broken),
    )


@dataclass(frozen=True)
class ClipDataset(Dataset[Sample]):
    """Decodes clips by key.

    Args:
        entries: The clips.
        sampler: Chooses frames.
        views: Temporal views per video; None = training, one view of randomly drawn frames.
        short_side: Size that frames are scaled down to while decoding; None = native.
        replace_broken: Training only: put another clip, drawn by seed, in place of a broken one.
    """

    entries: Sequence[VideoEntry]
    sampler: FrameSampler
    views: int | None = None
    short_side: int | None = None
    replace_broken: bool = False

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.entries)

    def collate(self, samples: Sequence[Sample]) -> PackedClips:
        """Join samples, see :func:`collate`."""
        return collate(samples)

    def __getitem__(self, key: Key) -> Sample:
        """Decode all views of a clip in one pass; never raises for a broken video.

        An exception from a worker would arrive with a traceback in its message; a broken video
        comes back as a value and the main process decides.
        """
        row, seed = key
        broken: list[BrokenVideo] = []
        draws = np.random.default_rng([seed, REPLACEMENT])
        for _ in range(MAX_DRAWS):
            entry = self.entries[row]
            try:
                views = self._decode(entry, seed)
            except VideoDecodeError as error:
                broken.append(BrokenVideo(entry.path, entry.where, str(error)))
                if not self.replace_broken:
                    break
                row = int(draws.integers(len(self)))
            else:
                return Sample(views, entry.label, row, seed, tuple(broken))
        return Sample((), -1, row, seed, tuple(broken))

    def _decode(self, entry: VideoEntry, seed: int) -> Sequence[Tensor]:
        with VideoReader(entry.path, short_side=self.short_side) as reader:
            first, last = _frames_between(reader.timestamps_s, entry)
            if last == len(reader.timestamps_s):
                require_end(reader)
            sampler = self.sampler.for_file(reader.header)
            frames = self._draw(sampler, last - first, reader.info.fps, seed) + first
            return reader.frames_at(np.concatenate(list(frames))).split(frames.shape[1])

    def _draw(
        self, sampler: FrameSampler, num_frames: int, fps: float, seed: int
    ) -> NDArray[np.int64]:
        """Frame indices inside the clip, ``[V, T]``."""
        if self.views is None:
            return sampler(num_frames, fps, rng=np.random.default_rng(seed))[None]
        views = range(self.views)
        return np.stack([sampler(num_frames, fps, view=v, views=self.views) for v in views])


def require_end(reader: VideoReader) -> None:
    """Refuse a clip whose end is missing: what it was labelled for may have been there.

    Raises:
        VideoDecodeError: If the file was cut off.
    """
    there = len(reader.timestamps_s)
    if reader.lost > _LOST_SHARE * (there + reader.lost):
        raise VideoDecodeError(
            f"{reader.path}: cut off: its header promises {there + reader.lost} frames, {there} "
            "can be read; copy it again"
        )


def _frames_between(times_s: NDArray[np.float64], entry: VideoEntry) -> tuple[int, int]:
    """Numbers of the first frame of the clip and of the first one behind it.

    Raises:
        VideoDecodeError: If the clip holds no frame of the video.
    """
    start_s = 0.0 if entry.start_s is None else entry.start_s
    end_s = np.inf if entry.end_s is None else entry.end_s
    first, last = np.searchsorted(times_s, [start_s - _TIME_SLACK_S, end_s - _TIME_SLACK_S])
    if first >= last:
        length_s = times_s[-1] if len(times_s) else 0.0
        raise VideoDecodeError(
            f"{entry.path}: no frame between {start_s:g} s and {end_s:g} s, the last one is at "
            f"{length_s:.2f} s; mend the times"
        )
    return int(first), int(last)
