"""TS2-Net: a few selected patches beside every class token, compared frame by frame.

Source: Liu et al., TS2-Net: Token Shift and Selection Transformer for Text-Video Retrieval,
ECCV 2022. Its token shift is an adapter of the image tower, ``adapters.TokenShift``; the release
that TeachCLIP was taught with never installs it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError
from video_adapt.retrieval.pooling import masked_softmax
from video_adapt.retrieval.temporal import Transformer

from .base import FeatureTeacher, Rule
from .rows import RowLayout, Rows
from .selection import TokenSelector


class TS2Net(FeatureTeacher):
    """Token selection, temporal transformer, and a weighted mean over the frames' cosines.

    Args:
        width: Width ``E`` of the joint space.
        selected: Tokens that stand beside a frame's class token.
        samples: Disturbances that the selection averages over.
        sigma: Size of a disturbance.
        seed: Of the disturbances when it teaches.
        layers: Blocks of the temporal transformer.
        heads: Attention heads of a block.
        positions: Positions that it knows; a longer sequence starts over, as in the released code.
        sharpness: Factor in the softmax that weights the frames.
        tiled_mask: Whether the frame mask is laid out as in the released code, which repeats it
            whole, although tokens are sorted by frame: of padded videos it hides other frames.
        masked: Whether padded frames are left out of the relevance.
    """

    reads_patches = True
    video_rows = RowLayout(sequence="frames", flags=("mask", "counted"))

    def __init__(
        self,
        width: int = 512,
        *,
        selected: int = 3,
        samples: int = 500,
        sigma: float = 0.05,
        seed: int = 0,
        layers: int = 4,
        heads: int = 8,
        positions: int = 77,
        sharpness: float = 4.0,
        tiled_mask: bool = False,
        masked: bool = True,
    ) -> None:
        super().__init__(width, masked=masked)
        self.selector = TokenSelector(width, k=selected, samples=samples, sigma=sigma, seed=seed)
        self.positions = nn.Embedding(positions, width)
        nn.init.normal_(self.positions.weight, std=0.01)
        self.transformer = Transformer(width, layers=layers, heads=heads)
        self.sharpness = sharpness
        self.tiled_mask = tiled_mask
        self.heads = heads

    @property
    def settings(self) -> dict[str, float]:
        """What it computes depends on beside the weights; part of the key of a cache."""
        selector = self.selector
        return {
            "heads": self.heads,
            "selected": selector.k,
            "samples": selector.samples,
            "sigma": selector.sigma,
            "seed": selector.seed,
            "tiled_mask": self.tiled_mask,
            "sharpness": self.sharpness,
        }

    def encode_videos(self, tokens: Tensor, mask: Tensor, noise: Tensor | None = None) -> Rows:
        """Normalised class tokens in the light of all selected tokens.

        Args:
            tokens: ``[B, T, N, E]``.
            mask: Where a frame is real, bool ``[B, T]``.
            noise: ``[B*T, samples, N - 1]`` to use instead of one that is drawn.

        Raises:
            ConfigurationError: If frames have fewer patches than shall be selected.
        """
        if tokens.shape[2] <= self.selector.k:
            raise ConfigurationError(
                f"TS2-Net selects {self.selector.k} of {tokens.shape[2] - 1} patches of a frame; "
                "give it a backbone with smaller patches, or select fewer"
            )
        chosen = self.selector(tokens.flatten(0, 1), noise).unflatten(0, mask.shape)
        step = chosen.shape[2]
        keys = self._spread(mask, step)
        context = self.contextualise(chosen.flatten(1, 2), keys)[:, ::step]  # [B, T, E]
        return {"frames": F.normalize(context, dim=-1), "mask": mask, "counted": keys[:, ::step]}

    def contextualise(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Let selected tokens see those that ``keys`` marks: ``[B, S, E]``, bool ``[B, S]``."""
        place = torch.arange(tokens.shape[1], device=tokens.device) % self.positions.num_embeddings
        return tokens + self.transformer(tokens + self.positions(place), keys)

    def encode_captions(self, sentence: Tensor, words: Tensor) -> Rows:
        """The normalised sentence."""
        return {"sentence": F.normalize(sentence, dim=-1)}

    def similarity(self, captions: Rows, videos: Rows) -> Tensor:
        """Cosines of the frames, weighted by a softmax over themselves, ``[Q, B]``."""
        counted = videos["counted"]
        cosines = torch.einsum("qe,bte->qbt", captions["sentence"], videos["frames"])
        cosines = cosines * counted
        weights = masked_softmax(self.sharpness * F.normalize(cosines, dim=-1), counted)
        return self.scale * (weights * cosines).sum(dim=-1)

    def relevance(self, captions: Rows, own_videos: Rows, shown: Tensor) -> Tensor:
        """Softmax over cosines of sentence and frames, ``[Q, T]``."""
        cosines = torch.einsum("qe,qte->qt", captions["sentence"], own_videos["frames"])
        return masked_softmax(cosines, shown)

    def _spread(self, mask: Tensor, step: int) -> Tensor:
        """From frames to their tokens: bool ``[B, T]`` to ``[B, T * step]``."""
        return mask.repeat(1, step) if self.tiled_mask else mask.repeat_interleave(step, dim=1)


_PREDICTOR = r"visual_token_selector\.score_predictor\."
TS2NET_RULES: tuple[Rule, ...] = (
    (r"clip\.logit_scale", "logit_scale", None),
    (r"frame_position_embeddings\.weight", "positions.weight", None),
    (r"transformerClip\.(.+)", r"transformer.\1", None),
    (_PREDICTOR + r"in_conv\.0\.(.+)", r"selector.norm.\1", None),
    (_PREDICTOR + r"in_conv\.1\.(.+)", r"selector.hidden.\1", None),
    (_PREDICTOR + r"out_conv\.0\.(.+)", r"selector.mix.\1", None),
    (_PREDICTOR + r"out_conv\.2\.(.+)", r"selector.score.\1", None),
)
# Parts of the published model that compute nothing.
TS2NET_UNUSED = (r"visual_prompt_encoder\..+", r"text_token_selector\..+")
