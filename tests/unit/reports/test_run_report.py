import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.apps.coloured_videos import COLOURS, write_video
from video_adapt.callbacks.evaluation import Clip, write_metrics, write_predictions
from video_adapt.errors import ConfigurationError
from video_adapt.metrics.accuracy import merge_views, video_accuracy
from video_adapt.reports.recognition_runs import confusion_of, example_rows, read_predictions
from video_adapt.reports.run_report import report
from video_adapt.reports.runs import read_run


def make_run(folder: Path, *, videos: list[Path] | None = None) -> Path:
    """What training and testing leave: five videos, of which the last is taken for red."""
    labels, shown = np.array([0, 1, 2, 1, 2]), np.array([0, 1, 2, 1, 0])
    probs = np.full((5, 3), 0.1)
    probs[np.arange(5), shown] = 0.8
    ids = np.arange(5)
    result = video_accuracy(merge_views(ids, np.zeros_like(ids), probs, labels))
    (folder / "test").mkdir(parents=True)
    clips = None if videos is None else [Clip(str(path), None, None) for path in videos]
    write_predictions(folder / "test/predictions.csv", result, COLOURS, clips)
    write_metrics(folder / "test/metrics.json", result, COLOURS)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/best.ckpt").write_bytes(b"x" * 2_500_000)
    rows = [
        {"step": 0, "cost/trained_parameters": 1234, "cost/multiply_adds": 5e8},
        {"step": 1, "train/loss": 2.0, "cost/step_ms": 30, "memory/train_process": 500},
        {"step": 2, "train/loss": 1.0, "val/top1": 0.5, "val/top5": 1, "data/wait_share": 0.25},
        {"step": 3, "train/loss": 0.5, "val/top1": 0.75, "val/top5": 1, "cost/step_ms": 10},
        {"step": 4, "cost/step_ms": 20},
    ]
    with (folder / "metrics.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        table.writeheader()
        table.writerows(rows)
    config = {"model": {"class_path": "video_adapt.methods.DiST"}, "data": {"class_path": "a.Data"}}
    record = {"config": config, "machine": {"device": "a small computer"}, "seed": 3}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_reads_back_what_a_run_wrote(tmp_path):
    run = read_run(make_run(tmp_path / "mine"))
    assert run.name == "mine"
    assert run.stage == "test"
    assert run.results["top1"] == pytest.approx(0.8)
    assert run.curves["val/top1"].step.tolist() == [2, 3]
    assert run.median("cost/step_ms") == 20
    assert run.peak_memory == 500
    assert run.checkpoint_bytes == 2_500_000
    wrong = read_predictions(run.evaluation / "predictions.csv")[4]
    assert (wrong.label, wrong.predicted) == ("blue", "red")
    assert wrong.scores[0] == ("red", 0.8)


def test_confusion_of_predictions(tmp_path):
    path = make_run(tmp_path / "mine") / "test/predictions.csv"
    confusion, names = confusion_of(read_predictions(path))
    assert sorted(names) == sorted(COLOURS)
    blue, red = names.index("blue"), names.index("red")
    assert confusion[blue, red] == 1
    assert np.trace(confusion) == 4


def test_report_of_one_run(tmp_path):
    videos = [write_video(tmp_path / f"videos/{k}.mp4", ["red"], 0.5) for k in range(5)]
    page = report([make_run(tmp_path / "mine", videos=videos)])
    assert page == tmp_path / "mine/report/report.html"
    text = (page.parent / "report.md").read_text()
    assert "DiST on Data, a small computer." in text
    assert "Top-1 80.0% of 5 videos (test); chance is 33.3% with 3 classes." in text
    for row in (
        "| trained parameters | 1,234 |",
        "| multiply-adds of a view | 0.500 G |",
        "| step | 20.0 ms |",
        "| checkpoint | 2.50 MB |",
        "| time spent waiting for data | 25.0% |",
    ):
        assert row in text
    for picture in ("learning", "confusion", "examples"):
        assert f"({picture}.png)" in text
        assert (page.parent / f"{picture}.png").is_file()
    assert page.read_text().count("data:image/png;base64,") == 3


def test_examples_show_right_and_wrong_ones(tmp_path):
    videos = [write_video(tmp_path / f"videos/{k}.mp4", ["red"], 0.5) for k in range(5)]
    path = make_run(tmp_path / "mine", videos=videos) / "test/predictions.csv"
    rows = example_rows(read_predictions(path), count=2)
    assert [row.title for row in rows] == ["videos/0.mp4", "videos/3.mp4", "videos/4.mp4"]
    assert [row.label == row.scores[0][0] for row in rows] == [True, True, False]


def test_report_without_the_videos_has_no_examples(tmp_path):
    page = report([make_run(tmp_path / "mine", videos=[Path(f"/gone/{k}.mp4") for k in range(5)])])
    assert not (page.parent / "examples.png").exists()
    assert "Examples" not in page.read_text()


def test_several_runs_side_by_side(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    page = report(runs, tmp_path / "both")
    text = (tmp_path / "both/report.md").read_text()
    row = "80.0% | 100.0% | 1,234 | 0.500 G | 500 MiB | 20.0 ms | 2.50 MB |"
    assert f"| one | {row}" in text
    assert f"| two | {row}" in text
    assert page.read_text().count("data:image/png;base64,") == 2


def test_several_runs_need_a_folder(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    with pytest.raises(ConfigurationError, match="give --out"):
        report(runs)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(ConfigurationError, match="name the folder of a run"):
        report([tmp_path])


def test_a_run_that_only_tested(tmp_path):
    folder = make_run(tmp_path / "mine") / "test"
    text = (report([folder]).parent / "report.md").read_text()
    assert "Top-1 80.0% of 5 videos (evaluation)" in text
    assert "| trained parameters | – |" in text


def test_a_run_that_only_trained(tmp_path):
    folder = make_run(tmp_path / "mine")
    for path in (folder / "test").iterdir():
        path.unlink()
    (folder / "run.json").unlink()
    text = (report([folder]).parent / "report.md").read_text()
    assert "top-1" not in text
    assert "| trained parameters | 1,234 |" in text
    assert "confusion" not in text
