"""The places inside a transformer block where an adapter may stand."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from .matrices import Matrix

Grid = tuple[int, int]
Site = Literal["before_attention", "inside_attention", "before_mlp", "after_mlp"]


class BlockAdapter(nn.Module):
    """Something put inside one transformer block. Override what differs from the plain block.

    Tokens arrive as ``[B*T, N, D]`` with time inside the batch, batch-major: the time steps of the
    whole video, also where the backbone itself sees it chunk by chunk. Patches are the last
    ``rows * columns`` of the ``N`` tokens; a class token, where there is one, comes first.

    Every block has the sites ``before_attention``, ``before_mlp``, ``behind_mlp`` and
    ``after_mlp``. The others are those of image models, whose attention looks at one frame alone
    and can be made to look further.
    """

    def before_attention(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream in front of the block's attention (and its norm).

        In image models, tokens that attend and are not kept may be put in front, if ``before_mlp``
        drops them.
        """
        return tokens

    def reuse_attention(
        self, tokens: Tensor, attend: Callable[[Tensor], Tensor], *, num_frames: int, grid: Grid
    ) -> Tensor:
        """Edit the residual stream with the block's own attention, before it looks at the frame.

        Args:
            tokens: ``[B*T, N, D]``, behind ``before_attention``.
            attend: The block's norm and attention, on sequences of any kind ``[M, S, D]``.
            num_frames: ``T``.
            grid: Rows and columns of patches.
        """
        return tokens

    def inside_attention(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit what the attention reads, behind its norm; the residual stream stays as it is."""
        return tokens

    def multiply(self, matrix: Matrix, layer: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        """Apply one of the block's matrices.

        Args:
            matrix: Which one; ``attention_in`` packs queries, keys and values.
            layer: What applies it.
            tokens: What it reads, ``[..., in]``.

        Returns:
            ``[..., out]``.
        """
        return layer(tokens)

    def look(self, queries: Tensor, keys: Tensor, values: Tensor, *, num_frames: int) -> Tensor:
        """Attend: let the queries of every frame look at keys, and take values.

        Args:
            queries: ``[B*T, N, heads, D / heads]``.
            keys: The same for keys.
            values: The same for values.
            num_frames: ``T``.

        Returns:
            What every query took, ``[B*T, N, heads, D / heads]``.
        """
        return look_plainly(queries, keys, values)

    def behind_attention(self, written: Tensor) -> Tensor:
        """Edit what the attention adds to the residual stream, ``[B*T, N, D]``."""
        return written

    def before_mlp(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream in front of the block's MLP (and its norm)."""
        return tokens

    def behind_mlp(self, read: Tensor, written: Tensor) -> Tensor:
        """Edit what the MLP adds to the residual stream.

        Args:
            read: What the MLP has read, behind its norm, ``[B*T, N, D]``.
            written: What it made of it, ``[B*T, N, D]``.
        """
        return written

    def after_mlp(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream behind the block."""
        return tokens

    def edits(self, site: Site) -> bool:
        """Whether this adapter does anything at a site."""
        return getattr(type(self), site) is not getattr(BlockAdapter, site)


class BottleneckAdapter(BlockAdapter, ABC):
    """``tokens += expand(mix(squeeze(tokens)))`` behind the block, or beside it.

    Only :meth:`squeeze` is more than linear, and only :meth:`mix` looks at more than one token.
    Hence a mean over patches may be taken anywhere behind ``squeeze``, and a backbone that works
    on a long video piece by piece needs no more of its neighbours than a few narrow steps.

    Attributes:
        reach: Time steps that :meth:`mix` looks at to either side.
    """

    reach: int

    @abstractmethod
    def squeeze(self, tokens: Tensor) -> Tensor:
        """Narrow every token by itself: ``[..., D]`` to ``[..., R]``."""

    @abstractmethod
    def mix(self, hidden: Tensor, *, num_frames: int) -> Tensor:
        """Let every place see itself at other times; linear but for an offset.

        Args:
            hidden: ``[B*T, N, R]``, time inside the batch.
            num_frames: ``T``.
        """

    @abstractmethod
    def expand(self, hidden: Tensor) -> Tensor:
        """Widen every token by itself, linearly: ``[..., R]`` to the edit ``[..., D]``."""

    def edit(self, tokens: Tensor, *, num_frames: int) -> Tensor:
        """What is added to the tokens, ``[B*T, N, D]``."""
        return self.expand(self.mix(self.squeeze(tokens), num_frames=num_frames))

    def after_mlp(self, tokens: Tensor, *, num_frames: int, grid: Grid) -> Tensor:
        """Edit the residual stream behind the block."""
        return tokens + self.edit(tokens, num_frames=num_frames)


def look_plainly(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention inside each sequence: all ``[M, S, heads, D / heads]``."""
    taken = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
    )  # [M, heads, S, D / heads]
    return taken.transpose(1, 2)
