from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing import spawn

from video_adapt.batches import ClipLogits, ClipPredictions
from video_adapt.errors import AnnotationError
from video_adapt.metrics import VideoAccuracy, label_rank, top_k_accuracy

CLASSES, VIDEOS, VIEWS = 7, 11, 3


def make_clips(seed: int = 0) -> ClipPredictions:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randperm(VIDEOS * VIEWS, generator=rng)
    probs = torch.randn(len(rows), CLASSES, generator=rng).softmax(-1)
    labels = torch.randint(CLASSES, (VIDEOS,), generator=rng)
    labels[4] = -1
    return ClipPredictions(rows // VIEWS, rows % VIEWS, probs, labels[rows // VIEWS])


def take(clips: ClipPredictions, rows: Tensor) -> ClipPredictions:
    return ClipPredictions(*(value[rows] for value in clips))


def measure(*batches: ClipPredictions):
    metric = VideoAccuracy(CLASSES)
    for batch in batches:
        metric.update(batch)
    return metric.compute()


def assert_same(ours, theirs):
    """Bit for bit."""
    assert [ours.top1, ours.top5, ours.mean_class] == [theirs.top1, theirs.top5, theirs.mean_class]
    np.testing.assert_array_equal(ours.confusion, theirs.confusion)
    for one, other in zip(ours.videos, theirs.videos, strict=True):
        np.testing.assert_array_equal(one, other)


def test_equals_a_slow_second_version():
    clips = make_clips()
    result = measure(clips)
    sums, labels = {}, {}
    for video, _, probs, label in zip(*(value.tolist() for value in clips), strict=True):
        known = sums.get(video, [0.0] * CLASSES)
        sums[video] = [a + b for a, b in zip(known, probs, strict=True)]
        labels[video] = label
    ranked = {v: sorted(range(CLASSES), key=lambda k, v=v: -sums[v][k]) for v in sums}
    known = [v for v in sums if labels[v] >= 0]
    assert result.num_videos == len(known)
    assert result.num_unlabeled == VIDEOS - len(known) > 0
    for k, accuracy in ((1, result.top1), (5, result.top5)):
        assert accuracy == sum(labels[v] in ranked[v][:k] for v in known) / len(known)
    for label in range(CLASSES):
        mine = [v for v in known if labels[v] == label]
        right = sum(ranked[v][0] == label for v in mine)
        expected = right / len(mine) if mine else np.nan
        np.testing.assert_equal(result.class_accuracy[label], expected)
        assert result.confusion[label].sum() == len(mine)
        assert result.confusion[label, label] == right
    assert result.mean_class == pytest.approx(np.nanmean(result.class_accuracy))


def test_order_batches_and_duplicates_change_nothing():
    clips = make_clips()
    whole = measure(clips)
    rows = torch.randperm(len(clips.view), generator=torch.Generator().manual_seed(5))
    padded = torch.cat([rows, rows[:7]])
    assert_same(measure(*(take(clips, part) for part in padded.split(4))), whole)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("shares", [(0, 16, 33), (0, 5, 20, 33), (0, 33, 33)])
def test_processes_gather_to_the_same_figures(shares):
    """The last split leaves a process without any clip."""
    clips = make_clips()
    metrics = []
    for start, stop in pairwise(shares):
        metrics.append(VideoAccuracy(CLASSES))
        if stop > start:
            metrics[-1].update(take(clips, torch.arange(start, stop)))
    local = [[torch.cat(getattr(m, name)) for name in clips._fields] for m in metrics]
    for states in zip(*local, strict=True):  # what gathering needs: same type, same dimensions
        assert len({(state.dtype, state.ndim) for state in states}) == 1
    for metric in metrics:
        states = iter(zip(*local, strict=True))
        metric.dist_sync_fn = lambda _, group, states=states: list(next(states))
        metric.distributed_available_fn = lambda: True
        assert_same(metric.compute(), measure(clips))


def _one_process(rank: int, world: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    clips, metric = make_clips(), VideoAccuracy(CLASSES)
    if rank < world - 1:  # the last process sees nothing
        rows = torch.arange(rank, len(clips.view), world - 1)
        for part in rows.split(4):
            metric.update(take(clips, part))
    else:
        metric._update_count = 1
    assert_same(metric.compute(), torch.load(f"{folder}/alone.pt", weights_only=False))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_three_real_processes(tmp_path):
    torch.save(measure(make_clips()), tmp_path / "alone.pt")
    spawn(_one_process, (3, str(tmp_path)), nprocs=3)


def test_forgets_on_reset():
    metric = VideoAccuracy(CLASSES)
    metric.update(make_clips(1))
    metric.reset()
    metric.update(make_clips(2))
    assert_same(metric.compute(), measure(make_clips(2)))


def test_ties_go_to_the_lower_class_and_nan_beats_nothing():
    scores = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [np.nan, np.nan, np.nan]])
    assert label_rank(scores, np.array([0, 1, 0])).tolist() == [0, 1, 2]


def test_a_model_that_returns_nan_is_never_right():
    clips = make_clips()._replace(probs=torch.full((VIDEOS * VIEWS, CLASSES), torch.nan))
    result = measure(clips)
    assert result.top1 == 0.0
    assert result.confusion.sum() == 0
    assert (result.videos.prediction == -1).all()


def test_logits_are_summed_as_they_are():
    ids, view = torch.zeros(2, dtype=torch.int64), torch.arange(2)
    # As probabilities the second view would be as sure as the first, and class 0 and 1 level.
    logits = torch.tensor([[50.0, 0.0], [0.0, 20.0]])
    metric = VideoAccuracy(2)
    metric.update(ClipLogits(ids, view, logits, ids))
    result = metric.compute()
    np.testing.assert_array_equal(result.videos.scores, [[50.0, 20.0]])
    assert result.top1 == 1.0


def test_top_five_of_three_classes_is_everything():
    scores = np.eye(3)
    assert top_k_accuracy(scores, np.array([1, 2, 0]), 5) == 1.0
    assert np.isnan(top_k_accuracy(scores[:0], np.array([], dtype=int), 1))


def test_contradicting_labels_are_refused():
    clips = make_clips()
    label = clips.label.clone()
    label[0] = (label[0] + 1) % CLASSES
    with pytest.raises(AnnotationError, match=rf"video {clips.video_id[0]} carries different"):
        measure(clips._replace(label=label))


def test_label_out_of_range_is_refused():
    clips = make_clips()
    with pytest.raises(AnnotationError, match="the model has 7 classes"):
        measure(clips._replace(label=torch.full_like(clips.label, CLASSES)))


def test_no_video_at_all_gives_nan():
    metric = VideoAccuracy(CLASSES)
    metric.update(take(make_clips(), torch.arange(0)))
    result = metric.compute()
    assert np.isnan(result.top1)
    assert result.num_videos == 0
