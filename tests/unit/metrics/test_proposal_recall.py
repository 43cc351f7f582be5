import numpy as np
import pytest

from tests.unit.metrics.worlds import EVENTS, make_world
from video_adapt.metrics import average_recall, recall_at_multiples
from video_adapt.metrics.detection_matching import temporal_iou

THRESHOLDS = (0.3, 0.5, 0.7)


def tious(segment, segments):
    return temporal_iou(np.broadcast_to(segment, segments.shape), segments)


def slow_recall(proposals, events, kept, thresholds):
    """Kept: how many proposals of each video count."""
    best = []
    for video, segment in zip(events.video_id, events.segments_s, strict=True):
        mine = proposals.segments_s[proposals.video_id == video][: kept[video]]
        best.append(max(tious(segment, mine), default=0.0))
    return np.mean([[tiou >= threshold for tiou in best] for threshold in thresholds])


@pytest.mark.parametrize("count", [0, 1, 5, 20, 1000])
def test_average_recall_equals_a_slow_second_version(count):
    proposals, events = make_world(4)
    outside = proposals._replace(video_id=proposals.video_id + 100)  # nothing happens there
    everything = type(proposals)(
        *(np.concatenate(pair) for pair in zip(proposals, outside, strict=True))
    )
    ranked = proposals.ranked()
    videos, sizes = np.unique(ranked.video_id, return_counts=True)
    share = count * len(videos) / sizes.sum()
    kept = {video: int(size * share + 1e-9) for video, size in zip(videos, sizes, strict=True)}
    average = average_recall(everything, events, [count], thresholds=THRESHOLDS)
    assert average.tolist() == [pytest.approx(slow_recall(ranked, events, kept, THRESHOLDS))]
    each = average_recall(everything, events, [count], thresholds=THRESHOLDS, per_video="each")
    kept = dict.fromkeys(videos, count)
    assert each.tolist() == [pytest.approx(slow_recall(ranked, events, kept, THRESHOLDS))]


def test_the_thresholds_are_activitynet_s():
    """A proposal with tIoU 0.72 passes five of ten thresholds from 0.5 to 0.95."""
    proposals, events = make_world(0)
    event = events.take(np.array([0]))
    start_s, end_s = event.segments_s[0]
    proposal = proposals.take(np.array([0]))._replace(
        video_id=event.video_id,
        segments_s=np.array([[start_s, start_s + 0.72 * (end_s - start_s)]]),
    )
    assert average_recall(proposal, event, [1]).tolist() == [0.5]


def test_more_proposals_never_find_less():
    recalls = average_recall(*make_world(5), [1, 2, 5, 10, 50])
    assert (np.diff(recalls) > 0).all()


def test_recall_at_multiples_equals_a_slow_second_version():
    detections, events = make_world(6)
    ranked = detections.ranked()
    recalls = recall_at_multiples(detections, events, THRESHOLDS, [1, 3])
    for row, threshold in enumerate(THRESHOLDS):
        for column, k in enumerate((1, 3)):
            shares = []
            for label in np.unique(events.label):
                hits = []
                for video in np.unique(events.video_id):
                    own = (events.video_id == video) & (events.label == label)
                    mine = (ranked.video_id == video) & (ranked.label == label)
                    best = ranked.segments_s[mine][: k * own.sum()]
                    hits += [
                        max(tious(segment, best), default=0) >= threshold
                        for segment in events.segments_s[own]
                    ]
                shares.append(np.mean(hits))
            assert recalls[row, column] == pytest.approx(np.mean(shares))
    assert 0 < recalls.min() < recalls.max() < 1


def test_without_ground_truth_there_is_no_recall():
    detections, events = make_world(0)
    none = events.take(np.zeros(EVENTS, bool))
    assert average_recall(detections, none, [1]) is None
    assert recall_at_multiples(detections, none, [0.5], [1]) is None


def test_without_detections_nothing_is_found():
    detections, events = make_world(0)
    nothing = detections.take(np.zeros(len(detections.score), bool))
    assert average_recall(nothing, events, [10]).tolist() == [0.0]
    assert recall_at_multiples(nothing, events, [0.5], [1]).tolist() == [[0.0]]
