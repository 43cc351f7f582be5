"""Under a trainer and a parser: windows resume inside an epoch, arguments build the module."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from data_modules import FeatureFiles, LoaderOptions, THUMOSDataModule
from video_adapt.batches import SegmentBatch
from video_adapt.video import SlidingWindows, WholeVideo, WindowTrainTransform

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
        self.seen: list[tuple[int, int, float, float]] = []
        self.evaluated: list[tuple[int, int]] = []

    def training_step(self, batch: SegmentBatch, batch_idx: int) -> Tensor:
        assert batch.video.shape[1:] == (32, 3, 16, 16)
        total = batch.video.double().sum()
        self.seen.append(
            (self.current_epoch, int(batch.video_id), float(batch.offset_s), float(total))
        )
        return (self.weight - total.float()).square() / 1e6

    def validation_step(self, batch: SegmentBatch, batch_idx: int) -> None:
        self.evaluated += zip(batch.video_id.tolist(), batch.window.tolist(), strict=True)

    def predict_step(self, batch: SegmentBatch, batch_idx: int) -> Tensor:
        self.evaluated += zip(batch.video_id.tolist(), batch.window.tolist(), strict=True)
        return batch.window

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _data(root: Path) -> THUMOSDataModule:
    return THUMOSDataModule(
        root,
        train="annotations.json",
        val="annotations.json",
        sampler=SlidingWindows(16, 2, snippet_stride=4),
        train_transform=WindowTrainTransform(rand_augment=None, jitter=None),
        loader=LoaderOptions(batch_size=1, num_workers=0),
        seed=0,
    )


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


def test_resuming_equals_an_uninterrupted_run(long_videos: Path, tmp_path: Path) -> None:
    every_step = ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_last=False
    )
    whole = Recorder()
    _trainer(tmp_path, callbacks=[every_step]).fit(whole, _data(long_videos))
    assert len(whole.seen) == 6
    assert whole.seen[0][2:] != whole.seen[3][2:]
    assert whole.evaluated[-4:] == [(0, number) for number in range(4)]
    for step in (2, 4):  # inside the first epoch, and inside the second
        resumed = Recorder()
        trainer = _trainer(tmp_path, enable_checkpointing=False)
        trainer.fit(resumed, _data(long_videos), ckpt_path=str(tmp_path / f"step={step}.ckpt"))
        assert resumed.seen == whole.seen[step:], step
        assert torch.equal(resumed.weight, whole.weight)


def test_prediction_sees_every_window_once(long_videos: Path, tmp_path: Path) -> None:
    model, data = Recorder(), _data(long_videos)
    _trainer(tmp_path).predict(model, data)
    assert model.evaluated == [(w.row, w.number) for w in data.windows("test")]


def _parse(*words: str) -> THUMOSDataModule:
    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    data: Any = parser.instantiate(parser.parse_args(list(words))).data
    assert isinstance(data, THUMOSDataModule)
    return data


def test_arguments_build_every_data_set(long_videos: Path) -> None:
    data = _parse(
        "--data=THUMOSDataModule",
        f"--data.root={long_videos}",
        "--data.val=annotations.json",
        '--data.subsets={"val": "training"}',
        "--data.exclude=[a, b]",
        "--data.sampler=SlidingWindows",
        "--data.sampler.positions=64",
        "--data.sampler.fps=30",
        "--data.loader.batch_size=3",
    )
    assert data.video_names("val") == ["c", "d"]
    assert data.sampler == SlidingWindows(64, fps=30.0)
    assert data.loader.batch_size == 3


def test_arguments_build_features(long_videos: Path) -> None:
    data = _parse(
        "--data=THUMOSDataModule",
        f"--data.root={long_videos}",
        "--data.sampler=WholeVideo",
        "--data.features.width=8",
        "--data.features.stride=16",
    )
    assert data.features == FeatureFiles(8, stride=16)
    assert data.sampler == WholeVideo()
