"""What every teacher of retrieval is to a student: a matrix of similarities and a look at frames.

A teacher works in two steps. What it says of one video, or of one caption, alone is a set of
*rows*: tensors by name, one entry of the first axis per video or caption. Rows can be gathered
across processes, or stored (:mod:`video_adapt.retrieval.cache`) and read back in any order. Only
the second step, which compares rows, depends on the batch; it is cheap.

Source: Tian et al., TeachCLIP: Multi-grained Teaching for Efficient Text-to-Video Retrieval,
CVPR 2024, section 3.3.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from video_adapt.retrieval.similarity import MAX_LOGIT_SCALE, temperature

from .rows import RowLayout, Rows

# A regular expression of a whole published name, ours for it, and what to do to the tensor;
# ``KeyRule(*rule)`` of ``video_adapt.checkpoints`` takes it as it is.
Rule = tuple[str, str, Callable[[Tensor], Tensor] | None]


class Teaching(NamedTuple):
    """What a student is taught with.

    Attributes:
        similarity: Captions against videos, times the teacher's own temperature, ``[Q, B]``.
        relevance: How much of its own video each caption is about, frame by frame, ``[Q, T]``;
            rows sum to 1. None from a teacher that does not look at frames.
    """

    similarity: Tensor
    relevance: Tensor | None


class Teacher(nn.Module, ABC):
    """Compares captions with videos, given as rows.

    Args:
        masked: Whether padded frames are left out of the relevance. The released code gives them
            a share, which a student that leaves them out cannot imitate.
    """

    def __init__(self, *, masked: bool = True) -> None:
        super().__init__()
        self.masked = masked

    @abstractmethod
    def similarity(self, captions: Rows, videos: Rows) -> Tensor:
        """Compare all captions with all videos, ``[Q, B]``, temperature included."""

    @abstractmethod
    def relevance(self, captions: Rows, own_videos: Rows, shown: Tensor) -> Tensor | None:
        """Tell how much every caption is about each frame of its own video.

        Args:
            captions: Rows of ``Q`` captions.
            own_videos: Rows of the ``Q`` videos that they belong to.
            shown: Frames that may have a share, bool ``[Q, T]``.

        Returns:
            ``[Q, T]``, rows sum to 1; None if this teacher does not look at frames.
        """

    def compare(self, captions: Rows, videos: Rows) -> Tensor:
        """:meth:`similarity` in float32, whatever the precision around it."""
        captions, videos = _full_precision(captions), _full_precision(videos)
        with torch.autocast(videos["mask"].device.type, enabled=False):
            return self.similarity(captions, videos)

    def forward(self, captions: Rows, videos: Rows, caption_video: Tensor) -> Teaching:
        """Teach one batch, in float32.

        Args:
            captions: Rows of ``Q`` captions.
            videos: Rows of ``B`` videos; ``mask``, bool ``[B, T]``, tells the real frames.
            caption_video: Place in ``videos`` of the video of every caption, int64 ``[Q]``.
        """
        captions, videos = _full_precision(captions), _full_precision(videos)
        with torch.autocast(caption_video.device.type, enabled=False):
            own = {name: rows[caption_video] for name, rows in videos.items()}
            shown = own["mask"] if self.masked else torch.ones_like(own["mask"])
            relevance = self.relevance(captions, own, shown)
        return Teaching(self.compare(captions, videos), relevance)


class FeatureTeacher(Teacher):
    """A teacher that is a head behind the towers of a CLIP.

    The towers are given from outside: the head reads their outputs only, so that rows from a cache
    teach without them.

    Args:
        width: Width ``E`` of the joint space.
        masked: Whether padded frames are left out of the relevance.

    Attributes:
        reads_patches: Whether it reads more of a frame than the class token.
        video_rows: What :meth:`encode_videos` says, so that it can be kept as one tensor.
        caption_rows: The same of :meth:`encode_captions`.
    """

    reads_patches = False
    video_rows: ClassVar[RowLayout]
    caption_rows: ClassVar[RowLayout] = RowLayout(vectors=("sentence",))

    def __init__(self, width: int, *, masked: bool = True) -> None:
        super().__init__(masked=masked)
        self.width = width
        self.logit_scale = nn.Parameter(torch.tensor(MAX_LOGIT_SCALE))

    @property
    def settings(self) -> dict[str, float]:
        """What it computes depends on beside the weights; part of the key of a cache."""
        return {}

    @abstractmethod
    def encode_videos(self, tokens: Tensor, mask: Tensor) -> Rows:
        """Say of each video what does not depend on the others.

        Args:
            tokens: Tokens of every frame after the final norm and in the joint space, not
                normalised, ``[B, T, N, E]``: class token first; ``N`` may be 1 unless
                :attr:`reads_patches`.
            mask: Where a frame is real, bool ``[B, T]``.
        """

    @abstractmethod
    def encode_captions(self, sentence: Tensor, words: Tensor) -> Rows:
        """Say of each caption what does not depend on the others.

        Args:
            sentence: Embeddings in the joint space, not normalised, ``[Q, E]``.
            words: All tokens in the joint space, not normalised, ``[Q, W, E]``, padding included.
        """

    @property
    def scale(self) -> Tensor:
        """What multiplies cosines, at most 100."""
        return temperature(self.logit_scale)


def _full_precision(rows: Rows) -> Rows:
    return {name: x.float() if x.is_floating_point() else x for name, x in rows.items()}
