"""Captioned videos from manifests: frames normalised on the device, captions as tokens."""

import logging
from abc import ABC
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from video_adapt.batches import CaptionBatch, DecodedCaptions
from video_adapt.video import BicubicCrop, MomentSampler, SecondSampler, TrainTransform
from video_adapt.video.caption_transforms import pad_frames
from video_adapt.video.transforms import augment, normalise, required_size

from .annotations import Split
from .base import Pixels, VideoDataModule, plain, sized
from .caption_dataset import CaptionDataset, CaptionLoader, Told
from .captions import CaptionManifest
from .loader import LoaderOptions, OnBroken
from .samplers import EvalSampler, TrainSampler

logger = logging.getLogger(__name__)


class Tokenizes(Protocol):
    """The part of a backbone that turns sentences into what its text tower reads."""

    name: str

    def tokenize(self, captions: Sequence[str], *, length: int | None = None) -> Tensor:
        """Sentences as tokens, int64 ``[Q, length]``; what is too long is cut, counted and said."""


class CaptionDataModule(VideoDataModule[CaptionManifest], ABC):
    """Pairs of video and caption in training; every video once, with its captions, in evaluation.

    Args:
        sampler: Chooses the frames of a video; None = one a second, at most 12.
        max_words: Text tokens of a caption, marks of start and end included; longer ones are cut.
        train_captions: ``each`` caption with its video is a sample of an epoch, or every video
            with ``one`` of its captions, drawn anew in every epoch.
        train_transform: Augmentation; None = none, training sees what testing sees.
        eval_transform: Scaling and cropping.
        loader: Batch sizes and workers; None = their defaults. Published features come from
            frames that were scaled once: ``short_side: null``.
        on_broken: What a video does that cannot be decoded: stop the run, or be left out (training
            draws another one in its place), counted and named.
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, captions and augmentation; None = that of ``seed_everything``.
    """

    unit = "videos"

    def __init__(
        self,
        *,
        sampler: MomentSampler | None = None,
        max_words: int = 32,
        train_captions: Literal["each", "one"] = "each",
        train_transform: TrainTransform | None = None,
        eval_transform: BicubicCrop | None = None,
        loader: LoaderOptions | None = None,
        on_broken: OnBroken = "error",
        max_broken_share: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            loader=loader, on_broken=on_broken, max_broken_share=max_broken_share, seed=seed
        )
        self.sampler = sampler or SecondSampler()
        self.max_words = max_words
        self.train_captions: Literal["each", "one"] = train_captions
        self.train_transform = train_transform
        self.eval_transform = eval_transform or BicubicCrop()
        self._tokens: dict[tuple[Split, str], Tensor] = {}

    @property
    def class_names(self) -> list[str]:
        """None: videos are told apart by sentences."""
        return []

    def video_names(self, stage: Split) -> list[str]:
        """Name of every video of a split, by its id."""
        return [entry.name for entry in self._required(stage).entries]

    def captions(self, stage: Split) -> list[str]:
        """Text of every caption of a split, by its id."""
        return self._required(stage).captions

    def caption_video(self, stage: Split) -> NDArray[np.int64]:
        """``video_id`` of the video that each caption of a split describes, ``[Q]``."""
        return self._required(stage).caption_video

    def tokens(self, stage: Split, backbone: Tokenizes) -> Tensor:
        """All captions of a split as tokens, by their ids, int32 ``[Q, max_words]``; made once."""
        key = stage, backbone.name
        if key not in self._tokens:
            captions = self.captions(stage)
            logger.info("%s: %d captions become tokens", stage, len(captions))
            tokens = backbone.tokenize(captions, length=self.max_words)
            self._tokens[key] = tokens.int()
        return self._tokens[key]

    def transform(
        self,
        batch: DecodedCaptions,
        pixels: Pixels,
        tokens: Tensor,
        *,
        training: bool,
        dtype: torch.dtype = torch.float32,
    ) -> CaptionBatch:
        """Scale, crop, normalise, fill up with zeros, and look up tokens; works without a trainer.

        Args:
            batch: Decoded videos on any device.
            pixels: Size and normalisation of the backbone.
            tokens: All captions of the split, ``[Q, L]``.
            training: Augment, where the module has an augmentation.
            dtype: Type of the video.

        Raises:
            ConfigurationError: If the loader's scaling leaves fewer pixels than the model takes.
        """
        self._require_pixels(pixels)
        room = self.sampler.num_frames
        counts = torch.tensor([len(frames) for frames in batch.frames])
        videos = [
            pad_frames(self._prepared(frames, seed, pixels, training=training).to(dtype), room)
            for frames, seed in zip(batch.frames, batch.seed.tolist(), strict=True)
        ]
        video = torch.stack(videos)  # [B, T, C, S, S]
        mask = (torch.arange(room) < counts[:, None]).to(video.device)
        words = tokens.to(batch.caption_id.device)[batch.caption_id].long()  # [Q, L]
        return CaptionBatch(
            video, mask, words, batch.caption_video, batch.video_id, batch.caption_id
        )

    def evaluation_recipe(self) -> dict[str, Any]:
        """What a program needs to prepare a video as in testing: plain values for a checkpoint."""
        return {
            "sampler": plain(self.sampler),
            "transform": plain(self.eval_transform),
            "short_side": self.loader.short_side,
            "max_words": self.max_words,
        }

    def _prepared(self, frames: Tensor, seed: int, pixels: Pixels, *, training: bool) -> Tensor:
        """Frames of one video as the model wants them, ``[T', C, S, S]``."""
        if not training or self.train_transform is None:
            return sized(self.eval_transform, pixels)(frames, pixels.mean, pixels.std)
        change = sized(self.train_transform, pixels)
        drawn = change.draw(seed, *frames.shape[-2:])
        augmented = augment(frames, drawn, required_size(change.size))
        return normalise(augmented, pixels.mean, pixels.std)

    def _ready(self, batch: DecodedCaptions, module: Any) -> CaptionBatch:
        assert self.trainer is not None
        training = self.trainer.training
        testing = self.trainer.testing or self.trainer.predicting
        split: Split = "train" if training else "test" if testing else "val"
        tokens = self.tokens(split, module.backbone).to(batch.caption_id.device)
        self._tokens[split, module.backbone.name] = tokens  # moved to the device once
        return self.transform(
            batch, module.backbone.pixels, tokens, training=training, dtype=module.dtype
        )

    def _trained_on(self, manifest: CaptionManifest) -> tuple[int, str]:
        if self.train_captions == "one":
            return len(manifest), self.unit
        return int(manifest.first_caption[-1]), "captions"

    def _train_batches(self, manifest: CaptionManifest, sampler: TrainSampler) -> CaptionLoader:
        self._warn_of_overlap(manifest)
        return self._batches("train", manifest, sampler, self.train_captions)

    def _eval_batches(self, split: Split, manifest: CaptionManifest) -> CaptionLoader:
        rank, world = self._process()
        sampler = EvalSampler(len(manifest), rank=rank, world=world)
        return self._batches(split, manifest, sampler, "all")

    def _batches(
        self,
        split: Split,
        manifest: CaptionManifest,
        sampler: TrainSampler | EvalSampler,
        told: Told,
    ) -> CaptionLoader:
        options = self.loader
        training = told != "all"
        dataset = CaptionDataset(
            # Captions are looked up in this process: those that decode need their numbers alone.
            [entry._replace(captions=()) for entry in manifest.entries],
            manifest.first_caption,
            self.sampler,
            told=told,
            short_side=options.short_side,
            replace_broken=training and self.on_broken == "skip",
        )
        batch_size = options.batch_size if training else options.eval_batch_size
        return CaptionLoader(
            dataset,
            sampler,
            options=options,
            batch_size=batch_size or options.batch_size,
            broken=self._log_of(split, manifest),
        )

    def _warn_of_overlap(self, train: CaptionManifest) -> None:
        """Say when the epoch would be chosen by videos that were trained on."""
        val = self.manifest("val")
        if val is None:
            return
        trained = {entry.path for entry in train.entries}
        shared = [entry for entry in val.entries if entry.path in trained]
        if shared:
            text = "%d of %d validation videos are trained on, too, first %s (%s); %s"
            mend = "the best epoch is chosen by what was learned by heart"
            logger.warning(text, len(shared), len(val), shared[0].name, shared[0].where, mend)
