"""Long videos with segments: THUMOS-14, ActivityNet, Ego4D and their like, one's own lists.

The data sets of AdaTAD (CVPR 2024) differ in arguments alone:

=================== ================================================= =========================
data set            sampler                                           other arguments
=================== ================================================= =========================
THUMOS-14,          ``SlidingWindows(768, 1, 4)``                     ``exclude`` the two videos
MultiTHUMOS                                                           of the test set that are
                                                                      annotated wrongly, where
                                                                      the file has them
Charades            ``SlidingWindows(512, 1, 4, fps=30,               ``subsets={val: testing}``
                    min_kept=0.5)``
EPIC-Kitchens-100   ``SlidingWindows(768, 8, 16, fps=30,              one annotation for nouns,
                    min_kept=0.3)``                                   one for verbs
Ego4D-MQ            ``SlidingWindows(1800, 4, 8, overlap=0,
                    min_kept=0.3)``
ActivityNet-1.3     ``WholeVideo(192, 4)``                            ``video_path=
                                                                      videos/v_{name}``,
                                                                      ``exclude`` what vanished
=================== ================================================= =========================
"""

import logging
from pathlib import Path

from video_adapt.errors import AnnotationError
from video_adapt.video import WindowEvalTransform, WindowSampler, WindowTrainTransform

from .annotations import Split, find_source, require_folder
from .classes import ClassNames, read_class_names
from .features import FeatureFiles
from .loader import LoaderOptions, OnBroken
from .problems import Problems
from .segment_formats import VideoRow, parse_videos
from .segments import (
    SegmentManifest,
    SegmentRules,
    build_manifest,
    classes_of,
    read_names,
    rows_of,
)
from .windows import WindowDataModule

logger = logging.getLogger(__name__)


