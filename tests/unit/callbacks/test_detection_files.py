import csv
import json

import numpy as np

from video_adapt.callbacks.detection_files import (
    Detection,
    TrueVideo,
    events_by_video,
    read_csv,
    read_ground_truth,
    results_by_video,
    write_csv,
    write_ground_truth,
    write_json,
)
from video_adapt.metrics import Detections, GroundTruth

JUMP = Detection(1.23456, 2.0, "jump, high", 0.98765432)
RUN = Detection(0.5, 4.0, "run", 0.25)


def test_json_is_a_results_file_of_activitynet(tmp_path):
    out = write_json({"été": [JUMP], "empty": []}, tmp_path / "new/results.json")
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["version"]
    assert content["external_data"] == {"used": False}
    assert content["results"] == {
        "été": [{"label": "jump, high", "score": 0.987654, "segment": [1.235, 2.0]}],
        "empty": [],
    }
    assert "été" in out.read_text(encoding="utf-8")
    assert "made_by" not in content


def test_json_tells_what_it_was_made_by(tmp_path):
    out = write_json({"empty": []}, tmp_path / "results.json", made_by={"git": "c0ffee"})
    assert json.loads(out.read_text())["made_by"] == {"git": "c0ffee"}


def test_csv_quotes_labels_and_names_the_video(tmp_path):
    out = write_csv({"a": [JUMP, RUN]}, tmp_path / "new/results.csv")
    assert list(csv.reader(out.read_text().splitlines())) == [
        ["video", "start_s", "end_s", "label", "score"],
        ["a", "1.235", "2.000", "jump, high", "0.987654"],
        ["a", "0.500", "4.000", "run", "0.250000"],
    ]


def test_csv_is_read_back(tmp_path):
    out = write_csv({"a": [RUN], "empty": [], "b, c": [JUMP, RUN]}, tmp_path / "results.csv")
    rounded = Detection(1.235, 2.0, "jump, high", 0.987654)
    assert read_csv(out) == {"a": [RUN], "b, c": [rounded, RUN]}


def test_ground_truth_is_an_annotation_file_and_read_back(tmp_path):
    events = [JUMP._replace(score=1.0), RUN._replace(score=1.0)]
    videos = {"été": TrueVideo(12.5, "/videos/a.mp4", events), "empty": TrueVideo(None, None, [])}
    out = write_ground_truth(videos, tmp_path / "new/ground_truth.json")
    database = json.loads(out.read_text(encoding="utf-8"))["database"]
    assert database["été"]["duration"] == 12.5
    assert database["été"]["annotations"][1] == {"label": "run", "segment": [0.5, 4.0]}
    assert read_ground_truth(out) == videos


def test_detections_by_name_keep_their_order_and_name_every_video():
    found = Detections(
        np.array([1, 0, 1]),
        np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        np.array([0.9, 0.8, 0.7]),
        np.array([1, 0, 0]),
    )
    assert results_by_video(found, ["one", "two", "empty"], ["jump", "run"]) == {
        "one": [Detection(3.0, 4.0, "jump", 0.8)],
        "two": [Detection(1.0, 2.0, "run", 0.9), Detection(5.0, 6.0, "jump", 0.7)],
        "empty": [],
    }
    events = GroundTruth(np.array([1]), np.array([[1.0, 2.0]]), np.array([0]))
    assert events_by_video(events, ["one", "two"], ["jump"])["two"] == [
        Detection(1.0, 2.0, "jump", 1.0)
    ]
