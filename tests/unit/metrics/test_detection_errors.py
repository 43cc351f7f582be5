import json

import numpy as np
import pytest

from tests.unit.metrics.worlds import CLASSES, EVENTS, make_world
from video_adapt.errors import ConfigurationError
from video_adapt.metrics import Detections, GroundTruth
from video_adapt.metrics.detection_errors import (
    ErrorKind,
    calibrate,
    class_errors,
    error_kinds,
    error_profile,
    match_detections,
    operating_curve,
    threshold_for_precision,
)
from video_adapt.metrics.detection_matching import temporal_iou

K = ErrorKind


@pytest.fixture
def scene():
    """Two events; detections of every kind, best first, two pairs of equal scores."""
    events = GroundTruth(np.array([0, 0]), np.array([[0.0, 10], [20, 30]]), np.array([0, 1]))
    rows = [
        (0, 0, 9, 0.9, 0, K.RIGHT),
        (0, 1, 10, 0.8, 0, K.DUPLICATE),
        (0, 0, 10, 0.8, 1, K.MISCLASSIFIED),
        (0, 8, 18, 0.7, 0, K.MISLOCALISED),
        (0, 20, 24, 0.6, 0, K.CONFUSED),
        (0, 40, 44, 0.6, 1, K.BACKGROUND),
        (1, 20, 30, 0.5, 1, K.BACKGROUND),
        (0, 20, 29, 0.4, 1, K.RIGHT),
    ]
    video, start_s, end_s, score, label, kinds = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    segments_s = np.stack([start_s, end_s], 1).astype(float)
    return Detections(video, segments_s, score, label), events, kinds


def test_every_kind_of_error_is_told_apart(scene):
    detections, events, kinds = scene
    matching = match_detections(detections, events)
    order = np.lexsort((detections.segments_s[:, 0], -detections.score))
    assert error_kinds(matching, np.arange(8)).tolist() == kinds[order].tolist()
    assert error_kinds(matching, np.array([7, 3])).tolist() == [K.RIGHT, K.MISLOCALISED]


def test_kinds_equal_a_slow_second_version():
    detections, events = make_world(8)
    matching = match_detections(detections, events, 0.6)
    kinds = error_kinds(matching, np.arange(len(matching.found)))
    ranked = matching.detections
    for row, kind in enumerate(kinds):
        near = events.video_id == ranked.video_id[row]
        segment = np.broadcast_to(ranked.segments_s[row], events.segments_s.shape)
        tious = temporal_iou(segment, events.segments_s) * near
        own = tious[events.label == ranked.label[row]].max()
        other = tious[events.label != ranked.label[row]].max()
        if matching.found[row] >= 0:
            expected = K.RIGHT
        elif max(own, other) < 0.1:
            expected = K.BACKGROUND
        elif max(own, other) >= 0.6:
            expected = K.DUPLICATE if own >= 0.6 else K.MISCLASSIFIED
        else:
            expected = K.MISLOCALISED if own >= 0.1 else K.CONFUSED
        assert kind == expected
    assert set(kinds) == set(ErrorKind)


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


def test_profile_counts_the_best_multiples_of_the_events(scene):
    detections, events, _ = scene
    profile = error_profile(match_detections(detections, events), [1, 2, 4, 100])
    assert profile.sum(axis=1).tolist() == [2, 4, 8, 8]
    assert profile[2].tolist() == [2, 1, 1, 1, 1, 2]


def test_profile_without_events_is_empty(scene):
    detections, events, _ = scene
    none = events.take(np.zeros(2, bool))
    assert error_profile(match_detections(detections, none)).sum() == 0


def test_class_table_at_thresholds_of_its_own(scene):
    detections, events, _ = scene
    first, second, third = class_errors(match_detections(detections, events), [0.75, 0.4, None], 2)
    assert first.point[1:4] == (1, 1, 0)
    assert first.kinds.tolist() == [1, 1, 0, 0, 0, 0]
    assert second.point[1:4] == (1, 3, 0)
    assert second.kinds.tolist() == [1, 0, 1, 0, 0, 2]
    assert (third.num_events, third.kinds.sum(), third.point.missed) == (0, 0, 0)


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
