import torch

from video_adapt.methods import FROSTER
from video_adapt.reports import bench_residual
from video_adapt.reports.bench_residual import ResidualRow, render, run


def test_an_epoch_trains_on_every_whole_batch_and_runs_no_image_tower(monkeypatch):
    monkeypatch.setattr(bench_residual, "WIDTH", 16)
    monkeypatch.setattr(bench_residual, "TOWERS", bench_residual.TOWERS | {"embed_dim": 16})
    monkeypatch.setattr(bench_residual, "BATCH", 4)
    seen, losses = [], FROSTER.losses
    monkeypatch.setattr(
        FROSTER,
        "losses",
        lambda self, batch, step: (
            seen.append(batch.video["embedding"]) or losses(self, batch, step)
        ),
    )
    row = run(clips=9, epochs=1)
    assert row.clips == 9
    assert row.seconds > 0
    assert [rows.shape for rows in seen] == [torch.Size([4, 8, 16])] * 4
    assert not torch.equal(seen[0], seen[2])


def test_the_table_has_both_times():
    line = render(ResidualRow(400, 0.5, 0.25)).splitlines()[2]
    assert line == "| 400 clips, 26 classes | 0.50 | 0.25 |"
