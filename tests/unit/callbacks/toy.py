"""A recogniser and data small enough to run the trainer in a blink."""

import time
from pathlib import Path
from types import SimpleNamespace

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from video_adapt.batches import ClipBatch, ClipPredictions

CLASSES = ["up", "down", "left"]


class ToyRecogniser(LightningModule):
    """A frozen layer and a trained one; the class is read off the mean of each channel."""

    def __init__(self):
        super().__init__()
        self.class_names = CLASSES
        self.frozen = nn.Linear(3, 3, bias=False).requires_grad_(False)
        self.head = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.frozen.weight)
        nn.init.eye_(self.head.weight)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.frozen(video.mean((1, 3, 4))))

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch.video), batch.label)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> ClipPredictions:
        probs = self(batch.video).softmax(-1)
        return ClipPredictions(batch.video_id, batch.view, probs, batch.label)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), lr=0.0)


class ToyData(LightningDataModule):
    """Clip i shows class ``shown[i]``, is video i // 2 and is labelled with ``labels[i // 2]``."""

    def __init__(self, shown: list[int], labels: list[int], wait_s: float = 0.0):
        super().__init__()
        self.shown, self.labels, self.wait_s = shown, labels, wait_s

    def _loader(self) -> DataLoader:
        return DataLoader(range(len(self.shown)), batch_size=4, collate_fn=self._batch)

    train_dataloader = val_dataloader = test_dataloader = _loader

    def _batch(self, rows: list[int]) -> ClipBatch:
        time.sleep(self.wait_s)
        video = torch.zeros(len(rows), 2, 3, 4, 4)
        for row, clip in enumerate(rows):
            video[row, :, self.shown[clip]] = 5.0
        index = torch.tensor(rows)
        label = torch.tensor([self.labels[clip // 2] for clip in rows])
        return ClipBatch(video, label, None, index // 2, index % 2)

    def manifest(self, split: str) -> SimpleNamespace:
        entries = [
            SimpleNamespace(path=f"/{split}/{i}.mp4", start_s=None, end_s=1.5 * i)
            for i in range(len(self.labels))
        ]
        return SimpleNamespace(entries=entries)

    def digest(self) -> dict[str, str | int]:
        return {"val_digest": "abc", "val_clips": len(self.labels)}


def quick_trainer(folder: Path, *callbacks, **settings) -> Trainer:
    defaults = {
        "default_root_dir": folder,
        "callbacks": list(callbacks),
        "max_epochs": 1,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
        "log_every_n_steps": 1,
    }
    return Trainer(**(defaults | settings))
