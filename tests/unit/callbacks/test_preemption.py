import os
import shutil
import signal
import time

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.unit.callbacks.toy_resume import fit
from video_adapt.callbacks.preemption import Interrupted, Preemption, RunStopped
from video_adapt.errors import ConfigurationError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key"),
]
SETTINGS = {
    "plain": {},
    "no_validation": {"limit_val_batches": 0, "num_sanity_val_steps": 0},
    "validation_inside": {"val_check_interval": 2},
    "validation_now_and_then": {"check_val_every_n_epoch": 2},
    "accumulated": {"accumulate_grad_batches": 2},
    "part_of_an_epoch": {"limit_train_batches": 3},
    "figures_now_and_then": {"log_every_n_steps": 3},
}
HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
)


class Signal(Callback):
    """Sends itself a signal when something happens for the n-th time in training."""

    def __init__(self, hook, time=1, *, number=signal.SIGTERM, sanity=False):
        self.left, self.number, self.sanity = time, number, sanity
        for name in HOOKS:
            if hook in (name, "anything"):
                setattr(self, name, self._happens)

    def _happens(self, trainer: Trainer, pl_module: LightningModule, *_, **__):
        if self.sanity == trainer.sanity_checking:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of some settings, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = fit(tmp_path_factory.mktemp("whole"), **SETTINGS[name])
        return made[name]

    return get


def assert_equal(whole, last, diary):
    assert diary == whole.diary
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(last.module.state_dict()[name], tensor), name
    assert last.rows == whole.rows


def resumed(folder, checkpoint, **settings):
    return fit(folder, checkpoint=checkpoint, **settings)


@pytest.mark.parametrize(
    ("settings", "hook", "time"),
    [
        ("plain", "on_train_start", 1),
        ("plain", "on_train_batch_start", 2),
        ("plain", "on_before_optimizer_step", 3),
        ("plain", "on_train_batch_end", 4),
        ("plain", "on_validation_start", 1),
        ("plain", "on_validation_batch_start", 2),
        ("plain", "on_validation_batch_end", 3),
        ("plain", "on_validation_end", 1),
        ("plain", "on_train_epoch_end", 1),
        ("plain", "on_train_batch_start", 5),
        ("plain", "on_train_batch_start", 6),
        ("plain", "on_validation_batch_start", 5),
        ("no_validation", "on_train_start", 1),  # the callback does not listen yet
        ("no_validation", "on_train_batch_end", 4),
        ("validation_inside", "on_validation_end", 1),
        ("validation_now_and_then", "on_train_epoch_end", 1),
        ("accumulated", "on_train_batch_start", 2),
        ("part_of_an_epoch", "on_train_batch_end", 3),
        ("figures_now_and_then", "on_train_batch_end", 2),
    ],
)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    whole, tmp_path, settings, hook, time
):
    given = SETTINGS[settings]
    first = fit(tmp_path, Signal(hook, time), raises=RunStopped, **given)
    assert first.error.checkpoint == tmp_path / "checkpoints/last.ckpt"
    rest = resumed(tmp_path, first.error.checkpoint, **given)
    assert rest.diary
    assert_equal(whole(settings), rest, first.diary + rest.diary)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_run_can_be_stopped_anywhere(whole, tmp_path, settings):
    given, stopped = SETTINGS[settings], 0
    for time_ in range(1, 100):
        folder = tmp_path / str(time_)
        source = Signal("anything", time_)
        first = fit(folder, source, raises=RunStopped, **given)
        if source.left > 0:
            break
        if not hasattr(first, "error"):  # behind the last step there is nothing to stop
            continue
        stopped += 1
        rest = resumed(folder, first.error.checkpoint, **given)
        assert_equal(whole(settings), rest, first.diary + rest.diary)
    assert stopped > 20


