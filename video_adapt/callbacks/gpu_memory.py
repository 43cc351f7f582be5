"""Peak memory of training, validation and testing, each measured on its own."""

import contextlib
import logging
import resource
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from .tracking import log_to_all

logger = logging.getLogger(__name__)

_MIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory(Callback):
    """Log the peak memory of every stage, in MiB.

    On a GPU: ``memory/<stage>_allocated`` (tensors) and ``memory/<stage>_reserved`` (with the
    allocator's cache), the largest of all processes. Without one: ``memory/<stage>_process``, the
    resident memory of the main process (loader workers not counted), and ``memory/<stage>_growth``,
    what the stage added to it.

    Attributes:
        peaks: The figures logged so far.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, float] = {}
        self._rss_before = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure training: a run resumed inside an epoch starts none."""
        self._begin(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure training."""
        self._begin(pl_module.device)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the part of training so far; begin to measure validation."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._note("train", pl_module.device)
        self._begin(pl_module.device)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close validation; go on with training where it was interrupted."""
        if not trainer.sanity_checking:
            self._note("val", pl_module.device)
        self._begin(pl_module.device)
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._log(trainer)
            self._say(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the peaks so far."""
        self._note("train", pl_module.device)
        self._log(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure testing."""
        self._begin(pl_module.device)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the peak of testing."""
        self._note("test", pl_module.device)
        self._log(trainer)
        self._say(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what training needed."""
        self._say(trainer)

    def _begin(self, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._rss_before = reset_peak_rss()

    def _note(self, stage: str, device: torch.device) -> None:
        if device.type == "cuda":
            found = {
                f"memory/{stage}_allocated": torch.cuda.max_memory_allocated(device),
                f"memory/{stage}_reserved": torch.cuda.max_memory_reserved(device),
            }
        else:
            peak = peak_rss()
            found = {
                f"memory/{stage}_process": peak,
                f"memory/{stage}_growth": max(peak - self._rss_before, 0),
            }
        for key, size in found.items():
            self.peaks[key] = max(self.peaks.get(key, 0.0), size / _MIB)

    def _log(self, trainer: Trainer) -> None:
        self.peaks = {key: _max_over_processes(trainer, peak) for key, peak in self.peaks.items()}
        log_to_all(trainer, self.peaks)

    def _say(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            text = ", ".join(f"{k.partition('/')[2]} {v:,.0f}" for k, v in self.peaks.items())
            logger.info("peak memory in MiB: %s", text)


def reset_peak_rss() -> int:
    """Start the peak of this process anew where the system can; returns the bytes in use now."""
    # Linux forgets the peak when 5 is written here. Elsewhere, and in containers that forbid it,
    # the peak since the process began goes on counting.
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
    return _status_bytes("VmRSS") or peak_rss()


def peak_rss() -> int:
    """Bytes of the largest resident memory of this process since the last reset."""
    if (peak := _status_bytes("VmHWM")) is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status_bytes(field: str) -> int | None:
    """A size out of Linux's record of this process, in bytes."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def _max_over_processes(trainer: Trainer, value: float) -> float:
    device = trainer.strategy.root_device
    return float(trainer.strategy.reduce(torch.tensor(value, device=device), reduce_op="max"))
