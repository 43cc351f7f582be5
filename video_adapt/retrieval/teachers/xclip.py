"""X-CLIP: sentences and words against videos and frames, every grain with every other.

Source: Ma et al., X-CLIP: End-to-End Multi-grained Contrastive Learning for Video-Text Retrieval,
ACM Multimedia 2022, sections 3.2 and 3.3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError
from video_adapt.retrieval.pooling import masked_softmax
from video_adapt.retrieval.similarity import in_blocks

from .base import Rule
from .clip4clip import CLIP4CLIP_RULES, CLIP4ClipTeacher, Header
from .rows import RowLayout, Rows

_PAIRS_AT_ONCE = 16_384  # bounds the memory of an evaluation: words times frames for every pair


class XCLIP(CLIP4ClipTeacher):
    """Mean of four similarities: video-sentence, video-word, frame-sentence, frame-word.

    All but the first are sums with attention over similarities (AOSM): a sharp softmax, times a
    learned matrix, weights what it was made of. The matrices make words and frames countable:
    every caption has ``words`` tokens and every video ``frames`` frames, padding included, which
    takes part as in the released code.

    Args:
        width: Width ``E`` of the joint space.
        words: Tokens of a caption.
        frames: Frames of a video.
        header: ``meanP`` takes frames as they are for the video's vector, ``seqTransf`` lets them
            see one another before.
        layers: Blocks of ``seqTransf``.
        heads: Attention heads of a block.
        positions: Positions that ``seqTransf`` knows.
        temperature: Of the attention over similarities.
        masked: Whether padded frames are left out of the relevance.
    """

    caption_rows = RowLayout(vectors=("sentence",), sequence="words")

    def __init__(
        self,
        width: int = 512,
        *,
        words: int = 32,
        frames: int = 12,
        header: Header = "seqTransf",
        layers: int = 4,
        heads: int = 8,
        positions: int = 77,
        temperature: float = 0.01,
        masked: bool = True,
    ) -> None:
        super().__init__(
            width, header=header, layers=layers, heads=heads, positions=positions, masked=masked
        )
        self.temperature = temperature
        self.video_sentence = nn.Parameter(torch.eye(width))
        self.frame_word = nn.Parameter(torch.eye(width))
        self.video_words = nn.Parameter(torch.eye(words))
        self.frames_sentence = nn.Parameter(torch.eye(frames))
        self.words_of_frame = nn.Parameter(torch.eye(words))
        self.frames_of_word = nn.Parameter(torch.eye(frames))
        self.frames_of_pair = nn.Parameter(torch.eye(frames))
        self.words_of_pair = nn.Parameter(torch.eye(words))

    @property
    def settings(self) -> dict[str, float]:
        """What it computes depends on beside the weights; part of the key of a cache."""
        return {**super().settings, "temperature": self.temperature}

    def encode_videos(self, tokens: Tensor, mask: Tensor) -> Rows:
        """Vector of each video, and its frames before they saw one another, all normalised.

        Raises:
            ConfigurationError: If the videos have another number of frames.
        """
        if mask.shape[1] != len(self.frames_sentence):
            raise self._misfit("frames", len(self.frames_sentence), mask.shape[1])
        rows = super().encode_videos(tokens, mask)
        return rows | {"frames": F.normalize(tokens[:, :, 0], dim=-1)}

    def encode_captions(self, sentence: Tensor, words: Tensor) -> Rows:
        """Normalised sentence and words.

        Raises:
            ConfigurationError: If the captions have another number of tokens.
        """
        if words.shape[1] != len(self.video_words):
            raise self._misfit("words", len(self.video_words), words.shape[1])
        return super().encode_captions(sentence, words) | {"words": F.normalize(words, dim=-1)}

    def similarity(self, captions: Rows, videos: Rows) -> Tensor:
        """Mean of the four similarities, ``[Q, B]``, eq. 1 to 12."""
        sentence, words = captions["sentence"], captions["words"]
        vector, frames = videos["vector"], videos["frames"]
        video_sentence = sentence @ self.video_sentence @ vector.T  # [Q, B]
        video_words = torch.einsum("qwe,be->qbw", words, vector)
        frames_sentence = torch.einsum("qe,bte->qbt", sentence, frames)
        total = (
            video_sentence
            + self._attend(video_words, self.video_words)
            + self._attend(frames_sentence, self.frames_sentence)
            + self.frame_word_similarity(words, frames)
        )
        return self.scale * total / 4

    def frame_word_similarity(self, words: Tensor, frames: Tensor) -> Tensor:
        """The finest of the four, without temperature, ``[Q, B]``.

        Args:
            words: Normalised, ``[Q, W, E]``.
            frames: Normalised, ``[B, T, E]``.
        """
        return in_blocks(
            lambda some: self._finest(some, frames), words, _PAIRS_AT_ONCE // len(frames)
        )

    def _finest(self, words: Tensor, frames: Tensor) -> Tensor:
        grid = torch.einsum("qwe,bte->qbwt", words @ self.frame_word, frames)
        of_frames = self._attend(grid.transpose(2, 3), self.words_of_frame)  # [Q, B, T]
        of_words = self._attend(grid, self.frames_of_word)  # [Q, B, W]
        frame_side = self._attend(of_frames, self.frames_of_pair)
        word_side = self._attend(of_words, self.words_of_pair)
        return (frame_side + word_side) / 2

    def relevance(self, captions: Rows, own_videos: Rows, shown: Tensor) -> Tensor:
        """Softmax over cosines of the sentence and the frames as they came, ``[Q, T]``."""
        cosines = torch.einsum("qe,qte->qt", captions["sentence"], own_videos["frames"])
        return masked_softmax(cosines, shown)

    def _attend(self, similarities: Tensor, matrix: Tensor) -> Tensor:
        """Sum over the last axis with weights made of the similarities themselves."""
        weights = (similarities / self.temperature).softmax(dim=-1) @ matrix
        return (weights * similarities).sum(dim=-1)

    def _misfit(self, what: str, wanted: int, found: int) -> ConfigurationError:
        return ConfigurationError(
            f"X-CLIP: its matrices are made for {wanted} {what}, the batch has {found}; set "
            f"{what}: {found} to train it, or give the data as many as it was trained with"
        )


_MATRICES = {
    "global_mat_weight": "video_sentence",
    "local_mat_weight": "frame_word",
    "word_logit_weight": "video_words",
    "frame_logit_weight": "frames_sentence",
    "word_mat_weight": "words_of_frame",
    "frame_mat_weight": "frames_of_word",
    "frame_mat_weight2": "frames_of_pair",
    "word_mat_weight2": "words_of_pair",
}
XCLIP_RULES: tuple[Rule, ...] = (
    *CLIP4CLIP_RULES,
    *((theirs, ours, None) for theirs, ours in _MATRICES.items()),
)
