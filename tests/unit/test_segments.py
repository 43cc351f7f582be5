import math

import numpy as np
import pytest
import torch
from torch import Tensor

from video_adapt.segments import (
    hard_nms,
    pairwise_iou,
    segment_iou,
    soft_nms,
    suppress,
    vote,
)


def make_segments(count: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    start = torch.rand(count, generator=rng) * 30
    segments = torch.stack([start, start + torch.rand(count, generator=rng) * 10], 1)
    labels = torch.randint(classes, (count,), generator=rng)
    return segments, torch.rand(count, generator=rng), labels


def slow_iou(a: list[float], b: list[float]) -> float:
    overlap = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = a[1] - a[0] + b[1] - b[0] - overlap
    return overlap / union if union else 0.0


def slow_suppress(segments, scores, labels, decay, min_score, limit):
    """One class after another, one segment after another, in float64."""
    kept = []
    for label in set(labels.tolist()):
        rows = [i for i, found in enumerate(labels.tolist()) if found == label]
        left = {i: scores[i].item() for i in rows}
        while left:
            best = max(left, key=left.__getitem__)
            kept.append((left.pop(best), best))
            for i in list(left):
                left[i] *= decay(slow_iou(segments[best].tolist(), segments[i].tolist()))
                if left[i] < min_score or left[i] == 0.0:
                    del left[i]
    return sorted(kept, reverse=True)[:limit]


def assert_kept(kept, expected):
    assert kept.rows.tolist() == [row for _, row in expected]
    torch.testing.assert_close(kept.scores, torch.tensor([score for score, _ in expected]))


def test_overlap_equals_a_slow_second_version():
    first, second = make_segments(11)[0], make_segments(7, seed=1)[0]
    expected = [[slow_iou(a, b) for b in second.tolist()] for a in first.tolist()]
    torch.testing.assert_close(pairwise_iou(first, second), torch.tensor(expected))
    torch.testing.assert_close(segment_iou(first[:7], second), torch.tensor(expected)[:7].diag())


def test_empty_segments_overlap_nothing_and_leave_finite_gradients():
    empty = torch.tensor([[2.0, 2.0]], requires_grad=True)
    overlap = segment_iou(empty, torch.tensor([[2.0, 2.0]]))
    overlap.sum().backward()
    assert overlap.item() == 0.0
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


@pytest.mark.parametrize(("min_score", "limit"), [(0.0, None), (0.05, None), (0.05, 17), (0.0, 5)])
def test_soft_nms_equals_a_slow_second_version(min_score, limit):
    segments, scores, labels = make_segments(200)
    expected = slow_suppress(
        segments, scores, labels, lambda iou: math.exp(-(iou**2) / 0.3), min_score, limit
    )
    kept = soft_nms(segments, scores, labels, sigma=0.3, min_score=min_score, limit=limit)
    assert_kept(kept, expected)


@pytest.mark.parametrize(("min_score", "limit"), [(0.0, None), (0.3, None), (0.0, 9)])
def test_hard_nms_equals_a_slow_second_version(min_score, limit):
    segments, scores, labels = make_segments(200)
    able = (scores > min_score).nonzero()[:, 0]
    expected = slow_suppress(
        segments[able], scores[able], labels[able], lambda iou: float(iou < 0.4), 0.0, limit
    )
    kept = hard_nms(segments, scores, labels, iou=0.4, min_score=min_score, limit=limit)
    assert_kept(kept, [(score, int(able[row])) for score, row in expected])


def test_classes_do_not_touch_each_other_and_without_labels_all_are_one():
    segments = torch.tensor([[0.0, 4.0], [0.0, 4.0]])
    scores = torch.tensor([0.9, 0.8])
    apart = soft_nms(segments, scores, torch.tensor([7, 2]), sigma=0.5)
    assert apart.scores.tolist() == scores.tolist()
    together = soft_nms(segments, scores, sigma=0.5)
    torch.testing.assert_close(together.scores, torch.tensor([0.9, 0.8 * math.exp(-2)]))


def test_a_class_much_larger_than_the_others_is_finished_after_they_are():
    segments, scores, labels = make_segments(300, classes=2, seed=3)
    labels = torch.where(torch.arange(300) < 6, 5, labels * 0)
    expected = slow_suppress(
        segments, scores, labels, lambda iou: math.exp(-(iou**2) / 0.7), 0.01, None
    )
    assert_kept(soft_nms(segments, scores, labels, sigma=0.7, min_score=0.01), expected)


def test_the_best_of_a_class_stays_below_the_least_score_and_the_others_go():
    segments = torch.tensor([[0.0, 1.0], [5.0, 6.0]])
    kept = soft_nms(segments, torch.tensor([0.01, 0.02]), sigma=0.5, min_score=0.1)
    assert kept.rows.tolist() == [1]


def test_scores_of_zero_stay_without_a_least_score():
    segments = torch.tensor([[0.0, 1.0], [5.0, 6.0]])
    assert soft_nms(segments, torch.zeros(2), sigma=0.5).rows.tolist() == [0, 1]
    assert hard_nms(segments, torch.zeros(2), iou=0.5).rows.tolist() == [0, 1]


def test_hard_nms_deletes_from_the_threshold_on():
    segments = torch.tensor([[0.0, 4.0], [0.0, 2.0], [0.0, 1.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert hard_nms(segments, scores, iou=0.49).rows.tolist() == [0, 2]
    assert hard_nms(segments, scores, iou=0.51).rows.tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_equal_scores_are_taken_by_start_whatever_the_order(seed):
    segments, _, labels = make_segments(90)
    scores = torch.full((90,), 0.5)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(seed))
    one = soft_nms(segments, scores, labels, sigma=0.5)
    other = soft_nms(segments[order], scores, labels[order], sigma=0.5)
    assert torch.equal(order[other.rows], one.rows)
    assert torch.equal(other.scores, one.scores)
    first = segments[labels == labels[one.rows[0]]].min(0).values[0]
    assert segments[one.rows[0], 0] == first


def test_equal_scores_that_stay_equal_are_in_order_of_time():
    rng = torch.Generator().manual_seed(0)
    start, labels = torch.randperm(90, generator=rng), torch.randint(3, (90,), generator=rng)
    scores = torch.tensor([0.9, 0.5, 0.7])[torch.randint(3, (90,), generator=rng)]
    kept = soft_nms(torch.stack([start, start + 0.5], 1), scores, labels, sigma=0.5)
    for label in range(3):
        mine = kept.rows[labels[kept.rows] == label].tolist()
        assert mine == sorted(mine, key=lambda row: (-scores[row], start[row]))


def test_no_segments_and_one_segment():
    none = soft_nms(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.long), sigma=0.5)
    assert none.rows.shape == none.scores.shape == (0,)
    assert none.rows.dtype == torch.int64
    assert hard_nms(torch.zeros(0, 2), torch.zeros(0), iou=0.5).rows.tolist() == []
    one = soft_nms(torch.tensor([[1.0, 2.0]]), torch.tensor([0.3]), sigma=0.5)
    assert one.rows.tolist() == [0]
    torch.testing.assert_close(one.scores, torch.tensor([0.3]))


@pytest.mark.parametrize(
    ("segment", "score", "message"),
    [
        ([0.0, 1.0], math.nan, "not a finite number"),
        ([0.0, math.inf], 0.5, "not a finite number"),
        ([0.0, 1.0], -0.5, "a score is -0.5"),
        ([3.0, 1.0], 0.5, "starts at 3.000 and ends at 1.000"),
    ],
)
def test_numbers_without_meaning_are_refused(segment, score, message):
    with pytest.raises(ValueError, match=message):
        soft_nms(torch.tensor([[0.0, 1.0], segment]), torch.tensor([0.5, score]), sigma=0.5)


def test_a_decay_sees_the_length_of_the_segment_that_was_taken():
    segments = torch.tensor([[0.0, 4.0], [0.0, 2.0], [0.0, 1.0]])
    lengths = []

    def decay(scores, iou, length):
        lengths.append(length.item())
        return scores

    suppress(segments, torch.tensor([0.1, 0.9, 0.5]), None, decay)
    np.testing.assert_allclose(lengths, [2, 1, 4], atol=1e-5)


def test_voting_equals_a_slow_second_version():
    segments, scores, _ = make_segments(600)
    kept = segments[:300]
    expected = []
    for one in kept.tolist():
        voters = [i for i, s in enumerate(segments.tolist()) if slow_iou(one, s) >= 0.6]
        total = sum(scores[i].item() for i in voters)
        expected.append(
            [sum(scores[i].item() * segments[i, e].item() for i in voters) / total for e in (0, 1)]
        )
    torch.testing.assert_close(vote(kept, segments, scores, iou=0.6), torch.tensor(expected))


def test_a_segment_without_votes_stays_where_it_is():
    empty = torch.tensor([[3.0, 3.0]])
    assert vote(empty, empty, torch.tensor([0.9]), iou=0.5).tolist() == [[3.0, 3.0]]
    assert vote(torch.zeros(0, 2), empty, torch.tensor([0.9]), iou=0.5).shape == (0, 2)
