"""The features that a detector sees of a video, one vector per grid position, to be stored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from data_modules import WindowDataModule
from data_modules.base import plain
from video_adapt.backbones.base import Backbone
from video_adapt.checkpoints import digest
from video_adapt.errors import ConfigurationError
from video_adapt.tasks.detection import resample
from video_adapt.video import SlidingWindows

from .detector import OnProgress, SegmentDetector
from .experiment_file import read_experiment
from .recogniser import find_device
from .window_stream import WindowCutter


class VideoFeatures(NamedTuple):
    """The features of a video and what they stand for.

    Attributes:
        rows: One vector per grid position, float32 ``[rows, D]``.
        facts: Length of the video, and the time of its vectors, as plain values.
    """

    rows: Tensor
    facts: dict[str, Any]


class FeatureExtractor:
    """Encodes videos window by window; windows do not overlap, so every frame is encoded once.

    An adapter that looks at neighbours in time sees nothing beyond the edges of its window.

    Args:
        encode: Frames ``[B, T, C, H, W]`` to vectors ``[B, T', D]``.
        backbone: The model that does it.
        cutter: Cuts videos as its detector would.
        origin: Where the weights come from, as plain values.
        device: Where the model is.
        batch_size: Windows that pass it together.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        backbone: Backbone,
        cutter: WindowCutter,
        *,
        origin: dict[str, Any],
        device: torch.device,
        batch_size: int,
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"a batch of {batch_size} windows is empty; give 1 or more")
        sampler = cutter.sampler
        if isinstance(sampler, SlidingWindows):
            sampler = replace(sampler, overlap=0.0)
        self.sampler = cutter.sampler
        self.width = backbone.width
        self._encode, self._backbone, self._origin = encode, backbone, origin
        self._cutter = replace(cutter, sampler=sampler)
        self._device, self._batch_size = device, batch_size

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, device: str = "auto", batch_size: int = 1
    ) -> "FeatureExtractor":
        """The backbone of a trained detector with all that was trained inside it.

        Raises:
            WeightsError: If the checkpoint cannot be used.
        """
        detector = SegmentDetector(path, device=device, batch_size=batch_size)
        method = detector.method
        return cls(
            method.sequence,
            method.backbone,
            detector.cutter,
            origin={"checkpoint": str(path), "tuning": method.tuning},
            device=detector.device,
            batch_size=batch_size,
        )

    @classmethod
    def from_experiment(
        cls, path: str | Path, *, device: str = "auto", batch_size: int = 1
    ) -> "FeatureExtractor":
        """The backbone that an experiment file names, as it was published, and its windows.

        Raises:
            ConfigurationError: If the file names no backbone, or its data are not long videos.
        """
        config = read_experiment(path)
        named = config.model.get("init_args.backbone")
        if named is None:
            raise ConfigurationError(f"{path}: names no model.backbone; name a file that does")
        if config.data.get("init_args.frames_per_chunk") is None:
            raise ConfigurationError(f"{path}: its data are not long videos; name THUMOSDataModule")
        parser = ArgumentParser()
        parser.add_subclass_arguments(Backbone, "backbone")
        parser.add_subclass_arguments(WindowDataModule, "data")
        objects = {"backbone": named.as_dict(), "data": config.data.as_dict()}
        built = parser.instantiate(parser.parse_object(objects))
        backbone, data = built.backbone, built.data
        place = find_device(device)
        backbone.requires_grad_(False).eval().to(place)
        cutter = WindowCutter(
            data.sampler,
            data.eval_transform,
            backbone.pixels,
            data.loader.short_side,
            data.frames_per_chunk,
        )
        return cls(
            backbone.sequence,
            backbone,
            cutter,
            origin={"checkpoint": None, "tuning": "frozen"},
            device=place,
            batch_size=batch_size,
        )

    def describe(self) -> dict[str, Any]:
        """What every vector is, as plain values; equal for equal features."""
        cutter, sampler = self._cutter, self._cutter.sampler
        grid: dict[str, float | None] = {"stride": None, "offset_frames": None, "fps": None}
        if isinstance(sampler, SlidingWindows):
            grid = {
                "stride": sampler.snippet_stride,
                "offset_frames": sampler.offset_frames,
                "fps": sampler.fps,
            }
        return self._origin | {
            "backbone": self._backbone.name,
            "digest": digest(self._backbone.state_dict()),
            "width": self.width,
            "window": sampler.positions,
            "frames_per_position": sampler.frames_per_position,
            "sampler": type(sampler).__name__,
            **grid,
            "transform": plain(cutter.transform),
            "image_size": cutter.pixels.image_size,
            "short_side": cutter.short_side,
            "frames_per_chunk": cutter.frames_per_chunk,
        }

    def __call__(
        self, video: str | Path, *, on_progress: OnProgress | None = None
    ) -> VideoFeatures:
        """Encode a video while it is decoded.

        Args:
            video: The file.
            on_progress: Called with the seconds that are done and those of the whole video.

        Raises:
            VideoDecodeError: If it cannot be read or is too short.
        """
        parts: list[Tensor] = []
        done, per_position = 0, self._cutter.sampler.frames_per_position
        with self._cutter.open(video) as stream:
            for batch in stream.batches(self._batch_size):
                with torch.inference_mode():
                    pixels = self._cutter.prepare(batch, self._device).video
                    encoded = resample(self._encode(pixels), batch.mask.shape[1]).float().cpu()
                for number, rows in zip(batch.window.tolist(), encoded, strict=True):
                    place = stream.places[number]
                    # The last window ends with the video and can repeat some of the one before.
                    new = rows[done - place.start // per_position : place.valid]
                    parts.append(new)
                    done += len(new)
                if on_progress is not None:
                    on_progress(*stream.done(batch))
            timing, first = stream.timing, stream.places[0]
        facts = {
            "rows": done,
            "duration_s": timing.duration_s,
            "num_frames": timing.num_frames,
            "frames_per_s": timing.fps,
            "offset_s": first.offset_s,
            "step_s": first.step_s,
            "vectors_per_s": 1 / first.step_s,
        }
        return VideoFeatures(torch.cat(parts), facts)