class THUMOSDataModule(WindowDataModule):
    """Temporal action detection from ActivityNet JSON or from one's own lists.

    An own list is CSV with a header, or JSONL, with rows ``path,start_s,end_s,label``; a row with a
    path alone is a video in which nothing happens.

    Args:
        root: Folder that paths start at.
        train: Training annotation; one JSON may hold all subsets and be named several times.
        val: Validation annotation.
        test: Test annotation; None = that of validation.
        subsets: Name of each split's subset in its annotation, as in ``{val: testing}``; None =
            told from the names (``train``, ``training``, ``val``, ``validation``, ...).
        classes: Class names, a line each or JSON; None = the labels of the first annotation in
            alphabetical order.
        exclude: Videos to leave out: their names, or a file with them.
        ignore_labels: Labels whose events are left out.
        video_path: Where videos lie below the root; without a suffix that of any video is tried.
            An own list has its own paths.
        features: Features to read instead of videos; None = videos.
        sampler: Cuts videos into windows; None = as on THUMOS-14.
        frames_per_chunk: Frames that the backbone looks at together.
        train_on_empty: Train on videos in which nothing happens, too.
        train_transform: Augmentation; None = the published recipe.
        eval_transform: Scaling and cropping; None = short side to the model's size, centre crop.
        loader: Batch sizes and workers; None = two windows.
        on_broken: What a video does that is missing or cannot be decoded: stop the run
            (``error``), or be left out, counted and named (``skip``).
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, windows and augmentation; None = that of ``seed_everything``.

    A relative annotation, ``classes`` or ``exclude`` is looked for in the working directory, then
    below ``root``.

    Raises:
        ConfigurationError: If no number of frames or features fits these values.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test: str | Path | None = None,
        subsets: dict[str, str] | None = None,
        classes: str | Path | None = None,
        exclude: str | list[str] | None = None,
        ignore_labels: tuple[str, ...] = ("Ambiguous",),
        video_path: str = "videos/{name}",
        features: FeatureFiles | None = None,
        sampler: WindowSampler | None = None,
        frames_per_chunk: int = 16,
        train_on_empty: bool = False,
        train_transform: WindowTrainTransform | None = None,
        eval_transform: WindowEvalTransform | None = None,
        loader: LoaderOptions | None = None,
        on_broken: OnBroken = "error",
        max_broken_share: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            sampler=sampler,
            features=features,
            frames_per_chunk=frames_per_chunk,
            train_transform=train_transform,
            eval_transform=eval_transform,
            loader=loader,
            on_broken=on_broken,
            max_broken_share=max_broken_share,
            seed=seed,
        )
        self.root = Path(root)
        self.sources: dict[Split, Path | None] = {
            "train": find_source(self.root, train),
            "val": find_source(self.root, val),
            "test": find_source(self.root, test),
        }
        self.subsets = subsets or {}
        if self.sources["test"] is None and "test" in self.subsets:
            self.sources["test"] = self.sources["val"]
        self.train_on_empty = train_on_empty
        self.rules = SegmentRules(
            path=video_path if features is None else features.path,
            own_paths=features is None,
            exclude=read_names(self._excluded(exclude)),
            ignore_labels=tuple(ignore_labels),
            skip_missing=on_broken == "skip",
        )
        self._classes_file = find_source(self.root, classes)
        self._classes: ClassNames | None = None
        self._rows: dict[Path, list[VideoRow]] = {}

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of the labels; known right after construction.

        Raises:
            AnnotationError: If the file that gives the names is wrong.
        """
        return list(self._class_names().names)

    def read(self, split: Split, problems: Problems | None = None) -> SegmentManifest | None:
        """Read the annotation of a split; without one for testing, that of validation.

        Args:
            split: Which one.
            problems: Where faults go; None = the first is raised.

        Raises:
            AnnotationError: If it says something that cannot be true.
        """
        source = self.sources[split]
        if source is None:
            return self.manifest("val") if split == "test" else None
        require_folder(self.root)
        problems = problems or Problems()
        manifest = build_manifest(
            rows_of(self._parsed(source, problems), split, self.subsets.get(split), source),
            source=source,
            root=self.root,
            classes=self._class_names(),
            rules=self.rules,
            problems=problems,
        )
        if self.features is not None:
            _require_durations(manifest, problems)
        trains = split == "train" and problems.strict
        return self._trainable(manifest, source) if trains else manifest

    def annotated(self, problems: Problems) -> list[list[VideoRow]]:
        """Every annotation file as it is written, all of its subsets."""
        named = dict.fromkeys(path for path in self.sources.values() if path is not None)
        return [self._parsed(source, problems) for source in named]

    def _trainable(self, manifest: SegmentManifest, source: Path) -> SegmentManifest:
        """The videos that training can use.

        Raises:
            AnnotationError: If there is no event to learn from.
        """
        kept = [entry for entry in manifest.entries if len(entry.labels)]
        if not kept:
            raise AnnotationError(
                f"{source}: none of its {len(manifest)} training videos has an event; check "
                "data.subsets and data.ignore_labels"
            )
        if self.train_on_empty or len(kept) == len(manifest):
            return manifest
        text = "%s: %d of %d training videos have no event and are left out (train_on_empty)"
        logger.info(text, source, len(manifest) - len(kept), len(manifest))
        return SegmentManifest(kept, manifest.classes, manifest.root, manifest.missing)

    def _excluded(self, exclude: str | list[str] | None) -> Path | list[str]:
        found = find_source(self.root, exclude) if isinstance(exclude, str) else None
        return found or list(exclude or ())

    def _parsed(self, source: Path, problems: Problems) -> list[VideoRow]:
        if source not in self._rows:
            self._rows[source] = parse_videos(source, problems)
        return self._rows[source]

    def _class_names(self) -> ClassNames:
        if self._classes is None:
            require_folder(self.root)
            if self._classes_file is not None:
                self._classes = read_class_names(self._classes_file)
            else:
                self._classes = self._named_by_labels()
        return self._classes

    def _named_by_labels(self) -> ClassNames:
        source = next((path for path in self.sources.values() if path is not None), None)
        if source is None:
            raise AnnotationError(
                f"{self.root}: no annotation is named; set data.train, data.val or data.test"
            )
        rows = self._parsed(source, Problems())
        return classes_of(rows, source, self.rules.ignore_labels)


def _require_durations(manifest: SegmentManifest, problems: Problems) -> None:
    for entry in manifest.entries:
        if entry.duration_s is None:
            text = f"{entry.name} has no `duration`, which features do not tell; add it"
            problems.add("time", entry.where, text)
