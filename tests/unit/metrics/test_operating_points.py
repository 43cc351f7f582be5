import json

import numpy as np
import pytest

from tests.unit.metrics.worlds import CLASSES, EVENTS, make_scene, make_world
from video_adapt.errors import ConfigurationError
from video_adapt.metrics import (
    calibrate,
    match_detections,
    operating_curve,
    threshold_for_precision,
)


@pytest.fixture
def scene():
    return make_scene()


def test_curve_counts_equal_scores_together(scene):
    detections, events, _ = scene
    curve = operating_curve(match_detections(detections, events), hours=0.5)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert curve.true_positives.tolist() == [1, 1, 1, 1, 1, 2]
    assert curve.false_positives.tolist() == [0, 2, 3, 5, 6, 6]
    assert curve.recall.tolist() == [0.5] * 5 + [1.0]
    assert curve.precision[-1] == 0.25
    assert curve.false_alarms_per_hour[-1] == 12.0


def test_curve_of_a_class(scene):
    detections, events, _ = scene
    curve = operating_curve(match_detections(detections, events), 1.0, label=1)
    assert curve.thresholds.tolist() == [0.8, 0.6, 0.5, 0.4]
    assert curve.true_positives.tolist() == [0, 0, 0, 1]
    assert curve.num_events == 1


def test_point_between_two_scores(scene):
    detections, events, _ = scene
    curve = operating_curve(match_detections(detections, events), hours=2.0)
    point = curve.at(0.65)
    assert (point.true_positives, point.false_positives, point.missed) == (1, 3, 1)
    assert (point.precision, point.recall, point.false_alarms_per_hour) == (0.25, 0.5, 1.5)
    nothing = curve.at(0.95)
    assert (nothing.precision, nothing.recall, nothing.missed) == (None, 0.0, 2)


def test_without_events_there_is_no_recall(scene):
    detections, events, _ = scene
    none = events.take(np.zeros(2, bool))
    point = operating_curve(match_detections(detections, none), 1.0).at(0.0)
    assert point.recall is None
    assert point.false_positives == 8


def test_threshold_is_the_lowest_that_reaches_the_precision():
    detections, events = make_world(9)
    curve = operating_curve(match_detections(detections, events), 1.0)
    for target in (0.3, 0.5, 0.7):
        threshold = curve.threshold_for(target)
        assert curve.at(threshold).precision >= target
        lower = curve.thresholds[curve.thresholds < threshold]
        assert all(curve.at(score).precision < target for score in lower)
    assert curve.threshold_for(1.01) is None


def test_calibration_is_plain_and_found_again():
    detections, events = make_world(9)
    matching = match_detections(detections, events)
    calibration = calibrate(matching, CLASSES)
    assert json.loads(json.dumps(calibration)) == calibration
    assert calibration["precision"][::9] == [0.5, 0.95]
    overall, second = operating_curve(matching, 1.0), operating_curve(matching, 1.0, 1)
    assert threshold_for_precision(calibration, 0.6) == overall.threshold_for(0.6)
    assert threshold_for_precision(calibration, 0.57) == overall.threshold_for(0.6)
    assert threshold_for_precision(calibration, 0.6, label=1) == second.threshold_for(0.6)
    with pytest.raises(ConfigurationError, match=r"chosen up to 0\.95; ask for less"):
        threshold_for_precision(calibration, 0.99)


def test_calibration_of_a_class_that_is_never_right(scene):
    detections, events, _ = scene
    calibration = calibrate(match_detections(detections, events), 3, [0.5])
    assert calibration["per_class"] == [[0.8], [None], [None]]
    assert threshold_for_precision(calibration, 0.5, label=1) is None


def test_scores_that_are_no_number_are_left_out():
    detections, events = make_world(0)
    detections.score[::2] = np.nan
    matching = match_detections(detections, events)
    assert len(matching.found) == len(detections.score) // 2
    assert len(matching.events.label) == EVENTS


def test_videos_without_length_are_refused(scene):
    detections, events, _ = scene
    with pytest.raises(ConfigurationError, match="need a length"):
        operating_curve(match_detections(detections, events), 0.0)
