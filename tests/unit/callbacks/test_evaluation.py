import csv
import json
import logging

import pytest
from lightning.pytorch.callbacks import Checkpoint

from tests.unit.callbacks.toy import CLASSES, ToyData, ToyRecogniser, quick_trainer
from video_adapt.callbacks import Evaluation

# Two views of each of four videos: right, wrong, views that disagree (equal sums), no label.
SHOWN, LABELS = [0, 0, 1, 1, 2, 0, 1, 1], [0, 2, 0, -1]


def evaluate(tmp_path, stage):
    evaluation = Evaluation()
    trainer = quick_trainer(tmp_path, evaluation)
    run = {"test": trainer.test, "val": trainer.validate}[stage]
    figures = run(ToyRecogniser(), ToyData(SHOWN, LABELS), verbose=False)[0]
    return evaluation, figures


@pytest.mark.parametrize("stage", ["val", "test"])
def test_logs_accuracy_by_video(tmp_path, stage):
    _, figures = evaluate(tmp_path, stage)
    assert figures[f"{stage}/videos"] == 3
    assert figures[f"{stage}/top1"] == pytest.approx(2 / 3)  # of equal sums class 0 goes first
    assert figures[f"{stage}/top5"] == 1.0
    assert figures[f"{stage}/mean_class"] == pytest.approx(1 / 2)


def test_writes_predictions_with_the_path_of_every_video(tmp_path):
    evaluate(tmp_path, "test")
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [row["video"] for row in rows] == [f"/test/{i}.mp4" for i in range(4)]
    assert [row["label"] for row in rows] == ["up", "left", "up", ""]
    assert [row["prediction"] for row in rows] == ["up", "down", "up", "down"]
    assert [row["end_s"] for row in rows] == ["0.0", "1.5", "3.0", "4.5"]
    for row in rows:  # a mean over the views, not a sum
        assert sum(float(row[name]) for name in CLASSES) == pytest.approx(1.0, abs=1e-5)


def test_writes_figures_and_picture(tmp_path):
    evaluate(tmp_path, "test")
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["videos"] == 3
    assert figures["unlabeled"] == 1
    assert figures["views"] == 2
    assert figures["class_accuracy"] == {"up": 1.0, "down": None, "left": 0.0}
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_says_how_many_videos_have_no_label(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        evaluate(tmp_path, "test")
    assert "test: 1 videos have no label" in caplog.text


def test_fit_logs_each_epoch_and_writes_the_last(tmp_path):
    evaluation = Evaluation()
    trainer = quick_trainer(tmp_path, evaluation, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(ToyRecogniser(), ToyData([0, 0, 1, 1, 2, 0, 1, 1], [0, 2, 0, 1]))
    assert trainer.callback_metrics["val/top1"].item() == pytest.approx(3 / 4)
    assert trainer.callback_metrics["val/videos"] == 4  # the sanity check left nothing behind
    assert (tmp_path / "val/predictions.csv").is_file()


class Killed(Checkpoint):
    """Knows after which epochs a run that dies with its checkpoint leaves the files behind."""

    def __init__(self, folder):
        self.path, self.epochs = folder / "val/metrics.json", []

    def on_validation_end(self, trainer, pl_module):
        if self.path.exists() and not trainer.sanity_checking:
            self.epochs.append(trainer.current_epoch + 1)


@pytest.mark.parametrize(
    ("settings", "written_by"),
    [
        ({"max_epochs": 3}, [3]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, [2]),
        ({"max_epochs": -1, "max_steps": 4}, [1, 2]),
        ({"max_epochs": 3, "max_steps": 4}, []),
    ],
)
def test_the_last_validation_writes_before_the_checkpoint(tmp_path, settings, written_by):
    """Or at the end of a run that ended before it could be expected to."""
    killed = Killed(tmp_path)
    trainer = quick_trainer(tmp_path, Evaluation(), killed, enable_checkpointing=True, **settings)
    trainer.fit(ToyRecogniser(), ToyData([0, 0, 1, 1, 2, 0, 1, 1], [0, 2, 0, 1]))
    assert killed.epochs == written_by
    assert killed.path.exists()
