import logging

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from tests.fakes import FakeBackbone, FakeMethod
from tests.unit.callbacks.toy import quick_trainer
from video_adapt.batches import ClipBatch
from video_adapt.callbacks import EpochAverage
from video_adapt.callbacks.weight_averaging import UniformMean
from video_adapt.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")


class Method(FakeMethod):
    def __init__(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(FakeBackbone())
        self.head[0] = torch.nn.Identity()  # chance would have to be resumed too

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameter_groups(self.optimizer), lr=0.05)


class Diary(Callback):
    """The trained weights after every epoch."""

    def __init__(self):
        self.pages = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.pages.append({k: p.detach().clone() for k, p in trained(pl_module).items()})


def trained(module):
    return {k: p for k, p in module.named_parameters() if p.requires_grad}


def clips(rows):
    rows = torch.tensor(rows)
    generator = torch.Generator().manual_seed(int(rows[0]))
    video = torch.randn(len(rows), 2, 3, 8, 8, generator=generator)
    return ClipBatch(video, rows % 3, None, rows, torch.zeros_like(rows))


def loader():
    return DataLoader(range(6), batch_size=3, collate_fn=clips)


def fit(folder, *callbacks, epochs=4, resume=None, **settings):
    method = Method()
    trainer = quick_trainer(
        folder, *callbacks, max_epochs=epochs, num_sanity_val_steps=0, **settings
    )
    trainer.fit(method, loader(), loader(), ckpt_path=resume)
    return method


def test_the_model_and_a_file_hold_the_mean_of_the_epochs(tmp_path):
    diary = Diary()
    method = fit(tmp_path, diary, EpochAverage(first_epoch=2, last_epoch=3))
    for name, value in trained(method).items():
        expected = (diary.pages[1][name] + diary.pages[2][name]) / 2
        torch.testing.assert_close(value.detach(), expected)
        assert not torch.equal(value, diary.pages[3][name])
    file = torch.load(tmp_path / "checkpoints" / "averaged.ckpt", weights_only=True)
    assert file["video_adapt"]["provenance"] == {"averaged_epochs": [2, 3]}
    assert file["state_dict"].keys() == trained(method).keys()
    for name, value in file["state_dict"].items():
        assert torch.equal(value, trained(method)[name])
    assert "optimizer_states" not in file


def test_training_itself_does_not_notice(tmp_path):
    plain, averaged = Diary(), Diary()
    fit(tmp_path / "plain", plain)
    fit(tmp_path / "averaged", averaged, EpochAverage(first_epoch=1))
    for one, other in zip(plain.pages, averaged.pages, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_has_the_average_of_an_uninterrupted_one(tmp_path):
    whole = fit(tmp_path / "whole", EpochAverage())
    for epochs, resume in ((3, None), (4, tmp_path / "half" / "last.ckpt")):
        writer = ModelCheckpoint(tmp_path / "half", filename="last")
        settings = {"epochs": epochs, "resume": resume, "enable_checkpointing": True}
        later = fit(tmp_path / "half", EpochAverage(), writer, **settings)
    for name, value in trained(later).items():
        torch.testing.assert_close(value, trained(whole)[name])
    assert later.provenance == whole.provenance == {"averaged_epochs": [2, 4]}


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_that_was_killed_behind_its_last_checkpoint_gets_its_average(tmp_path):
    settings = {"enable_checkpointing": True, "limit_val_batches": 0}
    writer = ModelCheckpoint(tmp_path / "checkpoints", filename="last")
    whole = fit(tmp_path, EpochAverage(), writer, **settings)
    path = tmp_path / "checkpoints" / "averaged.ckpt"
    path.unlink()
    writer = ModelCheckpoint(tmp_path / "checkpoints", filename="last")
    last = tmp_path / "checkpoints" / "last.ckpt"
    later = fit(tmp_path, EpochAverage(), writer, resume=last, **settings)
    for name, value in torch.load(path)["state_dict"].items():
        assert torch.equal(value, trained(whole)[name])
        assert torch.equal(value, trained(later)[name])
    assert later.provenance == whole.provenance


def test_without_an_epoch_of_the_range_nothing_is_averaged(tmp_path, caplog):
    diary = Diary()
    with caplog.at_level(logging.WARNING):
        method = fit(tmp_path, diary, EpochAverage(first_epoch=9))
    assert "no epoch from 9 on was trained" in caplog.text
    assert all(torch.equal(v, diary.pages[-1][k]) for k, v in trained(method).items())
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("first", "last"), [(0, None), (3, 2)])
def test_an_empty_range_is_refused(first, last):
    with pytest.raises(ConfigurationError, match="epochs count from 1"):
        EpochAverage(first, last)


def test_every_set_counts_alike_and_whole_numbers_are_the_last():
    mean = UniformMean()
    for number in (1.0, 2.0, 6.0):
        mean.add({"weight": torch.full((2,), number), "steps": torch.tensor(int(number))})
    torch.testing.assert_close(mean.tensors["weight"], torch.full((2,), 3.0))
    assert mean.tensors["steps"] == 6


def test_half_precision_is_averaged_in_full():
    mean = UniformMean()
    values = [1.0, 1.0, 1.0078125]  # neighbours in bfloat16
    for value in values:
        mean.add({"weight": torch.tensor([value], dtype=torch.bfloat16)})
    assert mean.tensors["weight"].item() == pytest.approx(sum(values) / 3, abs=1e-7)
