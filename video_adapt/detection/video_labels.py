"""Classes from outside: scores of whole videos give class-agnostic segments their labels."""

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from video_adapt.batches import SegmentPredictions
from video_adapt.errors import AnnotationError, ConfigurationError

Lookup = Callable[[str], Sequence[float] | None]


@dataclass(frozen=True, kw_only=True)
class VideoLabels:
    """Gives every segment of a video the best classes of the whole video, as a file says them.

    A segment is repeated for each of these classes, with the score ``segment * class`` or its
    square root. Published settings: CUHK and UntrimmedNet take two classes; InternVideo takes the
    square root; HACS takes the softmax with ``weight=2``, whose products may exceed 1.

    Args:
        path: ``.json`` with ``results`` (scores by video, where the name may lack its ``v_``) and
            ``class`` (names of the scores); or the ``.npy`` matrix of UntrimmedNet, whose row for
            a video is the last four digits of the video's name minus one.
        classes: Names of the columns of a ``.npy`` matrix, one per line, with or without their
            number before them: UCF-101's list for UntrimmedNet.
        top_k: Number of classes that each video gets.
        softmax: The file holds logits; take their softmax over all of its classes first.
        weight: Factor on the scores of the classes.
        square_root: Take the root of the product of both scores.
    """

    path: Path
    classes: Path | None = None
    top_k: int = 2
    softmax: bool = False
    weight: float = 1.0
    square_root: bool = False

    def relabel(
        self,
        predictions: SegmentPredictions,
        video_names: Sequence[str],
        class_names: Sequence[str],
    ) -> SegmentPredictions:
        """Replace the single class of a detector by the classes of each video.

        Args:
            predictions: Detections of class 0, on the CPU.
            video_names: Name of every video, by id.
            class_names: Classes of the data; the file may know more.

        Raises:
            AnnotationError: If the file is unreadable, lacks a class or a video, or has a score
                below 0.
            ConfigurationError: If the detector tells classes apart itself.
        """
        if predictions.labels.any():
            raise ConfigurationError(
                f"video_labels ({self.path}) replace the classes of a detector of one class, this "
                "one tells classes apart; remove video_labels or train it without classes"
            )
        video_id, video = predictions.video_id.unique(return_inverse=True)
        names = [video_names[i] for i in video_id.tolist()]
        ranked = self._class_scores(names, class_names).sort(descending=True, stable=True)
        top_k = min(self.top_k, len(class_names))
        scores = predictions.scores[:, None] * ranked.values[video, :top_k]  # [M, top_k]
        rows = torch.arange(len(video)).repeat_interleave(top_k)
        return predictions._replace(
            video_id=predictions.video_id[rows],
            window=predictions.window[rows],
            segments=predictions.segments[rows],
            scores=(scores.sqrt() if self.square_root else scores).flatten(),
            labels=ranked.indices[video, :top_k].flatten(),
        )

    def _class_scores(self, videos: Sequence[str], class_names: Sequence[str]) -> Tensor:
        """Scores of each video for the classes of the data, float32 ``[V, K]``."""
        names, lookup = self._read()
        columns = torch.tensor([self._column(name, names) for name in class_names])
        rows = torch.tensor([self._row(v, lookup, len(names)) for v in videos])
        rows = rows.float().reshape(len(videos), len(names))
        scores = self.weight * (rows.softmax(1) if self.softmax else rows)
        if not (good := (scores >= 0).all(1)).all():
            video = videos[int(good.int().argmin())]
            raise AnnotationError(
                f"{self.path}: video {video!r} has a score below 0 or not a number; set "
                "video_labels.softmax=true if the file holds logits"
            )
        return scores[:, columns]

    def _column(self, name: str, names: Sequence[str]) -> int:
        if name in names:
            return names.index(name)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0)
        raise AnnotationError(
            f"{self.classes or self.path}: lacks the class {name!r} of the data (nearest: "
            f"{near[0] if near else 'none'!r}); spell the classes as the data does"
        )

    def _row(self, video: str, lookup: Lookup, width: int) -> Sequence[float]:
        row = lookup(video)
        if row is None:
            raise AnnotationError(
                f"{self.path}: has no scores for the video {video!r}; add them, or leave the video "
                "out of the data"
            )
        if len(row) != width or not all(isinstance(score, float | int) for score in row):
            raise AnnotationError(
                f"{self.path}: video {video!r} has {len(row)} scores for {width} classes, or some "
                "that are no numbers; mend the list of classes or the scores"
            )
        return row

    def _read(self) -> tuple[list[str], Lookup]:
        """Names of the file's classes, and what finds the scores of a video by its name."""
        try:
            if self.path.suffix == ".npy":
                return self._read_matrix()
            return _read_json(self.path)
        except OSError as error:
            raise AnnotationError(
                f"{error.filename}: cannot read the video-level scores ({error.strerror}); check "
                "video_labels"
            ) from error
        except (ValueError, EOFError) as error:
            raise AnnotationError(
                f"{self.path}: not a file of video-level scores ({error}); expected JSON with "
                "'results' and 'class', or a .npy matrix"
            ) from error

    def _read_matrix(self) -> tuple[list[str], Lookup]:
        if self.classes is None:
            raise ConfigurationError(
                f"{self.path} does not name its columns; set video_labels.classes to their list"
            )
        text = self.classes.read_text(encoding="utf-8")
        lines = [line.strip().split(maxsplit=1) for line in text.splitlines() if line.strip()]
        numbered = all(line[0] == str(number) for number, line in enumerate(lines, 1))
        names = [line[-1] if numbered else " ".join(line) for line in lines]
        matrix: np.ndarray[Any, Any] = np.load(self.path, allow_pickle=False)
        if matrix.ndim != 2:
            raise ValueError(f"its shape is {list(matrix.shape)}, not [videos, classes]")

        def lookup(video: str) -> Sequence[float] | None:
            number = video[-4:]
            known = number.isdecimal() and 1 <= int(number) <= len(matrix)
            return matrix[int(number) - 1].tolist() if known else None

        return names, lookup


def _read_json(path: Path) -> tuple[list[str], Lookup]:
    found: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    results, names = (found.get(key) for key in ("results", "class"))
    if not isinstance(results, dict) or not isinstance(names, list):
        raise ValueError("'results' is no object or 'class' is no list")
    return [str(n) for n in names], lambda v: results.get(v, results.get(v.removeprefix("v_")))
