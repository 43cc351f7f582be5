"""Open-vocabulary recognition: trained on some classes, tested on sets with their own."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from video_adapt.errors import ConfigurationError
from video_adapt.video import (
    CoveringSampler,
    EvalTransform,
    FrameSampler,
    Mixing,
    ShortSideTransform,
    TrainingTransform,
)
from video_adapt.vocabulary import Vocabulary

from .annotations import Manifest, Split, find_source, read_manifest
from .clips import ClipDataModule
from .formats import Format
from .loader import BatchLoader, LoaderOptions, OnBroken
from .open_vocabulary_classes import (
    ClassList,
    Parts,
    part_of,
    read_classes,
    require_apart,
    require_pairs,
)
from .open_vocabulary_files import CopyFinder, TestSet
from .problems import Problems
from .stored import FeatureCache


class OpenVocabularyDataModule(ClipDataModule):
    """Classes given as text: trained on a list, tested on any number of named sets.

    Base to novel: ``train`` and ``val`` hold base classes, the sets ``base`` and ``novel`` are
    told apart within their own classes. Across data sets: every set has its own class file.

    Args:
        root: Folder that paths in lists start at.
        classes: Class file: see :func:`~data_modules.open_vocabulary_classes.read_classes`.
        part: Part of the class file that training and validation labels count in.
        train: Training list, or a folder with one folder per class. ``{draw}`` in it stands for
            ``draw``.
        val: Validation list or folder; with the classes of training.
        test_sets: Test sets by name.
        lists: Folder of lists and class files; None = the root.
        draw: Which of several drawn few-shot lists is trained on; ``video-adapt report`` averages
            over runs that differ in it.
        described: Whether classes are told with their descriptions or by plain name.
        exchanged: Pairs of class names that a published class file has the wrong way round.
        labels: ``published`` keeps them, so that figures compare; ``corrected`` puts them right.
        match: Where videos are looked for: at the listed ``path``, with any extension, or else
            anywhere below the root by the 11 characters of their ``youtube_id``.
        format: Format of the lists; ``auto`` tells it from their content.
        sampler: Chooses the frames of a clip; None = 8 frames at stride 16, views that cover the
            video.
        train_transform: Augmentation; None = the published recipe: scale, crop and flip.
        eval_transform: Scaling and cropping; None = short side to the model's size, centre crop.
        mixing: Mixup and cutmix of whole batches; None = neither.
        loader: Batch sizes and workers; None = their defaults.
        feature_cache: Where features of a frozen backbone are kept, so that clips are decoded and
            encoded once; None = nowhere.
        eval_views: Temporal views of each video in testing.
        on_broken: What a video does that is missing or cannot be decoded: stop the run
            (``error``), or be left out, counted and named (``skip``).
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, frames and augmentation; None = that of ``seed_everything``.

    A relative list or class file is looked for in the working directory, then below ``lists``.

    Raises:
        ConfigurationError: If a test set has a name that cannot be a figure's.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        classes: str | Path,
        part: str | None = None,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test_sets: dict[str, TestSet] | None = None,
        lists: str | Path | None = None,
        draw: int = 1,
        described: bool = True,
        exchanged: tuple[tuple[str, str], ...] = (),
        labels: Literal["published", "corrected"] = "published",
        match: Literal["path", "youtube_id"] = "path",
        format: Format = "auto",  # noqa: A002
        sampler: FrameSampler | None = None,
        train_transform: TrainingTransform | None = None,
        eval_transform: EvalTransform | None = None,
        mixing: Mixing | None = None,
        loader: LoaderOptions | None = None,
        feature_cache: FeatureCache | None = None,
        eval_views: int = 3,
        on_broken: OnBroken = "error",
        max_broken_share: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            sampler=sampler or CoveringSampler(),
            train_transform=train_transform or ShortSideTransform(),
            eval_transform=eval_transform,
            mixing=mixing,
            loader=loader,
            feature_cache=feature_cache,
            eval_views=eval_views,
            on_broken=on_broken,
            max_broken_share=max_broken_share,
            seed=seed,
        )
        self.root, self.draw = Path(root), draw
        self.lists = self.root if lists is None else Path(lists)
        drawn = None if train is None else str(train).replace("{draw}", str(draw))
        self.sources: dict[Split, Path | None] = {
            "train": find_source(self.lists, drawn),
            "val": find_source(self.lists, val),
            "test": None,
        }
        self.test_sets = dict(test_sets or {})
        for name in self.test_sets:
            if not re.fullmatch(r"[\w-]+", name) or name in (*self.sources, "HM"):
                raise ConfigurationError(
                    f"test set {name!r}: use letters, digits, _ and -; not train, val, test or HM"
                )
            if name in self.test_groups:
                raise ConfigurationError(f"test set {name!r} is also the name of a group; rename")
        self.classes, self.part = classes, part
        self.described, self.exchanged, self.labels = described, exchanged, labels
        self.match, self.format = match, format
        self._class_files: dict[Path, Parts] = {}
        self._test_manifests: dict[str, Manifest] = {}
        self._finders: dict[Path, CopyFinder] = {}

    @property
    def class_names(self) -> list[str]:
        """Names of the training classes as the model is told them.

        Raises:
            AnnotationError: If the class file is wrong.
        """
        return list(self.vocabulary("train").classes)

    @property
    def label_variant(self) -> str:
        """Whether names that a published file exchanges are left so, in words for a table."""
        return f"as {self.labels}" if self.exchanged else "as listed"

    @property
    def train_list(self) -> str:
        """Name of the list that is trained on, for a table."""
        source = self.sources["train"]
        return "none" if source is None else source.name

    def vocabulary(self, name: str) -> Vocabulary:
        """Classes of ``train``, of ``val``, which are the same, or of a test set by its name.

        Raises:
            AnnotationError: If the class file is wrong, or a class of a set called ``novel`` is
                also one of training.
            ConfigurationError: If there is no such part or set.
        """
        vocabulary = self._class_list(name).vocabulary(name, described=self.described)
        if name == "novel":
            require_apart(self.vocabulary("train"), vocabulary)
        return vocabulary

    @cached_property
    def test_vocabularies(self) -> list[Vocabulary]:
        """Classes of every test set, in the order of the test loaders."""
        return [self.vocabulary(name) for name in self.test_sets]

    @property
    def test_groups(self) -> dict[str, list[str]]:
        """Names of the test sets of every group."""
        groups: dict[str, list[str]] = {}
        for name, test_set in self.test_sets.items():
            if test_set.group is not None:
                groups.setdefault(test_set.group, []).append(name)
        return groups

    def read(self, split: Split, problems: Problems | None = None) -> Manifest | None:
        """Read the list of a split; the test sets have :meth:`read_test_set`.

        Raises:
            AnnotationError: If it says something that cannot be true.
        """
        source = self.sources[split]
        if source is None:
            return None
        return self._read(source, self.root, split, self._class_list(split), problems)

    def read_test_set(self, name: str, problems: Problems | None = None) -> Manifest:
        """Read the list of a test set.

        Args:
            name: Which one.
            problems: Where faults go; None = the first is raised.

        Raises:
            AnnotationError: If it says something that cannot be true.
        """
        test_set = self.test_sets[name]
        source = find_source(self.lists, test_set.videos)
        assert source is not None, "a test set always has videos"
        root = self.root if test_set.root is None else Path(test_set.root)
        return self._read(source, root, "test", self._class_list(name), problems)

    def manifest(self, split: Split) -> Manifest | None:
        """The manifest of a split, read once; None of ``test``, whose sets are all read.

        Raises:
            AnnotationError: If a list is wrong, or a class of the set ``novel`` is one of training.
        """
        if "novel" in self.test_sets:
            self.vocabulary("novel")  # before anything is trained on it
        if split == "test":
            for name in self.test_sets:
                self.test_manifest(name)
        return super().manifest(split)

    def test_manifest(self, name: str) -> Manifest:
        """The manifest of a test set, read once."""
        if name not in self._test_manifests:
            self._test_manifests[name] = self.read_test_set(name)
        return self._test_manifests[name]

    def test_dataloader(self) -> list[BatchLoader[Any]]:
        """One loader per test set.

        Raises:
            ConfigurationError: If there is no test set, or ``trainer.limit_test_batches`` leaves a
                process without a batch of one.
        """
        if not self.test_sets:
            raise ConfigurationError("the data module has no test set; set data.test_sets")
        manifests = {name: self.test_manifest(name) for name in self.test_sets}
        loaders = [self._eval_batches(name, manifest) for name, manifest in manifests.items()]
        self._refuse_idle_process("test", loaders)
        return loaders

    def digest(self) -> dict[str, str | int]:
        """Hash of every list read so far and its number of readable videos."""
        facts = super().digest()
        for name, manifest in self._test_manifests.items():
            broken = self._broken.get(name) or self._new_log(manifest)
            facts[f"{name}_digest"] = manifest.digest()
            facts[f"{name}_{self.unit}"] = broken.total - broken.count
        return facts

    def _read(
        self, source: Path, root: Path, split: Split, classes: ClassList, problems: Problems | None
    ) -> Manifest:
        finder = self._finders.setdefault(
            root, CopyFinder(root.absolute(), by_id=self.match == "youtube_id")
        )
        return read_manifest(
            source,
            root=root,
            split=split,
            format=self.format,
            classes=classes.labels,
            skip_missing=self.on_broken == "skip",
            problems=problems,
            find=finder,
        )

    def _class_list(self, name: str) -> ClassList:
        """Classes of ``train``, ``val`` or a test set, exchanged pairs put right if wanted."""
        classes, part = self.classes, self.part
        if name not in ("train", "val"):
            classes, part = self._classes_of(name)
        path = find_source(self.lists, classes)
        assert path is not None, "there is always a class file"
        if path not in self._class_files:
            self._class_files[path] = read_classes(path)
            if classes == self.classes:
                require_pairs(self._class_files[path], self.exchanged, path)
        found = part_of(self._class_files[path], part, path)
        return found.exchanged(self.exchanged) if self.labels == "corrected" else found

    def _classes_of(self, name: str) -> tuple[str | Path, str | None]:
        """Class file and part of a test set."""
        test_set = self._set(name)
        if test_set.classes is not None:
            return test_set.classes, test_set.part
        return self.classes, self.part if test_set.part is None else test_set.part

    def _set(self, name: str) -> TestSet:
        sets: Mapping[str, TestSet] = self.test_sets
        if name not in sets:
            raise ConfigurationError(f"no test set {name!r}; there are {', '.join(sets) or 'none'}")
        return sets[name]
