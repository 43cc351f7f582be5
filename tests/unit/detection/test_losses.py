import math

import pytest
import torch
from torch import distributed

from video_adapt.detection import PointLoss
from video_adapt.detection.losses import (
    RunningCount,
    distance_iou_loss,
    focal_loss,
    point_iou,
)


def test_focal_loss_by_the_book():
    torch.manual_seed(0)
    logits, targets = torch.randn(50).double(), torch.rand(50).double()
    p = 1 / (1 + (-logits).exp())
    entropy = -targets * p.log() - (1 - targets) * (1 - p).log()
    hit = p * targets + (1 - p) * (1 - targets)
    expected = entropy * (1 - hit) ** 2 * (0.25 * targets + 0.75 * (1 - targets))
    torch.testing.assert_close(
        focal_loss(logits, targets), expected, atol=1e-6, rtol=1e-5, check_dtype=False
    )


def test_focal_loss_of_half_precision_is_computed_in_full():
    # A probability of 0.9999 rounds to 1 in half precision.
    loss = focal_loss(torch.tensor([9.0], dtype=torch.float16), torch.ones(1))
    assert loss.item() == pytest.approx(0.25 * math.exp(-9) ** 3, rel=1e-3, abs=0)


def test_overlaps_of_offsets_are_those_of_segments():
    torch.manual_seed(0)
    point = torch.randn(200)
    predicted, target = torch.rand(2, 200, 2) * 5
    for p, a, b, iou, loss in zip(
        point,
        predicted,
        target,
        point_iou(predicted, target),
        distance_iou_loss(predicted, target),
        strict=True,
    ):
        (s1, e1), (s2, e2) = (p - a[0], p + a[1]), (p - b[0], p + b[1])
        common = min(e1, e2) - max(s1, s2)
        overlap = common / ((e1 - s1) + (e2 - s2) - common)
        shift = (s1 + e1) / 2 - (s2 + e2) / 2
        distance = (shift / (max(e1, e2) - min(s1, s2))) ** 2
        torch.testing.assert_close(iou, overlap, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(loss, 1 - overlap + distance, atol=1e-5, rtol=1e-5)


def test_segments_without_length_have_finite_losses_and_gradients():
    predicted = torch.zeros(3, 2, requires_grad=True)
    loss = distance_iou_loss(predicted, torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 3.0]]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert predicted.grad.isfinite().all()


def test_the_running_count_moves_in_training_before_it_is_used():
    count = RunningCount(100, 0.9)
    first, second = count(torch.tensor(50)), count(torch.tensor(0))
    assert first.item() == pytest.approx(95)
    assert second.item() == pytest.approx(0.9 * 95 + 0.1)
    assert count.state_dict()["value"].item() == pytest.approx(85.6)


def test_evaluation_divides_by_its_own_count_and_moves_nothing():
    count = RunningCount(100, 0.9).eval()
    assert count(torch.tensor(7)).item() == 7
    assert count(torch.tensor(0)).item() == 1
    assert count.value.item() == 100


def test_processes_share_the_mean_count(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda total: total.add_(30))
    assert RunningCount(100, 0.9)(torch.tensor(10)).item() == pytest.approx(92)


def test_smoothing_counts_the_background_as_a_class():
    smooth = PointLoss(label_smoothing=0.1).smooth(torch.tensor([[1.0, 0, 0, 0]]))
    assert smooth[0].tolist() == pytest.approx([0.92, 0.02, 0.02, 0.02])


def test_terms_are_weighted_by_a_number_or_balanced():
    terms = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    assert PointLoss(regression_weight=0.5).weigh(*terms)["regression"].item() == 1
    balanced = PointLoss(regression_weight=None).weigh(*terms)
    assert balanced["regression"].item() == balanced["classification"].item() == 3
    balanced["regression"].backward()
    assert terms[0].grad is None
    assert terms[1].grad.item() == 1.5
    small = PointLoss(regression_weight=None).weigh(terms[0], torch.tensor(0.001))
    assert small["regression"].item() == pytest.approx(0.3)
