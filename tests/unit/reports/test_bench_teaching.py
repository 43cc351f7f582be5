import json

import pytest

from tests.unit.reports.test_bench_step import MICRO
from video_adapt.reports import bench_teaching
from video_adapt.reports.bench_teaching import TAUGHT, UNTAUGHT, TeachingRow, render, run
from video_adapt.retrieval.teachers import XCLIP, TS2Net, XPool


@pytest.fixture
def micro(tmp_path, monkeypatch):
    path = tmp_path / "micro.json"
    text = {**MICRO["text_cfg"], "layers": 4}
    path.write_text(json.dumps({**MICRO, "text_cfg": text}))
    monkeypatch.setattr(bench_teaching, "BACKBONE", str(path))


@pytest.mark.usefixtures("micro")
def test_both_have_their_turn_and_the_caches_teach(monkeypatch):
    encoded = []
    for kind in (XCLIP, TS2Net, XPool):
        encode = kind.encode_videos
        monkeypatch.setattr(
            kind,
            "encode_videos",
            lambda self, *args, encode=encode: encoded.append(type(self)) or encode(self, *args),
        )
    monkeypatch.setattr(bench_teaching, "heads", small_heads)
    rows = run(batch_size=2, rounds=2)
    assert [row.name for row in rows] == [UNTAUGHT, TAUGHT]
    assert rows[0].of_untaught == 1.0
    assert all(row.seconds > 0 for row in rows)
    assert encoded == [XCLIP, TS2Net, XPool]


def small_heads(width):
    blocks = {"layers": 1, "heads": 1}
    return [
        XCLIP(width, words=32, frames=12, **blocks),
        TS2Net(width, samples=10, selected=1, **blocks),
        XPool(width),
    ]


def test_the_table_has_the_share_of_the_untaught():
    table = render([TeachingRow(UNTAUGHT, 20.0, 1.0), TeachingRow("taught", 20.5, 1.0254)])
    assert table.splitlines()[3] == "| taught | 20.50 | 1.025 |"
