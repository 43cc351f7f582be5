"""The table of indexes is made of what was measured."""

import pytest
import torch

from video_adapt.reports import bench_index
from video_adapt.reports.bench_index import WAYS, IndexRow, build, clustered, draw, render, search


@pytest.mark.parametrize("name", WAYS)
def test_every_index_is_built_and_searched(name, tmp_path):
    pytest.importorskip(WAYS[name].package, reason="pip install video_adapt[index]")
    assert build(name, tmp_path, vectors=500) > 0
    row = search(name, tmp_path, vectors=500)
    assert row.name == name
    assert row.recall > 0.9
    assert row.milliseconds > 0
    assert row.cpu_milliseconds > 0
    assert row.per_second > 0
    assert row.disk_megabytes > 0.25


def test_vectors_have_neighbours_as_those_of_videos_have():
    vectors, queries = clustered(20_000, 5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(20_000))
    nearest = (queries @ vectors.T).topk(5).values
    assert 0.4 < nearest.mean() < 0.9
    assert torch.equal(clustered(20_000, 5)[1], queries)


def test_what_is_not_installed_is_said_and_left_out(monkeypatch, caplog):
    monkeypatch.setattr(bench_index, "_installed", lambda way: way.backend == "torch")
    monkeypatch.setattr(bench_index, "_measured", lambda name: name)
    assert bench_index.run() == ["torch float32", "torch float16", "torch int8"]
    assert "not installed: faiss, faiss, lancedb; pip install" in caplog.text


def test_a_row_shows_every_figure():
    rows = [IndexRow("a", 0.987, 1.26, 2.34, 800.4, 55.0, 101.6, 7.77)]
    assert render(rows).splitlines()[2] == "| a | 0.987 | 1.3 | 2.3 | 800 | 55 | 102 | 7.8 |"
    titles = [axes.get_title(loc="left") for axes in draw(rows).axes]
    assert titles == ["recall@10", "CPU ms a query", "memory, MB", "disk, MB"]
