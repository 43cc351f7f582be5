import copy

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from tests.fakes import FakeBackbone, FakeMethod
from tests.unit.callbacks.toy import quick_trainer
from video_adapt.batches import ClipBatch
from video_adapt.callbacks import EMA
from video_adapt.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")
DECAY = 0.75
FLOATS = ["head.1.weight", "head.1.bias", "normaliser"]


class Method(FakeMethod):
    """A recogniser whose loss keeps a running number, a whole one and a fractional one."""

    def __init__(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(FakeBackbone())
        self.head[0] = nn.Identity()  # chance would have to be resumed too
        self.register_buffer("normaliser", torch.tensor(100.0))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.seen: list[dict[str, torch.Tensor]] = []

    def training_step(self, batch, batch_idx):
        # A buffer may be overwritten or replaced.
        self.normaliser = 0.9 * self.normaliser + batch.label.sum()
        self.steps += 7
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.seen.append({k: v.clone() for k, v in self.state_dict().items()})

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameter_groups(self.optimizer), lr=0.05)


def clips(rows):
    rows = torch.tensor(rows)
    generator = torch.Generator().manual_seed(int(rows[0]))
    video = torch.randn(len(rows), 2, 3, 8, 8, generator=generator)
    return ClipBatch(video, rows % 3, None, rows, torch.zeros_like(rows))


def loader():
    return DataLoader(range(12), batch_size=3, collate_fn=clips)  # four steps an epoch


class Diary(Callback):
    """The weights in training after every batch."""

    def __init__(self):
        self.pages = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.pages.append((trainer.global_step, copy.deepcopy(pl_module.state_dict())))


def fit(folder, *, epochs=1, checkpoint=None, ema=None, **settings):
    method, diary, ema = Method(), Diary(), ema or EMA(DECAY)
    trainer = quick_trainer(
        folder, ema, diary, max_epochs=epochs, num_sanity_val_steps=0, **settings
    )
    trainer.fit(method, loader(), loader(), ckpt_path=checkpoint)
    return trainer, method, diary


def averages(start, pages):
    """One average after the other, by a plain loop over the optimiser's steps."""
    average, last = {k: start[k].clone() for k in FLOATS}, 0
    for step, weights in pages:
        if step > last:
            last = step
            for name in FLOATS:
                average[name] = DECAY * average[name] + (1 - DECAY) * weights[name]
    return average


def assert_same(weights, expected):
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value)


def test_validation_and_the_finished_model_use_the_average(tmp_path):
    _, method, diary = fit(tmp_path, epochs=2)
    start = Method().state_dict()
    middle, end = averages(start, diary.pages[:4]), averages(start, diary.pages)
    assert_same(method.seen[0], middle)
    assert_same(method.seen[-1], end)
    assert_same(method.state_dict(), end)
    assert not torch.equal(end["head.1.weight"], diary.pages[-1][1]["head.1.weight"])


