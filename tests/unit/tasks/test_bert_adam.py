import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from video_adapt.errors import ConfigurationError
from video_adapt.tasks.bert_adam import BertAdam, BertCosine
from video_adapt.tasks.optim import configure


def slow_steps(weight, grads, *, lr, beta1, beta2, eps, decay, clip):
    """The published update, number by number, in double precision."""
    weights = weight.double().tolist()
    first, second = [0.0] * len(weights), [0.0] * len(weights)
    for grad in grads.double().tolist():
        norm = math.sqrt(sum(g * g for g in grad))
        share = min(1.0, clip / norm) if clip else 1.0
        for i, g in enumerate(grad):
            g *= share
            first[i] = beta1 * first[i] + (1 - beta1) * g
            second[i] = beta2 * second[i] + (1 - beta2) * g * g
            update = first[i] / (math.sqrt(second[i]) + eps) + decay * weights[i]
            weights[i] -= lr * update
    return torch.tensor(weights)


@pytest.mark.parametrize("clip", [0.0, 0.7])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_equals_a_slow_second_version(clip, decay):
    torch.manual_seed(0)
    weight, grads = torch.randn(5), torch.randn(6, 5)
    parameter = nn.Parameter(weight.clone())
    optimizer = BertAdam(
        [parameter], 0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=decay, max_grad_norm=clip
    )
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
    settings = {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "decay": decay, "clip": clip}
    expected = slow_steps(weight, grads, **settings)
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-5)


def test_every_parameter_is_clipped_by_itself():
    large, small = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    large.grad, small.grad = torch.full((4,), 5.0), torch.full((4,), 0.1)
    BertAdam([large, small], 0.1).step()
    assert large.grad.norm().item() == pytest.approx(1.0, rel=1e-5)
    assert small.grad.norm().item() == pytest.approx(0.2)


def test_what_has_no_gradient_neither_moves_nor_decays():
    idle, busy = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    busy.grad = torch.ones(2)
    BertAdam([idle, busy], 0.1, weight_decay=0.5).step()
    assert idle.tolist() == [1, 1]
    assert (busy < 1).all()


def test_small_gradients_in_float16_act_as_momentum_and_small_steps_are_lost():
    """The second moment of 1e-4 is 2e-10, which float16 does not know; that of 1e-2 is 2e-6."""
    grads = {"small": 1e-4, "large": 1e-2}
    moved = {}
    for name, grad in grads.items():
        half, full = (
            nn.Parameter(torch.full((8,), 0.02, dtype=d)) for d in (torch.half, torch.float)
        )
        for parameter in (half, full):
            before = parameter.detach().float().clone()
            parameter.grad = torch.full_like(parameter, grad)
            BertAdam([parameter], 1e-6, betas=(0.9, 0.98), weight_decay=0.0).step()
            moved[name, parameter.dtype] = (before - parameter.detach().float()).abs().max().item()
            assert parameter.dtype == parameter.grad.dtype
    assert moved["small", torch.half] == pytest.approx(1e-5, rel=0.6)  # 1e-6 * 1e-5 / 1e-6
    assert moved["small", torch.float] == pytest.approx(6e-7, rel=0.3)
    assert moved["large", torch.half] == 0
    assert moved["large", torch.float] > 0


def test_a_resumed_optimiser_goes_on_as_if_nothing_had_been():
    torch.manual_seed(0)
    grads = torch.randn(6, 3)

    def run(optimizer, parameter, steps):
        for grad in steps:
            parameter.grad = grad.clone()
            optimizer.step()

    whole = nn.Parameter(torch.ones(3))
    run(BertAdam([whole], 0.1), whole, grads)
    part = nn.Parameter(torch.ones(3))
    before = BertAdam([part], 0.1)
    run(before, part, grads[:3])
    after = BertAdam([part], 0.1)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    run(after, part, grads[3:])
    assert torch.equal(whole, part)


def test_a_closure_is_run_with_gradients():
    parameter = nn.Parameter(torch.ones(2))
    optimizer = BertAdam([parameter], 0.1)

    def closure():
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert (parameter < 1).all()


def rates(share, steps, *, epochs=2):
    schedule = BertCosine(warmup_share=share)
    return [schedule.rate(3.0, s, steps_per_epoch=steps, epochs=epochs) for s in range(2 * steps)]


def test_the_cosine_falls_during_the_warm_up_already():
    got = rates(0.2, 5)
    line = [3 * step / 10 / 0.2 for step in range(2)]
    cosine = [1.5 * (1 + math.cos(math.pi * step / 10)) for step in range(2, 10)]
    assert got == pytest.approx(line + cosine)
    assert got[0] == 0
    assert BertCosine().rate(3.0, 99, steps_per_epoch=5, epochs=2) == pytest.approx(0)


def test_without_a_warm_up_it_starts_at_the_base_rate():
    assert rates(0.0, 5)[0] == 3.0


def test_shares_and_trainers_without_sense_are_refused():
    with pytest.raises(ConfigurationError, match="warmup_share is 1"):
        BertCosine(warmup_share=1.0)
    with pytest.raises(ConfigurationError, match=r"set trainer\.max_epochs"):
        BertCosine().rate(1.0, 0, steps_per_epoch=5, epochs=None)


def test_a_recipe_chooses_it_by_name():
    recipe = SimpleNamespace(
        algorithm="BertAdam", betas=(0.9, 0.98), eps=1e-6, schedule=BertCosine()
    )
    trainer = SimpleNamespace(
        max_epochs=1,
        estimated_stepping_batches=0,
        num_training_batches=10,
        accumulate_grad_batches=1,
        lightning_module=None,
    )
    group = {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1, "weight_decay": 0.2}
    configured = configure([group], recipe, trainer)
    optimizer = configured["optimizer"]
    assert isinstance(optimizer, BertAdam)
    (made,) = optimizer.param_groups
    assert (made["betas"], made["eps"], made["weight_decay"]) == ((0.9, 0.98), 1e-6, 0.2)
    assert made["max_grad_norm"] == 1.0
    assert made["lr"] == 0.0
