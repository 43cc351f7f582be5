from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from tests.fakes import FakeBackbone, FakeMethod
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import (
    DetectionOptimizerSpec,
    MultiStep,
    OptimizerSpec,
    WarmupCosine,
    configure,
    detection_groups,
    takes_decay,
)


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


class Scale(nn.Module):
    """A factor per channel, shaped to fit ``[B, D, S]``."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 4, 1))


class DetectionMethod(nn.Module):
    """Parts of a detector beside a backbone with an adapter."""

    def __init__(self):
        super().__init__()
        self.backbone = FakeBackbone(adapted=True)
        self.backbone.tower.requires_grad_(False)
        self.backbone.text.requires_grad_(False)
        self.ladder = nn.Linear(4, 4)
        self.head = nn.Sequential(nn.Conv1d(4, 4, 3), nn.LayerNorm(4), nn.Linear(4, 2), Scale())


def spec_of(**settings):
    plain = {"lr": 1e-4, "adapter_lr": 2e-4, "schedule": WarmupCosine(max_epochs=100)}
    return DetectionOptimizerSpec(**(plain | settings))


def names_in(groups, module):
    names = {id(p): name for name, p in module.named_parameters()}
    return {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}


def test_a_detector_decays_kernels_and_adapters_decay_in_whole():
    method = DetectionMethod()
    groups = detection_groups(method, spec_of(), adapters=("backbone.adapters.", "ladder."))
    assert names_in(groups, method) == {
        "adapters": [
            "backbone.adapters.1.linear.weight",
            "backbone.adapters.1.linear.bias",
            "ladder.weight",
            "ladder.bias",
        ],
        "backbone": ["backbone.scale"],
        "detector/decay": ["head.0.weight", "head.2.weight"],
        "detector/no_decay": [
            "head.0.bias",
            "head.1.weight",
            "head.1.bias",
            "head.2.bias",
            "head.3.scale",
        ],
    }


def test_every_part_of_a_detector_has_its_own_rate_and_decay():
    spec = spec_of(backbone_lr=1e-5, weight_decay=0.025, backbone_weight_decay=0.05)
    groups = detection_groups(DetectionMethod(), spec)
    assert {group["name"]: (group["lr"], group["weight_decay"]) for group in groups} == {
        "adapters": (2e-4, 0.05),
        "backbone": (1e-5, 0.05),
        "detector/decay": (1e-4, 0.025),
        "detector/no_decay": (1e-4, 0.0),
    }


def test_a_detector_that_decays_all_is_one_group():
    head = nn.Sequential(nn.Conv1d(2, 2, 1), nn.LayerNorm(2))
    (group,) = detection_groups(head, spec_of(decay="all", weight_decay=1e-4))
    assert (len(group["params"]), group["weight_decay"]) == (4, 1e-4)


def trainer_of(*, batches=10, accumulate=1, epochs=4):
    return SimpleNamespace(
        max_epochs=epochs,
        estimated_stepping_batches=0,
        num_training_batches=batches,
        accumulate_grad_batches=accumulate,
        lightning_module=None,
    )


def group_of(lr=1.0, **settings):
    return {"params": [nn.Parameter(torch.ones(1))], "lr": lr, "weight_decay": 0.0, **settings}


@pytest.mark.parametrize(("algorithm", "expected"), [("AdamW", 1.0 - 0.1 * 0.5), ("Adam", 0.9)])
def test_adamw_decays_weights_and_adam_gradients(algorithm, expected):
    spec = spec_of(algorithm=algorithm, schedule=MultiStep(milestones=()))
    group = group_of(0.1, weight_decay=0.5)
    configured = configure([group], spec, trainer_of())
    group["params"][0].grad = torch.zeros(1)
    configured["optimizer"].step()
    assert group["params"][0].item() == pytest.approx(expected)


def test_recipes_reach_the_optimiser():
    spec = OptimizerSpec(lr=0.5, betas=(0.8, 0.9), eps=1e-3)
    optimizer = configure([group_of(0.25)], spec, trainer_of())["optimizer"]
    (group,) = optimizer.param_groups
    assert (group["betas"], group["eps"], group["lr"]) == ((0.8, 0.9), 1e-3, 0.25)


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 10), (3, 4), (10, 1)])
def test_an_epoch_has_one_step_per_accumulated_batch(accumulate, steps):
    spec = spec_of(schedule=MultiStep(milestones=(1,)))
    configured = configure([group_of()], spec, trainer_of(accumulate=accumulate))
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "step"
    seen = []
    for _ in range(steps + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx([1.0] * steps + [0.1])


def test_a_recogniser_ends_with_the_trainer_and_starts_where_it_says():
    spec = OptimizerSpec(lr=0.5, warmup_epochs=1, warmup_start_lr=0.1)
    configured = configure([group_of(0.5), group_of(5.0)], spec, trainer_of(batches=1, epochs=2))
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 1.0])
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.0, 0.0], abs=1e-12)


def test_a_task_multiplies_every_rate_for_another_batch():
    method = FakeMethod(FakeBackbone(), optimizer=OptimizerSpec(lr=0.5), tuning="full")
    method._trainer = trainer_of()
    before = [group["lr"] for group in method.configure_optimizers()["optimizer"].param_groups]
    method.rate_factor = 0.25
    configured = method.configure_optimizers()
    after = [group["lr"] for group in configured["optimizer"].param_groups]
    assert len(after) > 1
    assert after == pytest.approx([rate / 4 for rate in before])
    bases = [group["initial_lr"] for group in configured["optimizer"].param_groups]
    assert bases == pytest.approx([0.125] * len(bases))


@pytest.mark.parametrize("epochs", [None, -1])
def test_a_recogniser_without_a_last_epoch_is_refused(epochs):
    with pytest.raises(ConfigurationError, match=r"set trainer\.max_epochs"):
        configure([group_of()], OptimizerSpec(lr=1.0), trainer_of(epochs=epochs))


def test_nothing_to_train_is_refused():
    with pytest.raises(ConfigurationError, match="nothing to train"):
        configure([], OptimizerSpec(lr=1.0), trainer_of())


class Line(LightningModule):
    """A slope that is trained by a recipe."""

    def __init__(self, recipe):
        super().__init__()
        self.slope, self.recipe = nn.Linear(1, 1), recipe

    def training_step(self, batch, batch_idx):
        return self.slope(batch).square().mean()

    def configure_optimizers(self):
        groups = [{"params": list(self.parameters()), "lr": 0.5, "weight_decay": 0.0}]
        return configure(groups, self.recipe, self.trainer)


def test_a_trainer_that_counts_steps_alone_knows_its_epochs():
    recipe = DetectionOptimizerSpec(
        lr=0.5, adapter_lr=0.0, schedule=WarmupCosine(max_epochs=2, warmup_epochs=1)
    )
    trainer = Trainer(max_steps=3, accelerator="cpu", barebones=True)
    line = Line(recipe)
    trainer.fit(line, DataLoader(torch.ones(4, 1), batch_size=1))
    (rate,) = trainer.lr_scheduler_configs[0].scheduler.get_last_lr()
    assert rate == pytest.approx(0.5)  # of the fourth and last step of the warm-up
