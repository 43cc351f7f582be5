"""Trimmed clips: decoded views of each video, augmented and normalised on the device."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from video_adapt.batches import ClipBatch, DecodedClips, StoredClips
from video_adapt.errors import ConfigurationError
from video_adapt.row_store import RowStore
from video_adapt.video import (
    EvalTransform,
    FrameSampler,
    Mixing,
    SegmentSampler,
    TrainingTransform,
    TrainTransform,
)

from .annotations import Manifest
from .base import Pixels, VideoDataModule, plain, sized
from .dataset import MIXING, ClipDataset
from .loader import BatchLoader, ClipLoader, LoaderOptions, OnBroken
from .samplers import EvalSampler, TrainSampler, derive_seed
from .stored import FeatureCache, InOrder, StoredDataset, fill, training_keys


class ClipDataModule(VideoDataModule[Manifest]):
    """Decoded clips from manifests, augmented and normalised on the device.

    Validation during training uses one view of each video with one crop; testing and prediction
    use ``eval_views`` views and the crops of ``eval_transform``.

    Args:
        sampler: Chooses the frames of a clip; None = 8 frames, one from each eighth of the video.
        train_transform: Augmentation; None = the published recipe.
        eval_transform: Scaling and cropping; None = short side to the model's size, centre crop.
        mixing: Mixup and cutmix of whole batches; None = neither.
        loader: Batch sizes and workers; None = their defaults.
        feature_cache: Where features of a frozen backbone are kept, so that clips are decoded and
            encoded once; None = nowhere.
        eval_views: Temporal views of each video in testing.
        on_broken: What a video does that cannot be decoded: stop the run, or be left out (training
            draws another one in its place), counted and named.
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, frames and augmentation; None = that of ``seed_everything``.
    """

    unit = "clips"

    def __init__(
        self,
        *,
        sampler: FrameSampler | None = None,
        train_transform: TrainingTransform | None = None,
        eval_transform: EvalTransform | None = None,
        mixing: Mixing | None = None,
        loader: LoaderOptions | None = None,
        feature_cache: FeatureCache | None = None,
        eval_views: int = 1,
        on_broken: OnBroken = "error",
        max_broken_share: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            loader=loader, on_broken=on_broken, max_broken_share=max_broken_share, seed=seed
        )
        self.sampler = sampler or SegmentSampler(num_frames=8)
        self.train_transform: TrainingTransform = train_transform or TrainTransform()
        self.eval_transform = eval_transform or EvalTransform()
        self.mixing = mixing
        self.feature_cache = feature_cache
        self.eval_views = eval_views
        turning = self.train_transform.flip_pairs
        if feature_cache and (mixing or turning):
            raise ConfigurationError(
                "mixing and flip_pairs change pixels and labels together, which stored features "
                "cannot; leave them or feature_cache out"
            )

    def transform(
        self, batch: DecodedClips, pixels: Pixels, *, training: bool, crops: int | None = None
    ) -> ClipBatch:
        """Augment or crop, normalise and, in training, mix; works without a trainer.

        Args:
            batch: Decoded clips on any device.
            pixels: Size and normalisation of the backbone.
            training: Augment and mix, or crop.
            crops: Crops per clip in evaluation; None = those of ``eval_transform``.

        Raises:
            ConfigurationError: If the loader's scaling leaves fewer pixels than the model takes.
        """
        self._require_pixels(pixels)
        if training:
            return self._train_batch(batch, pixels)
        crop = sized(self.eval_transform, pixels)
        crop = crop if crops is None else replace(crop, crops=crops)
        video, label = crop(batch, pixels.mean, pixels.std)
        number = torch.arange(crop.crops, device=label.device).repeat(len(batch.label))
        view = batch.view.repeat_interleave(crop.crops) * crop.crops + number
        video_id = batch.video_id.repeat_interleave(crop.crops)
        return ClipBatch(video, label, None, video_id, view)

    def evaluation_recipe(self) -> dict[str, Any]:
        """What a program needs to prepare a video as in testing: plain values for a checkpoint."""
        return {
            "sampler": plain(self.sampler),
            "transform": plain(self.eval_transform),
            "short_side": self.loader.short_side,
            "eval_views": self.eval_views,
            "class_names": self.class_names,
        }

    def _ready(self, batch: DecodedClips | StoredClips, module: Any) -> ClipBatch | StoredClips:
        assert self.trainer is not None
        if isinstance(batch, StoredClips):
            rows = {name: x.to(module.dtype) for name, x in batch.video.items()}
            return batch._replace(video=rows)
        testing = self.trainer.testing or self.trainer.predicting
        ready = self.transform(
            batch,
            module.backbone.pixels,
            training=self.trainer.training,
            crops=None if testing else 1,
        )
        return ready._replace(video=ready.video.to(module.dtype))

    def _train_batch(self, batch: DecodedClips, pixels: Pixels) -> ClipBatch:
        augment = sized(self.train_transform, pixels)
        video, label = augment(batch, pixels.mean, pixels.std)
        target: Tensor | None = None
        if self.mixing is not None:
            seed = derive_seed(int(batch.seed[0]), MIXING)
            video, target = self.mixing(video, label, self.num_classes, seed)
        return ClipBatch(video, label, target, batch.video_id, batch.view)

    def _train_batches(self, manifest: Manifest, sampler: TrainSampler) -> BatchLoader[Any]:
        return self._batches("train", manifest, sampler, None)

    def _eval_batches(self, split: str, manifest: Manifest) -> BatchLoader[Any]:
        rank, world = self._process()
        sampler = EvalSampler(len(manifest), rank=rank, world=world)
        views = 1 if split == "val" else self.eval_views
        return self._batches(split, manifest, sampler, views)

    def _batches(
        self,
        split: str,
        manifest: Manifest,
        sampler: TrainSampler | EvalSampler,
        views: int | None,
    ) -> BatchLoader[Any]:
        options = self.loader
        batch_size = options.batch_size
        if views is not None:
            batch_size = options.eval_batch_size or max(1, batch_size // views)
        dataset = ClipDataset(
            manifest.entries,
            self.sampler,
            views=views,
            short_side=options.short_side,
            replace_broken=views is None and self.on_broken == "skip",
        )
        clips = partial(
            ClipLoader, options=options, batch_size=batch_size, broken=self._log_of(split, manifest)
        )
        if self.feature_cache is None:
            return clips(dataset, sampler)
        stored = self._stored(self.feature_cache, split, dataset)
        crops = self._crops(split)
        self._fill(stored, clips, replace(dataset, replace_broken=False), crops=crops)
        if isinstance(sampler, TrainSampler):
            sampler.copies = self.feature_cache.copies
        return BatchLoader(
            stored,
            sampler,
            options=replace(options, num_workers=0),
            batch_size=batch_size,
            broken=self._log_of(split, manifest),
        )

    def _crops(self, split: str) -> int:
        """Crops of a view: one in training and in the validation that goes with it."""
        return 1 if split in ("train", "val") else self.eval_transform.crops

    def _stored(self, cache: FeatureCache, split: str, clips: ClipDataset) -> StoredDataset:
        """The stored features of a split, as many as there are."""
        if self.trainer is None:
            raise ConfigurationError("feature_cache: features are stored under a trainer alone")
        module: Any = self.trainer.lightning_module
        training, crops = clips.views is None, self._crops(split)
        transform: Any = (
            self.train_transform if training else replace(self.eval_transform, crops=crops)
        )
        facts = {
            "sampler": plain(self.sampler),
            "transform": plain(sized(transform, module.backbone.pixels)),
            "short_side": clips.short_side,
            "views": clips.views,
        }
        store = RowStore(
            cache.folder,
            facts={**module.stored_facts(), **facts},
            precision=cache.precision,
            owner="backbone",
        )
        keys = (
            training_keys(len(clips), cache.copies, self.seed)
            if training
            else [(row, row) for row in range(len(clips))]
        )
        return StoredDataset(
            clips.entries, store, keys, views=None if clips.views is None else clips.views * crops
        )

    def _fill(self, stored: StoredDataset, clips: Any, dataset: ClipDataset, *, crops: int) -> None:
        """Compute what is not stored yet, each process its share."""
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        rank, world = self._process()

        def prepare(decoded: DecodedClips) -> ClipBatch:
            ready = self.transform(
                move_data_to_device(decoded, module.device),
                module.backbone.pixels,
                training=stored.views is None,
                crops=crops,
            )
            return ready._replace(video=ready.video.to(module.dtype))

        missing = stored.missing(stored.keys[rank::world])
        if missing:
            loader = clips(dataset, InOrder(missing))
            fill(stored, loader, module=module, prepare=prepare)
            loader.close()
        self.trainer.strategy.barrier("feature cache")
        stored.store.refresh()
