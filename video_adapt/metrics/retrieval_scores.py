"""Scores of all captions against all videos, a few rows at a time and never as one matrix."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from video_adapt.errors import ConfigurationError

# Scores held at once, whatever the number of videos: 4 MB in float32, which stay in a cache while
# they are counted in four ways.
_BLOCK_SCORES = 1_000_000


class PairScores(ABC):
    """How well each of ``Q`` captions fits each of ``V`` videos.

    Args:
        num_captions: ``Q``.
        num_videos: ``V``.
    """

    def __init__(self, num_captions: int, num_videos: int) -> None:
        self.num_captions, self.num_videos = num_captions, num_videos

    @abstractmethod
    def block(self, rows: Tensor) -> Tensor:
        """Scores of some captions against all videos.

        Args:
            rows: The captions, int64 ``[b]``.

        Returns:
            ``[b, V]``, not shared with anything: the caller may write into it.
        """

    def pairs(self, rows: Tensor, videos: Tensor) -> Tensor:
        """Scores ``[b]`` of the captions ``rows`` against one video each, int64 ``[b]``."""
        # Into one tensor: small ones between the blocks would keep the blocks' memory apart.
        own = self.block(rows[:0]).new_empty(len(rows))
        for at in torch.arange(len(rows)).split(self.block_rows):
            block = self.block(rows[at])
            own[at[0] : at[-1] + 1] = block.gather(1, videos[at, None].to(block.device))[:, 0]
        return own

    def blocks(self) -> Iterator[Tensor]:
        """Scores of all captions in order, a few rows at a time."""
        for rows in self._split(torch.arange(self.num_captions)):
            yield self.block(rows)

    @property
    def block_rows(self) -> int:
        """How many captions are compared at once."""
        return max(1, _BLOCK_SCORES // max(1, self.num_videos))

    def _split(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split(self.block_rows)


class MatrixScores(PairScores):
    """Scores that are there as a matrix.

    Args:
        matrix: ``[Q, V]``.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(*matrix.shape)
        self.matrix = matrix

    def block(self, rows: Tensor) -> Tensor:
        """See :meth:`PairScores.block`."""
        return self.matrix[rows.to(self.matrix.device)]


class FeatureScores(PairScores):
    """Dot products, the same bit for bit on every device, in blocks of every size.

    They are summed in float64 and rounded once to float32: equal features have equal scores, so
    that a tie is a tie. Summed in float32 they differ in the last bits by where a row lies in its
    block, and a model that returns the same vector for everything would be ranked by that noise.

    Args:
        text: Features of captions, ``[Q, E]``.
        video: Features of videos, ``[V, E]``, on the same device.
    """

    def __init__(self, text: Tensor, video: Tensor) -> None:
        super().__init__(len(text), len(video))
        if text.shape[1:] != video.shape[1:] or text.ndim != 2:
            raise ConfigurationError(
                f"features of captions {list(text.shape)} and videos {list(video.shape)} have no "
                "dot product: give the method's own similarity"
            )
        self.text, self.video = text, video.double()

    def block(self, rows: Tensor) -> Tensor:
        """See :meth:`PairScores.block`."""
        text = self.text[rows.to(self.text.device)].double()
        return (text @ self.video.T).float()

    def pairs(self, rows: Tensor, videos: Tensor) -> Tensor:
        """See :meth:`PairScores.pairs`."""
        device = self.text.device
        parts = [
            (self.text[few].double() * self.video[of]).sum(dim=1).float()
            for few, of in zip(
                rows.to(device).split(4096), videos.to(device).split(4096), strict=True
            )
        ]
        return torch.cat(parts)


class SimilarityScores(PairScores):
    """Scores of a method that compares more than two vectors.

    Args:
        text: Whatever the method keeps of captions, ``[Q, ...]``.
        video: Whatever it keeps of videos, ``[V, ...]``.
        similarity: ``[b, ...]`` and ``[V, ...]`` in, scores ``[b, V]`` out.
    """

    def __init__(
        self, text: Tensor, video: Tensor, similarity: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__(len(text), len(video))
        self.text, self.video, self.similarity = text, video, similarity

    def block(self, rows: Tensor) -> Tensor:
        """See :meth:`PairScores.block`."""
        return self.similarity(self.text[rows.to(self.text.device)], self.video).clone()


class DualSoftmax(PairScores):
    """Scores times their own softmax: a caption that many like is liked less (DSL).

    It looks at all queries at once, which a search for one sentence cannot: figures made from it
    are not comparable with plain ones.

    Args:
        scores: What is reweighted.
        over: What the softmax runs over: all ``captions`` of a video (what the field does for
            text-to-video) or all ``videos`` of a caption.
        scale: Factor on the scores first; the field uses the model's own inverse temperature.

    Source: Cheng et al., CAMoE, 2021, section 3.3; as defined by CLIP4Clip's successors.
    """

    def __init__(
        self,
        scores: PairScores,
        over: Literal["captions", "videos"] = "captions",
        *,
        scale: float = 1.0,
    ) -> None:
        super().__init__(scores.num_captions, scores.num_videos)
        self.scores, self.over, self.scale = scores, over, scale
        self._total: Tensor | None = None  # log of the sum of exponentials of each video, [V]
        if over == "captions":
            for block in scores.blocks():
                part = (block * scale).logsumexp(dim=0)
                self._total = part if self._total is None else self._total.logaddexp(part)

    def block(self, rows: Tensor) -> Tensor:
        """See :meth:`PairScores.block`."""
        block = self.scores.block(rows) * self.scale
        total = block.logsumexp(dim=1, keepdim=True) if self._total is None else self._total
        return block * (block - total).exp()
