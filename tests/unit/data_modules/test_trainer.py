"""Under a trainer: resuming inside an epoch equals never stopping; broken videos are logged."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from data_modules import KineticsDataModule, LoaderOptions
from video_adapt.batches import ClipBatch
from video_adapt.errors import ConfigurationError
from video_adapt.video import SegmentSampler

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning")


class Spec(NamedTuple):
    """Pixels of the model below."""

    image_size: int = 16
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class Recorder(LightningModule):
    """Learns something from every batch and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Identity()
        self.backbone.pixels = Spec()  # type: ignore[assignment]
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int], float]] = []
        self.predicted: list[int] = []

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        total = batch.video.double().sum()
        self.seen.append((self.current_epoch, batch.video_id.tolist(), float(total)))
        return (self.weight - total.float()).square() / 1e6

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        assert batch.view.tolist() == [0] * len(batch.view)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        self.predicted += batch.video_id.tolist()
        return batch.view

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _data(videos: Path, num_workers: int = 0, **arguments: Any) -> KineticsDataModule:
    loader = LoaderOptions(batch_size=1, num_workers=num_workers)
    sampler = SegmentSampler(num_frames=2)
    return KineticsDataModule(videos, loader=loader, sampler=sampler, seed=0, **arguments)


def _trainer(folder: Path, **arguments: Any) -> Trainer:
    plain: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 2,
        "use_distributed_sampler": False,
    }
    return Trainer(**plain | arguments)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_equals_an_uninterrupted_run(
    videos: Path, tmp_path: Path, num_workers: int
) -> None:
    every_step = ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_last=False
    )
    options = {"accumulate_grad_batches": 2, "limit_val_batches": 0 if num_workers else 1.0}
    whole = Recorder()
    # Six batches and, two of them to a step, three steps in an epoch.
    _trainer(tmp_path, callbacks=[every_step], **options).fit(whole, _data(videos, num_workers))
    assert len(whole.seen) == 12
    assert sorted(row for _, rows, _ in whole.seen[:6] for row in rows) == list(range(6))
    assert [row for _, row, _ in whole.seen[:6]] != [row for _, row, _ in whole.seen[6:]]

    for step in (2, 3, 4):  # inside the first epoch, at its end, inside the second
        resumed = Recorder()
        trainer = _trainer(tmp_path, enable_checkpointing=False, **options)
        checkpoint = str(tmp_path / f"step={step}.ckpt")
        trainer.fit(resumed, _data(videos, num_workers), ckpt_path=checkpoint)
        assert resumed.seen == whole.seen[2 * step :], step
        assert torch.equal(resumed.weight, whole.weight)
    # Workers that garbage collection has to stop would hold up the end of a run for seconds each.
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("share", "idle_elsewhere", "refused"),
    [(0.4, False, False), (0.3, False, True), (0.4, True, True)],
)
def test_a_share_that_leaves_any_process_idle_is_refused(
    videos: Path,
    share: float,
    idle_elsewhere: bool,
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three batches here; another process may have fewer."""
    data = _data(videos)
    data.trainer = _trainer(videos, limit_val_batches=share)

    def others(idle: bool, **_: bool) -> bool:
        return idle or idle_elsewhere

    monkeypatch.setattr(data.trainer.strategy, "reduce_boolean_decision", others)
    if not refused:
        assert len(data.val_dataloader()) == 3
        return
    with pytest.raises(ConfigurationError, match=r"limit_val_batches 0\..* without a batch"):
        data.val_dataloader()


def test_prediction_sees_every_video_once(videos: Path, tmp_path: Path) -> None:
    model = Recorder()
    _trainer(tmp_path).predict(model, _data(videos, eval_views=2))
    assert model.predicted == [0, 0, 1, 1, 2, 2]


def test_broken_videos_are_logged(broken_list: Callable[..., Path], tmp_path: Path) -> None:
    data = _data(tmp_path, train=broken_list(4, 1), on_broken="skip", max_broken_share=0.5)
    trainer = _trainer(tmp_path, logger=CSVLogger(tmp_path), enable_checkpointing=False)
    trainer.fit(Recorder(), data)
    assert data.broken == 1
    assert trainer.logger is not None
    table = (Path(trainer.logger.log_dir or "") / "metrics.csv").read_text().splitlines()
    column = table[0].split(",").index("data/broken")
    assert [line.split(",")[column] for line in table[1:]] == ["1"]
    assert data.digest()["train_clips"] == 4
