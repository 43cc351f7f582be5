import numpy as np
import pytest

from tests.unit.metrics.worlds import make_scene, make_world
from video_adapt.metrics import (
    ErrorKind,
    class_errors,
    error_kinds,
    error_profile,
    match_detections,
)
from video_adapt.metrics.detection_matching import temporal_iou

K = ErrorKind


@pytest.fixture
def scene():
    return make_scene()


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
