"""A run that stands still says so, and says which process waits for which file."""

import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from video_adapt.errors import ConfigurationError
from video_adapt.reading import being_read

logger = logging.getLogger(__name__)


class Watchdog(Callback):
    """Say where this process stands when no batch was finished for long, again and again.

    One line for each process: its rank and host, the last batch it finished, the files that it and
    the workers of its loaders are reading, and for how long. Of several processes that wait for
    one another the culprit is the one with a file. The run is left alone.

    Args:
        patience_s: Seconds without a finished batch. What lies between batches counts as well, such
            as filling a feature cache or writing a checkpoint.

    Raises:
        ConfigurationError: If that is no positive number.
    """

    def __init__(self, patience_s: float = 600.0) -> None:
        if patience_s <= 0:
            raise ConfigurationError(f"patience_s is {patience_s:g}: give a number of seconds > 0")
        self.patience_s = patience_s
        self._place = "before the first batch"
        self._since = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to watch."""
        self._beat("before the first batch")
        self._over.clear()
        rank = f"rank {trainer.global_rank} of {trainer.world_size}"
        self._thread = threading.Thread(target=self._watch, args=(rank,), daemon=True)
        self._thread.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch no longer."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Watch no longer."""
        self._stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that there was a batch."""
        self._beat(f"training batch {batch_idx} of epoch {trainer.current_epoch}")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note that there was a batch."""
        self._beat(f"validation batch {batch_idx} after epoch {trainer.current_epoch}")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note that there was a batch."""
        self._beat(f"test batch {batch_idx} of loader {dataloader_idx}")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note that there was a batch."""
        self._beat(f"prediction batch {batch_idx} of loader {dataloader_idx}")

    def _beat(self, place: str) -> None:
        self._place, self._since = place, time.monotonic()

    def _stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self, rank: str) -> None:
        said = 0.0  # seconds of silence at which it was said last
        while not self._over.wait(min(self.patience_s / 10, 5.0)):
            silent = time.monotonic() - self._since
            said = min(said, silent)
            if silent - said >= self.patience_s:
                said = silent
                logger.warning("%s", self._line(rank, silent))

    def _line(self, rank: str, silent_s: float) -> str:
        files = [f"{r.reader} reads {r.path} for {r.since_s:.0f} s" for r in being_read()]
        what = "; ".join(files) or "it reads no file, so another process or the device is late"
        return (
            f"{rank} on {socket.gethostname()} (process {os.getpid()}): no batch for "
            f"{silent_s:.0f} s, the last was {self._place}; {what}; it stands in {_standing()}"
        )


def _standing() -> str:
    """Function, file and line in which the main thread is."""
    ident = threading.main_thread().ident
    assert ident is not None
    frame = sys._current_frames()[ident]
    return f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
