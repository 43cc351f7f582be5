"""Average precision and recall of detected segments, as the AdaTAD protocol measures them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import THUMOS14
from tests.parity.cases import Case, check
from video_adapt.batches import SegmentPredictions
from video_adapt.metrics import (
    DetectionMAP,
    DetectionResult,
    GroundTruth,
    recall_at_multiples,
)


class Evaluation:
    """Ground truth and predictions of one entry, with numbers for videos and classes.

    Args:
        events: ``(video, segment, label)`` in the order of the annotation.
        predictions: ``(video, segment, label, score)``.
    """

    def __init__(self, events: list[tuple], predictions: list[tuple]):
        self.names = list(dict.fromkeys(label for _, _, label in events))
        numbers = {name: k for k, name in enumerate(self.names)}
        videos: dict[str, int] = {}

        def columns(rows):
            video = [videos.setdefault(row[0], len(videos)) for row in rows]
            label = [numbers.setdefault(row[2], len(numbers)) for row in rows]
            segments = [row[1] for row in rows]
            return (
                np.array(video, int),
                np.array(segments, float).reshape(-1, 2),
                np.array(label, int),
            )

        self.events = GroundTruth(*columns(events))
        video, segments, label = columns(predictions)
        scores = torch.tensor([row[3] for row in predictions], dtype=torch.float64)
        self.predictions = SegmentPredictions(
            torch.from_numpy(video),
            torch.from_numpy(video % 3),  # any window, as long as a video has few
            torch.from_numpy(segments),
            scores,
            torch.from_numpy(label),
        )

    def measure(self, thresholds: list[float], *, distinct: bool = True) -> DetectionResult:
        """In parts, one of which comes twice."""
        metric = DetectionMAP(self.events, thresholds, distinct=distinct)
        video = self.predictions.video_id
        for third in (0, 1, 2, 1):
            metric.update(SegmentPredictions(*(v[video % 3 == third] for v in self.predictions)))
        return metric.compute()


def read(database: dict[str, Any], results: dict[str, Any], subset: str, blocked=()) -> Evaluation:
    events = [
        (video, event["segment"], event["label"])
        for video, entry in database.items()
        if entry["subset"] == subset and video not in blocked
        for event in entry["annotations"]
    ]
    predictions = [
        (video, found["segment"], found["label"], found["score"])
        for video, entries in results.items()
        if video not in blocked
        for found in entries
    ]
    return Evaluation(events, predictions)


def compare(case: Case, evaluation: Evaluation, result: DetectionResult, expected: dict[str, Any]):
    assert [evaluation.names[k] for k in result.labels] == expected["classes"]
    assert result.events.label.size == expected["num_ground_truth"]
    assert result.detections.label.size == expected["num_predictions"]
    recorded = torch.tensor(list(expected["ap"].values()), dtype=torch.float64)
    case.assert_close(torch.from_numpy(result.ap), recorded.reshape(result.ap.shape), "AP")
    compare_means(case, result, expected)


def compare_means(case: Case, result: DetectionResult, expected: dict[str, Any]):
    means, average = result.mean_ap, result.average_map
    if means is None or average is None:  # no ground truth, where the field reports nan
        assert np.isnan(np.array(expected["average_mAP"], dtype=float))
        return
    recorded = torch.tensor([*expected["mAP"], expected["average_mAP"]], dtype=torch.float64)
    case.assert_close(torch.tensor([*means, average]), recorded, "mAP")


@check("adatad", "map_cases")
def map_cases(case: Case) -> None:
    for entry in case.meta["cases"]:
        arguments, expected = entry["args"], entry["expected"]
        database, results = entry["ground_truth"]["database"], entry["predictions"]["results"]
        blocked = arguments["blocked_videos"] or ()
        evaluation = read(database, results, arguments["subset"], blocked)
        result = evaluation.measure(arguments["tiou_thresholds"])
        compare(case, evaluation, result, expected)
        if arguments["top_k"]:
            compare_recall(case, result, arguments, expected["recall"])
    epic_style(case, case.meta["epic_style"])


def compare_recall(
    case: Case, result: DetectionResult, arguments: dict[str, Any], expected: dict[str, float]
):
    thresholds, multiples = arguments["tiou_thresholds"], arguments["top_k"]
    recall = recall_at_multiples(result.detections, result.events, thresholds, multiples)
    assert recall is not None
    recorded = [[expected[f"{threshold}@{k}"] for k in multiples] for threshold in thresholds]
    recorded = torch.tensor(recorded, dtype=torch.float64)
    case.assert_close(torch.from_numpy(recall), recorded, "recall")


def epic_style(case: Case, entry: dict[str, Any]) -> None:
    """Verbs, nouns and their pairs; nothing is dropped from the ground truth."""

    def number(text: str) -> int:
        return int(text.removeprefix("id_"))

    predictions = [
        (video, found["segment"], found, found["score"])
        for video, entries in entry["predictions"]["results"].items()
        for found in entries
    ]
    events = [
        (video, event["segment"], event)
        for video, annotation in entry["ground_truth"]["database"].items()
        if annotation["subset"] == entry["subset"]
        for event in annotation["annotations"]
    ]
    label_of = {
        "noun": lambda row: number(row["noun_label"]) if "noun_label" in row else row["noun"],
        "verb": lambda row: number(row["verb_label"]) if "verb_label" in row else row["verb"],
    }
    label_of["action"] = lambda row: (label_of["verb"](row), label_of["noun"](row))
    for kind, expected in entry["expected"].items():
        label = label_of[kind]
        evaluation = Evaluation(
            [(video, segment, label(row)) for video, segment, row in events],
            [(video, segment, label(row), score) for video, segment, row, score in predictions],
        )
        result = evaluation.measure(entry["tiou_thresholds"], distinct=False)
        compare_means(case, result, expected)


@check("adatad", "map_big")
def map_big(case: Case) -> None:
    database = case.data["ground_truth"]["database"]
    results = case.data["predictions"]["results"]
    evaluation = read(database, results, case.config["subset"])
    result = evaluation.measure(case.config["tiou_thresholds"])
    compare(case, evaluation, result, case.meta["expected"])


@check("adatad", "map_thumos14_realgt")
def map_thumos14_realgt(case: Case) -> None:
    path = THUMOS14 / Path(case.config["ground_truth"]).name
    if not path.is_file():
        pytest.skip(f"{path} is third-party data and not there; set VIDEO_ADAPT_THUMOS14")
    database = json.loads(path.read_text())["database"]
    evaluation = read(database, case.data["results"], case.config["subset"])
    result = evaluation.measure(case.config["tiou_thresholds"])
    compare(case, evaluation, result, case.meta["expected"])
