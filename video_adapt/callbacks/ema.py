"""Averaged weights: evaluation and checkpoints use them, training goes on with its own."""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from video_adapt.errors import ConfigurationError

logger = logging.getLogger(__name__)


class EMA(Callback):
    """Exponential moving average of all that training changes, updated at every optimiser step.

    Lightning's own averaging copies the whole model. Here only trained parameters and the buffers
    of modules in training mode have a second copy: nothing frozen takes memory or disk twice.
    Buffers of whole numbers are copied, for their average is none. A checkpoint holds the average
    under ``state_dict``, so that every program that reads it gets the average, and the weights in
    training under ``current_model_state``, from which a resumed run goes on. After training the
    model holds the average.

    Args:
        decay: Share of the old average that a step keeps.

    Raises:
        ConfigurationError: If ``decay`` is not within [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigurationError(f"decay is {decay}: it must lie in [0, 1), say 0.999")
        self.decay = decay
        self._step = 0
        # The copy that the model does not hold: the average in training, in evaluation the rest.
        self._held: dict[str, Tensor] = {}
        self._model_is_average = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start anew with every training run.

        Raises:
            ConfigurationError: If checkpoints would be written without the average.
        """
        if stage != "fit":
            return
        self._held, self._model_is_average = {}, False
        writers = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        if any(writer.save_weights_only for writer in writers):
            raise ConfigurationError(
                "save_weights_only leaves the average out of a checkpoint: set it to false, or "
                "leave out the EMA callback"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the model's device."""
        device = pl_module.device
        self._held = {name: tensor.to(device) for name, tensor in self._held.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know the steps that were taken before."""
        self._step = trainer.global_step
        self._take_up(pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up what was unfrozen since."""
        self._take_up(pl_module)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Let the average follow where the batch ended in an optimiser step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        live = pl_module.state_dict()
        averages, current = [], []
        for name, average in self._held.items():
            if average.is_floating_point():
                averages.append(average)
                current.append(live[name])
            else:
                average.copy_(live[name])
        torch._foreach_lerp_(averages, current, 1 - self.decay)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the model."""
        self._put_average(pl_module, True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights in training back, where training goes on."""
        if trainer.state.fn == "fit":
            self._put_average(pl_module, False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the model."""
        self._put_average(pl_module, True)

    def state_dict(self) -> dict[str, Any]:
        """What tells Lightning to warn where a resumed run leaves this callback out."""
        return {"decay": self.decay}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average where weights are looked for, and the rest beside it."""
        if not self._held:
            return
        in_model = checkpoint["state_dict"]
        moving = {name: in_model[name] for name in self._held}
        average, trained = self._held, moving
        if self._model_is_average:
            average, trained = trained, average
        checkpoint["state_dict"] = in_model | average
        checkpoint["current_model_state"] = dict(trained)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with both copies; the model was given the average, which all but training uses."""
        if trainer.state.fn != "fit":
            return
        trained = checkpoint.get("current_model_state")
        if trained is None:
            logger.info("the checkpoint holds one set of weights: their average starts from them")
            return
        live = pl_module.state_dict()
        self._take_up(pl_module)
        for name in self._held:
            live[name].copy_(trained[name])

    def _take_up(self, module: LightningModule) -> None:
        """Start the average of all that moves and has none yet.

        Raises:
            ConfigurationError: If weights are kept in half precision.
        """
        live = module.state_dict()
        for name in moving_names(module):
            if name not in self._held:
                if live[name].dtype in (torch.float16, torch.bfloat16):
                    raise ConfigurationError(
                        f"{name} is kept in {live[name].dtype}, in which an average of "
                        f"{self.decay} stands still: use precision bf16-mixed or 16-mixed"
                    )
                self._held[name] = live[name].clone()

    def _put_average(self, module: LightningModule, wanted: bool) -> None:
        """Exchange the two copies where the model holds the other one."""
        if wanted == self._model_is_average:
            return
        live = module.state_dict()
        for name, held in self._held.items():
            other = held.clone()
            held.copy_(live[name])
            live[name].copy_(other)
        self._model_is_average = wanted


def moving_names(module: LightningModule) -> Iterator[str]:
    """Names of what training changes, as in the module's ``state_dict``.

    Frozen parts are in eval mode, which tells their buffers from those that move.
    """
    saved = module.state_dict().keys()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield name
    for prefix, part in module.named_modules():
        if part.training:
            names = (
                f"{prefix}.{name}".lstrip(".") for name, _ in part.named_buffers(recurse=False)
            )
            yield from (name for name in names if name in saved)
