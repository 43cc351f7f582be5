import math

import pytest
import torch
from torch import nn

from tests.fakes import FakeBackbone, FakeMethod
from video_adapt.tasks import OptimizerSpec, takes_decay, warmup_cosine


def test_warmup_meets_the_cosine_and_never_the_base_rate():
    def rate(epoch):
        return warmup_cosine(epoch, lr=1.0, max_epochs=10, warmup_epochs=2, warmup_start_lr=0.1)

    assert rate(0) == 0.1
    assert rate(2) == pytest.approx((1 + math.cos(math.pi / 5)) / 2)
    assert rate(1) == pytest.approx((rate(0) + rate(2)) / 2)
    assert max(rate(e / 100) for e in range(1000)) < 1.0
    assert rate(10) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "decays"),
    [
        ("proj", (3, 3), True),
        ("net.weight", (3, 3), True),
        ("norm.weight", (3,), False),
        ("attn.in_proj_bias", (3,), False),
        ("head.bias", (3, 1), False),
        ("aggregated_cls_token", (1, 1, 3), False),
        ("positional_embedding", (3, 3), False),
    ],
)
def test_what_decays(name, shape, decays):
    assert takes_decay(name, nn.Parameter(torch.zeros(shape))) is decays


def groups_of(spec, **settings):
    return FakeMethod(FakeBackbone(**settings), tuning="full").parameter_groups(spec)


def test_new_modules_have_their_own_rate():
    groups = groups_of(OptimizerSpec(lr=0.1, new_module_multiplier=10.0, weight_decay=0.5))
    rates = {group["name"]: (group["lr"], group["weight_decay"]) for group in groups}
    assert rates == {
        "backbone/decay": (0.1, 0.5),
        "backbone/no_decay": (0.1, 0.0),
        "new/decay": (1.0, 0.5),
        "new/no_decay": (1.0, 0.0),
    }


def test_decay_all_spares_nothing():
    groups = groups_of(OptimizerSpec(lr=0.1, weight_decay=0.5, decay="all"))
    assert {group["weight_decay"] for group in groups} == {0.5}
