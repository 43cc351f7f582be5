"""CLIP4Clip as a teacher: one vector per video, and what the sentence says to each frame.

Source: Luo et al., CLIP4Clip, Neurocomputing 2022, section 3.3.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.retrieval.pooling import AttentivePooling, MeanPooling, masked_softmax
from video_adapt.retrieval.temporal import ResidualBlock, TemporalLSTM, TemporalTransformer

from .base import FeatureTeacher, Rule
from .rows import RowLayout, Rows

Header = Literal["meanP", "seqTransf", "seqLSTM"]


class CLIP4ClipTeacher(FeatureTeacher):
    """Cosine of the sentence and the mean of the frames, or of TeachCLIP's attentive pooling.

    Args:
        width: Width ``E`` of the joint space.
        header: ``meanP`` takes frames as they are; ``seqTransf`` and ``seqLSTM`` let them see one
            another before.
        layers: Blocks of ``seqTransf``.
        heads: Attention heads of a block.
        positions: Positions that ``seqTransf`` knows.
        attentive: Whether frames are pooled with attention (AFA) in place of a mean: a student of
            TeachCLIP that teaches.
        masked: Whether padded frames are left out of the relevance, and of attentive pooling.
    """

    temporal: TemporalTransformer | TemporalLSTM | None
    pooling: MeanPooling | AttentivePooling
    video_rows = RowLayout(vectors=("vector",), sequence="frames", flags=("mask",))

    def __init__(
        self,
        width: int = 512,
        *,
        header: Header = "seqTransf",
        layers: int = 4,
        heads: int = 8,
        positions: int = 77,
        attentive: bool = False,
        masked: bool = True,
    ) -> None:
        super().__init__(width, masked=masked)
        self.temporal = None
        if header == "seqTransf":
            self.temporal = TemporalTransformer(
                width, layers=layers, heads=heads, positions=positions
            )
        elif header == "seqLSTM":
            self.temporal = TemporalLSTM(width)
        self.pooling = AttentivePooling(width, masked=masked) if attentive else MeanPooling()

    @property
    def settings(self) -> dict[str, float]:
        """What it computes depends on beside the weights; part of the key of a cache."""
        return vector_settings(self.temporal, self.pooling)

    def encode_videos(self, tokens: Tensor, mask: Tensor) -> Rows:
        """Vector of each video and its frames in the light of one another, all normalised."""
        frames = tokens[:, :, 0]
        if self.temporal is not None:
            frames = self.temporal(frames, mask)
        vector: Tensor = self.pooling(frames, mask).vector
        return {
            "vector": F.normalize(vector, dim=-1),
            "frames": F.normalize(frames, dim=-1),
            "mask": mask,
        }

    def encode_captions(self, sentence: Tensor, words: Tensor) -> Rows:
        """The normalised sentence."""
        return {"sentence": F.normalize(sentence, dim=-1)}

    def similarity(self, captions: Rows, videos: Rows) -> Tensor:
        """Cosines times temperature, ``[Q, B]``."""
        return self.scale * captions["sentence"] @ videos["vector"].T

    def relevance(self, captions: Rows, own_videos: Rows, shown: Tensor) -> Tensor:
        """Softmax over cosines of sentence and frames, ``[Q, T]``; as TS2-Net does it."""
        cosines = torch.einsum("qe,qte->qt", captions["sentence"], own_videos["frames"])
        return masked_softmax(cosines, shown)


def vector_settings(temporal: nn.Module | None, pooling: nn.Module) -> dict[str, float]:
    """What a vector of a video depends on beside weights, of a teacher and of a student alike.

    Args:
        temporal: What lets frames see one another.
        pooling: What makes one vector of them.
    """
    found: dict[str, float] = {}
    if isinstance(temporal, TemporalTransformer):
        block = temporal.transformer.resblocks[0]
        assert isinstance(block, ResidualBlock)
        found["heads"] = block.attn.num_heads
    if isinstance(pooling, AttentivePooling):
        found |= {"attentive": True, "masked": pooling.masked}
        found["pooling_temperature"] = pooling.temperature
    return found


CLIP4CLIP_RULES: tuple[Rule, ...] = (
    (r"clip\.logit_scale", "logit_scale", None),
    (r"frame_position_embeddings\.weight", "temporal.positions.weight", None),
    (r"transformerClip\.(.+)", r"temporal.transformer.\1", None),
    (r"lstm_visual\.(.+)", r"temporal.lstm.\1", None),
    (r"frameLinear\.(.+)", r"pooling.hidden.\1", None),
    (r"frameLinear2\.(.+)", r"pooling.score.\1", None),
)
