"""A long video as the windows of testing, while it is decoded: every frame once, few in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from data_modules.base import sized
from data_modules.segments import VideoSegments
from data_modules.window_dataset import WindowSample, pack
from data_modules.window_sources import Content, FrameSource, OpenedFrames
from video_adapt.backbones import PixelSpec
from video_adapt.batches import DecodedWindows, SegmentBatch
from video_adapt.video import SlidingWindows, WindowEvalTransform, WindowSampler
from video_adapt.video.window_base import GridWindow

_NO_EVENTS = np.empty((0, 2), np.float32)
_NO_SECONDS = np.empty((0, 2))
_NO_LABELS = np.empty(0, np.int64)


@dataclass(frozen=True)
class WindowCutter:
    """How videos become windows and windows become what a model receives.

    Args:
        sampler: Cuts videos.
        transform: Scaling and cropping.
        pixels: Size and normalisation of the backbone.
        short_side: Pixels that the short side is scaled down to in decoding; None = as stored.
        frames_per_chunk: Frames that the backbone looks at together; a shorter video is refused.
    """

    sampler: WindowSampler
    transform: WindowEvalTransform
    pixels: PixelSpec
    short_side: int | None
    frames_per_chunk: int

    @contextmanager
    def open(self, video: str | Path) -> Iterator["WindowStream"]:
        """Open a video.

        Raises:
            VideoDecodeError: If it cannot be read or is too short.
        """
        source = FrameSource(self.sampler, self.short_side, self.frames_per_chunk)
        path = str(video)
        entry = VideoSegments(Path(path).stem, path, path, None, None, _NO_SECONDS, _NO_LABELS)
        with source.open(entry) as opened:
            yield WindowStream(self, opened)

    def crop(self, frame: Tensor) -> Tensor:
        """What the model sees of a frame, uint8 ``[C, size, size]``.

        Frames wait in this form: a window of a large picture would fill the memory.
        """
        nothing = torch.empty(0)
        window = DecodedWindows([frame[None]], nothing, [], [], *[nothing] * 6)
        transform = sized(self.transform, self.pixels)
        # Levels of 0 to 255 come back exactly, and cropping them once more changes nothing.
        (video,) = transform(window, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return (video[0] * 255).round().to(torch.uint8)

    def prepare(self, batch: DecodedWindows, device: torch.device) -> SegmentBatch:
        """Move windows to the device of the model and normalise them there."""
        moved: DecodedWindows = move_data_to_device(batch, device)
        transform = sized(self.transform, self.pixels)
        video = transform(moved, self.pixels.mean, self.pixels.std)
        return SegmentBatch(video, *moved[1:-1])


class WindowStream:
    """The windows of one open video.

    Args:
        cutter: How it is cut.
        opened: Its frames.

    Attributes:
        places: Where the windows lie.
        timing: Length of the video as its grid counts it.
    """

    def __init__(self, cutter: WindowCutter, opened: OpenedFrames) -> None:
        self._cutter, self._opened = cutter, opened
        sampler, timing = cutter.sampler, opened.timing
        self.timing = timing
        self.places: list[GridWindow] = [
            sampler.place(window, opened.available, opened.per_position, _NO_EVENTS, timing)
            for window in sampler.windows(timing)
        ]

    def describe(self) -> str:
        """What a window is in seconds, and by which rule frames of this video are counted."""
        sampler = self._cutter.sampler
        text = sampler.describe(self.timing)
        if not isinstance(sampler, SlidingWindows):
            return text
        if sampler.fps is None:
            return f"{text}; the video's own frames are counted"
        info = self._opened.reader.info
        how = (
            f"read by time from {info.fps:.4g}" if self._opened.by_time else "the video's own rate"
        )
        return f"{text}; frames are counted at {sampler.fps:g} per second ({how})"

    def done(self, batch: DecodedWindows) -> tuple[float, float]:
        """Seconds of video up to the end of a batch, and of the whole video."""
        place, duration_s = self.places[int(batch.window[-1])], self.timing.duration_s
        return min(place.offset_s + place.valid * place.step_s, duration_s), duration_s

    def batches(self, size: int) -> Iterator[DecodedWindows]:
        """Windows in the order of time, ``size`` at a time, each as soon as it is complete.

        Raises:
            VideoDecodeError: If a frame is damaged.
        """
        windows = self._windows()
        while part := list(islice(windows, size)):
            yield pack(part, self._cutter.sampler.positions).unpack()

    def _windows(self) -> Iterator[WindowSample]:
        numbers = [self._opened.numbers(place) for place in self.places]
        wanted = np.unique(np.concatenate(numbers))
        frames = zip(wanted.tolist(), self._opened.reader.iter_frames(wanted), strict=True)
        held: dict[int, Tensor] = {}
        for count, (place, mine) in enumerate(zip(self.places, numbers, strict=True)):
            while mine[-1] not in held:
                number, frame = next(frames)
                held[number] = self._cutter.crop(frame)
            pool = torch.stack([held[number] for number in mine.tolist()])
            content = Content(pool, torch.arange(len(pool)))
            yield WindowSample(content, place, _NO_LABELS, 0, count, self.timing.duration_s, 0)
            first = numbers[min(count + 1, len(numbers) - 1)][0]
            held = {number: held[number] for number in held if number >= first}
