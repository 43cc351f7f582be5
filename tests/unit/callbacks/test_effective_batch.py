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


def test_it_needs_a_data_module():
    with pytest.raises(ConfigurationError, match="off a data module"):
        EffectiveBatch().setup(trainer_of(data=False), ToyRecogniser(), "fit")


def test_evaluation_is_left_alone():
    trainer = trainer_of(data=False)
    EffectiveBatch(8).setup(trainer, ToyRecogniser(), "validate")
    assert trainer.accumulate_grad_batches == 1
