import pytest
import torch

from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from video_adapt.callbacks import Chance


class Drawer(ToyRecogniser):
    def __init__(self):
        super().__init__()
        self.drawn = []

    def training_step(self, batch, batch_idx):
        self.drawn.append(torch.rand(()).item())
        return super().training_step(batch, batch_idx)


def drawn(folder, *, epochs=2, ckpt_path=None):
    method = Drawer()
    trainer = quick_trainer(folder, Chance(), max_epochs=epochs)
    trainer.fit(method, ToyData([0] * 12, [0] * 6), ckpt_path=ckpt_path)
    return method.drawn, trainer


@pytest.fixture(autouse=True)
def seed(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


def test_a_resumed_run_draws_what_an_uninterrupted_one_draws(tmp_path):
    whole, _ = drawn(tmp_path)
    assert len(set(whole)) == 6
    first, trainer = drawn(tmp_path, epochs=1)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    torch.rand(5)
    rest, _ = drawn(tmp_path, ckpt_path=tmp_path / "first.ckpt")
    assert first + rest == whole


def test_another_seed_draws_otherwise(tmp_path, monkeypatch):
    before, _ = drawn(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    after, _ = drawn(tmp_path)
    assert not set(before) & set(after)


def test_a_run_without_a_seed_is_left_to_chance(tmp_path, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED")
    torch.manual_seed(0)
    before, _ = drawn(tmp_path)
    after, _ = drawn(tmp_path)
    assert not set(before) & set(after)


def test_processes_draw_apart(monkeypatch):
    def first(rank):
        trainer = type("T", (), {"current_epoch": 0, "global_rank": rank})
        Chance().on_train_batch_start(trainer, None, None, 0)
        return torch.rand(()).item()

    assert first(0) != first(1)
    assert first(0) == first(0)