@pytest.mark.parametrize("settings", ["plain", "no_validation", "validation_inside"])
def test_lightnings_own_step_checkpoints_are_exact_too(whole, tmp_path, settings):
    """Without the callback, Lightning leaves out the validation behind the last batch."""
    given = SETTINGS[settings]
    every = ModelCheckpoint(
        tmp_path / "all", filename="{step}", save_top_k=-1, every_n_train_steps=1
    )
    first = fit(tmp_path, every, **given)
    for step in (1, 2, 4, 6):
        file = tmp_path / f"all/step={step}.ckpt"
        folder = tmp_path / str(step)
        folder.mkdir()
        shutil.copy(tmp_path / "metrics.csv", folder)
        rest = resumed(folder, file, **given)
        before = first.diary[: len(first.diary) - len(rest.diary)]
        assert_equal(whole(settings), rest, before + rest.diary)
        assert len(before) >= step


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_every_signal_stops_behind_the_step(tmp_path, number, capfd):
    source = Signal("on_before_optimizer_step", 2, number=number)
    stopped = fit(tmp_path, source, raises=RunStopped)
    assert stopped.error.reason == number.name
    assert [page[0] for page in stopped.diary] == ["step", "step"]
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert f"{number.name}: finishing the step" in capfd.readouterr().err


def test_during_the_sanity_check_there_is_nothing_to_save(tmp_path):
    source = Signal("on_validation_batch_start", sanity=True)
    assert fit(tmp_path, source, raises=RunStopped).error.checkpoint is None
    assert not (tmp_path / "checkpoints").exists()


def test_a_second_ctrl_c_stops_at_once_but_a_doubled_one_does_not(tmp_path, monkeypatch):
    again = Signal("on_train_batch_end", 1, number=signal.SIGINT)
    first = Signal("on_before_optimizer_step", 1, number=signal.SIGINT)
    assert fit(tmp_path / "doubled", first, again, raises=RunStopped).error
    monkeypatch.setattr("video_adapt.callbacks.preemption._ONE_PRESS_S", 0.0)
    again = Signal("on_train_batch_end", 1, number=signal.SIGINT)
    first = Signal("on_before_optimizer_step", 1, number=signal.SIGINT)
    assert fit(tmp_path / "twice", first, again, raises=Interrupted).error
    assert not (tmp_path / "twice/checkpoints").exists()


def test_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    fit(tmp_path, Signal("on_train_batch_start", 2), raises=RunStopped)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


class Files(Callback):
    """The step of last.ckpt whenever a batch starts."""

    def __init__(self, folder):
        self.path, self.steps = folder / "checkpoints/last.ckpt", []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        saved = self.path.exists() and torch.load(self.path, weights_only=True)["global_step"]
        self.steps.append(saved or 0)


@pytest.mark.parametrize(
    ("preemption", "steps"),
    [
        ({"every_n_steps": 3}, [0, 0, 0, 0, 4, 4, 4, 6]),
        ({"every_minutes": 1e-9}, [0, 0, 1, 2, 4, 4, 5, 6]),
        ({}, [0, 0, 0, 0, 4, 4, 4, 4]),
    ],
)
def test_checkpoints_inside_an_epoch(whole, tmp_path, preemption, steps):
    files = Files(tmp_path)
    made = fit(tmp_path, files, preemption=Preemption(**preemption))
    assert files.steps == steps
    assert_equal(whole("plain"), made, made.diary)


@pytest.mark.parametrize("settings", [{"every_n_steps": 0}, {"every_minutes": -1.0}])
def test_what_is_not_positive_is_refused(settings):
    with pytest.raises(ConfigurationError, match="must be positive"):
        Preemption(**settings)


def test_all_processes_stop_where_one_of_them_was_asked_to(tmp_path):
    class Elsewhere(Preemption):
        """As if another process had been asked during the second step."""

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            agreed = trainer.global_step == 2
            trainer.strategy.reduce_boolean_decision = lambda mine, **_: mine or agreed
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    stopped = fit(tmp_path, preemption=Elsewhere(), raises=RunStopped)
    assert stopped.error.reason == "a signal to another process"
    assert len(stopped.diary) == 2


def test_the_clock_of_the_first_process_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    preemption = Preemption(every_minutes=1.0)
    trainer = type("T", (), {"global_step": 3})
    trainer.strategy = type("S", (), {"broadcast": staticmethod(lambda late: not late)})
    assert preemption._is_due(trainer)
