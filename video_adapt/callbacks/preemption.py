"""Runs that can be stopped at any time and then go on as if they had never been stopped."""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from video_adapt.errors import ConfigurationError

from .loop_state import describe_place, go_to_place, is_row_to_come, leave_place
from .table import count_rows
from .tracking import run_directory, tracked_id

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_ONE_PRESS_S = 0.5  # `timeout -s INT` and some shells send a signal twice
_STDERR = 2


class RunStopped(BaseException):
    """A run that was asked to stop did so, in good order: no error that anything may swallow.

    Args:
        reason: Name of the signal.
        checkpoint: From where it goes on; None = there was nothing to save yet.

    Attributes:
        code: Exit code of the program, "try again later" (EX_TEMPFAIL of sysexits.h).
    """

    code: ClassVar[int] = 75

    def __init__(self, reason: str, checkpoint: Path | None) -> None:
        super().__init__(f"stopped by {reason}")
        self.reason, self.checkpoint = reason, checkpoint


class Interrupted(BaseException):
    """Ctrl-C came again: nothing is saved any more."""


class Preemption(Callback):
    """Stop in good order when a cluster or a person wants it, and write ``last.ckpt`` on the way.

    SIGTERM, SIGUSR1 (the warning that SLURM sends with ``--signal=USR1@120``) and Ctrl-C let the
    running optimiser step finish. Then ``<run>/checkpoints/last.ckpt`` is written and
    :class:`RunStopped` raised, in all processes behind the same step, whichever got the signal.
    A validation is broken off, and begun anew by the resumed run; several processes, which validate
    unequal numbers of batches, finish it first. A second Ctrl-C stops at once.

    A resumed run equals one that was never stopped, wherever the checkpoint was written: this
    callback also mends what Lightning's checkpoints say of the place inside the epoch.

    Args:
        every_n_steps: Write ``last.ckpt`` every so many optimiser steps; None = only at the end of
            epochs and on demand.
        every_minutes: The same by the clock.

    Raises:
        ConfigurationError: If one of them is not positive.
    """

    def __init__(
        self, every_n_steps: int | None = None, every_minutes: float | None = None
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_minutes", every_minutes)):
            if value is not None and value <= 0:
                raise ConfigurationError(f"{name} is {value}: it must be positive, or null")
        self.every_n_steps, self.every_minutes = every_n_steps, every_minutes
        self._reason: str | None = None  # written by the signal's handler
        self._asked_s = 0.0
        self._path = Path()
        self._saved_step = 0
        self._saved_s = 0.0
        self._validated = False  # since the last step
        self._breaks_off = False
        self._speaks = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder with all processes."""
        self._path = run_directory(trainer) / "checkpoints" / "last.ckpt"
        self._reason = None
        self._validated = self._breaks_off = False

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen from here on; before, stopping costs nothing."""
        self._listen(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen, and lead a resumed run to the place that its checkpoint means."""
        self._listen(trainer)
        self._saved_step, self._saved_s = trainer.global_step, time.monotonic()
        go_to_place(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save between two steps: the figures of the last one are written, the next not begun.

        Raises:
            RunStopped: If any process was asked to stop.
        """
        if batch_idx % trainer.accumulate_grad_batches:
            return  # no checkpoint holds the gradients that are summed up so far
        stops = self._agree(trainer)
        if stops or self._is_due(trainer):
            self._save(trainer)
        if stops:
            raise RunStopped(self._why(), self._path)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Know that no validation came behind this step yet."""
        self._validated = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before a validation rather than behind it.

        Raises:
            RunStopped: If any process was asked to stop.
        """
        if trainer.state.fn == TrainerFn.FITTING and self._agree(trainer):
            self._break_off(trainer)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Break a validation off, where no other process waits for its end.

        Raises:
            RunStopped: If this process was asked to stop and is alone.
        """
        if self._reason is not None and trainer.world_size == 1:
            self._break_off(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know that the validation behind the last step is done."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on from here as a run that was never stopped."""
        leave_place(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say exactly where the run is, whoever writes the checkpoint."""
        if trainer.state.fn == TrainerFn.FITTING:
            record = checkpoint.setdefault("video_adapt", {})
            record["table_rows"] = count_rows(trainer) + is_row_to_come(trainer)
            record["tracked_id"] = tracked_id(trainer)
            describe_place(
                trainer,
                checkpoint,
                before_validation=self._breaks_off,
                validated=self._validated,
            )

    def _listen(self, trainer: Trainer) -> None:
        """Take over from Lightning's handlers, which let processes wait for one another.

        Lightning puts back what was there before when the run ends. What it was told since it began
        to listen itself counts.
        """
        self._speaks = trainer.is_global_zero
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._notice)
        theirs: Any = trainer._signal_connector
        if theirs.received_sigterm:
            theirs.received_sigterm = False
            self._notice(signal.SIGTERM, None)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        """Note the wish; a second Ctrl-C is one to stop at once."""
        now_s = time.monotonic()
        if self._reason is not None:
            if number == signal.SIGINT and now_s - self._asked_s > _ONE_PRESS_S:
                raise Interrupted
            return
        self._reason, self._asked_s = signal.Signals(number).name, now_s
        if self._speaks:
            # Logging could be interrupted by itself here.
            hurry = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            os.write(_STDERR, f"\n{self._reason}: finishing the step{hurry}\n".encode())

    def _agree(self, trainer: Trainer) -> bool:
        """Whether any process was asked to stop; all of them must ask."""
        asked = self._reason is not None
        return bool(trainer.strategy.reduce_boolean_decision(asked, all=False))

    def _why(self) -> str:
        return self._reason or "a signal to another process"

    def _is_due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        if step == self._saved_step:
            return False
        if self.every_n_steps is not None and step % self.every_n_steps == 0:
            return True
        if self.every_minutes is None:
            return False
        late = time.monotonic() - self._saved_s >= 60 * self.every_minutes
        return bool(trainer.strategy.broadcast(late))

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self._path, weights_only=False)
        self._saved_step, self._saved_s = trainer.global_step, time.monotonic()

    def _break_off(self, trainer: Trainer) -> None:
        if trainer.sanity_checking:
            raise RunStopped(self._why(), None)
        self._breaks_off = True
        self._save(trainer)
        raise RunStopped(self._why(), self._path)
