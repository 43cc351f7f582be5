"""Manifests in, batches on the device out: what every data module of clips shares."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from video_adapt.batches import ClipBatch, DecodedClips
from video_adapt.errors import ConfigurationError
from video_adapt.video import EvalTransform, FrameSampler, Mixing, SegmentSampler, TrainTransform

from .annotations import Manifest, Split
from .dataset import MIXING, ClipDataset
from .loader import BrokenLog, ClipLoader, LoaderOptions, OnBroken
from .problems import Problems
from .samplers import EvalSampler, TrainSampler, derive_seed

TransformT = TypeVar("TransformT", TrainTransform, EvalTransform)


class Pixels(Protocol):
    """The part of a backbone's pixel specification that preparing a clip needs."""

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per-channel mean of RGB in [0, 1]."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Per-channel standard deviation of RGB in [0, 1]."""


class ClipDataModule(LightningDataModule, ABC):
    """Decoded clips from manifests, augmented and normalised on the device.

    Validation during training uses one view of each video with one crop; testing and prediction
    use ``eval_views`` views and the crops of ``eval_transform``.

    Args:
        sampler: Chooses the frames of a clip; None = 8 frames, one from each eighth of the video.
        train_transform: Augmentation; None = the published recipe.
        eval_transform: Scaling and cropping; None = short side to the model's size, centre crop.
        mixing: Mixup and cutmix of whole batches; None = neither.
        loader: Batch sizes and workers; None = their defaults.
        eval_views: Temporal views of each video in testing.
        on_broken: What a video does that cannot be decoded: stop the run, or be left out (training
            draws another one in its place), counted and named.
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, frames and augmentation; None = that of ``seed_everything``.
    """

    # More processes than videos are no error: some then evaluate nothing.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self,
        *,
        sampler: FrameSampler | None = None,
        train_transform: TrainTransform | None = None,
        eval_transform: EvalTransform | None = None,
        mixing: Mixing | None = None,
        loader: LoaderOptions | None = None,
        eval_views: int = 1,
        on_broken: OnBroken = "error",
        max_broken_share: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.sampler = sampler or SegmentSampler(num_frames=8)
        self.train_transform = train_transform or TrainTransform()
        self.eval_transform = eval_transform or EvalTransform()
        self.mixing = mixing
        self.loader = loader or LoaderOptions()
        self.eval_views = eval_views
        self.on_broken: OnBroken = on_broken
        self.max_broken_share = max_broken_share
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self._manifests: dict[Split, Manifest | None] = {}
        self._broken: dict[Split, BrokenLog] = {}
        self._train_loader: ClipLoader | None = None
        self._place: dict[str, int] | None = None
        self._logged_broken = 0

    @abstractmethod
    def read(self, split: Split, problems: Problems | None = None) -> Manifest | None:
        """Read the manifest of a split, None where the data set has none.

        Args:
            split: Which one.
            problems: Where faults go; None = the first is raised.

        Raises:
            AnnotationError: If its files say something that cannot be true.
        """

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """Class names in the order of the labels; known right after construction."""

    @property
    def num_classes(self) -> int:
        """Number of classes; known right after construction."""
        return len(self.class_names)

    @property
    def broken(self) -> int:
        """Clips that this process could not read so far, in all splits."""
        return sum(log.count for log in self._broken.values())

    def manifest(self, split: Split) -> Manifest | None:
        """The manifest of a split, read once."""
        if split not in self._manifests:
            self._manifests[split] = self.read(split)
        return self._manifests[split]

    def train_dataloader(self) -> ClipLoader:
        """Clips in a new order every epoch, the incomplete last batch left out.

        Raises:
            ConfigurationError: If there is no training list, or it does not fill one batch.
        """
        manifest = self._required("train")
        rank, world = self._process()
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        sampler = TrainSampler(len(manifest), seed=self.seed, rank=rank, world=world, fixed=overfit)
        if len(sampler) < self.loader.batch_size:
            raise ConfigurationError(
                f"{len(manifest)} training clips on {world} process(es) do not fill one batch of "
                f"{self.loader.batch_size} each; lower data.loader.batch_size"
            )
        self._train_loader = self._loader("train", manifest, sampler, None)
        if self._place is not None:
            self._train_loader.go_on_from(self._place)
            self._place = None
        return self._train_loader

    def val_dataloader(self) -> ClipLoader | Sequence[ClipLoader]:
        """One view of every validation video; no loader where there is no validation list."""
        manifest = self.manifest("val")
        return [] if manifest is None else self._eval_loader("val", manifest, views=1)

    def test_dataloader(self) -> ClipLoader:
        """All views of every test video."""
        return self._eval_loader("test", self._required("test"), views=self.eval_views)

    def predict_dataloader(self) -> ClipLoader:
        """The videos of the test list."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """The place in the training data, for a checkpoint.

        Lightning would keep a loader's own state too, but silently drops it on resuming where the
        optimiser's schedule has asked for the number of steps before.
        """
        return {} if self._train_loader is None else {"place": self._train_loader.place()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the middle of the epoch in which the checkpoint was written."""
        self._place = state_dict["place"]

    def on_after_batch_transfer(self, batch: DecodedClips, dataloader_idx: int) -> ClipBatch:
        """Turn decoded clips on the device into what the model receives."""
        assert self.trainer is not None
        module = self.trainer.lightning_module
        self._log_broken()
        testing = self.trainer.testing or self.trainer.predicting
        ready = self.transform(
            batch,
            module.backbone.pixels,  # type: ignore[arg-type, union-attr]
            training=self.trainer.training,
            crops=None if testing else 1,
        )
        return ready._replace(video=ready.video.to(module.dtype))

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
        crop = _sized(self.eval_transform, pixels)
        crop = crop if crops is None else replace(crop, crops=crops)
        video, label = crop(batch, pixels.mean, pixels.std)
        number = torch.arange(crop.crops, device=label.device).repeat(len(batch.label))
        view = batch.view.repeat_interleave(crop.crops) * crop.crops + number
        video_id = batch.video_id.repeat_interleave(crop.crops)
        return ClipBatch(video, label, None, video_id, view)

    def evaluation_recipe(self) -> dict[str, Any]:
        """What a program needs to prepare a video as in testing: plain values for a checkpoint."""
        return {
            "sampler": _plain(self.sampler),
            "transform": _plain(self.eval_transform),
            "short_side": self.loader.short_side,
            "eval_views": self.eval_views,
            "class_names": self.class_names,
        }

    def digest(self) -> dict[str, str | int]:
        """Hash of every manifest read so far and its number of readable clips, for the tracker."""
        facts: dict[str, str | int] = {}
        for split, manifest in self._manifests.items():
            if manifest is not None:
                broken = self._broken.get(split) or self._new_log(manifest)
                facts[f"{split}_digest"] = manifest.digest()
                facts[f"{split}_clips"] = broken.total - broken.count
        return facts

    def _train_batch(self, batch: DecodedClips, pixels: Pixels) -> ClipBatch:
        augment = _sized(self.train_transform, pixels)
        video, label = augment(batch, pixels.mean, pixels.std)
        target: Tensor | None = None
        if self.mixing is not None:
            seed = derive_seed(int(batch.seed[0]), MIXING)
            video, target = self.mixing(video, label, self.num_classes, seed)
        return ClipBatch(video, label, target, batch.video_id, batch.view)

    def _required(self, split: Split) -> Manifest:
        manifest = self.manifest(split)
        if manifest is None:
            raise ConfigurationError(f"the data module has no {split!r} list; set data.{split}")
        return manifest

    def _eval_loader(self, split: Split, manifest: Manifest, *, views: int) -> ClipLoader:
        rank, world = self._process()
        sampler = EvalSampler(len(manifest), rank=rank, world=world)
        return self._loader(split, manifest, sampler, views)

    def _loader(
        self,
        split: Split,
        manifest: Manifest,
        sampler: TrainSampler | EvalSampler,
        views: int | None,
    ) -> ClipLoader:
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
        broken = self._broken.setdefault(split, self._new_log(manifest))
        return ClipLoader(dataset, sampler, options=options, batch_size=batch_size, broken=broken)

    def _new_log(self, manifest: Manifest) -> BrokenLog:
        total = len(manifest) + len(manifest.missing)
        log = BrokenLog(self.on_broken, total, self.max_broken_share)
        log.record_missing(manifest.missing)
        return log

    def _log_broken(self) -> None:
        """Send the count to the trackers when it has grown; ``self.log`` is not allowed here."""
        assert self.trainer is not None
        if self.broken > self._logged_broken:
            self._logged_broken = self.broken
            for tracker in self.trainer.loggers:
                tracker.log_metrics({"data/broken": self.broken}, step=self.trainer.global_step)

    def _process(self) -> tuple[int, int]:
        """Number of this process and of all of them; alone without a trainer."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _require_pixels(self, pixels: Pixels) -> None:
        short_side = self.loader.short_side
        if short_side is not None and short_side < pixels.image_size:
            raise ConfigurationError(
                f"frames are scaled to a short side of {short_side} pixels, the model takes "
                f"{pixels.image_size}; raise data.loader.short_side or set it to null"
            )


def _sized(transform: TransformT, pixels: Pixels) -> TransformT:
    """The transform with the model's size where it states none."""
    return transform if transform.size else replace(transform, size=pixels.image_size)


def _plain(component: Any) -> dict[str, Any]:
    """A frozen dataclass as its class name and its values."""
    return {"class": type(component).__name__, **asdict(component)}
