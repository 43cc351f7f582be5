"""A run of which every event is written down, on the loaders of the real data modules."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from data_modules.base import VideoDataModule
from data_modules.loader import BatchLoader, LoaderOptions
from data_modules.samplers import EvalSampler
from tests.unit.callbacks.toy import quick_trainer
from video_adapt.callbacks import EMA, Chance
from video_adapt.callbacks.checkpoint_file import CheckpointFile
from video_adapt.callbacks.preemption import Preemption
from video_adapt.callbacks.table import run_table

CLIPS, BATCH = 9, 2  # four batches an epoch; the clip that is left over differs by epoch


class Rows(NamedTuple):
    """A batch: row and seed of each of its clips."""

    rows: Tensor
    seeds: Tensor
    broken: tuple = ()

    @property
    def shapes(self):
        return self.rows.tolist()

    def unpack(self):
        return self


class RowSet:
    def __len__(self):
        return CLIPS

    def __getitem__(self, key):
        return key

    def collate(self, samples):
        rows, seeds = zip(*samples, strict=True)
        return Rows(torch.tensor(rows), torch.tensor(seeds))


class Manifest:
    missing = ()

    def __len__(self):
        return CLIPS

    def digest(self):
        return "rows"


class RowData(VideoDataModule):
    unit = "clips"
    class_names = ("a",)

    def __init__(self):
        options = LoaderOptions(batch_size=BATCH, num_workers=0)
        super().__init__(loader=options, on_broken="error", max_broken_share=0.0, seed=3)

    def read(self, split, problems=None):
        return Manifest()

    def _batches(self, split, sampler):
        return BatchLoader(
            RowSet(),
            sampler,
            options=self.loader,
            batch_size=BATCH,
            broken=self._log_of(split, Manifest()),
        )

    def _train_batches(self, manifest, sampler):
        return self._batches("train", sampler)

    def _eval_batches(self, split, manifest):
        return self._batches(split, EvalSampler(6))

    def _ready(self, batch, module):
        return batch


class Learner(LightningModule):
    """Learns from rows, seeds and chance; writes down what it sees."""

    def __init__(self, diary):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.4), nn.Linear(3, 1))
        self.diary = diary

    def training_step(self, batch, batch_idx):
        facts = torch.stack([batch.rows, batch.seeds % 17], -1).float()
        loss = self.net(facts).square().mean()
        self.diary.append(("step", self.current_epoch, batch_idx, facts.tolist(), loss.item()))
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        value = self.net(batch.rows[:, None].float().expand(-1, 2)).mean()
        if not self.trainer.sanity_checking:
            self.log("val/score", value, on_epoch=True, batch_size=len(batch.rows))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.7)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Diary(Callback):
    """Notes what happens between the steps."""

    def __init__(self, diary):
        self.diary = diary

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            score = trainer.callback_metrics["val/score"].item()
            self.diary.append(("validated", trainer.current_epoch, trainer.global_step, score))

    def on_train_epoch_end(self, trainer, pl_module):
        self.diary.append(("epoch", trainer.current_epoch, trainer.global_step))


@dataclass
class Run:
    """What a run left behind."""

    folder: Path
    module: LightningModule
    diary: list[Any] = field(default_factory=list)

    @property
    def rows(self):
        with (self.folder / "metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def fit(folder, *callbacks, checkpoint=None, preemption=None, raises=(), **settings) -> Run:
    """Train for two epochs; ``raises`` is what ends it, kept as ``error``."""
    seed_everything(5, verbose=False)
    kept = None
    if checkpoint is not None:
        kept = torch.load(checkpoint, weights_only=True)["video_adapt"]["table_rows"]
    run = Run(folder, Learner([]))
    run.diary = run.module.diary
    trainer = quick_trainer(
        folder,
        *(EMA(0.5), Chance(), Diary(run.diary), *callbacks, preemption or Preemption()),
        ModelCheckpoint(folder / "checkpoints", filename="last", enable_version_counter=False),
        **{
            "max_epochs": 2,
            "logger": run_table(folder, resume=checkpoint is not None, rows=kept),
            "enable_checkpointing": True,
            "plugins": [CheckpointFile()],
            **settings,
        },
    )
    try:
        trainer.fit(run.module, datamodule=RowData(), ckpt_path=checkpoint)
    except raises as error:
        run.error = error
    return run
