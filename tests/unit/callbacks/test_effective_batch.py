from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from video_adapt.callbacks import EffectiveBatch
from video_adapt.errors import ConfigurationError


class Data(ToyData):
    """Six batches of four."""

    loader = SimpleNamespace(batch_size=4)

    def __init__(self):
        super().__init__(shown=[0, 1, 2, 0] * 6, labels=[0, 1] * 6)


class Planned(Callback):
    """The optimiser's steps as a schedule counts them, and as they are taken."""

    def on_fit_start(self, trainer, pl_module):
        self.planned = trainer.estimated_stepping_batches

    def on_train_end(self, trainer, pl_module):
        self.taken = trainer.global_step


@pytest.mark.parametrize(
    ("published", "accumulate", "steps"), [(None, 1, 6), (None, 3, 2), (4, 1, 6), (8, 1, 3)]
)
def test_a_step_sees_the_published_batch(tmp_path, caplog, published, accumulate, steps):
    planned = Planned()
    tracker = CSVLogger(tmp_path, name="", version="")
    trainer = quick_trainer(
        tmp_path,
        EffectiveBatch(published),
        planned,
        accumulate_grad_batches=accumulate,
        logger=tracker,
    )
    with caplog.at_level("INFO"):
        trainer.fit(ToyRecogniser(), Data())
    assert (planned.planned, planned.taken) == (steps, steps)
    effective = 24 // steps
    assert f"a step sees {effective} samples: 1 device(s) x 4 x {effective // 4}" in caplog.text
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/effective_batch")
    values = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert values == [effective]


def trainer_of(*, devices=1, accumulate=1, data=True):
    return SimpleNamespace(
        world_size=devices,
        accumulate_grad_batches=accumulate,
        datamodule=Data() if data else None,
    )


@pytest.mark.parametrize(("devices", "accumulate"), [(1, 4), (2, 2), (4, 1)])
def test_more_devices_accumulate_less(devices, accumulate):
    trainer = trainer_of(devices=devices)
    EffectiveBatch(16).setup(trainer, ToyRecogniser(), "fit")
    assert trainer.accumulate_grad_batches == accumulate


@pytest.mark.parametrize(("published", "devices"), [(2, 1), (6, 1), (12, 2)])
def test_a_batch_that_cannot_be_reached_is_refused(published, devices):
    message = rf"{published} is no multiple of {devices} device.* x data\.loader\.batch_size=4"
    with pytest.raises(ConfigurationError, match=message):
        EffectiveBatch(published).setup(trainer_of(devices=devices), ToyRecogniser(), "fit")


def test_two_wishes_that_contradict_are_refused():
    with pytest.raises(ConfigurationError, match=r"accumulate_grad_batches is 3.* needs 2"):
        EffectiveBatch(8).setup(trainer_of(accumulate=3), ToyRecogniser(), "fit")
    trainer = trainer_of(accumulate=2)
    EffectiveBatch(8).setup(trainer, ToyRecogniser(), "fit")
    assert trainer.accumulate_grad_batches == 2


class Ruled(ToyRecogniser):
    """Has a rate for its rule to change, as every task has."""

    rate_factor = 1.0


@pytest.mark.parametrize(
    ("rule", "devices", "accumulate", "factor"),
    [("linear", 2, 3, 1.5), ("linear", 1, 1, 0.25), ("sqrt", 1, 1, 0.5), ("keep", 1, 1, 1.0)],
)
def test_another_batch_changes_the_rates_by_its_rule(rule, devices, accumulate, factor):
    trainer, method = trainer_of(devices=devices, accumulate=accumulate), Ruled()
    EffectiveBatch(16, rule).setup(trainer, method, "fit")
    assert trainer.accumulate_grad_batches == accumulate
    assert method.rate_factor == factor


@pytest.mark.parametrize("rule", ["accumulate", "linear", "sqrt", "keep", "refuse"])
def test_the_published_batch_keeps_the_published_rates(rule):
    trainer, method = trainer_of(devices=2, accumulate=2), Ruled()
    EffectiveBatch(16, rule).setup(trainer, method, "fit")
    assert (trainer.accumulate_grad_batches, method.rate_factor) == (2, 1.0)


def test_another_batch_is_refused_where_the_rule_says_so():
    with pytest.raises(ConfigurationError, match="a step sees 8 samples, the recipe's 16"):
        EffectiveBatch(16, "refuse").setup(trainer_of(devices=2), Ruled(), "fit")


def test_a_rule_without_a_batch_is_refused():
    with pytest.raises(ConfigurationError, match="rule=sqrt needs `published`"):
        EffectiveBatch(rule="sqrt")


@pytest.mark.parametrize(
    ("rule", "said"),
    [("linear", "rates x 2 (rule: linear)"), ("keep", "rates x 1 (rule: keep)"), ("refuse", "")],
)
def test_what_becomes_of_the_rates_is_said_once(tmp_path, caplog, rule, said):
    published = 4 if rule == "refuse" else 2
    with caplog.at_level("INFO"):
        quick_trainer(tmp_path, EffectiveBatch(published, rule)).fit(Ruled(), Data())
    lines = [r.getMessage() for r in caplog.records if "a step sees" in r.getMessage()]
    rest = f"; the recipe's 2: {said}" if said else ""
    assert lines == [f"a step sees 4 samples: 1 device(s) x 4 x 1 accumulated{rest}"]


def test_a_run_goes_on_with_its_batch_only():
    first, second, third = EffectiveBatch(), EffectiveBatch(16), EffectiveBatch(8)
    first.setup(trainer_of(devices=4), Ruled(), "fit")
    second.setup(trainer_of(devices=2), Ruled(), "fit")
    second.load_state_dict(first.state_dict())  # two devices that accumulate see as many
    third.setup(trainer_of(devices=2), Ruled(), "fit")
    with pytest.raises(ConfigurationError, match="saw 16 samples in a step, now it would see 8"):
        third.load_state_dict(first.state_dict())
    third.setup(trainer_of(devices=2), Ruled(), "test")
    third.load_state_dict(first.state_dict())


def test_it_needs_a_data_module():
    with pytest.raises(ConfigurationError, match="off a data module"):
        EffectiveBatch().setup(trainer_of(data=False), ToyRecogniser(), "fit")


def test_evaluation_is_left_alone():
    trainer = trainer_of(data=False)
    EffectiveBatch(8).setup(trainer, ToyRecogniser(), "validate")
    assert trainer.accumulate_grad_batches == 1
