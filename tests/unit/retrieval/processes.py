"""Processes of a group, played by threads of one: collectives without starting anything."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

from torch import Tensor, distributed


class Group:
    """What ``torch.distributed`` does in a group, as far as gathering needs it."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.own = threading.local()
        self.barrier = threading.Barrier(world, timeout=60)
        self.sent: list[Any] = [None] * world

    def exchange(self, value: Tensor) -> list[Tensor]:
        self.sent[self.own.rank] = value.detach().clone()
        self.barrier.wait()
        received = list(self.sent)
        self.barrier.wait()
        return received

    def all_gather(self, parts: list[Tensor], value: Tensor) -> None:
        assert value.is_contiguous()
        for part, received in zip(parts, self.exchange(value), strict=True):
            assert part.shape == received.shape, "processes sent different shapes"
            part.copy_(received)

    def all_reduce(self, value: Tensor) -> None:
        assert value.is_contiguous()
        value.copy_(sum(self.exchange(value)))


def as_processes(work: Callable[[int], Any], world: int) -> list[Any]:
    """Results of ``work(rank)`` for all ranks, run at once as members of one group."""
    group = Group(world)

    def run(rank: int) -> Any:
        group.own.rank = rank
        return work(rank)

    with (
        mock.patch.multiple(
            distributed,
            is_initialized=lambda: True,
            get_world_size=lambda: world,
            get_rank=lambda: group.own.rank,
            all_gather=group.all_gather,
            all_reduce=group.all_reduce,
        ),
        ThreadPoolExecutor(world) as pool,
    ):
        return list(pool.map(run, range(world)))
