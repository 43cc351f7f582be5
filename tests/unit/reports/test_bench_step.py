"""Steps side by side: what is measured where, and how the table reads."""

import json

import pytest

from video_adapt.apps.bench import step_table
from video_adapt.reports import bench_step
from video_adapt.reports.bench_step import CONTENDERS, HONEST_MALLOC, REFERENCE, StepRow

MICRO = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 64, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


@pytest.fixture
def micro(tmp_path, monkeypatch):
    path = tmp_path / "micro.json"
    path.write_text(json.dumps(MICRO))
    monkeypatch.setattr(bench_step, "BACKBONE", str(path))


@pytest.mark.usefixtures("micro")
@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_runs_a_step(name):
    row = bench_step.measure(name, batch_size=1, steps=1, device="cpu")
    assert (row.trained == 0) == (CONTENDERS[name][1] is None)
    assert row.seconds > 0
    assert row.cpu_seconds > 0


def test_time_is_not_taken_with_the_allocator_that_memory_is(monkeypatch):
    asked = []

    def answer(*words, env=None):
        asked.append((words[0], words[-1], env))
        return StepRow(words[0], 2.0 if env else 1.0, 1.0, 10.0 if env else 99.0, 0.0)

    monkeypatch.setattr(bench_step, "_in_own_process", answer)
    rows = bench_step.run(steps=7)
    assert [(row.name, row.seconds, row.megabytes) for row in rows] == [
        (name, 1.0, 10.0) for name in CONTENDERS
    ]
    assert asked[:2] == [(rows[0].name, 7, None), (rows[0].name, 1, HONEST_MALLOC)]


def test_every_figure_stands_beside_its_share_of_the_reference():
    rows = [StepRow("a", 1.0, 2.0, 300.0, 0.5), StepRow(REFERENCE, 4.0, 4.0, 1000.0, 86.2)]
    lines = step_table(rows, REFERENCE).splitlines()
    assert lines[2] == "| a | 1.00 | 0.25 | 2.00 | 0.50 | 300 | 0.30 | 0.5 |"
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
