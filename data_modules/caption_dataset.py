"""From a key to a decoded video with its captions, and from samples to one packed batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from video_adapt.batches import DecodedCaptions
from video_adapt.errors import VideoDecodeError
from video_adapt.video import MomentSampler, VideoReader

from .captions import CaptionedVideo
from .dataset import MAX_DRAWS, REPLACEMENT, BrokenVideo, require_end
from .loader import BatchLoader
from .samplers import Key

CAPTION = 5
"""Stream of random numbers below a sample's seed that draws its caption."""

Told = Literal["all", "one", "each"]
"""Which captions come with a video: all of them; one, drawn; or each on its own, as a pair."""


class CaptionSample(NamedTuple):
    """What one key became.

    Attributes:
        frames: Frames of the video ``[T', C, H, W]`` uint8; None if it is broken.
        captions: Numbers of its captions.
        row: Row of the video in its manifest.
        seed: Seed of its augmentation.
        broken: Videos that failed on the way.
    """

    frames: Tensor | None
    captions: Sequence[int]
    row: int
    seed: int
    broken: tuple[BrokenVideo, ...] = ()


class PackedCaptions(NamedTuple):
    """:class:`DecodedCaptions` with all pixels in one tensor: one piece of shared memory."""

    pixels: Tensor
    shapes: list[tuple[int, ...]]
    caption_video: Tensor
    video_id: Tensor
    caption_id: Tensor
    seed: Tensor
    broken: tuple[BrokenVideo, ...]

    def unpack(self) -> DecodedCaptions:
        """Views into the packed pixels, nothing is copied."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        videos = zip(self.pixels.split(sizes), self.shapes, strict=True)
        frames = [flat.view(shape) for flat, shape in videos]
        return DecodedCaptions(
            frames, self.caption_video, self.video_id, self.caption_id, self.seed
        )


class CaptionLoader(BatchLoader[DecodedCaptions]):
    """Batches of captioned videos."""


@dataclass(frozen=True)
class CaptionDataset(Dataset[CaptionSample]):
    """Decodes captioned videos by key: of a video, or of a caption where each is a sample.

    Args:
        entries: The videos.
        first_caption: Number of the first caption of every video, and of all, ``[V + 1]``.
        sampler: Chooses frames.
        told: Which captions come with a video.
        short_side: Size that frames are scaled down to while decoding; None = native.
        replace_broken: Training only: put another sample, drawn by seed, in place of a broken one.
    """

    entries: Sequence[CaptionedVideo]
    first_caption: NDArray[np.int64]
    sampler: MomentSampler
    told: Told = "all"
    short_side: int | None = None
    replace_broken: bool = False

    def __len__(self) -> int:
        """Number of keys."""
        return int(self.first_caption[-1]) if self.told == "each" else len(self.entries)

    def __getitem__(self, key: Key) -> CaptionSample:
        """Decode a video once, however many captions it has; never raises for a broken one.

        A broken video comes back as a value, see :class:`ClipDataset`.
        """
        number, seed = key
        broken: list[BrokenVideo] = []
        draws = np.random.default_rng([seed, REPLACEMENT])
        for _ in range(MAX_DRAWS):
            row, captions = self._chosen(number, seed)
            entry = self.entries[row]
            try:
                frames = self._decode(entry)
            except VideoDecodeError as error:
                broken.append(BrokenVideo(entry.path, entry.where, str(error)))
                if not self.replace_broken:
                    break
                number = int(draws.integers(len(self)))
            else:
                return CaptionSample(frames, captions, row, seed, tuple(broken))
        return CaptionSample(None, (), row, seed, tuple(broken))

    def collate(self, samples: Sequence[CaptionSample]) -> PackedCaptions:
        """Join samples; a broken video is left out with all its captions."""
        whole = [(s, s.frames) for s in samples if s.frames is not None]
        pixels = [frames.flatten() for _, frames in whole]
        captions = [torch.tensor(sample.captions, dtype=torch.int64) for sample, _ in whole]
        counts = torch.tensor([len(numbers) for numbers in captions], dtype=torch.int64)
        return PackedCaptions(
            torch.cat(pixels or [torch.empty(0, dtype=torch.uint8)]),
            [tuple(frames.shape) for _, frames in whole],
            torch.arange(len(whole)).repeat_interleave(counts),
            torch.tensor([sample.row for sample, _ in whole], dtype=torch.int64),
            torch.cat(captions or [torch.empty(0, dtype=torch.int64)]),
            torch.tensor([sample.seed for sample, _ in whole], dtype=torch.int64),
            tuple(broken for sample in samples for broken in sample.broken),
        )

    def _chosen(self, number: int, seed: int) -> tuple[int, Sequence[int]]:
        """Row of the video that a key means, and numbers of its captions."""
        if self.told == "each":
            return int(np.searchsorted(self.first_caption, number, side="right")) - 1, (number,)
        first, stop = (int(place) for place in self.first_caption[number : number + 2])
        if self.told == "all":
            return number, range(first, stop)
        return number, (int(np.random.default_rng([seed, CAPTION]).integers(first, stop)),)

    def _decode(self, entry: CaptionedVideo) -> Tensor:
        with VideoReader(entry.path, short_side=self.short_side) as reader:
            if entry.end_s is None or entry.end_s > reader.timestamps_s[-1]:
                require_end(reader)
            frames = self.sampler(
                reader.info, reader.timestamps_s, start_s=entry.start_s, end_s=entry.end_s
            )
            if not len(frames):
                raise VideoDecodeError(
                    f"{entry.path}: lasts {reader.info.duration_s:.2f} s, it is described from "
                    f"{entry.start_s:g} s on; mend the times"
                )
            return reader.frames_at(frames)
