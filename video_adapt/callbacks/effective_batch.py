"""How many samples an optimiser step sees, whatever the number of devices."""

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from video_adapt.errors import ConfigurationError

from .tracking import log_to_all

logger = logging.getLogger(__name__)


class EffectiveBatch(Callback):
    """Log the effective batch; reach a published one by accumulating gradients.

    The effective batch is devices x batch of the loader x accumulated batches. Published rates
    belong to it: a lone GPU that trains with a part of it trains something else. The last step of
    an epoch sees fewer samples where the epoch is no multiple.

    Args:
        published: Samples that a step of the recipe sees; the callback sets the trainer's
            ``accumulate_grad_batches`` so that it sees as many here. None = the trainer's own.
    """

    def __init__(self, published: int | None = None) -> None:
        self.published = published
        self._batch_size = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the accumulation, before a schedule counts the steps of an epoch.

        Raises:
            ConfigurationError: If the published batch cannot be reached, or is contradicted.
        """
        if stage != "fit":
            return
        data: Any = getattr(trainer, "datamodule", None)
        if data is None:
            raise ConfigurationError("EffectiveBatch reads the loader's batch off a data module")
        self._batch_size = data.loader.batch_size
        if self.published is None:
            return
        at_once = trainer.world_size * self._batch_size
        accumulate, rest = divmod(self.published, at_once)
        if rest or not accumulate:
            raise ConfigurationError(
                f"the published batch of {self.published} is no multiple of {trainer.world_size} "
                f"device(s) x data.loader.batch_size={self._batch_size}; change either, or set "
                "published to null"
            )
        if trainer.accumulate_grad_batches not in (1, accumulate):
            raise ConfigurationError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}, the "
                f"published batch of {self.published} needs {accumulate}; leave the first out"
            )
        trainer.accumulate_grad_batches = accumulate

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the trackers and the reader."""
        devices, accumulate = trainer.world_size, trainer.accumulate_grad_batches
        effective = devices * self._batch_size * accumulate
        log_to_all(trainer, {"train/effective_batch": effective})
        if trainer.is_global_zero:
            logger.info(
                "a step sees %d samples: %d device(s) x %d x %d accumulated",
                effective,
                devices,
                self._batch_size,
                accumulate,
            )
