import math

import pytest
import torch

from video_adapt.detection.balanced_losses import balanced_bce, balanced_l2


def test_one_positive_weighs_as_much_as_all_negatives():
    logits = torch.tensor([2.0, -1.0, 0.5, 0.0])
    positive = torch.tensor([True, False, False, False])
    of_one = math.log1p(math.exp(-2.0))
    of_rest = sum(math.log1p(math.exp(x)) for x in (-1.0, 0.5, 0.0)) / 3
    assert balanced_bce(logits, positive).item() == pytest.approx((of_one + of_rest) / 2)


@pytest.mark.parametrize("positive", [True, False])
def test_one_sided_cross_entropy_is_the_plain_mean(positive):
    logits = torch.tensor([2.0, -1.0], requires_grad=True)
    loss = balanced_bce(logits, torch.full((2,), positive))
    sign = -1 if positive else 1
    expected = sum(math.log1p(math.exp(sign * x)) for x in (2.0, -1.0)) / 2
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert logits.grad.isfinite().all()


TARGET = torch.tensor([0.9, 0.5, 0.6, 0.1, 0.0])
PREDICTED = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
ERROR = (PREDICTED - TARGET).square()


def l2(target, *draws):
    queue = iter(torch.tensor(draw) for draw in draws)
    return balanced_l2(
        PREDICTED, target, low=0.3, high=0.7, weight=5.0, draw=lambda _: next(queue)
    ).item()


def test_medium_and_low_positions_are_drawn_to_the_number_of_high_ones():
    # One high of two medium and two low ones: drawn above 1 - 1/2; members only.
    loss = l2(TARGET, [0.9, 0.6, 0.4, 0.9, 0.9], [0.9, 0.9, 0.9, 0.4, 0.6])
    assert loss == pytest.approx(5 * (ERROR[0] + ERROR[1] + ERROR[4]).item() / 3)


def test_a_smaller_group_lets_every_position_in_once_more():
    # Two high ones, one medium, two low: the medium draw admits all five, the low draw its members.
    target = torch.tensor([0.9, 0.8, 0.6, 0.1, 0.0])
    error = (PREDICTED - target).square()
    count = torch.tensor([2.0, 2.0, 1.0, 2.0, 1.0])
    loss = l2(target, [0.0] * 5, [0.9, 0.9, 0.9, 0.5, 0.0])
    assert loss == pytest.approx((5 * (error * count).sum() / count.sum()).item())


def test_an_empty_group_lets_every_position_in_once_more():
    target = torch.tensor([0.9, 0.1, 0.1, 0.1, 0.1])
    error = (PREDICTED - target).square()
    count = torch.tensor([2.0, 1.0, 1.0, 1.0, 2.0])
    loss = l2(target, [0.0] * 5, [0.9, 0.1, 0.1, 0.1, 0.8])
    assert loss == pytest.approx((5 * (error * count).sum() / count.sum()).item())


def test_without_high_targets_the_plain_error_has_no_factor():
    target = torch.tensor([0.4, 0.5, 0.6, 0.1, 0.0])
    predicted = PREDICTED.clone().requires_grad_()
    loss = balanced_l2(predicted, target, low=0.3, high=0.7, weight=5.0)
    torch.testing.assert_close(loss, (PREDICTED - target).square().mean())
    loss.backward()
    torch.testing.assert_close(predicted.grad, 2 * (PREDICTED - target) / 5)


def test_draws_come_from_the_seed():
    def once(seed):
        torch.manual_seed(seed)
        return balanced_l2(PREDICTED, TARGET, low=0.3, high=0.7, weight=5.0).item()

    assert once(1) == once(1)
    assert len({once(seed) for seed in range(8)}) > 1
