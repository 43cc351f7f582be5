"""The one interface behind which every frozen foundation stands."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from video_adapt.errors import ConfigurationError

from .block_adapter import BlockAdapter, Grid
from .matrices import BorrowedLinear, Matrix

_PLAIN = BlockAdapter()


class PixelSpec(NamedTuple):
    """The pixels that a backbone was trained on.

    Attributes:
        image_size: Side of the square input in pixels.
        mean: Per-channel mean of RGB in [0, 1].
        std: Per-channel standard deviation of RGB in [0, 1].
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Features(NamedTuple):
    """What a backbone says about every frame of a clip.

    A model of video says it once for every ``tubelet`` frames: read ``T`` as its time steps.

    Attributes:
        class_token: Class token after the final norm, ``[B, T, D]``; of a model without one, the
            mean of its patches after that norm.
        embedding: The same, projected to the joint image-text space, not normalised ``[B, T, E]``;
            ``E`` is 0 where there is no such space.
        tokens: Residual stream after the last block, before the final norm ``[B, T, N, D]``,
            class token first where there is one, then patches in row-major order.
        blocks: For each requested block, the residual stream behind it ``[B, T, N, D]``.
        queries_keys: For each requested block, its attention queries and keys before scaling and
            softmax, each ``[B, T, N, heads, D / heads]``.
    """

    class_token: Tensor
    embedding: Tensor
    tokens: Tensor
    blocks: dict[int, Tensor]
    queries_keys: dict[int, tuple[Tensor, Tensor]]


class TextFeatures(NamedTuple):
    """What a text tower says about sentences.

    Attributes:
        embedding: Sentences in the joint image-text space, not normalised ``[Q, E]``.
        words: The same for every token, padding included, ``[Q, L, E]``.
    """

    embedding: Tensor
    words: Tensor


class Backbone(nn.Module, ABC):
    """A pre-trained image or video model seen as: clip in, features of every frame out.

    A concrete backbone sets the attributes below in its constructor. ``adapters`` is empty until
    :mod:`video_adapt.adapters` injects something; its keys are block numbers.

    Attributes:
        name: What a checkpoint calls this backbone, e.g. ``ViT-B-16-quickgelu``.
        pixels: Input size and normalisation.
        width: Token width ``D``.
        depth: Number of transformer blocks.
        heads: Attention heads of a block.
        patch_size: Side of a patch in pixels.
        tubelet: Frames that one time step of the features stands for.
        class_tokens: Number of tokens in front of the patches of a time step: 1 or 0.
        beside: Whether the adapters stand beside the blocks: the plain model runs without a graph
            up to the last adapted block, and the edits of its outputs are added to the last one.
    """

    name: str
    pixels: PixelSpec
    width: int
    depth: int
    heads: int
    patch_size: int
    tubelet: int = 1
    class_tokens: int = 1
    beside: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict()
        self._embed_dim: int | None = None

    @property
    def embed_dim(self) -> int:
        """Width ``E`` of the joint image-text space.

        Raises:
            ConfigurationError: If this backbone has none.
        """
        if self._embed_dim is None:
            raise self.without_text()
        return self._embed_dim

    @embed_dim.setter
    def embed_dim(self, width: int) -> None:
        self._embed_dim = width

    def without_text(self) -> ConfigurationError:
        """The error of a backbone that was asked for the image-text space it does not have."""
        return ConfigurationError(
            f"{self.name} was never trained with text: it has no image-text space, no text tower "
            "and no temperature; read its own features (readout: norm_then_mean, head: linear) or "
            "use a CLIP backbone"
        )

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches of one frame."""
        side = self.pixels.image_size // self.patch_size
        return side, side

    @property
    @abstractmethod
    def visual(self) -> nn.Module:
        """The image tower: what ``tuning: full`` trains."""

    @property
    def projection(self) -> list[nn.Parameter]:
        """Weights of the image tower that only :attr:`Features.embedding` depends on."""
        return []

    def stages(self) -> list[tuple[nn.Module, str]]:
        """Modules whose weights are read by nothing but one method of theirs, and its name.

        What is spread over processes (FSDP) is put together for as long as that method runs; all
        other weights for a whole step. A module that runs several times in a step is none.
        """
        return []

    def matrices(self, block: int) -> dict[Matrix, BorrowedLinear]:
        """The matrices of a block, by their places, for adapters that add to what they write.

        Raises:
            ConfigurationError: If the blocks of this backbone do not ask adapters there.
        """
        raise ConfigurationError(
            f"{self.name} shows its matrices to no adapter; use a CLIP backbone"
        )

    @abstractmethod
    def last_blocks(self, count: int) -> list[nn.Module]:
        """Modules that ``tuning: last_n`` trains: the last blocks and everything behind them."""

    @abstractmethod
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
        """

    def sequence(self, video: Tensor) -> Tensor:
        """One vector per time step, as a detector wants them.

        Args:
            video: ``[B, T, C, H, W]``, normalised with :attr:`pixels`.

        Returns:
            ``[B, T / tubelet, D]``.
        """
        return self(video).class_token

    def summarise(self, tokens: Tensor) -> Tensor:
        """The token of a time step that stands for all: ``[..., N, D]`` to ``[..., D]``."""
        return tokens[..., 0, :] if self.class_tokens else tokens.mean(dim=-2)

    @abstractmethod
    def final_norm(self, tokens: Tensor) -> Tensor:
        """The norm behind the last block, for read-outs that pool before it."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed sentences in the joint space, not normalised ``[K, E]``, without gradient.

        Raises:
            ConfigurationError: If this backbone has no text tower.
        """

    def embed_text(self, tokens: Tensor) -> TextFeatures:
        """Embed tokenised sentences; gradients flow wherever the text tower trains.

        Args:
            tokens: int64 ``[Q, L]``: start, words, end (the largest id), zeros.

        Raises:
            ConfigurationError: If this backbone has no text tower.
        """
        raise self.without_text()

    def text_parts(self, *, blocks_only: bool) -> list[nn.Module]:
        """Modules of the text tower that train, and the temperature.

        Args:
            blocks_only: Leave out the embeddings of tokens and positions.

        Raises:
            ConfigurationError: If this backbone has no text tower.
        """
        raise self.without_text()

    @property
    @abstractmethod
    def logit_scale(self) -> Tensor:
        """Logarithm of the temperature that multiplies cosine similarities, a scalar."""

    def adapter_inside(self, block: int) -> BlockAdapter:
        """What stands inside a block; where there is nothing, what changes nothing."""
        if self.beside or (key := str(block)) not in self.adapters:
            return _PLAIN
        adapter = self.adapters[key]
        assert isinstance(adapter, BlockAdapter)
        return adapter

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
