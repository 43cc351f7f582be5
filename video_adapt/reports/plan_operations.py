"""The operations of a step, written down so that each can be repeated alone, at any size."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_aten = torch.ops.aten


class Layout(NamedTuple):
    """What the time of an operation depends on in a tensor.

    Attributes:
        shape: Sizes.
        stride: Steps in memory, in elements.
        dtype: Type of the elements.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Operation(NamedTuple):
    """A call of torch's, without the content of its tensors.

    Attributes:
        func: The operator.
        leaves: Its arguments, flat, with a layout in the place of each tensor.
        spec: How they nest.
        flops: Two for each multiply-add.
        moved: Bytes read and written where there are no multiply-adds.
        stays: Whether a graph may keep what it makes, so that the next wants fresh memory.
    """

    func: Any
    leaves: tuple[Any, ...]
    spec: TreeSpec
    flops: int
    moved: int
    stays: bool

    @property
    def work(self) -> int:
        """Whichever of the two there is."""
        return self.flops or self.moved

    def arguments(self, device: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Real arguments of the same layouts."""
        leaves = [
            _filled(leaf, device) if isinstance(leaf, Layout) else leaf for leaf in self.leaves
        ]
        args, kwargs = tree_unflatten(leaves, self.spec)
        return args, kwargs

    def smaller(self, factor: float) -> "Operation":
        """Nearly the same call with less to do: one size shrinks, wherever it stands.

        The size is the first of the largest tensor, such as that of the batch; of a matrix the
        longer side, which is that of the batch in all products of a training step.

        Args:
            factor: By how much, above 1. ``flops`` and ``moved`` stay, for they are not known.
        """
        tensors = [leaf for leaf in self.leaves if isinstance(leaf, Layout) and leaf.shape]
        if not tensors:
            return self
        largest = max(tensors, key=lambda layout: torch.Size(layout.shape).numel()).shape
        size = max(largest) if len(largest) == 2 else largest[0]
        less = max(1, int(size / factor))
        return self._replace(leaves=tuple(_shrunk(leaf, size, less) for leaf in self.leaves))


def describe(func: Any, args: Any, kwargs: Any, result: Any) -> Operation:
    """Write an operation down.

    Args:
        func: The operator.
        args: Its positional arguments.
        kwargs: Its others.
        result: What it returned.
    """
    leaves, spec = tree_flatten((args, kwargs))
    plain = tuple(_layout(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    stays = torch.is_grad_enabled()
    if (count := _FLOPS.get(func._overloadpacket)) is not None:
        return Operation(func, plain, spec, count(*args, **kwargs, out_val=result), 0, stays)
    return Operation(func, plain, spec, 0, _bytes([*leaves, *tree_leaves(result)]), stays)


def _bytes(leaves: list[Any]) -> int:
    return sum(x.numel() * x.element_size() for x in leaves if isinstance(x, Tensor))


def _layout(tensor: Tensor) -> Layout:
    return Layout(tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _filled(layout: Layout, device: str) -> Tensor:
    """A tensor of ones; of zeros where they are numbers of something."""
    shape, stride, dtype = layout
    length = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    value = 1 if dtype.is_floating_point or dtype == torch.bool else 0
    memory = torch.full((length if all(shape) else 0,), value, dtype=dtype, device=device)
    return memory.as_strided(shape, stride)


def _shrunk(leaf: Any, size: int, less: int) -> Any:
    if isinstance(leaf, Layout):
        return leaf._replace(shape=tuple(less if n == size else n for n in leaf.shape))
    # Sizes in lists are leaves like any other number; small ones mean something else.
    return less if type(leaf) is int and leaf == size and size > 16 else leaf


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _attention_back(gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient.shape, q.shape, k.shape, v.shape)


_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    # What torch's own counter takes for nothing.
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_back,
}
