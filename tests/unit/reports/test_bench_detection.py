import pytest

from video_adapt.backbones import VideoMAEConfig, videomae_config
from video_adapt.reports.bench_detection import CONTENDERS, REFERENCE, MemoryRow, measure, render

TINY = VideoMAEConfig("tiny", width=16, depth=2, heads=2, hidden=24, patch_size=8)


def test_memory_is_compared_on_videos_of_one_length():
    rows = [
        MemoryRow(REFERENCE, 4, 1.0, 0.0, 100.0, 0.0),
        MemoryRow(REFERENCE, 16, 4.0, 0.0, 150.0, 0.0),
        MemoryRow("side", 4, 1.0, 0.02, 130.0, 2.0),
        MemoryRow("side", 16, 4.0, 0.1, 300.0, 2.0),
    ]
    lines = render(rows, title="VideoMAE base, 160 px").splitlines()
    assert lines[0].startswith("| VideoMAE base, 160 px | chunks of 16 |")
    assert lines[4] == "| side | 4 | 1.00 | 0.02 | 130 | 1.30 | 2.0 |"
    assert lines[5] == "| side | 16 | 4.00 | 0.10 | 300 | 2.00 | 2.0 |"


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_runs_a_step(monkeypatch, name):
    monkeypatch.setitem(videomae_config.SIZES, "tiny", TINY)
    row = measure(name, size="tiny", image_size=16, chunks=2, device="cpu")
    assert row.chunks == 2
    assert (row.trained > 0) == (row.backward_s > 0) == (name != REFERENCE)
    assert row.forward_s > 0
