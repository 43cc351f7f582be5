"""X-Pool: the sentence itself decides how the frames are pooled.

Source: Gorti et al., X-Pool: Cross-Modal Language-Video Attention for Text-Video Retrieval, CVPR
2022, section 4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError
from video_adapt.retrieval.pooling import masked_softmax
from video_adapt.retrieval.similarity import in_blocks

from .base import FeatureTeacher, Rule
from .rows import RowLayout, Rows

_PAIRS_AT_ONCE = 65_536  # bounds the memory of an evaluation: a pooled vector for every pair


class XPool(FeatureTeacher):
    """Cross attention from each sentence to the frames of each video.

    Padded frames take part in the pooling, as in the released code.

    Args:
        width: Width ``E`` of the joint space.
        heads: Attention heads; the paper has one.
        dropout: Probability of dropping a number of the residual branch, in training.
        masked: Whether padded frames are left out of the relevance.

    Raises:
        ConfigurationError: If the heads do not divide the width.
    """

    video_rows = RowLayout(sequence="frames", flags=("mask",))

    def __init__(
        self, width: int = 512, *, heads: int = 1, dropout: float = 0.3, masked: bool = True
    ) -> None:
        super().__init__(width, masked=masked)
        if width % heads:
            raise ConfigurationError(
                f"X-Pool: {heads} attention heads do not divide a width of {width}; choose another "
                "number"
            )
        self.heads = heads
        self.input_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.branch = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output_norm = nn.LayerNorm(width)
        for linear in (self.query, self.key, self.value, self.out, self.branch):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)

    @property
    def settings(self) -> dict[str, float]:
        """What it computes depends on beside the weights; part of the key of a cache."""
        return {"heads": self.heads}

    def encode_videos(self, tokens: Tensor, mask: Tensor) -> Rows:
        """The frames as they came."""
        return {"frames": tokens[:, :, 0], "mask": mask}

    def encode_captions(self, sentence: Tensor, words: Tensor) -> Rows:
        """The sentence as it came."""
        return {"sentence": sentence}

    def similarity(self, captions: Rows, videos: Rows) -> Tensor:
        """Cosine of each sentence and the video pooled for it, times temperature, ``[Q, B]``."""
        frames = videos["frames"]
        return in_blocks(
            lambda some: self.scale * self.cosines(some, frames),
            captions["sentence"],
            _PAIRS_AT_ONCE // len(frames),
        )

    def cosines(self, sentence: Tensor, frames: Tensor) -> Tensor:
        """Cosine of each sentence and each video pooled for it.

        Args:
            sentence: ``[Q, E]``.
            frames: ``[B, T, E]``.

        Returns:
            ``[Q, B]``.
        """
        pooled = F.normalize(self.pool(sentence, frames), dim=-1)
        return torch.einsum("qe,bqe->qb", F.normalize(sentence, dim=-1), pooled)

    def pool(self, sentence: Tensor, frames: Tensor) -> Tensor:
        """Pool every video for every sentence, eq. 3 to 7.

        Args:
            sentence: ``[Q, E]``.
            frames: ``[B, T, E]``.

        Returns:
            ``[B, Q, E]``.
        """
        queries, keys = self._split(sentence, self.query), self._split(frames, self.key)
        values = self._split(frames, self.value)  # [B, T, heads, E / heads]
        logits = torch.einsum("qhd,bthd->bhqt", queries, keys) / queries.shape[-1] ** 0.5
        seen = torch.einsum("bhqt,bthd->bqhd", logits.softmax(dim=-1), values)
        attended = self.attention_norm(self.out(seen.flatten(2)))
        return self.output_norm(attended + self.dropout(self.branch(attended)))

    def relevance(self, captions: Rows, own_videos: Rows, shown: Tensor) -> Tensor:
        """The attention of each sentence to its own frames, mean over heads, ``[Q, T]``."""
        queries = self._split(captions["sentence"], self.query)
        keys = self._split(own_videos["frames"], self.key)
        logits = torch.einsum("qhd,qthd->qht", queries, keys) / queries.shape[-1] ** 0.5
        return masked_softmax(logits, shown[:, None]).mean(dim=1)

    def _split(self, features: Tensor, projection: nn.Linear) -> Tensor:
        projected: Tensor = projection(self.input_norm(features))
        return projected.unflatten(-1, (self.heads, -1))


_OURS = {
    "cross_attn.q_proj": "query",
    "cross_attn.k_proj": "key",
    "cross_attn.v_proj": "value",
    "cross_attn.out_proj": "out",
    "linear_proj": "branch",
    "layer_norm1": "input_norm",
    "layer_norm2": "attention_norm",
    "layer_norm3": "output_norm",
}
XPOOL_RULES: tuple[Rule, ...] = (
    (r"clip\.logit_scale", "logit_scale", None),
    *(
        (rf"pool_frames\.{theirs.replace('.', '[.]')}\.(.+)", rf"{ours}.\1", None)
        for theirs, ours in _OURS.items()
    ),
)
