from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing import spawn

from tests.unit.metrics.worlds import CLASSES, EVENTS, VIDEOS, make_world
from video_adapt.batches import SegmentPredictions
from video_adapt.errors import ConfigurationError
from video_adapt.metrics import DetectionMAP, average_precision, detection_map
from video_adapt.metrics.detection_matching import find_overlaps, match

THRESHOLDS = (0.3, 0.5, 0.7)


def make_predictions(seed: int = 0, windows: int = 3) -> SegmentPredictions:
    """In the order of videos and windows, as one process delivers them."""
    found, _ = make_world(seed)
    window = np.random.default_rng(seed).integers(0, windows, len(found.score))
    order = torch.from_numpy(np.lexsort((window, found.video_id)))
    predictions = SegmentPredictions(
        torch.from_numpy(found.video_id),
        torch.from_numpy(window),
        torch.from_numpy(found.segments_s).float(),
        torch.from_numpy(found.score).float(),
        torch.from_numpy(found.label),
    )
    return take(predictions, order)


def take(predictions: SegmentPredictions, rows: Tensor) -> SegmentPredictions:
    return SegmentPredictions(*(values[rows] for values in predictions))


def by_window(predictions: SegmentPredictions) -> list[SegmentPredictions]:
    key = predictions.video_id * 100 + predictions.window
    return [take(predictions, key == value) for value in key.unique()]


def join(parts: list[SegmentPredictions]) -> SegmentPredictions:
    return SegmentPredictions(*(torch.cat(values) for values in zip(*parts, strict=True)))


def measure(*batches: SegmentPredictions, **settings):
    metric = DetectionMAP(make_world(0)[1], THRESHOLDS, **settings)
    for batch in batches:
        metric.update(batch)
    return metric.compute()


def assert_same(ours, theirs):
    """Bit for bit, detections included."""
    assert ours.average_map == theirs.average_map
    np.testing.assert_array_equal(ours.ap, theirs.ap)
    for one, other in zip(ours.detections, theirs.detections, strict=True):
        np.testing.assert_array_equal(one, other)


def envelope_area(hits, num_events):
    """Area under the best precision at any recall that is no lower, point by point."""
    found, points = 0, []
    for place, hit in enumerate(hits, start=1):
        found += hit
        points.append((found / num_events, found / place))
    area, before = 0.0, 0.0
    for recall, _ in points:
        if recall > before:
            area += (recall - before) * max(p for r, p in points if r >= recall)
            before = recall
    return area


def test_equals_a_slow_second_version():
    detections, events = make_world(3)
    result = detection_map(detections, events, THRESHOLDS)
    ranked = detections.ranked()
    for row, label in enumerate(result.labels):
        mine = ranked.take(ranked.label == label)
        own = events.take(events.label == label)
        assert result.num_events[row] == len(own.label)
        for column, threshold in enumerate(THRESHOLDS):
            overlaps = find_overlaps(mine, own, threshold)
            hits = match(overlaps, threshold, len(mine.score)) >= 0
            expected = envelope_area(hits, len(own.label))
            assert result.ap[row, column] == pytest.approx(expected, abs=1e-12)
    assert 0.05 < result.average_map < 0.95
    assert result.average_map == pytest.approx(result.ap.mean())


def test_average_precision_by_hand():
    assert average_precision(np.array([0, 1]), 2) == 1.0
    # Precision 1/2 at recall 1/4, then 2/3 at recall 2/4: the envelope lifts the first to 2/3.
    assert average_precision(np.array([1, 2]), 4) == pytest.approx(2 / 3 / 2)
    assert average_precision(np.array([], int), 4) == 0.0


def test_average_precision_rounds_as_the_field_s_formula():
    """To the last bit, whatever the number of terms that NumPy adds in blocks."""
    rng = np.random.default_rng(0)
    for found in range(1, 60):
        places = np.sort(rng.permutation(200)[:found])
        for missed in (0, 3):
            hits = np.isin(np.arange(200), places)
            recall = np.hstack([0, np.cumsum(hits) / (found + missed), 1])
            precision = np.hstack([0, np.cumsum(hits) / np.arange(1, 201), 0])
            for i in range(len(precision) - 1)[::-1]:
                precision[i] = max(precision[i], precision[i + 1])
            steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
            area = np.sum((recall[steps] - recall[steps - 1]) * precision[steps])
            assert average_precision(places, found + missed) == area


def test_a_class_without_detections_counts_as_zero():
    detections, events = make_world(0)
    whole = detection_map(detections, events, [0.5])
    without = detection_map(detections.take(detections.label != 1), events, [0.5])
    assert without.labels.tolist() == [0, 1, 2]
    assert without.ap[:, 0].tolist() == [whole.ap[0, 0], 0.0, whole.ap[2, 0]]


def test_detections_of_a_class_without_events_change_no_figure():
    detections, events = make_world(0)
    result = detection_map(detections, events.take(events.label != 1), [0.5])
    assert result.labels.tolist() == [0, 2]
    others = detection_map(detections, events, [0.5])
    assert result.ap[:, 0].tolist() == others.ap[[0, 2], 0].tolist()
    assert len(result.detections.score) == len(detections.score)


def test_detections_in_videos_without_events_are_false_positives():
    detections, events = make_world(0)
    moved = detections._replace(video_id=detections.video_id + (detections.video_id == 2) * 50)
    assert detection_map(moved, events, [0.5]).average_map < (
        detection_map(detections.take(detections.video_id != 2), events, [0.5]).average_map
    )


