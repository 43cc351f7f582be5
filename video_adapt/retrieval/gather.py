"""Contrastive batches larger than one process, or than the memory of one, with exact gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.checkpoint import checkpoint

Encode = Callable[..., tuple[Tensor, ...]]


def gather(local: Tensor, *, exact: bool = True) -> Tensor:
    """Put the rows of all processes below one another, in the order of processes.

    Gradients are those of one process with the whole batch once the processes' have been averaged,
    as data parallelism does: what every process's loss says of a row is added up and sent back to
    the process that made it.

    Args:
        local: Rows of this process, ``[B, ...]``; processes may have different numbers of them.
        exact: Add gradients up over the processes. False keeps what the own loss says of the own
            rows, as the released code of TeachCLIP does: after averaging, gradients of all that
            lies before the gathering are too small by the number of processes, while those behind
            it, such as the temperature's, are whole.

    Returns:
        ``[sum of B, ...]``; ``local`` itself where there is one process.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return local
    gathered: Tensor = _Gather.apply(local, exact)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, exact: bool) -> Tensor:
        sizes = _all_sizes(local)
        ctx.exact, ctx.start, ctx.rows = exact, sum(sizes[: distributed.get_rank()]), len(local)
        # Collectives want equal shapes: a shorter process sends rows that nobody reads.
        sent = local.new_zeros(max(sizes), *local.shape[1:])
        sent[: len(local)] = local
        parts = [torch.empty_like(sent) for _ in sizes]
        distributed.all_gather(parts, sent)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if ctx.exact:
            grad = grad.clone(memory_format=torch.contiguous_format)
            distributed.all_reduce(grad)
        return grad[ctx.start : ctx.start + ctx.rows], None


def _all_sizes(local: Tensor) -> list[int]:
    own = torch.tensor([len(local)], device=local.device)
    sizes = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, own)
    return [int(size) for size in sizes]


def encode_in_parts(
    encode: Encode, batch: Sequence[Tensor], micro: int | None
) -> tuple[Tensor, ...]:
    """Features of a whole batch, while only a part of it is inside the encoder.

    The encoder runs over the parts and keeps nothing but its features; on the way back every part
    is encoded once more, in the same random state, and passes its gradients on. Gradients are those
    of the plain step, memory is that of one part, time a second pass through the encoder. An
    ordinary ``backward`` of what is made of the features does it all, so loss scaling, autocast
    and data parallelism see nothing unusual.

    Args:
        encode: Parts of ``batch`` in, features out, one row per row; rows must not depend on one
            another, as in batch normalisation.
        batch: Tensors of equally many rows, ``[B, ...]`` each.
        micro: Rows that are encoded at once; None = all, and once only.

    Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
    RepL4NLP 2021.
    """
    if micro is None:
        return encode(*batch)
    parts = zip(*(values.split(micro) for values in batch), strict=True)
    encoded: list[tuple[Tensor, ...]] = [
        checkpoint(encode, *part, use_reentrant=False) for part in parts
    ]
    return tuple(torch.cat(features) for features in zip(*encoded, strict=True))


def cached_step(
    encode: Encode, loss: Callable[..., Tensor], batch: Sequence[Tensor], micro: int
) -> Tensor:
    """Loss of a whole batch of which only a part is inside the encoder: :func:`encode_in_parts`.

    Args:
        encode: As there.
        loss: Features of all rows in, a scalar out.
        batch: As there.
        micro: As there.
    """
    return loss(*encode_in_parts(encode, batch, micro))
