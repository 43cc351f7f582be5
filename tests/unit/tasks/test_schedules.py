import math

import pytest
import torch
from torch import nn

from video_adapt.errors import ConfigurationError
from video_adapt.tasks import (
    DistCosine,
    MultiStep,
    PlateauCosine,
    WarmupCosine,
    warmup_cosine,
)
from video_adapt.tasks.schedules import StepSchedule


def rates(schedule, steps, *, lr=1.0, steps_per_epoch=5, epochs=None):
    return [
        schedule.rate(lr, step, steps_per_epoch=steps_per_epoch, epochs=epochs) for step in steps
    ]


def test_warmup_meets_the_cosine_and_never_the_base_rate():
    def rate(epoch):
        return warmup_cosine(epoch, lr=1.0, max_epochs=10, warmup_epochs=2, warmup_start_lr=0.1)

    assert rate(0) == 0.1
    assert rate(2) == pytest.approx((1 + math.cos(math.pi / 5)) / 2)
    assert rate(1) == pytest.approx((rate(0) + rate(2)) / 2)
    assert max(rate(e / 100) for e in range(1000)) < 1.0
    assert rate(10) == pytest.approx(0.0, abs=1e-12)


def test_dist_ends_with_the_trainer():
    schedule = DistCosine(warmup_epochs=1, warmup_start_share=0.1)
    curve = rates(schedule, range(21), lr=2.0, epochs=4)
    assert curve[0] == pytest.approx(0.2)
    assert curve[5] == pytest.approx(1 + math.cos(math.pi / 4))
    assert curve[20] == pytest.approx(0.0, abs=1e-12)


def test_dist_needs_a_last_epoch():
    with pytest.raises(ConfigurationError, match=r"set trainer\.max_epochs"):
        rates(DistCosine(), [0])


def test_the_warmup_starts_at_nothing_and_uses_the_base_rate_twice():
    curve = rates(WarmupCosine(max_epochs=4, warmup_epochs=1), range(6))
    assert curve == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0, 1.0])


def test_the_cosine_ends_at_its_own_epoch_and_stays_there():
    schedule = WarmupCosine(max_epochs=4, warmup_epochs=1, min_lr=0.1)
    curve = rates(schedule, [5, 12, 13, 20, 25], epochs=2)
    halfway = 0.1 + 0.45 * (1 + math.cos(math.pi * 7 / 15))
    assert curve[1] == pytest.approx(halfway)
    assert curve[0] == 1.0
    assert curve[2] < halfway
    assert curve[3:] == pytest.approx([0.1, 0.1])


def test_a_warmup_of_one_step_takes_no_step():
    assert rates(WarmupCosine(max_epochs=4, warmup_epochs=0.2), range(2)) == [0.0, 1.0]


def test_without_warmup_the_first_step_has_the_base_rate():
    assert rates(WarmupCosine(max_epochs=4), [0]) == [1.0]


def test_the_lowest_rate_is_that_of_every_group():
    schedule = WarmupCosine(max_epochs=4, min_lr=0.1)
    assert rates(schedule, [20], lr=7.0) == pytest.approx([0.1])


@pytest.mark.parametrize("warmup", [-1, 4, 5])
def test_an_impossible_warmup_is_refused(warmup):
    with pytest.raises(ConfigurationError, match=f"warmup_epochs is {warmup}"):
        WarmupCosine(max_epochs=4, warmup_epochs=warmup)


def test_steps_down_at_the_start_of_each_milestone():
    curve = rates(MultiStep(milestones=(2, 3), gamma=0.5), [0, 9, 10, 14, 15, 99])
    assert curve == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def scheduled(*bases):
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in bases]
    optimizer = torch.optim.SGD(groups)
    return optimizer, StepSchedule(optimizer, lambda lr, step: lr * (step + 1))


def test_every_group_moves_from_its_own_base_rate():
    optimizer, scheduler = scheduled(1.0, 10.0)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 20.0]


def test_a_group_added_during_training_follows():
    optimizer, scheduler = scheduled(1.0)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 5.0})
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 10.0]


def test_a_schedule_goes_on_where_it_was():
    optimizer, scheduler = scheduled(1.0)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    other, resumed = scheduled(1.0)
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    other.step()
    resumed.step()
    assert other.param_groups[0]["lr"] == 5.0
    assert scheduler.state_dict() == {"last_epoch": 3, "_last_lr": [4.0]}


def test_the_plateau_is_reached_and_both_ends_are_shares_of_the_base_rate():
    schedule = PlateauCosine(warmup_epochs=2, start_share=0.1, end_share=0.2)
    curve = rates(schedule, range(31), lr=2.0, epochs=6)
    assert curve[0] == pytest.approx(0.2)
    assert curve[5] == pytest.approx(1.1)
    assert curve[10] == max(curve) == 2.0
    assert curve[20] == pytest.approx(1.2)
    assert curve[30] == pytest.approx(0.4)
    assert curve[29] > curve[30]


def test_the_plateau_cosine_may_end_before_the_trainer():
    schedule = PlateauCosine(warmup_epochs=0, max_epochs=2)
    assert rates(schedule, [0, 10, 20], epochs=9) == pytest.approx([1.0, 0.01, 0.01])
    with pytest.raises(ConfigurationError, match=r"set trainer\.max_epochs"):
        rates(PlateauCosine(), [0])
