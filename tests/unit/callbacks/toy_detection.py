"""A detector that reads its detections off the batch, and long videos with known events."""

from types import SimpleNamespace

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from video_adapt.batches import SegmentPredictions

CLASSES = ["jump", "run"]
NAMES = ["one", "two", "empty"]
# (video, window, start, end, score, label): two windows of video 0 overlap and say the same.
FOUND = [
    (0, 0, 1.0, 5.0, 0.9, 0),
    (0, 0, 20.0, 30.0, 0.8, 1),
    (0, 1, 20.0, 30.0, 0.7, 1),
    (0, 1, 40.0, 44.0, 0.3, 0),
    (1, 0, 10.0, 14.0, 0.6, 0),
    (1, 0, 50.0, 60.0, 0.2, 1),
]
EVENTS = [(0, 1.0, 5.0, 0), (0, 20.0, 32.0, 1), (1, 10.0, 19.0, 0), (1, 0.0, 0.0, 1)]


class ToyDetector(LightningModule):
    """Returns the rows of the batch; keeps the best of equal segments of a video."""

    def __init__(self):
        super().__init__()
        self.class_names, self.thresholds = CLASSES, (0.3, 0.5)
        self.calibration = None
        self.weight = nn.Parameter(torch.zeros(()))
        self.finished_with: list[str] = []

    def validation_step(self, batch: Tensor, batch_idx: int) -> SegmentPredictions:
        video, window, label = (batch[:, column].long() for column in (0, 1, 5))
        return SegmentPredictions(video, window, batch[:, 2:4], batch[:, 4], label)

    test_step = validation_step

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.weight * batch.sum()

    def finish(self, found: SegmentPredictions, names: list[str]) -> SegmentPredictions:
        self.finished_with = names
        keys = torch.stack([found.video_id, *found.segments.long().T, found.labels], 1).tolist()
        best = {tuple(key): row for row, key in reversed(list(enumerate(keys)))}
        rows = torch.tensor(sorted(best.values()), dtype=torch.int64)
        return SegmentPredictions(*(values[rows] for values in found))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class ToyVideos(LightningDataModule):
    """Three videos of 30 minutes in all, in which nothing happens unless events are given."""

    def __init__(self, found=FOUND, events=EVENTS):
        super().__init__()
        self.rows = torch.tensor(found, dtype=torch.float32)
        self.events = np.array(events, float).reshape(-1, 4)

    def _loader(self) -> DataLoader:
        """A batch per window."""
        keys = self.rows[:, :2].unique(dim=0)
        windows = [self.rows[(self.rows[:, :2] == key).all(1)] for key in keys]
        return DataLoader(windows, batch_size=None)

    train_dataloader = val_dataloader = test_dataloader = _loader

    def ground_truth(self, stage: str) -> SimpleNamespace:
        video, start_s, end_s, label = self.events.T
        segments_s = np.stack([start_s, end_s], 1)
        return SimpleNamespace(
            video_id=video.astype(int), segments_s=segments_s, label=label.astype(int)
        )

    def video_names(self, stage: str) -> list[str]:
        return NAMES

    def durations_s(self, stage: str) -> list[float]:
        return [600.0, 900.0, 300.0]