def test_training_goes_on_with_its_own_weights(tmp_path):
    _, _, diary = fit(tmp_path, epochs=2)
    bare = Method()
    plain = Diary()
    trainer = quick_trainer(tmp_path, plain, max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(bare, loader(), loader())
    for (_, mine), (_, theirs) in zip(diary.pages, plain.pages, strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_average_follows_optimiser_steps_not_batches(tmp_path):
    _, method, diary = fit(tmp_path, accumulate_grad_batches=2)
    assert [step for step, _ in diary.pages] == [0, 1, 1, 2]
    assert_same(method.state_dict(), averages(Method().state_dict(), diary.pages))


def test_whole_numbers_are_copied(tmp_path):
    _, method, _ = fit(tmp_path)
    assert method.steps.item() == 28
    assert method.steps.dtype == torch.int64


def test_nothing_frozen_has_a_second_copy(tmp_path):
    ema = EMA()
    trainer, *_ = fit(tmp_path, ema=ema)
    assert sorted(ema._held) == sorted([*FLOATS, "steps"])
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    saved = torch.load(tmp_path / "it.ckpt", weights_only=True)
    assert saved["state_dict"].keys() == ema._held.keys()
    assert saved["current_model_state"].keys() == ema._held.keys()


@pytest.mark.parametrize("when", ["during", "after"])
def test_a_checkpoint_holds_the_average_and_loads_strictly(tmp_path, when):
    writer = ModelCheckpoint(tmp_path, filename="it")
    method, diary = Method(), Diary()
    trainer = quick_trainer(
        tmp_path, EMA(DECAY), diary, writer, enable_checkpointing=True, num_sanity_val_steps=0
    )
    trainer.fit(method, loader(), loader())
    if when == "after":
        trainer.save_checkpoint(tmp_path / "it.ckpt")
    saved = torch.load(tmp_path / "it.ckpt", weights_only=True)
    assert_same(saved["state_dict"], averages(Method().state_dict(), diary.pages))
    last = diary.pages[-1][1]
    assert_same(saved["current_model_state"], {k: last[k] for k in [*FLOATS, "steps"]})
    reader = Method.load_from_checkpoint(tmp_path / "it.ckpt")
    assert_same(reader.state_dict(), method.state_dict())


@pytest.mark.filterwarnings("ignore:predict returned None")
@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_whatever_reads_a_checkpoint_uses_the_average(tmp_path, command):
    trainer, trained, _ = fit(tmp_path)
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    method = Method()
    method.test_step = method.predict_step = method.validation_step
    again = quick_trainer(tmp_path, EMA(DECAY))
    getattr(again, command)(method, loader(), ckpt_path=tmp_path / "it.ckpt")
    assert_same(method.seen[-1], trained.state_dict())
    assert_same(method.state_dict(), trained.state_dict())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, accumulate):
    settings = {"accumulate_grad_batches": accumulate}
    _, whole, pages = fit(tmp_path, epochs=3, **settings)
    first, *_ = fit(tmp_path, epochs=1, **settings)
    first.save_checkpoint(tmp_path / "first.ckpt")
    _, resumed, more = fit(tmp_path, epochs=3, checkpoint=tmp_path / "first.ckpt", **settings)
    assert len(more.pages) == 8
    assert all(torch.equal(resumed.state_dict()[k], v) for k, v in whole.state_dict().items())
    for (_, mine), (_, theirs) in zip(more.pages, pages.pages[4:], strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


class SaveInValidation(Callback):
    def on_validation_batch_end(self, trainer, pl_module, *_):
        trainer.save_checkpoint(trainer.default_root_dir + "/middle.ckpt")


def test_a_checkpoint_written_during_validation_is_the_same(tmp_path):
    method, diary = Method(), Diary()
    callbacks = (EMA(DECAY), diary, SaveInValidation())
    trainer = quick_trainer(tmp_path, *callbacks, num_sanity_val_steps=0)
    trainer.fit(method, loader(), loader())
    saved = torch.load(tmp_path / "middle.ckpt", weights_only=True)
    assert_same(saved["state_dict"], averages(Method().state_dict(), diary.pages))
    assert_same(saved["current_model_state"], {k: diary.pages[-1][1][k] for k in FLOATS})


def test_validation_before_training_changes_nothing(tmp_path):
    method = Method()
    trainer = quick_trainer(tmp_path, EMA(DECAY), num_sanity_val_steps=1)
    trainer.fit(method, loader(), loader())
    assert_same(method.seen[0], Method().state_dict())
    _, other, _ = fit(tmp_path)
    assert_same(method.state_dict(), other.state_dict())


def test_validation_after_training_keeps_the_average(tmp_path):
    trainer, method, diary = fit(tmp_path)
    trainer.validate(method, loader(), verbose=False)
    expected = averages(Method().state_dict(), diary.pages)
    assert_same(method.seen[-1], expected)
    assert_same(method.state_dict(), expected)


def test_a_second_run_starts_a_new_average(tmp_path):
    ema = EMA(DECAY)
    fit(tmp_path, epochs=2, ema=ema)
    _, method, diary = fit(tmp_path, ema=ema)
    assert_same(method.state_dict(), averages(Method().state_dict(), diary.pages))


def test_weights_without_an_average_start_one(tmp_path, caplog):
    trainer = quick_trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0)
    method = Method()
    trainer.fit(method, loader(), loader())
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    start = copy.deepcopy(method.state_dict())
    with caplog.at_level("INFO"):
        _, resumed, diary = fit(tmp_path, epochs=2, checkpoint=tmp_path / "plain.ckpt")
    assert "their average starts from them" in caplog.text
    expected = {k: start[k].clone() for k in FLOATS}
    for _, weights in diary.pages:
        for name in FLOATS:
            expected[name] = DECAY * expected[name] + (1 - DECAY) * weights[name]
    assert_same(resumed.state_dict(), expected)


def test_leaving_the_average_out_of_a_resumed_run_is_noticed(tmp_path):
    first, _, _ = fit(tmp_path)
    first.save_checkpoint(tmp_path / "first.ckpt")
    trainer = quick_trainer(tmp_path, max_epochs=2)
    with pytest.warns(UserWarning, match="EMA"):
        trainer.fit(Method(), loader(), loader(), ckpt_path=tmp_path / "first.ckpt")


class Unfreeze(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            pl_module.backbone.tower["norm"].requires_grad_(True)


def test_what_is_unfrozen_later_is_averaged_from_then_on(tmp_path):
    ema = EMA(DECAY)
    trainer = quick_trainer(tmp_path, Unfreeze(), ema, max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(Method(), loader(), loader())
    assert {"backbone.tower.norm.weight", "backbone.tower.norm.bias"} < ema._held.keys()


def test_weights_only_checkpoints_are_refused(tmp_path):
    writer = ModelCheckpoint(tmp_path, save_weights_only=True)
    trainer = quick_trainer(tmp_path, EMA(), writer, enable_checkpointing=True)
    with pytest.raises(ConfigurationError, match="save_weights_only leaves the average out"):
        trainer.fit(Method(), loader(), loader())


def test_half_precision_weights_are_refused(tmp_path):
    trainer = quick_trainer(tmp_path, EMA(), precision="bf16-true", num_sanity_val_steps=0)
    with pytest.raises(ConfigurationError, match=r"kept in torch\.bfloat16"):
        trainer.fit(Method(), loader(), loader())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(ConfigurationError, match=f"decay is {decay}"):
        EMA(decay)
