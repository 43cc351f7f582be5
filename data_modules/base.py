"""What every data module shares: lists in, batches on the device out, seeds, broken videos."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from lightning.pytorch import LightningDataModule

from video_adapt.errors import ConfigurationError

from .annotations import Listed, Split
from .loader import BatchLoader, BrokenLog, LoaderOptions, OnBroken
from .problems import Problems
from .samplers import TrainSampler


class AnyManifest(Protocol):
    """The part of a manifest that does not depend on what is annotated."""

    def __len__(self) -> int:
        """Number of entries."""

    @property
    def missing(self) -> Sequence[Listed]:
        """Entries left out because their files do not exist."""

    def digest(self) -> str:
        """Hash of everything in it, equal on every machine."""


class Pixels(Protocol):
    """The part of a backbone's pixel specification that preparing its input needs."""

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per-channel mean of RGB in [0, 1]."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Per-channel standard deviation of RGB in [0, 1]."""


class Sized(Protocol):
    """A transform whose result has a size that the model may decide."""

    @property
    def size(self) -> int | None:
        """Side of the square result in pixels; None = that of the model."""


ManifestT = TypeVar("ManifestT", bound=AnyManifest)
TransformT = TypeVar("TransformT", bound=Sized)


class VideoDataModule(LightningDataModule, ABC, Generic[ManifestT]):
    """Batches from the videos of annotation files, the same for any number of processes.

    Args:
        loader: Batch sizes and workers; None = their defaults.
        on_broken: What a video does that cannot be decoded: stop the run, or be left out (training
            draws another one in its place), counted and named.
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, frames and augmentation; None = that of ``seed_everything``.
    """

    unit: ClassVar[str]
    """What an entry of a manifest is called in messages."""

    def __init__(
        self,
        *,
        loader: LoaderOptions | None,
        on_broken: OnBroken,
        max_broken_share: float,
        seed: int | None,
    ) -> None:
        super().__init__()
        self.loader = loader or LoaderOptions()
        self.on_broken: OnBroken = on_broken
        self.max_broken_share = max_broken_share
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self._manifests: dict[Split, ManifestT | None] = {}
        self._broken: dict[str, BrokenLog] = {}
        self._train_loader: BatchLoader[Any] | None = None
        self._place: dict[str, int] | None = None
        self._logged_broken = 0

    @abstractmethod
    def read(self, split: Split, problems: Problems | None = None) -> ManifestT | None:
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

    @abstractmethod
    def _train_batches(self, manifest: ManifestT, sampler: TrainSampler) -> BatchLoader[Any]:
        """The loader of training."""

    @abstractmethod
    def _eval_batches(self, split: Split, manifest: ManifestT) -> BatchLoader[Any]:
        """The loader of an evaluation, each process its share, nothing twice."""

    @abstractmethod
    def _ready(self, batch: Any, module: Any) -> Any:
        """Turn decoded input on the device into what the model receives, under a trainer."""

    @property
    def num_classes(self) -> int:
        """Number of classes; known right after construction."""
        return len(self.class_names)

    @property
    def broken(self) -> int:
        """Entries that this process could not read so far, in all splits."""
        return sum(log.count for log in self._broken.values())

    def manifest(self, split: Split) -> ManifestT | None:
        """The manifest of a split, read once."""
        if split not in self._manifests:
            self._manifests[split] = self.read(split)
        return self._manifests[split]

    def setup(self, stage: str) -> None:
        """Begin a run with a training loader of its own."""
        self._train_loader = None

    def train_dataloader(self) -> BatchLoader[Any]:
        """Entries in a new order every epoch, the incomplete last batch left out.

        Raises:
            ConfigurationError: If there is no training list, or it does not fill one batch.
        """
        manifest = self._required("train")
        rank, world = self._process()
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        size, unit = self._trained_on(manifest)
        sampler = TrainSampler(size, seed=self.seed, rank=rank, world=world, fixed=overfit)
        if len(sampler) < self.loader.batch_size:
            raise ConfigurationError(
                f"{size} training {unit} on {world} process(es) do not fill one batch of "
                f"{self.loader.batch_size} each; lower data.loader.batch_size"
            )
        self._train_loader = self._train_batches(manifest, sampler)
        if self._place is not None:
            self._train_loader.go_on_from(self._place)
            self._place = None
        return self._train_loader

    def val_dataloader(self) -> BatchLoader[Any] | Sequence[BatchLoader[Any]]:
        """The validation videos; no loader where there is no validation list.

        Raises:
            ConfigurationError: If ``trainer.limit_val_batches`` leaves a process without a batch.
        """
        manifest = self.manifest("val")
        if manifest is None:
            return []
        loader = self._eval_batches("val", manifest)
        self._refuse_idle_process("val", [loader])
        return loader

    def test_dataloader(self) -> BatchLoader[Any] | Sequence[BatchLoader[Any]]:
        """The test videos; several loaders where there are several test sets.

        Raises:
            ConfigurationError: If ``trainer.limit_test_batches`` leaves a process without a batch.
        """
        loader = self._eval_batches("test", self._required("test"))
        self._refuse_idle_process("test", [loader])
        return loader

    def predict_dataloader(self) -> BatchLoader[Any] | Sequence[BatchLoader[Any]]:
        """The videos of the test list."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """The place in the training data, for a checkpoint.

        Lightning would keep a loader's own state too, but silently drops it on resuming where the
        optimiser's schedule has asked for the number of steps before.
        """
        if self._train_loader is None:
            return {}
        assert self.trainer is not None
        place = self._train_loader.place()
        inside = place["batches"] < self.trainer.num_training_batches
        # Inside an epoch the batches of each process are counted, which others would not continue.
        return {"place": place, "processes": self.trainer.world_size if inside else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the middle of the epoch in which the checkpoint was written.

        Raises:
            ConfigurationError: If that epoch was shared by another number of processes.
        """
        written_by = state_dict["processes"]
        if written_by not in (None, self._process()[1]):
            raise ConfigurationError(
                f"the checkpoint was written inside an epoch by {written_by} process(es), this run "
                f"has {self._process()[1]}, so samples would be repeated or left out; resume with "
                "as many, or from a checkpoint of the end of an epoch"
            )
        if self._train_loader is None:
            self._place = state_dict["place"]
        else:  # where weights are spread (FSDP), it is made before
            self._train_loader.go_on_from(state_dict["place"])

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn decoded input on the device into what the model receives."""
        assert self.trainer is not None
        self._log_broken()
        return self._ready(batch, self.trainer.lightning_module)

    def digest(self) -> dict[str, str | int]:
        """Hash of every manifest read so far and its number of readable entries."""
        facts: dict[str, str | int] = {}
        for split, manifest in self._manifests.items():
            if manifest is not None:
                broken = self._broken.get(split) or self._new_log(manifest)
                facts[f"{split}_digest"] = manifest.digest()
                facts[f"{split}_{self.unit}"] = broken.total - broken.count
        return facts

    def _trained_on(self, manifest: ManifestT) -> tuple[int, str]:
        """Number of samples of an epoch, and what they are called in messages."""
        return len(manifest), self.unit

    def _required(self, split: Split) -> ManifestT:
        manifest = self.manifest(split)
        if manifest is None:
            raise ConfigurationError(f"the data module has no {split!r} list; set data.{split}")
        return manifest

    def _log_of(self, split: str, manifest: ManifestT) -> BrokenLog:
        """The account of a split, one for all its loaders."""
        return self._broken.setdefault(split, self._new_log(manifest))

    def _new_log(self, manifest: ManifestT) -> BrokenLog:
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

    def _refuse_idle_process(self, stage: str, loaders: Sequence[BatchLoader[Any]]) -> None:
        """Refuse a share of so few batches that a process has none, in all processes alike.

        Lightning would stop that process alone, and the others would wait for it.
        """
        limit = getattr(self.trainer, f"limit_{stage}_batches", 1.0)
        if self.trainer is None or isinstance(limit, int) or limit in (0.0, 1.0):
            return
        idle = any(int(limit * len(loader)) == 0 for loader in loaders)
        if self.trainer.strategy.reduce_boolean_decision(idle, all=False):
            raise ConfigurationError(
                f"trainer.limit_{stage}_batches {limit} leaves a process without a batch; "
                "raise it, or give a number of batches instead of a share"
            )

    def _require_pixels(self, pixels: Pixels) -> None:
        short_side = self.loader.short_side
        if short_side is not None and short_side < pixels.image_size:
            raise ConfigurationError(
                f"frames are scaled to a short side of {short_side} pixels, the model takes "
                f"{pixels.image_size}; raise data.loader.short_side or set it to null"
            )


def plain(component: Any) -> dict[str, Any]:
    """A frozen dataclass as its class name and its values."""
    return {"class": type(component).__name__, **asdict(component)}


def sized(transform: TransformT, pixels: Pixels) -> TransformT:
    """The transform, a frozen dataclass, with the model's size where it states none."""
    frozen: Any = transform
    return frozen if frozen.size else replace(frozen, size=pixels.image_size)
