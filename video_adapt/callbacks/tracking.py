"""Where a run writes: its folder, and Weights & Biases with or without an account."""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from video_adapt.wandb_account import wandb_mode

if TYPE_CHECKING:
    from wandb import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MediaBudget:
    """How much of a run's pictures W&B receives; what is over stays in the run's folder.

    Args:
        number: Pictures of one run.
        megabytes: Size of all of them.
    """

    number: int = 24
    megabytes: float = 16.0


class WandbTracker(WandbLogger):
    """Weights & Biases that never asks a question: without key or connection it works offline.

    ``WANDB_MODE`` decides where it is set. An offline run lies below ``save_dir/wandb`` and is
    sent later with ``wandb sync``. Run by W&B's agent, it belongs to the project of the sweep.

    A resumed run goes on in the same run of W&B, which numbers its rows on from the last one that
    it has; offline, ``wandb sync`` does so with the files of a run, in the order of their start.
    What a run that was killed had logged behind its checkpoint comes a second time, in rows with
    the same ``trainer/global_step``, the axis of the charts.

    Args:
        save_dir: Folder for W&B's own files.
        project: Project of the run.
        name: Name of the run; None lets W&B invent one.
        group: Group of runs to compare, such as one experiment with several seeds.
        tags: Words to find the run by.
        media: How many pictures it may take; None = the default.

    Attributes:
        media: The same.
        num_shown: Pictures taken.
        num_left_out: Pictures beyond the budget; also in the summary, as ``media/left_out``.
    """

    def __init__(
        self,
        save_dir: str | Path = "runs",
        *,
        project: str = "video-adapt",
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        media: MediaBudget | None = None,
    ) -> None:
        super().__init__(save_dir=save_dir, project=project, name=name, group=group, tags=tags)
        if "WANDB_SWEEP_ID" in os.environ:
            self._wandb_init.pop("project")  # W&B ignores it there, and warns
        self.media = media or MediaBudget()
        self.num_shown = self.num_left_out = 0
        self._bytes_shown = 0

    def go_on(self, run_id: str | None) -> None:
        """Be the run that was interrupted; to be called before anything is logged.

        Args:
            run_id: W&B's id of that run; None = it had none. ``WANDB_RUN_ID`` counts more: an
                agent, or whoever sets it, has chosen the run.
        """
        if "WANDB_RUN_ID" not in os.environ:
            self._wandb_init["id"] = self._id = run_id

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run":
        """The W&B run, begun on first use, in the mode that this machine allows."""
        if self._experiment is None:
            self._begin()
        return super().experiment

    def _begin(self) -> None:
        """Choose the mode; offline, one line of ours says what W&B would say in ten."""
        mode = wandb_mode()
        folder = Path(self._wandb_init["dir"])
        folder.mkdir(parents=True, exist_ok=True)
        self._wandb_init["mode"] = mode
        self._wandb_init.pop("anonymous", None)  # W&B warns of it even if it is None
        if mode == "offline":
            self._wandb_init["settings"] = {"silent": True}
            logger.info("W&B offline: `wandb sync %s/wandb/offline-run-*` sends it", folder)

    def show(self, key: str, path: Path, step: int) -> None:
        """Take a picture that lies on disk, or count it where the budget is spent."""
        size = self._bytes_shown + path.stat().st_size
        if self.num_shown < self.media.number and size <= 1e6 * self.media.megabytes:
            self.log_image(key, [str(path)], step=step)
            self.num_shown, self._bytes_shown = self.num_shown + 1, size
            return
        if not self.num_left_out:
            logger.warning(
                "W&B takes %d pictures or %g MB of a run; %s and others beyond stay here: raise "
                "--media.number or --media.megabytes",
                self.media.number,
                self.media.megabytes,
                key,
            )
        self.num_left_out += 1
        self.experiment.summary["media/left_out"] = self.num_left_out


def finish_tracking(*, failed: bool = False) -> None:
    """End the W&B run of this process, if any, so that the next command does not write into it."""
    wandb = sys.modules.get("wandb")  # importing it takes a second, and unused it has no run
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))


def run_directory(trainer: Trainer) -> Path:
    """The folder of this run: the CSV logger's, or else what Lightning would choose.

    Every process must call it: the first one decides for all.
    """
    tables = [table.log_dir for table in trainer.loggers if isinstance(table, CSVLogger)]
    chosen = tables[0] if tables else trainer.log_dir or trainer.default_root_dir
    return Path(trainer.strategy.broadcast(chosen))


def tracked_id(trainer: Trainer) -> str | None:
    """W&B's id of the run; None without W&B, and in other processes than the first."""
    for tracker in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(tracker, WandbTracker):
            return str(tracker.experiment.id)
    return None


@rank_zero_only
def log_to_all(trainer: Trainer, values: Mapping[str, float]) -> None:
    """Give values that belong to the run rather than to a step to every logger."""
    for tracker in trainer.loggers:
        tracker.log_metrics(dict(values), step=trainer.global_step)


@rank_zero_only
def log_picture(trainer: Trainer, key: str, path: Path) -> None:
    """Show a picture that lies on disk in W&B, as far as its budget reaches."""
    for tracker in trainer.loggers:
        if isinstance(tracker, WandbTracker):
            tracker.show(key, path, trainer.global_step)


@rank_zero_only
def log_settings(trainer: Trainer, settings: dict[str, Any]) -> None:
    """Give the settings of the run to every logger."""
    for tracker in trainer.loggers:
        tracker.log_hyperparams(settings)
