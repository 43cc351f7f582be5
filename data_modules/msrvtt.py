"""Captioned videos: MSR-VTT, MSVD, VATEX, ActivityNet Captions, DiDeMo, one's own.

The data sets of CLIP4Clip and TeachCLIP differ in arguments alone:

=================== ================================ ==============================================
data set            lists                            other arguments
=================== ================================ ==============================================
MSR-VTT 1k-A        ``train: MSRVTT_train.9k.csv,    ``captions: MSRVTT_data.json``
                    val: MSRVTT_JSFUSION_test.csv``
MSR-VTT 3k          ``train, val, test:              (a list of 6,513 videos; the published
                    MSRVTT_data.json``               MSRVTT_train.7k.csv holds those of validation)
MSVD                ``{train,val,test}_list.txt``    ``captions: raw-captions.pkl``
VATEX               ``VATEX_{train,val,test}.csv``   ``captions: VATEX_data.json``
ActivityNet         ``train: train_ids.json,         ``captions: [train.json, val_1.json],
Captions            val: val_ids.json``              paragraph: true, max_words: 64``, 64 frames
DiDeMo              ``{train,val,test}_list.txt``    ``captions: [train_data.json, ...], paragraph:
                                                     true, until_s: 31, max_words: 64``, 64 frames
=================== ================================ ==============================================
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from video_adapt.errors import AnnotationError
from video_adapt.video import BicubicCrop, MomentSampler, TrainTransform

from .annotations import Split, find_source, of_split, require_folder
from .caption_formats import CaptionRow, parse_captions
from .captioned import CaptionDataModule
from .captions import CaptionManifest, CaptionRules, build_manifest, tell
from .loader import LoaderOptions, OnBroken
from .problems import Problems


class MSRVTTDataModule(CaptionDataModule):
    """Text-to-video retrieval from any file that :mod:`data_modules.caption_formats` knows.

    An own list is CSV with a header, or JSONL, with rows ``video,caption[,split,start_s,end_s]``
    and as many rows for a video as it has captions; ``video`` is a name, or a path below the root.

    Args:
        root: Folder that paths start at.
        train: Training videos: a list of names, or a file with their captions. One file may hold
            all splits and be named several times.
        val: Validation videos.
        test: Test videos; None = those of validation.
        captions: File, or files, with the captions of videos that a list only names.
        video_path: Where videos lie below the root; without a suffix that of any video is tried.
        paragraph: Join all captions of a video to one.
        until_s: Seconds of a video behind which nothing is looked at; None = all of it.
        sampler: Chooses the frames of a video; None = one a second, at most 12.
        max_words: Text tokens of a caption, marks of start and end included; longer ones are cut.
        train_captions: ``each`` caption with its video is a sample of an epoch, or every video
            with ``one`` of its captions, drawn anew in every epoch.
        train_transform: Augmentation; None = none, training sees what testing sees.
        eval_transform: Scaling and cropping; None = short side to the model's size, centre crop.
        loader: Batch sizes and workers; None = their defaults.
        on_broken: What a video does that is missing, cannot be decoded or has no caption: stop the
            run (``error``), or be left out, counted and named (``skip``).
        max_broken_share: Share of a split that may be left out before the run stops anyway.
        seed: Seed of order, captions and augmentation; None = that of ``seed_everything``.

    A relative list or file of captions is looked for in the working directory, then below ``root``.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test: str | Path | None = None,
        captions: str | list[str] | None = None,
        video_path: str = "videos/{name}",
        paragraph: bool = False,
        until_s: float | None = None,
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
            sampler=sampler,
            max_words=max_words,
            train_captions=train_captions,
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
        named = [captions] if isinstance(captions, str) else captions or []
        found = (find_source(self.root, path) for path in named)
        self.caption_files = [path for path in found if path is not None]
        self.rules = CaptionRules(video_path, paragraph, until_s, skip=on_broken == "skip")
        self._rows: dict[Path, list[CaptionRow]] = {}

    def read(self, split: Split, problems: Problems | None = None) -> CaptionManifest | None:
        """Read the videos of a split and their captions; without a test list, that of validation.

        Args:
            split: Which one.
            problems: Where faults go; None = the first is raised.

        Raises:
            AnnotationError: If its files say something that cannot be true.
        """
        source = self.sources[split]
        if source is None:
            return self.manifest("val") if split == "test" else None
        require_folder(self.root)
        problems = problems or Problems()
        rows = of_split(self._parsed(source, problems), split, source)
        if not rows:
            raise AnnotationError(f"{source}: names no video; expected names or captions")
        told = tell(rows, self._known(rows, source, problems), problems)
        return build_manifest(
            told, source=source, root=self.root, rules=self.rules, problems=problems
        )

    def all_rows(self, problems: Problems) -> list[CaptionRow]:
        """Everything that the lists and the files of captions say, all of their splits."""
        named = [*filter(None, self.sources.values()), *self.caption_files]
        return [row for path in dict.fromkeys(named) for row in self._parsed(path, problems)]

    def _known(
        self, rows: list[CaptionRow], source: Path, problems: Problems
    ) -> Mapping[str, list[CaptionRow]]:
        """Captions by video, where the rows of a split are names alone."""
        if all(row.caption is not None for row in rows):
            return {}
        if not self.caption_files and all(row.caption is None for row in rows):
            raise AnnotationError(
                f"{source}: names videos without captions; set data.captions to the file that "
                "holds them, or use a list `video,caption`"
            )
        known: dict[str, list[CaptionRow]] = {}
        for path in self.caption_files:
            for row in self._parsed(path, problems):
                known.setdefault(row.video, []).append(row)
        return known

    def _parsed(self, source: Path, problems: Problems) -> list[CaptionRow]:
        if source not in self._rows:
            self._rows[source] = parse_captions(source, problems)
        return self._rows[source]
