import json

import pytest

from tests.unit.reports.test_bench_step import MICRO
from video_adapt.reports import bench_froster
from video_adapt.reports.bench_froster import TAUGHT, UNTAUGHT, FrosterRow, render, run
from video_adapt.tasks import text_classifier


@pytest.fixture
def micro(tmp_path, monkeypatch):
    path = tmp_path / "micro.json"
    path.write_text(json.dumps(MICRO))
    monkeypatch.setattr(bench_froster, "BACKBONE", str(path))


@pytest.mark.usefixtures("micro")
def test_both_have_their_turn_and_the_teacher_reads_each_prompt_once(monkeypatch):
    read, embed = [], text_classifier._embed
    monkeypatch.setattr(
        text_classifier,
        "_embed",
        lambda towers, tokens: read.append(len(tokens)) or embed(towers, tokens),
    )
    rows = run(batch_size=2, classes=3, rounds=2)
    assert [row.name for row in rows] == [UNTAUGHT, TAUGHT]
    assert rows[0].teacher == 0.0
    assert all(row.seconds > 0 for row in rows)
    assert read == [3, 3]


def test_the_table_has_the_teachers_share():
    table = render([FrosterRow(UNTAUGHT, 15.0, 0.0), FrosterRow("taught", 20.0, 0.25)])
    assert table.splitlines()[3] == "| taught | 20.00 | 25.0% |"
