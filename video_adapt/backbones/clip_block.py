"""One block of CLIP's image tower, with everything that an adapter may do inside it."""

from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from .block_adapter import BlockAdapter, Grid, look_plainly
from .matrices import BorrowedLinear, Matrix


class BlockOutput(NamedTuple):
    """What a block leaves.

    Attributes:
        tokens: Residual stream behind the block, ``[B*T, N, D]``.
        queries: Queries of its attention before scaling, ``[B*T, N, heads, D / heads]``.
        keys: Keys of its attention, ``[B*T, N, heads, D / heads]``.
    """

    tokens: Tensor
    queries: Tensor
    keys: Tensor


def run_block(
    block: Any, adapter: BlockAdapter, tokens: Tensor, *, num_frames: int, grid: Grid
) -> BlockOutput:
    """Run a residual block of open_clip; a plain :class:`BlockAdapter` changes nothing.

    Args:
        block: open_clip's ``ResidualAttentionBlock``.
        adapter: What stands inside the block.
        tokens: ``[B*T, N, D]``, time inside the batch.
        num_frames: ``T``.
        grid: Rows and columns of patches.
    """

    def attend_sequences(sequences: Tensor) -> Tensor:
        return attend(block.attn, block.ln_1(sequences))[0]

    tokens = adapter.before_attention(tokens, num_frames=num_frames, grid=grid)
    tokens = adapter.reuse_attention(tokens, attend_sequences, num_frames=num_frames, grid=grid)
    read = adapter.inside_attention(block.ln_1(tokens), num_frames=num_frames, grid=grid)
    packed = adapter.multiply("attention_in", partial(_pack, block.attn), read)  # [B*T, N, 3*D]
    queries, keys, values = _unpack(packed, block.attn.num_heads)
    taken = adapter.look(queries, keys, values, num_frames=num_frames).flatten(2)
    written = adapter.multiply("attention_out", block.attn.out_proj, taken)
    written = adapter.behind_attention(written)
    tokens = tokens + block.ls_1(written)
    tokens = adapter.before_mlp(tokens, num_frames=num_frames, grid=grid)
    read = block.ln_2(tokens)
    hidden = block.mlp.gelu(adapter.multiply("mlp_in", block.mlp.c_fc, read))
    written = adapter.multiply("mlp_out", block.mlp.c_proj, hidden)
    tokens = tokens + block.ls_2(adapter.behind_mlp(read, written))
    tokens = adapter.after_mlp(tokens, num_frames=num_frames, grid=grid)
    # An adapter may have let further tokens attend, in front of those that stay.
    count = tokens.shape[1]
    return BlockOutput(tokens, queries[:, -count:], keys[:, -count:])


def project(attention: nn.MultiheadAttention, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each ``[M, S, heads, D / heads]``.

    Args:
        attention: A module with packed projections; only its weights are used.
        tokens: Normalised tokens ``[M, S, D]``.
    """
    return _unpack(_pack(attention, tokens), attention.num_heads)


def matrices_of(block: Any) -> dict[Matrix, BorrowedLinear]:
    """The matrices of a residual block of open_clip."""
    return {
        "attention_in": BorrowedLinear(block.attn, "in_proj_weight", "in_proj_bias"),
        "attention_out": BorrowedLinear(block.attn.out_proj),
        "mlp_in": BorrowedLinear(block.mlp.c_fc),
        "mlp_out": BorrowedLinear(block.mlp.c_proj),
    }


def attend(attention: nn.MultiheadAttention, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention that also shows its queries and keys, projected once.

    Args:
        attention: A module with packed projections; only its weights are used.
        tokens: Normalised tokens ``[M, S, D]``.

    Returns:
        The mixed tokens ``[M, S, D]``; queries and keys, each ``[M, S, heads, D / heads]``.
    """
    queries, keys, values = project(attention, tokens)
    taken = look_plainly(queries, keys, values)
    return attention.out_proj(taken.flatten(2)), queries, keys


def _pack(attention: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    return F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)


def _unpack(packed: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    queries, keys, values = packed.unflatten(-1, (3, heads, -1)).unbind(-3)
    return queries, keys, values
