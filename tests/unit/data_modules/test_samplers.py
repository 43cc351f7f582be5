"""Order and seeds are functions of the run's seed, the epoch and the row."""

import pytest

from data_modules.samplers import EvalSampler, TrainSampler, derive_seed
from video_adapt.errors import ConfigurationError


def _epoch(sampler: TrainSampler, epoch: int) -> list[tuple[int, int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_epoch_is_a_repeatable_permutation() -> None:
    first, again = (_epoch(TrainSampler(10, seed=3), 2) for _ in range(2))
    assert first == again
    assert sorted(row for row, _ in first) == list(range(10))
    assert first != _epoch(TrainSampler(10, seed=3), 1)
    assert first != _epoch(TrainSampler(10, seed=4), 2)


def test_seed_of_a_row_ignores_processes() -> None:
    alone = dict(_epoch(TrainSampler(9, seed=1), 5))
    for rank in range(2):
        shared = _epoch(TrainSampler(9, seed=1, rank=rank, world=2), 5)
        assert all(alone[row] == seed for row, seed in shared)


def test_seeds_differ_by_row_epoch_and_run() -> None:
    seeds = [s for run in (0, 1) for e in (0, 1) for _, s in _epoch(TrainSampler(50, seed=run), e)]
    assert len(set(seeds)) == 200
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3) != derive_seed(3, 2, 1)


def test_two_processes_share_an_epoch_evenly() -> None:
    parts = [_epoch(TrainSampler(9, seed=0, rank=rank, world=2), 0) for rank in range(2)]
    assert [len(part) for part in parts] == [4, 4]
    assert len({row for part in parts for row, _ in part}) == 8


def test_start_skips_what_was_seen() -> None:
    sampler = TrainSampler(9, seed=0, rank=1, world=2)
    whole = _epoch(sampler, 3)
    sampler.start = 2
    assert list(sampler) == whole[2:]
    assert len(sampler) == 4  # a whole epoch, so that progress is counted from its beginning


def test_evaluation_counts_every_video_once() -> None:
    parts = [[row for row, _ in EvalSampler(7, rank=rank, world=3)] for rank in range(3)]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]
    assert [len(EvalSampler(0, rank=rank, world=2)) for rank in range(2)] == [0, 0]


@pytest.mark.parametrize("rank", range(3))
@pytest.mark.parametrize("in_a_row", [False, True])
def test_every_process_has_something_to_evaluate(rank: int, in_a_row: bool) -> None:
    assert len(EvalSampler(3, rank=rank, world=3, in_a_row=in_a_row)) == 1
    with pytest.raises(ConfigurationError, match=r"2 sample\(s\) to evaluate on 3 processes"):
        EvalSampler(2, rank=rank, world=3, in_a_row=in_a_row)


def test_fixed_order_repeats_the_first_epoch() -> None:
    fixed = TrainSampler(9, seed=0, fixed=True)
    assert _epoch(fixed, 4) == _epoch(TrainSampler(9, seed=0), 0)
