"""What ranking is compared with finds the same places."""

import pytest
import torch

from video_adapt.metrics import MatrixScores, count_wrong
from video_adapt.reports.bench_ranking import WAYS, RankingRow, measure, render, sorted_places


def test_sorting_finds_the_same_places():
    matrix = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    counts = count_wrong(MatrixScores(matrix), torch.arange(30))
    assert sorted_places(matrix).tolist() == counts.t2v.above.tolist()
    assert sorted_places(matrix.T).tolist() == counts.v2t.above.tolist()


@pytest.mark.parametrize("name", WAYS)
def test_every_way_is_measured(name):
    row = measure(name, pairs=64)
    assert row.name == name
    assert row.cpu_seconds >= 0
    assert row.megabytes >= 0


def test_the_last_row_is_what_the_others_are_compared_with():
    table = render([RankingRow("a", 0.1, 12.3), RankingRow("b", 4.0, 1200.0)])
    assert table.splitlines()[2:] == ["| a | 0.10 | 1/40 | 12 |", "| b | 4.00 | 1/1 | 1200 |"]
