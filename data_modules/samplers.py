"""Which clips a process sees in which order, and the seed of each: functions of seed and epoch.

A sampler yields keys ``(row, seed)``. The seed depends on the run's seed, the epoch and the row
alone, so frame draws and augmentation are the same for any number of workers and processes.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from video_adapt.errors import ConfigurationError

Key = tuple[int, int]
"""Row of the manifest and the seed of everything that is drawn for it."""


def derive_seed(*parts: int) -> int:
    """A well mixed 63-bit seed from non-negative numbers, e.g. run seed, epoch and row."""
    state = np.random.SeedSequence(parts).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


class TrainSampler(Sampler[Key]):
    """A new permutation in every epoch, shared out among processes.

    Every process gets the same number of clips; the few that are left over differ by epoch.

    Args:
        size: Number of clips in the manifest.
        seed: Seed of the run.
        rank: Number of this process.
        world: Number of processes.
        fixed: Repeat the first epoch for ever, to overfit a few batches on purpose.

    Attributes:
        copies: Number of epochs after which the seeds of the clips come again, not their order;
            None = never.
    """

    def __init__(
        self, size: int, *, seed: int, rank: int = 0, world: int = 1, fixed: bool = False
    ) -> None:
        self.size = size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.fixed = fixed
        self.epoch = 0
        self.start = 0
        self.copies: int | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation; Lightning calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Clips of this process in a whole epoch."""
        return self.size // self.world

    def __iter__(self) -> Iterator[Key]:
        """Yield this process's keys from ``start`` on, which resuming sets."""
        epoch = 0 if self.fixed else self.epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
        mine = order[self.rank :: self.world][: len(self)]
        for row in mine[self.start :].tolist():
            yield row, derive_seed(self.seed, epoch % (self.copies or epoch + 1), row)


class EvalSampler(Sampler[Key]):
    """Rows in order, each in one process: no padding, so nothing is counted twice.

    Args:
        size: Number of rows.
        rank: Number of this process.
        world: Number of processes.
        in_a_row: Give each process rows that follow one another, as windows of a video do,
            instead of every ``world``-th.

    Raises:
        ConfigurationError: If a process would have none: it would leave out the evaluation, and
            the others would wait for it for ever.
    """

    def __init__(self, size: int, *, rank: int = 0, world: int = 1, in_a_row: bool = False) -> None:
        if 0 < size < world:
            raise ConfigurationError(
                f"{size} sample(s) to evaluate on {world} processes, each needs one: lower "
                "trainer.devices"
            )
        share = range(size * rank // world, size * (rank + 1) // world)
        self.rows = share if in_a_row else range(rank, size, world)

    def __len__(self) -> int:
        """Rows of this process."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Key]:
        """Yield this process's keys; evaluation draws nothing, the seed is the row."""
        return ((row, row) for row in self.rows)
