import numpy as np
import pytest

from tests.unit.metrics.worlds import EVENTS, make_world
from video_adapt.errors import AnnotationError
from video_adapt.metrics import Detections, GroundTruth, check_labels, distinct_events
from video_adapt.metrics import detection_matching as matching
from video_adapt.metrics.detection_matching import (
    find_overlaps,
    match,
    running_numbers,
    temporal_iou,
)


def events_of(*rows) -> GroundTruth:
    """Rows of (video, start, end, label)."""
    video, start_s, end_s, label = np.array(rows, float).T
    return GroundTruth(video.astype(int), np.stack([start_s, end_s], 1), label.astype(int))


def one_video(segments, scores=None, labels=None) -> Detections:
    count = len(segments)
    scores = np.linspace(0.9, 0.1, count) if scores is None else np.array(scores)
    labels = np.zeros(count, int) if labels is None else np.array(labels)
    return Detections(np.zeros(count, int), np.array(segments, float), scores, labels)


def slow_match(detections, events, threshold):
    """One detection after the other, best first."""
    taken, found = set(), []
    for video, (start, end), label in zip(
        detections.video_id, detections.segments_s, detections.label, strict=True
    ):
        choices = []
        for row, (a, b) in enumerate(events.segments_s):
            common = max(0.0, min(end, b) - max(start, a))
            tiou = common / max((end - start) + (b - a) - common, 1e-8)
            same = events.video_id[row] == video and events.label[row] == label
            if same and tiou >= threshold and row not in taken:
                choices.append((tiou, row))
        best = max(choices)[1] if choices else -1
        taken |= {best} - {-1}
        found.append(best)
    return found


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(5))
def test_all_at_once_equals_one_after_the_other(seed, threshold):
    detections, events = make_world(seed)
    detections = detections.ranked()
    overlaps = find_overlaps(detections, events, 0.1)
    found = match(overlaps, threshold, len(detections.score))
    assert found.tolist() == slow_match(detections, events, threshold)
    assert (found >= 0).sum() > 20


def test_the_world_has_second_choices_and_duplicates():
    """Else the comparison above would prove little."""
    detections, events = make_world(0)
    overlaps = find_overlaps(detections.ranked(), events, 0.1)
    found = match(overlaps, 0.1, len(detections.score))
    first_choice = dict(zip(overlaps.detection[::-1], overlaps.event[::-1], strict=True))
    second = [row for row, event in enumerate(found) if event >= 0 and event != first_choice[row]]
    assert len(second) > 5
    assert len(set(overlaps.detection) - set(np.flatnonzero(found >= 0))) > 5


def test_a_tiou_at_the_threshold_is_a_match():
    overlaps = find_overlaps(one_video([[0, 5], [0, 4.9]]), events_of((0, 0, 10, 0)), 0.1)
    assert match(overlaps, 0.5, 2).tolist() == [0, -1]


def test_of_equal_overlaps_the_later_event_is_taken():
    events = events_of((0, 0, 10, 0), (0, 10, 20, 0))
    assert match(find_overlaps(one_video([[5, 15]]), events, 0.1), 0.3, 1).tolist() == [1]


def test_reversed_and_empty_segments_find_nothing():
    overlaps = find_overlaps(one_video([[6, 4], [5, 5]]), events_of((0, 0, 10, 0)), 1e-6)
    assert match(overlaps, 1e-6, 2).tolist() == [-1, -1]


def test_overlap_by_hand():
    one = np.array([[0, 10], [0, 10], [6, 4], [0, 0], [0, 4.0]])
    other = np.array([[5, 15], [20, 30], [0, 10], [0, 0], [1, 3.0]])
    assert temporal_iou(one, other).tolist() == [1 / 3, 0.0, 0.0, 0.0, 0.5]


def test_pairs_stay_within_video_and_class():
    events = events_of((0, 0, 10, 0), (0, 0, 10, 1), (1, 0, 10, 0))
    detections = one_video([[0, 10]])
    assert find_overlaps(detections, events, 0.1).event.tolist() == [0]
    assert sorted(find_overlaps(detections, events, 0.1, by_class=False).event) == [0, 1]


def test_blocks_of_pairs_change_nothing(monkeypatch):
    detections, events = make_world(1)
    whole = find_overlaps(detections, events, 0.1)
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", 17)
    for one, other in zip(find_overlaps(detections, events, 0.1), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_overlaps_nothing():
    detections, events = make_world(2)
    assert find_overlaps(detections, events.take(np.zeros(EVENTS, bool)), 0.1).tiou.size == 0
    none = detections.take(np.zeros(len(detections.score), bool))
    overlaps = find_overlaps(none, events, 0.1)
    assert overlaps.tiou.size == 0
    assert match(overlaps, 0.1, 0).tolist() == []


def test_equal_scores_are_ranked_by_video_start_end_and_label():
    wanted = Detections(
        np.array([3, 0, 1, 1, 1, 1, 0]),
        np.array([[9, 9], [5, 9], [1, 9], [2, 3], [2, 4], [2, 4], [0, 1]], float),
        np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.5, np.nan]),
        np.array([0, 1, 0, 2, 0, 1, 0]),
    )
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(7)
        for one, other in zip(wanted.take(rows).ranked(), wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_events_without_length_and_repetitions_are_dropped():
    rows = [
        (0, 1, 2, 0),
        (0, 1.0009, 1.9991, 0),  # repeats the first
        (0, 1.0018, 2, 0),  # close to the one that was dropped, not to the first
        (0, 1, 2.002, 0),  # one end is too far away
        (0, 1, 2, 1),  # another class
        (1, 1, 2, 0),  # another video
        (0, 5, 5, 0),
        (0, 6, 5, 0),
    ]
    kept = distinct_events(events_of(*rows))
    assert kept.segments_s.tolist() == [[1, 2], [1.0018, 2], [1, 2.002], [1, 2], [1, 2]]


def test_running_numbers_count_within_a_group():
    video, window = np.array([1, 1, 0, 1, 0]), np.array([0, 1, 0, 0, 0])
    assert running_numbers(video, window).tolist() == [0, 0, 0, 1, 1]
    assert running_numbers(video).tolist() == [0, 1, 0, 2, 1]


def test_labels_out_of_range_are_refused():
    events = events_of((4, 0, 1, 2), (7, 0, 1, 3))
    check_labels(events, 4)
    with pytest.raises(AnnotationError, match=r"label 3 of an event of video 7 .* has 3 classes"):
        check_labels(events, 3)
