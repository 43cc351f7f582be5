"""CLIP: the towers of open_clip, run block by block on every frame of a clip."""

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from video_adapt.checkpoints import LoadReport, convert_keys, load_strictly
from video_adapt.errors import ConfigurationError, WeightsError

from .base import Backbone, Features, TextFeatures
from .clip_block import matrices_of, run_block
from .clip_config import CLIPConfig, parse_config, read_config
from .clip_text import check_tower, embed_tokens, mark_ends
from .clip_weights import (
    CLIP_KEYS,
    CLIP_UNUSED,
    POSITIONS,
    CLIPWeights,
    find_weights,
    fit_positions,
)
from .ladder import Ladder
from .matrices import BorrowedLinear, Matrix

logger = logging.getLogger(__name__)

Precision = Literal["float32", "float16_weights"]
_PROMPTS_AT_ONCE = 256
_FRAMES_AT_ONCE = 32  # of each video, where frames do not see one another


class CLIP(Backbone):
    """A CLIP with vision-transformer image tower and its text tower.

    Args:
        name: Model name of open_clip, e.g. ``ViT-B-16-quickgelu`` (OpenAI's weights want the
            ``-quickgelu`` models), or the path of a JSON model description in open_clip's format.
        weights: Tag of open_clip's hub such as ``openai``; or a file: open_clip's or OpenAI's, as
            ``.pt``, ``.bin``, ``.safetensors`` or TorchScript; or null for random weights.
        image_size: Side of the square input in pixels; null keeps the model's own. The position
            embedding is resized to it.
        precision: ``float16_weights`` holds matrices and convolutions, their biases and the
            projections in float16 without a copy in float32, and computes in it, as OpenAI's own
            code and all that was trained with it do; norms, embeddings, the temperature and what
            comes out stay float32. For trained towers this is another optimisation, not a faster
            one: :class:`video_adapt.tasks.BertAdam` tells how.

    Raises:
        ConfigurationError: If there is no such model, or it is not of CLIP's own kind.
        WeightsError: If the weights are missing, do not fit, or want the other activation.
    """

    towers: Any  # open_clip.CustomTextCLIP, untyped and imported late

    def __init__(
        self,
        name: str,
        weights: str | None,
        image_size: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.precision = precision
        content = read_config(name)
        stem = name.rpartition("/")[2].removesuffix(".json")
        self._build(parse_config(stem, content, image_size), weights)

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        weights: str | None = None,
        *,
        name: str = "custom",
        precision: Precision = "float32",
    ) -> Self:
        """Build from a description in Python instead of one in a file.

        Args:
            config: open_clip's ``embed_dim``, ``vision_cfg``, ``text_cfg``, ``quick_gelu``.
            weights: As in the constructor; None for random weights.
            name: What to call the model.
            precision: As in the constructor.
        """
        backbone = cls.__new__(cls)
        Backbone.__init__(backbone)
        backbone.precision = precision
        backbone._build(parse_config(name, config, image_size=None), weights)
        return backbone

    def _build(self, config: CLIPConfig, weights: str | None) -> None:
        import open_clip  # takes seconds, so only whoever builds a model pays

        found = find_weights(config, weights) if weights is not None else None
        try:
            # With a lower type open_clip builds norms that compute in float32.
            low = torch.float16 if self.precision == "float16_weights" else None
            self.towers = open_clip.CustomTextCLIP(**config.towers, cast_dtype=low)
        except (TypeError, ValueError, AssertionError) as error:
            raise ConfigurationError(f"{config.name}: bad model description: {error}") from error
        self.name = config.name
        self.pixels = config.pixels
        self.width = self.visual.transformer.width
        self.depth = len(self.blocks)
        self.heads = self.blocks[0].attn.num_heads
        self.patch_size = self.visual.patch_size[0]
        self.embed_dim = config.towers["embed_dim"]
        for block in self.blocks:
            block.run = partial(run_block, block)
        self._start_from(found, weights)
        if low is not None:
            open_clip.model.convert_weights_to_lp(self.towers, low)

    def _start_from(self, found: CLIPWeights | None, origin: str | None) -> None:
        if found is None:
            logger.info("%s: starts from random weights", self.name)
            return
        try:
            self.load_weights(found.state)
        except WeightsError as error:
            raise WeightsError(f"{origin}: {error}") from error
        if found.mean and found.std:
            self.pixels = self.pixels._replace(mean=found.mean, std=found.std)

    def load_weights(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Take over weights under open_clip's or OpenAI's names, strictly.

        Args:
            state: Tensors of both towers and ``logit_scale``.

        Returns:
            The account, which is also logged.

        Raises:
            WeightsError: If anything is missing, left over or of another shape.
        """
        renamed = convert_keys(state, CLIP_KEYS)
        fitted = fit_positions(renamed, self.grid[0])
        resized = [POSITIONS] if fitted.get(POSITIONS) is not renamed.get(POSITIONS) else []
        report = load_strictly(self.towers, fitted, allow_unused=CLIP_UNUSED, converted=resized)
        logger.info("%s: %s", self.name, report.render())
        return report

    @property
    def visual(self) -> Any:
        """The image tower, open_clip's ``VisionTransformer``."""
        return self.towers.visual

    @property
    def text(self) -> Any:
        """The text tower, open_clip's ``TextTransformer``.

        Raises:
            ConfigurationError: If it was dropped.
        """
        if self.towers.text is None:
            raise ConfigurationError(f"{self.name}: drop_text() took the text tower away")
        return self.towers.text

    @property
    def blocks(self) -> Sequence[Any]:
        """The residual blocks of the image tower, first to last."""
        return self.visual.transformer.resblocks

    def stages(self) -> list[tuple[nn.Module, str]]:
        """The blocks of the image tower."""
        return [(block, "run") for block in self.blocks]

    def matrices(self, block: int) -> dict[Matrix, BorrowedLinear]:
        """The matrices of a block of the image tower, by their places."""
        return matrices_of(self.blocks[block])

    @property
    def projection(self) -> list[nn.Parameter]:
        """The map into the image-text space."""
        return [self.visual.proj]

    def last_blocks(self, count: int) -> list[nn.Module]:
        """The last blocks, the final norm and the projection."""
        behind = [self.visual.ln_post, nn.ParameterList(self.projection)]
        return [*self.blocks[self.depth - count :], *behind]

    def forward(
        self,
        video: Tensor,
        *,
        blocks: Sequence[int] = (),
        queries_keys: Sequence[int] = (),
    ) -> Features:
        """Encode every frame on its own.

        Args:
            video: ``[B, T, C, H, W]``, normalised with :attr:`pixels`.
            blocks: Numbers of the blocks whose output is wanted.
            queries_keys: Numbers of the blocks whose attention queries and keys are wanted.

        Raises:
            ConfigurationError: If the video has another size, or a block does not exist.
        """
        self._check(video, {*blocks, *queries_keys})
        clips = video.shape[:2]
        streams: dict[int, Tensor] = {}
        heads: dict[int, tuple[Tensor, Tensor]] = {}
        ladder = Ladder(self, num_frames=clips[1])
        with ladder.trunk():
            tokens = self._embed(video.flatten(0, 1))  # [B*T, N, D]
        for number, block in enumerate(self.blocks):
            with ladder.trunk():
                adapter = self.adapter_inside(number)
                tokens, queries, keys = block.run(
                    adapter, tokens, num_frames=clips[1], grid=self.grid
                )
            ladder.read(number, tokens)
            if number in blocks:
                streams[number] = tokens.unflatten(0, clips)  # [B, T, N, D]
            if number in queries_keys:
                heads[number] = queries.unflatten(0, clips), keys.unflatten(0, clips)
        tokens = ladder.top(tokens).unflatten(0, clips)  # [B, T, N, D]
        class_token = self.final_norm(tokens[:, :, 0])  # [B, T, D]
        embedding = self._outward(class_token @ self.visual.proj)  # [B, T, E]
        return Features(self._outward(class_token), embedding, tokens, streams, heads)

    def sequence(self, video: Tensor) -> Tensor:
        """Class token of every frame after the final norm, of a frozen model some at a time.

        Args:
            video: ``[B, T, C, H, W]``, normalised with :attr:`pixels`; ``T`` may be long.

        Returns:
            ``[B, T, D]``.
        """
        if len(self.adapters) or torch.is_grad_enabled():
            return self(video).class_token
        parts = video.split(_FRAMES_AT_ONCE, dim=1)
        return torch.cat([self(part).class_token for part in parts], dim=1)

    def final_norm(self, tokens: Tensor) -> Tensor:
        """The norm behind the last block, for read-outs that pool before it."""
        return self.visual.ln_post(tokens)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed sentences in the joint space, not normalised ``[K, E]``, without gradient.

        A sentence that is too long for the tower is cut, as in CLIP's training, and a warning is
        logged.

        Raises:
            ConfigurationError: If the text tower was dropped or has another vocabulary.
        """
        return self.encode_tokens(self.tokenize(prompts))

    def tokenize(
        self, captions: Sequence[str], *, length: int | None = None, cut: bool = True
    ) -> Tensor:
        """Sentences as tokens of this tower, int64 ``[K, L]``: start, words, end, zeros.

        A sentence that is too long loses its tail, as in CLIP's training, and a warning is logged.

        Args:
            captions: ``K`` sentences.
            length: ``L``, marks of start and end included; None = as long as the tower can.
            cut: Whether a sentence may lose its tail; else one that is too long is refused.

        Raises:
            ConfigurationError: If the text tower was dropped, has another vocabulary, or cannot
                read sentences of this length; or a sentence is too long and may not be cut.
        """
        context, vocabulary = self.text.context_length, self.text.vocab_size
        tokenizer, length = self._tokenizer, context if length is None else length
        if vocabulary < tokenizer.vocab_size:
            raise ConfigurationError(
                f"{self.name}: its text tower knows {vocabulary} tokens, the tokenizer makes "
                f"{tokenizer.vocab_size}; use encode_tokens, or vocab_size: {tokenizer.vocab_size}"
            )
        if not 2 <= length <= context:
            raise ConfigurationError(
                f"{self.name}: sentences of {length} tokens, its text tower reads 2 to {context}"
            )
        words = [tokenizer.encode(text) for text in captions]
        # Two places go to the marks of start and end.
        long = [text for text, own in zip(captions, words, strict=True) if len(own) > length - 2]
        if long and not cut:
            raise ConfigurationError(
                f"{len(long)} of {len(captions)} prompts are longer than the {length} tokens that "
                f"{self.name} reads; shorten the description of the class, first: {long[0]!r}"
            )
        if long:
            logger.warning(
                "%d of %d prompts are longer than %d tokens and were cut, first: %r",
                len(long),
                len(captions),
                length,
                long[0],
            )
        return mark_ends(words, length, tokenizer.sot_token_id, tokenizer.eot_token_id)

    @torch.no_grad()
    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Embed sentences that are tokens already, without gradient.

        Args:
            tokens: int64 ``[K, context]``: start, words, end (the largest id), zeros.

        Returns:
            Embeddings in the joint space, not normalised, ``[K, E]``.
        """
        chunks = tokens.to(self.device).split(_PROMPTS_AT_ONCE)
        return torch.cat([self._outward(self.towers.encode_text(chunk)) for chunk in chunks])

    def embed_text(self, tokens: Tensor) -> TextFeatures:
        """Embed tokenised sentences; gradients flow wherever the text tower trains.

        Args:
            tokens: int64 ``[Q, L]``, ``L`` at most the tower's context: start, words, end (the
                largest id), zeros.

        Raises:
            ConfigurationError: If the text tower was dropped, is not of CLIP's own kind, or the
                sentences are too long for it.
        """
        return TextFeatures(*map(self._outward, embed_tokens(self.text, tokens)))

    def text_parts(self, *, blocks_only: bool) -> list[nn.Module]:
        """Modules of the text tower that train, and the temperature.

        Args:
            blocks_only: Leave out the embeddings of tokens and positions.

        Raises:
            ConfigurationError: If the text tower was dropped, or is not of CLIP's own kind.
        """
        text = self.text
        check_tower(text)
        behind = nn.ParameterList([text.text_projection, self.logit_scale])
        blocks = [text.transformer, text.ln_final, behind]
        return blocks if blocks_only else [text, behind]

    def drop_text(self) -> None:
        """Free the text tower. Checkpoints then belong to a backbone without it."""
        self.towers.text = None

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of the temperature that multiplies cosine similarities, a scalar."""
        scale: Tensor = self.towers.logit_scale
        return scale

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        return open_clip.SimpleTokenizer(context_length=self.towers.context_length)

    def _embed(self, frames: Tensor) -> Tensor:
        patches = (
            self.visual.conv1(self._inward(frames)).flatten(2).transpose(1, 2)
        )  # [B*T, N-1, D]
        start = self.visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([start, patches], dim=1)  # [B*T, N, D]
        return self.visual.ln_pre(tokens + self.visual.positional_embedding.to(tokens.dtype))

    def _inward(self, values: Tensor) -> Tensor:
        return values if self.precision == "float32" else values.half()

    def _outward(self, values: Tensor) -> Tensor:
        return values if self.precision == "float32" else values.float()

    def _check(self, video: Tensor, wanted: set[int]) -> None:
        height, width = (side * self.patch_size for side in self.grid)
        if video.ndim != 5 or video.shape[2:] != (3, height, width):
            raise ConfigurationError(
                f"{self.name} wants video [B, T, 3, {height}, {width}], got {list(video.shape)}; "
                "set the transform's size or the backbone's image_size"
            )
        if unknown := wanted - {*range(self.depth)}:
            raise ConfigurationError(
                f"{self.name} has blocks 0 to {self.depth - 1}, not {sorted(unknown)}"
            )
