"""Trimmed action clips: Kinetics, Something-Something, folders of classes, one's own lists."""

import logging
from pathlib import Path

from video_adapt.video import EvalTransform, FrameSampler, Mixing, TrainingTransform

from .annotations import Manifest, Split, find_source, hold_out, read_manifest, require_folder
from .classes import ClassNames, read_class_names
from .clips import ClipDataModule
from .formats import Format
from .loader import LoaderOptions, OnBroken
from .problems import Problems
from .stored import FeatureCache

logger = logging.getLogger(__name__)


class KineticsDataModule(ClipDataModule):
    """Action recognition from any list that :mod:`data_modules.formats` knows.

    A folder of videos alone is enough: ``root/train/<class>/`` and ``root/val/<class>/``, or
    ``root/<class>/``, of which every fifth video of each class is then held out for validation.

    Args:
        root: Folder that paths in lists start at.
        train: Training list, or a folder with one folder per class.
        val: Validation list or folder.
        test: Test list or folder; None = that of validation.
        classes: Class names: JSON ``{name: index}`` or ``[name, ...]``, or one per line in a text
            file; None = the labels of the training list in alphabetical order.
        format: Format of the lists; ``auto`` tells it from their content.
        sampler: Chooses the frames of a clip; None = 8 frames, one from each eighth of the video.
        train_transform: Augmentation; None = the published recipe.
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

    A relative ``train``, ``val``, ``test`` or ``classes`` is looked for in the working directory,
    then below ``root``.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test: str | Path | None = None,
        classes: str | Path | None = None,
        format: Format = "auto",  # noqa: A002
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
            sampler=sampler,
            train_transform=train_transform,
            eval_transform=eval_transform,
            mixing=mixing,
            loader=loader,
            feature_cache=feature_cache,
            eval_views=eval_views,
            on_broken=on_broken,
            max_broken_share=max_broken_share,
            seed=seed,
        )
        self.root = Path(root)
        self.format: Format = format
        self.sources: dict[Split, Path | None] = {
            "train": find_source(self.root, train),
            "val": find_source(self.root, val),
            "test": find_source(self.root, test),
        }
        self.hold_out = False
        if not any(self.sources.values()):
            self._use_folders()
        self._classes_file = find_source(self.root, classes)
        self._classes: ClassNames | None = None

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of the labels; known right after construction.

        Raises:
            AnnotationError: If the class names file, or the list that gives the names, is wrong.
        """
        return list(self._class_names().names)

    def read(self, split: Split, problems: Problems | None = None) -> Manifest | None:
        """Read the list or folder of a split; without a test list, that of validation.

        Args:
            split: Which one.
            problems: Where faults go; None = the first is raised.

        Raises:
            AnnotationError: If it says something that cannot be true.
        """
        source = self.sources[split]
        if source is None:
            return self.manifest("val") if split == "test" else None
        names_itself = self._classes_file is None and split == self._first_split()
        manifest = read_manifest(
            source,
            root=self.root,
            split=split,
            format=self.format,
            classes=None if names_itself else self._class_names(),
            skip_missing=self.on_broken == "skip",
            problems=problems,
        )
        if names_itself:
            self._classes = manifest.classes
        return self._held_out(manifest, split) if self.hold_out else manifest

    def _use_folders(self) -> None:
        """Find the folders of the splits where no list is named."""
        folders: dict[Split, tuple[str, ...]] = {
            "train": ("train",),
            "val": ("val", "validation", "valid"),
            "test": ("test",),
        }
        for split, names in folders.items():
            found = (self.root / name for name in names)
            self.sources[split] = next((path for path in found if path.is_dir()), None)
        if self.sources["train"] is None:
            self.hold_out = True
            self.sources = {"train": self.root, "val": self.root, "test": None}

    def _held_out(self, manifest: Manifest, split: Split) -> Manifest | None:
        train, val = hold_out(manifest)
        if split == "train":
            text = "%s: no validation part; %d of %d videos are held out for it"
            logger.warning(text, self.root, len(val), len(manifest))
            return train
        return val if len(val) else None

    def _first_split(self) -> Split | None:
        """The split whose labels name the classes where no file does."""
        return next((split for split, source in self.sources.items() if source), None)

    def _class_names(self) -> ClassNames:
        if self._classes is None:
            require_folder(self.root)
            if self._classes_file is not None:
                self._classes = read_class_names(self._classes_file)
            else:
                first = self._first_split()
                assert first is not None, "folders stand in where no list is named"
                return self._required(first).classes
        return self._classes
