"""Chance that can be resumed: dropout and all else that a training step draws."""

import os
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Chance(Callback):
    """Let what a training step draws depend on the run's seed, the step and the process alone.

    A checkpoint keeps no state of random generators, and has only one process to keep it of. So
    every step starts from a seed of its own: a resumed run drops what an uninterrupted one drops.
    A run without ``seed_everything`` stays as random as it wants to be.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the step."""
        # What Lightning's seed_everything leaves behind.
        if (seed := os.environ.get("PL_GLOBAL_SEED")) is not None:
            place = [int(seed), trainer.current_epoch, batch_idx, trainer.global_rank]
            torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