def test_repeated_events_are_dropped_and_counted_unless_told_otherwise():
    detections, events = make_world(0)
    twice = type(events)(*(np.concatenate([values, values]) for values in events))
    result = detection_map(detections, twice, THRESHOLDS)
    assert result.num_dropped == EVENTS
    assert_same(result, detection_map(detections, events, THRESHOLDS))
    kept = detection_map(detections, twice, THRESHOLDS, distinct=False)
    assert kept.num_dropped == 0
    assert kept.num_events.sum() == 2 * EVENTS


def test_without_ground_truth_there_is_no_figure():
    detections, events = make_world(0)
    result = detection_map(detections, events.take(np.zeros(EVENTS, bool)), THRESHOLDS)
    assert result.average_map is None
    assert result.mean_ap is None
    assert result.ap.shape == (0, 3)


@pytest.mark.parametrize("thresholds", [(), (0.0, 0.5), (50.0,)])
def test_impossible_thresholds_are_refused(thresholds):
    with pytest.raises(ConfigurationError, match=r"at least one in \(0, 1\]"):
        detection_map(*make_world(0), thresholds)


def test_order_of_windows_and_batches_changes_nothing():
    windows = by_window(make_predictions())
    whole = measure(*windows)
    shuffled = [windows[k] for k in torch.randperm(len(windows)).tolist()]
    assert_same(measure(*shuffled), whole)
    assert_same(measure(join(shuffled)), whole)
    assert len(windows) == 3 * VIDEOS


def test_rows_of_a_window_may_lie_apart_in_a_batch():
    predictions = make_predictions()
    rows = torch.randperm(len(predictions.scores))
    assert_same(measure(take(predictions, rows)), measure(predictions))


def test_a_window_that_comes_twice_counts_once():
    windows = by_window(make_predictions())
    whole = measure(*windows)
    assert_same(measure(*windows, *windows[3:7]), whole)
    assert_same(measure(windows[5], *windows), whole)
    # A copy that another GPU computed may round differently and even differ in length.
    changed = windows[5]._replace(scores=windows[5].scores + 1e-3)
    longer = join([changed, take(changed, torch.arange(2))])
    assert_same(measure(*windows, longer), whole)
    assert len(windows[5].scores) > 2


def test_finish_gets_all_windows_in_one_order():
    seen = []

    def finish(predictions: SegmentPredictions) -> SegmentPredictions:
        seen.append(predictions)
        return take(predictions, predictions.scores > 0.5)

    windows = by_window(make_predictions())
    for batches in (windows, windows[::-1]):
        result = measure(*batches, finish=finish)
        assert result.detections.score.min() > 0.5
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)
    keys = (seen[0].video_id * 100 + seen[0].window).tolist()
    assert keys == sorted(keys)


def gathered(metrics):
    """Pretend that the metrics live in as many processes."""
    names = (*SegmentPredictions._fields, "place")
    local = [[torch.cat(getattr(metric, name)) for name in names] for metric in metrics]
    for states in zip(*local, strict=True):  # what gathering needs: same type, same dimensions
        assert len({(state.dtype, state.ndim) for state in states}) == 1
    for metric in metrics:
        states = iter(zip(*local, strict=True))
        metric.dist_sync_fn = lambda _, group, states=states: list(next(states))
        metric.distributed_available_fn = lambda: True
    return [metric.compute() for metric in metrics]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("shares", [(0, 9, 18), (0, 3, 10, 18), (0, 18, 18)])
def test_processes_gather_to_the_same_figures(shares):
    """The last split leaves a process without any window; all begin with the same one."""
    windows = by_window(make_predictions())
    metrics = []
    for start, stop in pairwise(shares):
        metrics.append(DetectionMAP(make_world(0)[1], THRESHOLDS))
        for window in windows[start:stop] + windows[:1] * (stop > start):
            metrics[-1].update(window)
    whole = measure(*windows)
    for result in gathered(metrics):
        assert_same(result, whole)


def _one_process(rank: int, world: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    metric = DetectionMAP(make_world(0)[1], THRESHOLDS)
    windows = by_window(make_predictions())
    if rank < world - 1:  # the last process sees nothing
        for window in windows[rank :: world - 1] + windows[:1]:
            metric.update(window)
    else:
        metric._update_count = 1
    assert_same(metric.compute(), torch.load(f"{folder}/alone.pt", weights_only=False))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_three_real_processes(tmp_path):
    torch.save(measure(make_predictions()), tmp_path / "alone.pt")
    spawn(_one_process, (3, str(tmp_path)), nprocs=3)


def test_forgets_on_reset():
    metric = DetectionMAP(make_world(0)[1], THRESHOLDS)
    metric.update(make_predictions(1))
    metric.reset()
    metric.update(make_predictions(0))
    assert_same(metric.compute(), measure(make_predictions(0)))


def test_scores_that_are_no_number_come_last_without_a_warning():
    predictions = make_predictions()
    broken = predictions._replace(scores=torch.full_like(predictions.scores, torch.nan))
    result = measure(join([predictions, broken._replace(window=broken.window + 50)]))
    assert result.average_map == measure(predictions).average_map
    assert result.labels.tolist() == list(range(CLASSES))
