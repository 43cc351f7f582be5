import csv
import json
import logging
from types import SimpleNamespace

import pytest

from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from tests.unit.callbacks.toy_detection import CLASSES, EVENTS, FOUND, ToyDetector, ToyVideos
from video_adapt.callbacks import DetectionEvaluation
from video_adapt.errors import AnnotationError, ConfigurationError

PICTURES = ("precision_recall", "class_ap", "errors", "false_alarms")


def evaluate(folder, stage="val", model=None, data=None, **settings):
    evaluation = DetectionEvaluation(**settings)
    trainer = quick_trainer(folder, evaluation)
    run = {"test": trainer.test, "val": trainer.validate}[stage]
    model = model or ToyDetector()
    figures = run(model, data or ToyVideos(), verbose=False)[0]
    return evaluation, model, figures


def test_logs_precision_recall_and_false_alarms(tmp_path):
    _, _, figures = evaluate(tmp_path)
    # jump: right, then tIoU 4/9 (right at 0.3 alone), then wrong. run: right, then wrong.
    assert figures["val/mAP@0.30"] == pytest.approx(1.0)
    assert figures["val/mAP@0.50"] == pytest.approx((0.5 + 1.0) / 2)
    assert figures["val/mAP"] == pytest.approx(0.875)
    # Best tIoUs are 1, 10/12 and 4/9: of ten thresholds from 0.5 to 0.95 they pass 10, 7 and 0.
    assert figures["val/AR@100"] == pytest.approx((10 + 7) / 30)
    # Scores right at 0.5: 0.9, 0.8; wrong: 0.6, 0.3, 0.2. Half are right down to 0.3.
    assert figures["val/false_alarms_per_hour"] == pytest.approx(2 / 0.5)
    assert figures["val/recall"] == pytest.approx(2 / 3)


def test_finishes_whole_videos_by_name(tmp_path):
    evaluation, model, _ = evaluate(tmp_path)
    assert model.finished_with == ["one", "two", "empty"]
    assert len(evaluation.results["val"].result.detections.score) == len(FOUND) - 1


def test_writes_detections_by_video_best_first(tmp_path):
    evaluate(tmp_path, "test")
    rows = list(csv.reader((tmp_path / "detections.csv").read_text().splitlines()))
    assert rows[0] == ["video", "start_s", "end_s", "label", "score"]
    assert [row[0] for row in rows[1:]] == ["one"] * 3 + ["two"] * 2
    assert rows[2] == ["one", "20.000", "30.000", "run", "0.800000"]
    found = json.loads((tmp_path / "detections.json").read_text())["results"]
    assert list(found) == ["one", "two", "empty"]
    assert found["empty"] == []
    assert found["two"][0] == {"label": "jump", "score": 0.6, "segment": [10.0, 14.0]}
    assert len(found["one"]) == 3


def test_writes_what_really_happens_and_where_the_videos_lie(tmp_path):
    data = ToyVideos()
    evaluate(tmp_path, data=data)
    truth = json.loads((tmp_path / "ground_truth.json").read_text())["database"]
    assert list(truth) == ["one", "two", "empty"]
    assert truth["one"]["annotations"] == [
        {"label": "jump", "segment": [1.0, 5.0]},
        {"label": "run", "segment": [20.0, 32.0]},
    ]
    assert len(truth["two"]["annotations"]) == 1  # the one without length does not count
    assert truth["empty"] == {"duration": 300.0, "path": None, "annotations": []}

    entries = [SimpleNamespace(path=f"/videos/{name}.mp4") for name in truth]
    data.manifest = lambda stage: SimpleNamespace(entries=entries)
    evaluate(tmp_path, data=data)
    truth = json.loads((tmp_path / "ground_truth.json").read_text())["database"]
    assert truth["two"]["path"] == "/videos/two.mp4"


def test_a_video_of_unknown_length_adds_no_hours(tmp_path):
    data = ToyVideos()
    data.durations_s = lambda stage: [600.0, float("nan"), 300.0]
    evaluation, _, _ = evaluate(tmp_path, data=data)
    assert evaluation.results["val"].hours == 0.25
    truth = json.loads((tmp_path / "ground_truth.json").read_text())["database"]
    assert truth["two"]["duration"] is None


