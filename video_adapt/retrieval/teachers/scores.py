"""A file of scores as a teacher: whatever model made them, here it is only read."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from video_adapt.errors import AnnotationError
from video_adapt.retrieval.pooling import masked_softmax

from .base import Teacher
from .rows import Rows


class ScoreFile(Teacher):
    """Looks scores up by the numbers of captions and videos, ``caption_id`` and ``video_id``.

    The file stays on the disk, mapped into memory: only what a batch asks for is read. It is no
    weight, so no checkpoint holds it.

    Args:
        path: A safetensors file with ``similarity`` ``[captions, videos]``, in the order of the
            training manifest, and, if the fine loss shall be taught, ``relevance`` of the frames
            of each caption's own video ``[captions, T]``, not negative.
        scale: What the scores are multiplied with before they teach: 1 if they contain their
            temperature, about 100 if they are cosines.
        masked: Whether padded frames are left out of the relevance.

    Raises:
        AnnotationError: If the file is missing, damaged, or holds other things.
    """

    def __init__(self, path: str | Path, *, scale: float = 1.0, masked: bool = True) -> None:
        super().__init__(masked=masked)
        self.path = Path(path)
        self.scale = scale
        scores = _read(self.path)
        self._similarity = scores["similarity"]
        self._relevance = scores.get("relevance")

    def similarity(self, captions: Rows, videos: Rows) -> Tensor:
        """The scores of the captions against the videos, ``[Q, B]``.

        Raises:
            AnnotationError: If the file lacks a caption or a video, or a score is not finite.
        """
        rows = self._numbers("caption", captions["caption_id"], self._similarity.shape[0])
        columns = self._numbers("video", videos["video_id"], self._similarity.shape[1])
        found = self._similarity[rows[:, None], columns]
        return self.scale * self._finite(found, rows).to(videos["mask"].device)

    def relevance(self, captions: Rows, own_videos: Rows, shown: Tensor) -> Tensor | None:
        """The file's relevance, shared among the frames shown, ``[Q, T]``; None if it has none.

        Raises:
            AnnotationError: If it is of other numbers of frames, or not finite.
        """
        if self._relevance is None:
            return None
        if self._relevance.shape[1] != shown.shape[1]:
            raise AnnotationError(
                f"{self.path}: relevance of {self._relevance.shape[1]} frames, the batch has "
                f"{shown.shape[1]}; sample as many frames as the scores were made with"
            )
        rows = self._numbers("caption", captions["caption_id"], len(self._relevance))
        shares = self._finite(self._relevance[rows], rows).to(shown.device)
        # A softmax of logarithms divides by the sum, also where all shares are 0.
        return masked_softmax(shares.clamp(min=torch.finfo(torch.float32).tiny).log(), shown)

    def _numbers(self, what: str, numbers: Tensor, count: int) -> Tensor:
        numbers = numbers.cpu()
        if outside := numbers[(numbers < 0) | (numbers >= count)].tolist():
            raise AnnotationError(
                f"{self.path}: has scores of {count} {what}s, the batch holds number {outside[0]}; "
                "make the scores with the manifest of this training"
            )
        return numbers

    def _finite(self, scores: Tensor, rows: Tensor) -> Tensor:
        scores = scores.float()
        broken = rows[~scores.isfinite().all(dim=1)].tolist()
        if broken:
            raise AnnotationError(
                f"{self.path}: a score of caption {broken[0]} is not finite; write it anew"
            )
        return scores


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file of scores; check the path")
    try:
        scores = load_file(path)
    except (OSError, SafetensorError) as error:
        raise AnnotationError(
            f"{path}: not a whole safetensors file ({error}); write it anew"
        ) from error
    similarity, relevance = scores.get("similarity"), scores.get("relevance")
    if similarity is None or similarity.ndim != 2:
        raise AnnotationError(
            f"{path}: holds {', '.join(sorted(scores)) or 'nothing'}; it must hold `similarity` "
            "[captions, videos]"
        )
    if relevance is not None and (relevance.ndim != 2 or len(relevance) != len(similarity)):
        raise AnnotationError(
            f"{path}: relevance {list(relevance.shape)} does not go with similarity "
            f"{list(similarity.shape)}; it must be [captions, frames]"
        )
    return scores
