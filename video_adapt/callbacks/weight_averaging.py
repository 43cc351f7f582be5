"""The plain mean of the weights after several epochs, as a checkpoint of its own."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from video_adapt.errors import ConfigurationError

from .ema import moving_names
from .tracking import run_directory

logger = logging.getLogger(__name__)


class UniformMean:
    """Mean of sets of tensors, each of the same weight, with one set in memory.

    Attributes:
        count: Sets that were added.
        tensors: Their mean, by name; of whole numbers the last ones.
    """

    def __init__(self) -> None:
        self.count = 0
        self.tensors: dict[str, Tensor] = {}

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Add a set; a name that was not there before starts as if it always had been."""
        self.count += 1
        for name, value in tensors.items():
            value, mean = value.detach(), self.tensors.get(name)
            if not value.is_floating_point():
                self.tensors[name] = value.clone()
                continue
            # A mean in half precision would lose what an epoch changes.
            value = value.to(torch.promote_types(value.dtype, torch.float32), copy=True)
            self.tensors[name] = value if mean is None else mean.lerp_(value, 1 / self.count)


class EpochAverage(Callback):
    """Average the weights after every epoch of a range, and keep the mean beside the other files.

    Training, its validation and its checkpoints go on as if nothing were averaged. At the end the
    mean is written to ``<run>/checkpoints/averaged.ckpt`` and stays in the model. Checkpoints in
    between hold what a resumed run needs to go on averaging.

    Args:
        first_epoch: First epoch that counts, from 1.
        last_epoch: Last epoch that counts; None = the last there is.

    Raises:
        ConfigurationError: If the range is empty.

    Source: FROSTER (ICLR 2024) tests the mean of epochs 2 to the last; after Open-VCLIP
    (ICML 2023). The released tool also loses ``stadapt_*`` and ``message_*``, this one nothing.
    """

    def __init__(self, first_epoch: int = 2, last_epoch: int | None = None) -> None:
        if first_epoch < 1 or (last_epoch is not None and last_epoch < first_epoch):
            raise ConfigurationError(
                f"first_epoch={first_epoch}, last_epoch={last_epoch}: epochs count from 1, and the "
                "last must not lie before the first"
            )
        self.first_epoch, self.last_epoch = first_epoch, last_epoch
        self._mean = UniformMean()
        self._epoch = 0  # the last one that was added
        self._concluded = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start anew with every training run."""
        if stage == "fit":
            self._mean, self._epoch, self._concluded = UniformMean(), 0, False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let an epoch of the range count."""
        epoch = trainer.current_epoch + 1
        last = epoch if self.last_epoch is None else self.last_epoch
        if self.first_epoch <= epoch <= last and epoch > self._epoch:
            live = pl_module.state_dict()
            self._mean.add({name: live[name] for name in moving_names(pl_module)})
            self._epoch = epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the mean into the model and write it down."""
        self._concluded = True
        if not self._mean.count:
            logger.warning("no epoch from %d on was trained: there is no average", self.first_epoch)
            return
        with torch.no_grad():
            live = pl_module.state_dict()
            for name, mean in self._mean.tensors.items():
                live[name].copy_(mean)
        module: Any = pl_module
        first = self._epoch - self._mean.count + 1
        module.provenance["averaged_epochs"] = [first, self._epoch]
        path = run_directory(trainer) / "checkpoints" / "averaged.ckpt"
        trainer.save_checkpoint(path, weights_only=True)
        logger.info("mean of the weights after epochs %d to %d: %s", first, self._epoch, path)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do so in a run that was killed behind its last checkpoint: it has nothing to train."""
        if not self._concluded:
            self.on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "epoch": self._epoch,
            "count": self._mean.count,
            "mean": {name: mean.clone() for name, mean in self._mean.tensors.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on averaging."""
        self._epoch, self._mean.count = state_dict["epoch"], state_dict["count"]
        self._mean.tensors = dict(state_dict["mean"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the model's device."""
        held = self._mean.tensors
        self._mean.tensors = {name: mean.to(pl_module.device) for name, mean in held.items()}