def test_writes_figures_and_pictures(tmp_path):
    evaluate(tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["mAP_by_tiou"] == {"0.30": 1.0, "0.50": 0.75}
    assert figures["average_precision"]["jump"] == {"0.30": 1.0, "0.50": 0.5}
    assert figures["recall_at_multiples"]["1x"]["0.30"] == 1.0
    assert (figures["events"], figures["events_left_out"], figures["hours"]) == (3, 1, 0.5)
    assert figures["videos"] == 3
    assert figures["all_classes"]["threshold"] == pytest.approx(0.3)
    jump = figures["classes"]["jump"]
    assert jump["threshold"] == pytest.approx(0.6)
    assert (jump["true_positives"], jump["false_positives"], jump["missed"]) == (1, 1, 1)
    assert jump["kinds"]["mislocalised"] == 1
    assert figures["calibration"]["overall"][0] == pytest.approx(0.3)
    for name in PICTURES:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_test_uses_the_thresholds_of_the_validation(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        _, model, figures = evaluate(tmp_path, "test")
    assert model.calibration is None
    assert "test/false_alarms_per_hour" not in figures
    assert "no threshold was chosen by a validation" in caplog.text
    assert json.loads((tmp_path / "metrics.json").read_text())["classes"] is None
    assert not (tmp_path / "false_alarms.png").exists()

    _, model, _ = evaluate(tmp_path)
    assert model.calibration["overall"][0] == pytest.approx(0.3)
    moved = [(*row[:4], row[4] / 2, row[5]) for row in FOUND]
    _, _, figures = evaluate(tmp_path, "test", model, ToyVideos(moved))
    assert figures["test/recall"] == pytest.approx(2 / 3)  # 0.45 and 0.4 are above 0.3
    assert figures["test/false_alarms_per_hour"] == 2.0  # 0.3 too, the others are not
    assert model.calibration["overall"][0] == pytest.approx(0.3)


def test_a_precision_that_no_threshold_reaches_is_said(tmp_path, caplog):
    wrong = [(*row[:5], 1 - row[5]) for row in FOUND]
    with caplog.at_level(logging.INFO):
        _, _, figures = evaluate(tmp_path, data=ToyVideos(wrong))
    assert "val: no threshold reached a precision of 0.5" in caplog.text
    assert "val/recall" not in figures
    assert json.loads((tmp_path / "metrics.json").read_text())["all_classes"] is None


def test_another_precision_has_its_own_threshold(tmp_path):
    _, _, figures = evaluate(tmp_path, precision=0.9)
    assert figures["val/false_alarms_per_hour"] == 0.0
    assert figures["val/recall"] == pytest.approx(2 / 3)


def test_events_left_out_are_counted_aloud(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        evaluate(tmp_path)
    assert "val: 1 events have no length or repeat another one" in caplog.text


def test_without_events_nothing_is_claimed(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _, model, figures = evaluate(tmp_path, data=ToyVideos(events=[]))
    assert figures == {}
    assert "val: no video has an event, so there is no mAP" in caplog.text
    assert json.loads((tmp_path / "metrics.json").read_text())["mAP"] is None
    assert model.calibration is None
    assert (tmp_path / "detections.csv").is_file()
    assert not (tmp_path / "class_ap.png").exists()


def test_fit_logs_each_epoch_and_writes_the_last(tmp_path):
    evaluation = DetectionEvaluation()
    trainer = quick_trainer(tmp_path, evaluation, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(ToyDetector(), ToyVideos())
    assert trainer.callback_metrics["val/mAP"].item() == pytest.approx(0.875)
    assert (tmp_path / "val/detections.csv").is_file()


def test_labels_that_the_method_does_not_know_are_refused(tmp_path):
    events = [*EVENTS, (1, 3.0, 4.0, len(CLASSES))]
    with pytest.raises(AnnotationError, match="label 2 of an event of video 1"):
        evaluate(tmp_path, data=ToyVideos(events=events))


def test_a_data_module_of_clips_is_refused(tmp_path):
    trainer = quick_trainer(tmp_path, DetectionEvaluation())
    with pytest.raises(ConfigurationError, match="this run has ToyData; give one for long videos"):
        trainer.validate(ToyRecogniser(), ToyData([0, 0], [0]), verbose=False)


@pytest.mark.parametrize("settings", [{"precision": 0.99}, {"tiou": 0.0}])
def test_arguments_out_of_range_are_refused(settings):
    with pytest.raises(ConfigurationError, match="must be above 0 and at most"):
        DetectionEvaluation(**settings)
