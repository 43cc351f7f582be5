"""The one interface behind which every frozen foundation stands."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

Grid = tuple[int, int]


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

    Attributes:
        class_token: Class token after the final norm, ``[B, T, D]``.
        embedding: The same, projected to the joint image-text space, not normalised ``[B, T, E]``.
        tokens: Residual stream after the last block, before the final norm ``[B, T, N, D]``,
            class token first, then patches in row-major order.
        blocks: For each requested block, the residual stream behind it ``[B, T, N, D]``.
        queries_keys: For each requested block, its attention queries and keys before scaling and
            softmax, each ``[B, T, N, heads, D / heads]``.
    """

    class_token: Tensor
    embedding: Tensor
    tokens: Tensor
    blocks: dict[int, Tensor]
    queries_keys: dict[int, tuple[Tensor, Tensor]]


class BlockAdapter(nn.Module):
    """Something put inside one transformer block. Override what differs from the plain block.

    Tokens arrive as ``[B*T, N, D]`` with time inside the batch, batch-major.
    """

    def before_attention(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream in front of the block's attention (and its norm)."""
        return tokens

    def before_mlp(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream in front of the block's MLP (and its norm)."""
        return tokens


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
        embed_dim: Width ``E`` of the joint image-text space.
    """

    name: str
    pixels: PixelSpec
    width: int
    depth: int
    heads: int
    patch_size: int
    embed_dim: int

    def __init__(self) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict()

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches of one frame."""
        side = self.pixels.image_size // self.patch_size
        return side, side

    @property
    @abstractmethod
    def visual(self) -> nn.Module:
        """The image tower: what ``tuning: full`` trains."""

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

    @abstractmethod
    def final_norm(self, tokens: Tensor) -> Tensor:
        """The norm behind the last block, for read-outs that pool before it."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed sentences in the joint space, not normalised ``[K, E]``, without gradient.

        Raises:
            ConfigurationError: If this backbone has no text tower.
        """

    @property
    @abstractmethod
    def logit_scale(self) -> Tensor:
        """Logarithm of the temperature that multiplies cosine similarities, a scalar."""

    def run_adapter(self, site: str, block: int, tokens: Tensor, *, num_frames: int) -> Tensor:
        """Apply a block's adapter, if it has one, at ``before_attention`` or ``before_mlp``."""
        if (key := str(block)) not in self.adapters:
            return tokens
        edit = getattr(self.adapters[key], site)
        edited: Tensor = edit(tokens, num_frames=num_frames, grid=self.grid)
        return edited

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
