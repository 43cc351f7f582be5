"""The students: what turns the frame features of a CLIP into something a sentence is compared with.

Sources: Luo et al., CLIP4Clip, Neurocomputing 2022 (``meanP``, ``seqTransf``, ``seqLSTM``,
``tightTransf``); Tian et al., TeachCLIP, CVPR 2024 (``afa``).
"""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.backbones.clip_text import check_tower
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import (
    AttentivePooling,
    MeanPooling,
    PooledVideo,
    TemporalLSTM,
    TemporalTransformer,
    TightSimilarity,
    similarity_matrix,
)
from video_adapt.retrieval.teachers import TS2Net

logger = logging.getLogger(__name__)

Kind = Literal["afa", "meanP", "seqTransf", "seqLSTM", "tightTransf"]


class VideoReading(NamedTuple):
    """What a student keeps of videos.

    Attributes:
        feature: What a sentence is compared with, ``[B, ...]``.
        frame_logits: How much each frame matters, before a softmax, ``[B, T]``; None where the
            student weights all the same, so that there is nothing to teach.
    """

    feature: Tensor
    frame_logits: Tensor | None


class Student(nn.Module, ABC):
    """Reads frame features, and compares what it read with sentence vectors."""

    @abstractmethod
    def forward(self, frames: Tensor, mask: Tensor) -> VideoReading:
        """Read videos.

        Args:
            frames: Features of the frames in the joint space, not normalised, ``[B, T, E]``.
            mask: Where a frame is real, bool ``[B, T]``.
        """

    def read_text(self, sentence: Tensor) -> Tensor:
        """What is kept of captions: the sentence's vector ``[Q, E]``, at norm 1, in float32."""
        return F.normalize(sentence.float(), dim=-1)

    @abstractmethod
    def compare(self, text: Tensor, video: Tensor, logit_scale: Tensor) -> Tensor:
        """Score all pairs.

        Args:
            text: What :meth:`read_text` made of the captions, ``[Q, E]``.
            video: ``feature`` of a :class:`VideoReading`, ``[B, ...]``.
            logit_scale: Logarithm of CLIP's temperature, a scalar.

        Returns:
            ``[Q, B]``.
        """


class VectorStudent(Student):
    """One vector a video: frames in the light of one another, then pooled.

    Args:
        temporal: ``(frames, mask) -> frames``; None leaves them as they are.
        pooling: ``(frames, mask) -> PooledVideo``.
    """

    def __init__(self, temporal: nn.Module | None, pooling: nn.Module) -> None:
        super().__init__()
        self.temporal = temporal
        self.pooling = pooling

    def pool(self, frames: Tensor, mask: Tensor) -> PooledVideo:
        """The vector and how it came about; arguments as in :meth:`forward`."""
        seen = frames if self.temporal is None else self.temporal(frames, mask)
        pooled: PooledVideo = self.pooling(seen, mask)
        return pooled

    def forward(self, frames: Tensor, mask: Tensor) -> VideoReading:
        """Read videos; the feature is a vector of norm 1, ``[B, E]``."""
        pooled = self.pool(frames, mask)
        return VideoReading(F.normalize(pooled.vector.float(), dim=-1), pooled.logits)

    def compare(self, text: Tensor, video: Tensor, logit_scale: Tensor) -> Tensor:
        """Cosines times the temperature."""
        return similarity_matrix(text, video, logit_scale)


class TightStudent(Student):
    """Every pair read together: no vector, hence no fast search.

    Args:
        cross: Compares sentences with frames.
    """

    def __init__(self, cross: TightSimilarity) -> None:
        super().__init__()
        self.cross = cross

    def forward(self, frames: Tensor, mask: Tensor) -> VideoReading:
        """Read videos; the feature is the frames and, last, whether they are real [B, T, E + 1]."""
        # [B, T, E + 1]: an evaluation keeps and joins one tensor per batch.
        real = mask.to(frames.dtype).unsqueeze(-1)
        return VideoReading(torch.cat([frames, real], dim=-1), None)

    def read_text(self, sentence: Tensor) -> Tensor:
        """The sentence's vector as it is, ``[Q, E]``."""
        return sentence

    def compare(self, text: Tensor, video: Tensor, logit_scale: Tensor) -> Tensor:
        """Scores of the pairs, which know no temperature."""
        scores: Tensor = self.cross(text, video[..., :-1], video[..., -1] > 0)
        return scores


@dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """Which student, and its sizes.

    Args:
        kind: ``afa`` is TeachCLIP's: temporal transformer and attentive pooling. ``meanP``,
            ``seqTransf``, ``seqLSTM`` and ``tightTransf`` are CLIP4Clip's: no temporal part, a
            transformer, an LSTM, each with mean pooling; and a transformer over every pair.
        layers: Blocks of the transformer.
        heads: Attention heads of a block; None: one per 64 channels.
        temperature: Of the softmax that weights frames (``afa``).
        masked: Whether attentive pooling leaves padding out; the published models do not.
    """

    kind: Kind = "afa"
    layers: int = 4
    heads: int | None = None
    temperature: float = 0.1
    masked: bool = True

    def build(self, width: int, *, positions: int) -> Student:
        """Make the student with random weights.

        Args:
            width: Width ``E`` of the joint space.
            positions: Longest sequence that it shall know.
        """
        heads = self.heads or max(width // 64, 1)
        sizes = {"layers": self.layers, "heads": heads, "positions": positions}
        if self.kind == "tightTransf":
            return TightStudent(TightSimilarity(width, **sizes))
        temporal: nn.Module | None = None
        if self.kind in ("afa", "seqTransf"):
            temporal = TemporalTransformer(width, **sizes)
        elif self.kind == "seqLSTM":
            temporal = TemporalLSTM(width)
        if self.kind != "afa":
            return VectorStudent(temporal, MeanPooling())
        attentive = AttentivePooling(width, temperature=self.temperature, masked=self.masked)
        return VectorStudent(temporal, attentive)


def start_from_text(model: nn.Module, tower: Any) -> None:
    """Copy the first blocks and positions of CLIP's text tower into a transformer over frames.

    A transformer of another width keeps its random weights, which is logged: training then starts
    from far behind.

    Args:
        model: A student or a teacher's head; one without a transformer stays as it is.
        tower: open_clip's ``TextTransformer``.

    Raises:
        ConfigurationError: If the transformer has more blocks than the tower, or the tower is not
            of CLIP's own kind.
    """
    check_tower(tower)
    for part in model.modules():
        if isinstance(part, TemporalTransformer | TightSimilarity | TS2Net):
            _start(part, tower)


def _start(receiver: TemporalTransformer | TightSimilarity | TS2Net, tower: Any) -> None:
    mine, theirs = receiver.transformer.resblocks, tower.transformer.resblocks
    positions = tower.positional_embedding.detach()
    if receiver.positions.embedding_dim != positions.shape[1]:
        logger.warning(
            "the transformer over frames is %d wide, the text tower %d: its blocks start from "
            "random weights",
            receiver.positions.embedding_dim,
            positions.shape[1],
        )
        return
    if len(mine) > len(theirs):
        raise ConfigurationError(
            f"a transformer over frames of {len(mine)} layers starts from the text tower's "
            f"blocks, which are {len(theirs)}; set layers to that or less"
        )
    shared = min(len(positions), receiver.positions.num_embeddings)
    receiver.positions.weight.data[:shared] = positions[:shared]
    for block, source in zip(mine, theirs, strict=False):
        block.load_state_dict(source.state_dict())
