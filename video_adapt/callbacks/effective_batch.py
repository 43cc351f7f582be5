"""How many samples an optimiser step really sees, and what that does to the learning rate."""

import logging
import math
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from video_adapt.errors import ConfigurationError

from .tracking import log_to_all

logger = logging.getLogger(__name__)

BatchRule = Literal["accumulate", "linear", "sqrt", "keep", "refuse"]


class EffectiveBatch(Callback):
    """Log the effective batch; reach a published one, or answer to another one by a stated rule.

    The effective batch is devices x batch of the loader x accumulated batches. Published rates
    belong to it: a lone GPU that trains with a part of it trains something else. The last step of
    an epoch sees fewer samples where the epoch is no multiple. A run that is resumed goes on with
    the batch that it began with, or is refused.

    Args:
        published: Samples that a step of the recipe sees; None = no rule, the trainer's own.
        rule: ``accumulate`` sets the trainer's ``accumulate_grad_batches`` so that a step sees the
            published batch. The others leave it: ``linear`` multiplies every rate by effective /
            published batch, ``sqrt`` by the root of it, ``keep`` leaves the rates and says so,
            ``refuse`` accepts the published batch alone. Rates of a schedule that are no share of
            the base rate, such as ``min_lr``, stay.

    Raises:
        ConfigurationError: If a rule is given without the batch that it refers to.

    Source: ``linear``: Goyal et al., Accurate, Large Minibatch SGD, 2017; ``sqrt``, for Adam:
    Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms, NeurIPS 2022.
    """

    def __init__(self, published: int | None = None, rule: BatchRule = "accumulate") -> None:
        if published is None and rule != "accumulate":
            raise ConfigurationError(f"rule={rule} needs `published`, the batch that it refers to")
        self.published = published
        self.rule: BatchRule = rule
        self._batch_size = 0
        self._effective = 0
        self._factor = 1.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose accumulation and rates, before a schedule counts the steps of an epoch.

        Raises:
            ConfigurationError: If the published batch cannot be reached, or is contradicted.
        """
        self._effective = 0
        if stage != "fit":
            return
        data: Any = getattr(trainer, "datamodule", None)
        if data is None:
            raise ConfigurationError("EffectiveBatch reads the loader's batch off a data module")
        self._batch_size = data.loader.batch_size
        if self.published is not None and self.rule == "accumulate":
            self._accumulate(trainer, self.published)
        at_once = trainer.world_size * self._batch_size
        self._effective = at_once * trainer.accumulate_grad_batches
        if self.published is not None:
            method: Any = pl_module
            self._factor = method.rate_factor = self._rate_factor(self._effective / self.published)

    def _accumulate(self, trainer: Trainer, published: int) -> None:
        at_once = trainer.world_size * self._batch_size
        accumulate, rest = divmod(published, at_once)
        if rest or not accumulate:
            raise ConfigurationError(
                f"the published batch of {published} is no multiple of {trainer.world_size} "
                f"device(s) x data.loader.batch_size={self._batch_size}; change either, set rule "
                "to linear, sqrt or keep, or published to null"
            )
        if trainer.accumulate_grad_batches not in (1, accumulate):
            raise ConfigurationError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}, the "
                f"published batch of {published} needs {accumulate}; leave the first out"
            )
        trainer.accumulate_grad_batches = accumulate

    def _rate_factor(self, ratio: float) -> float:
        if self.rule == "refuse" and ratio != 1.0:
            raise ConfigurationError(
                f"a step sees {self._effective} samples, the recipe's {self.published}; change "
                "devices, data.loader.batch_size or accumulate_grad_batches, or choose another rule"
            )
        return {"linear": ratio, "sqrt": math.sqrt(ratio)}.get(self.rule, 1.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the trackers and the reader."""
        log_to_all(trainer, {"train/effective_batch": self._effective})
        if trainer.is_global_zero:
            logger.info(
                "a step sees %d samples: %d device(s) x %d x %d accumulated%s",
                self._effective,
                trainer.world_size,
                self._batch_size,
                trainer.accumulate_grad_batches,
                self._rates(),
            )

    def _rates(self) -> str:
        """What becomes of the rates, in words."""
        if self.published is None or self._effective == self.published:
            return ""
        return f"; the recipe's {self.published}: rates x {self._factor:g} (rule: {self.rule})"

    def state_dict(self) -> dict[str, Any]:
        """The batch of the run, for its checkpoints."""
        return {"effective_batch": self._effective}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with another batch: rates and place in the epoch belong to the first.

        An evaluation, which loads checkpoints as well, has no batch that could differ.

        Raises:
            ConfigurationError: If a step of this run sees another number of samples.
        """
        before = state_dict["effective_batch"]
        if self._effective and before != self._effective:
            raise ConfigurationError(
                f"the run to go on with saw {before} samples in a step, now it would see "
                f"{self._effective}; set devices, data.loader.batch_size and "
                "accumulate_grad_batches so that it sees as many"
            )
