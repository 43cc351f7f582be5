"""Windows of long videos from manifests of segments, augmented and normalised on the device."""

import logging
from abc import ABC
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from video_adapt.batches import DecodedWindows, SegmentBatch
from video_adapt.errors import ConfigurationError, VideoDecodeError
from video_adapt.video import (
    SlidingWindows,
    WindowEvalTransform,
    WindowSampler,
    WindowTrainTransform,
)
from video_adapt.video.window_base import Timing
from video_adapt.video.windows import Window

from .annotations import Split
from .base import Pixels, VideoDataModule, plain, sized
from .features import FeatureFiles
from .loader import LoaderOptions, OnBroken
from .samplers import EvalSampler, TrainSampler
from .segments import Events, SegmentManifest
from .window_dataset import WindowDataset, WindowLoader, WindowOf
from .window_sources import FeatureSource, FrameSource, WindowSource

logger = logging.getLogger(__name__)
_PROBES = 8


class WindowDataModule(VideoDataModule[SegmentManifest], ABC):
    """A random window of each video in training, windows over all of it in evaluation.

    Args:
        sampler: Cuts videos into windows; None = as on THUMOS-14.
        features: Features to read instead of videos; None = videos.
        frames_per_chunk: Frames that the backbone looks at together.
        train_transform: Augmentation; None = the published recipe.
        eval_transform: Scaling and cropping; None = short side to the model's size, centre crop.
        loader: Batch sizes and workers; None = two windows.
        on_broken: What a video does that cannot be decoded: stop the run, or be left out (training
            draws another one in its place), counted and named.
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, windows and augmentation; None = that of ``seed_everything``.

    Raises:
        ConfigurationError: If no number of frames or features fits these values.
    """

    unit = "videos"

    def __init__(
        self,
        *,
        sampler: WindowSampler | None = None,
        features: FeatureFiles | None = None,
        frames_per_chunk: int = 16,
        train_transform: WindowTrainTransform | None = None,
        eval_transform: WindowEvalTransform | None = None,
        loader: LoaderOptions | None = None,
        on_broken: OnBroken = "error",
        max_broken_share: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            loader=loader or LoaderOptions(batch_size=2, prefetch=1),
            on_broken=on_broken,
            max_broken_share=max_broken_share,
            seed=seed,
        )
        self.sampler = sampler or SlidingWindows()
        self.features = features
        self.frames_per_chunk = frames_per_chunk
        self.train_transform = train_transform or WindowTrainTransform()
        self.eval_transform = eval_transform or WindowEvalTransform()
        self.source = self._source()
        self._timings: dict[int, list[Timing | None]] = {}
        self._announced = False

    def video_names(self, stage: Split) -> list[str]:
        """Name of every video of a split, by its id."""
        return [entry.name for entry in self._required(stage).entries]

    def durations_s(self, stage: Split) -> NDArray[np.float64]:
        """Length of every video of a split in seconds ``[V]``; nan where it cannot be read."""
        timings = self._timing(self._required(stage))
        return np.array([np.nan if one is None else one.duration_s for one in timings])

    def ground_truth(self, stage: Split) -> Events:
        """All events of a split, in seconds; those of missing videos are left out."""
        return self._required(stage).events()

    def windows(self, stage: Split) -> list[WindowOf]:
        """All windows of a split in evaluation, those of a video in a row."""
        timings = self._timing(self._required(stage))
        return [
            WindowOf(row, number, window)
            for row, timing in enumerate(timings)
            for number, window in enumerate(self._windows(timing))
        ]

    def transform(
        self,
        batch: DecodedWindows,
        pixels: Pixels | None,
        *,
        training: bool,
        dtype: torch.dtype = torch.float32,
    ) -> SegmentBatch:
        """Augment or crop, and normalise; works without a trainer.

        Args:
            batch: Decoded windows on any device.
            pixels: Size and normalisation of the backbone; not used for features.
            training: Augment, or crop.
            dtype: Type of the result.

        Raises:
            ConfigurationError: If the loader's scaling leaves fewer pixels than the model takes.
        """
        if self.features is not None:
            video = torch.stack(batch.frames).to(dtype)
        else:
            assert pixels is not None, "a model that is given frames has a backbone"
            self._require_pixels(pixels)
            prepare = self.train_transform if training else self.eval_transform
            video = sized(prepare, pixels)(batch, pixels.mean, pixels.std, dtype=dtype)
        return SegmentBatch(video, *batch[1:-1])

    def evaluation_recipe(self) -> dict[str, Any]:
        """What a program needs to cut a video as in testing: plain values for a checkpoint."""
        return {
            "sampler": plain(self.sampler),
            "transform": plain(self.eval_transform),
            "short_side": self.loader.short_side,
            "frames_per_chunk": self.frames_per_chunk,
            "features": None if self.features is None else plain(self.features),
            "class_names": self.class_names,
        }

    def _ready(self, batch: DecodedWindows, module: Any) -> SegmentBatch:
        assert self.trainer is not None
        reads_frames, gives_frames = hasattr(module, "backbone"), self.features is None
        if reads_frames != gives_frames:
            kinds = ("frames", "features") if reads_frames else ("features", "frames")
            mend = "remove data.features" if reads_frames else "set data.features"
            raise ConfigurationError(
                f"{type(module).__name__} reads {kinds[0]}, the data gives {kinds[1]}; {mend}, or "
                "choose another model"
            )
        pixels = module.backbone.pixels if gives_frames else None
        return self.transform(batch, pixels, training=self.trainer.training, dtype=module.dtype)

    def _source(self) -> WindowSource:
        """Where contents come from; settings that do not fit each other are refused."""
        sampler = self.sampler
        if self.features is not None:
            step = getattr(sampler, "snippet_stride", self.features.stride)
            if step % self.features.stride:
                raise ConfigurationError(
                    f"features every {self.features.stride} frames cannot give positions every "
                    f"{step}: make snippet_stride a multiple of data.features.stride"
                )
            return FeatureSource(sampler, self.features)
        if sampler.num_frames % self.frames_per_chunk:
            raise ConfigurationError(
                f"{sampler.positions} positions x {sampler.frames_per_position} frames are "
                f"{sampler.num_frames}, not a multiple of the {self.frames_per_chunk} frames of a "
                "chunk: change data.sampler, or data.frames_per_chunk where the backbone allows it"
            )
        return FrameSource(sampler, self.loader.short_side, self.frames_per_chunk)

    def _windows(self, timing: Timing | None) -> list[Window]:
        """Windows of a video; one for a video without a length, whose reading tells why."""
        return [Window(0, 1)] if timing is None else self.sampler.windows(timing)

    def _timing(self, manifest: SegmentManifest) -> list[Timing | None]:
        """Length of every video, read once; files are opened where the annotation lacks it."""
        if id(manifest) not in self._timings:  # two splits can share one, and all are kept
            with ThreadPoolExecutor(_PROBES) as pool:
                self._timings[id(manifest)] = list(pool.map(self._probe, manifest.entries))
        return self._timings[id(manifest)]

    def _probe(self, entry: Any) -> Timing | None:
        with suppress(VideoDecodeError):  # reading its window raises it again, with the policy
            return self.source.timing(entry)
        return None

    def _train_batches(self, manifest: SegmentManifest, sampler: TrainSampler) -> WindowLoader:
        self._announce(manifest)
        return self._batches("train", manifest, sampler, None)

    def _eval_batches(self, split: Split, manifest: SegmentManifest) -> WindowLoader:
        self._announce(manifest)
        rank, world = self._process()
        windows = self.windows(split)
        sampler = EvalSampler(len(windows), rank=rank, world=world, in_a_row=True)
        return self._batches(split, manifest, sampler, windows)

    def _batches(
        self,
        split: Split,
        manifest: SegmentManifest,
        sampler: TrainSampler | EvalSampler,
        windows: Sequence[WindowOf] | None,
    ) -> WindowLoader:
        options = self.loader
        training = windows is None
        dataset = WindowDataset(
            manifest.entries,
            self.source,
            self.sampler,
            windows=windows,
            replace_broken=training and self.on_broken == "skip",
        )
        batch_size = options.batch_size if training else options.eval_batch_size
        return WindowLoader(
            dataset,
            sampler,
            options=options,
            batch_size=batch_size or options.batch_size,
            broken=self._log_of(split, manifest),
        )

    def _announce(self, manifest: SegmentManifest) -> None:
        """Say once what a window is."""
        timing = None if self._announced else self._probe(manifest.entries[len(manifest) // 2])
        if timing is None:
            return
        self._announced = True
        frames, chunk = self.sampler.num_frames, self.frames_per_chunk
        shown = f"{frames} frames in {frames // chunk} chunks of {chunk}"
        what = shown if self.features is None else f"features of width {self.features.width}"
        logger.info("%s; %s", self.sampler.describe(timing), what)
