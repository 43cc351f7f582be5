import logging

import numpy as np
import pytest

from tests.unit.apps.coloured_videos import write_video
from tests.unit.reports.detection_run import FOUND, TRUTH, make_detection_run
from tests.unit.reports.test_run_report import make_run
from video_adapt.callbacks.detection_files import TrueVideo
from video_adapt.errors import ConfigurationError
from video_adapt.reports.detection_runs import examples_of, threshold_of
from video_adapt.reports.run_report import report

VIDEOS = {name: TrueVideo(60.0, None, events) for name, events in TRUTH.items()}


def markdown(page):
    return (page.parent / "report.md").read_text()


def test_report_of_a_detector(tmp_path):
    text = markdown(report([make_detection_run(tmp_path / "mine")]))
    assert "AdaTAD on THUMOSDataModule, a small computer. mAP 87.5% on 4 videos with 5 " in text
    assert "events (test), the mean over tIoU: 100.0% at 0.30, 75.0% at 0.50. AR@100 50.0%." in text
    assert (
        "At the score threshold 0.500, chosen for a precision of 50%, 60.0% of the events are "
        "found, at 4.0 false alarms per hour."
    ) in text
    for row in (
        "| mAP | 87.5% |",
        "| mAP@0.50 | 75.0% |",
        "| AR@100 | 50.0% |",
        "| false alarms per hour there | 4.0 |",
        "| videos | 4 |",
        "| trained parameters | 1,234 |",
        "| step | 20.0 ms |",
    ):
        assert row in text


def test_report_holds_the_pictures_of_the_evaluation_and_timelines(tmp_path):
    page = report([make_detection_run(tmp_path / "mine")])
    text = markdown(page)
    for picture in ("learning", "precision_recall", "class_ap", "example_1", "example_3"):
        assert f"({picture}.png)" in text
        assert (page.parent / f"{picture}.png").is_file()
    assert "errors.png" not in text  # the run left none
    assert "[one: 2 found, 2 right; 0 of 2 events missed]" in text
    assert "[two: 2 found, 1 right; 0 of 1 events missed]" in text
    assert "[three: 1 found, 0 right; 2 of 2 events missed]" in text  # that of 0.1 is too weak
    assert page.read_text().count("data:image/png;base64,") == 6


def test_timelines_have_frames_where_the_video_is_there(tmp_path, caplog):
    video = write_video(tmp_path / "one.mp4", ["red"], 1.0)
    paths = {"one": str(video), "two": "/gone/two.npy"}
    with caplog.at_level(logging.WARNING):
        page = report([make_detection_run(tmp_path / "mine", paths)])
    heights = [
        int.from_bytes((page.parent / f"example_{k}.png").read_bytes()[20:24]) for k in (1, 2, 3)
    ]
    assert heights[0] > heights[1] > 0
    assert caplog.text.count("a timeline without frames") == 1
    assert "two.npy" in caplog.text


def test_best_median_and_worst_of_the_videos_with_events():
    examples = examples_of(FOUND, VIDEOS, 0.5)
    assert [(e.name, e.right, len(e.reported)) for e in examples] == [
        ("one", 2, 2),
        ("two", 1, 2),
        ("three", 1, 2),
    ]
    assert [e.f1 for e in examples] == pytest.approx([1.0, 2 / 3, 0.5])
    assert [e.right for e in examples_of(FOUND, VIDEOS, 0.9)] == [1, 1, 1]
    assert [e.name for e in examples_of({}, VIDEOS, 0.5)] == ["two", "one", "three"]
    assert examples_of({}, {"empty": VIDEOS["empty"]}, 0.5) == []


def test_of_two_videos_both_are_shown():
    two = {name: VIDEOS[name] for name in ("one", "two")}
    assert len(examples_of({}, two, 0.5)) == 2


def test_without_a_calibrated_threshold_as_many_detections_as_events(tmp_path):
    unknown = {"all_classes": None, "events": 3}
    assert threshold_of({"all_classes": {"threshold": 0.25}}, FOUND) == 0.25
    assert threshold_of(unknown, FOUND) == 0.7
    assert threshold_of(unknown, {}) == 1.0
    text = markdown(report([make_detection_run(tmp_path / "mine", all_classes=None)]))
    assert "No score threshold is known for a precision of 50%." in text
    assert "at least 0.500 (as many detections as there are events" in text
    assert "| events found at the threshold | – |" in text


def test_a_score_at_the_threshold_is_shown_although_files_round(tmp_path):
    point = {"threshold": 0.90000004, "recall": 0.2, "false_alarms_per_hour": 0.0}
    text = markdown(report([make_detection_run(tmp_path / "mine", all_classes=point)]))
    assert "[one: 1 found, 1 right; 1 of 2 events missed]" in text


def test_without_events_nothing_is_claimed(tmp_path):
    nothing = {"mAP": None, "mAP_by_tiou": None, "AR@100": None, "all_classes": None}
    text = markdown(report([make_detection_run(tmp_path / "mine", **nothing)]))
    assert "No mAP on 4 videos with 5 events (test)." in text
    assert "| mAP | – |" in text


def test_detectors_side_by_side(tmp_path):
    runs = [make_detection_run(tmp_path / name, lr=k) for k, name in enumerate(("one", "two"))]
    text = markdown(report(runs, tmp_path / "both"))
    assert "| run | mAP | mAP@0.50 | AR@100 | trained | GMACs | memory | step |" in text
    assert "| two | 87.5% | 75.0% | 50.0% | 1,234 | – | – | 20.0 ms | – |" in text
    assert "mAP on validation by optimiser step" in text


def test_a_detector_is_not_compared_with_a_recogniser(tmp_path):
    runs = [make_run(tmp_path / "clips"), make_detection_run(tmp_path / "events")]
    with pytest.raises(ConfigurationError) as caught:
        report(runs, tmp_path / "both")
    assert "clips is recognition" in str(caught.value)
    assert "events is detection" in str(caught.value)


def test_a_detector_in_training_is_known_by_its_curves(tmp_path):
    folder = make_detection_run(tmp_path / "mine")
    for path in (folder / "test").iterdir():
        path.unlink()
    page = report([folder])
    text = markdown(page)
    assert "AdaTAD on THUMOSDataModule, a small computer.\n" in text
    assert "mAP" not in text
    assert "| trained parameters | 1,234 |" in text
    assert "Examples" not in text
    assert (page.parent / "learning.png").is_file()


def test_a_run_before_its_first_evaluation_has_costs_and_a_loss(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "metrics.csv").write_text("step,train/loss,cost/step_ms\n1,2.0,30\n2,1.0,30\n")
    page = report([folder])
    assert "| step | 30.0 ms |" in markdown(page)
    assert "top-1" not in markdown(page)
    assert (page.parent / "learning.png").is_file()


def test_an_evaluation_without_its_files_is_refused(tmp_path):
    folder = make_detection_run(tmp_path / "mine")
    (folder / "test/ground_truth.json").unlink()
    with pytest.raises(ConfigurationError) as caught:
        report([folder])
    assert "without predictions.csv, or detections.csv and ground_truth.json" in str(caught.value)


def test_features_are_no_frames(tmp_path, caplog):
    np.save(tmp_path / "one.npy", np.zeros((4, 8), np.float32))
    page = report([make_detection_run(tmp_path / "mine", {"one": str(tmp_path / "one.npy")})])
    assert "a timeline without frames" in caplog.text
    assert (page.parent / "example_1.png").is_file()
