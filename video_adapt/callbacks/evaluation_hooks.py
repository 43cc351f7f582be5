"""What every evaluation has in common: Lightning's hooks, turned into a few questions."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torchmetrics import Metric

from .tracking import run_directory

Result = TypeVar("Result")


class EvaluationCallback(Callback, ABC, Generic[Result]):
    """Measure what ``validation_step`` and ``test_step`` return, in stages ``val`` and ``test``.

    Figures are logged as ``<stage>/<name>``, the same on any number of processes. The last
    evaluation is written to the run's folder, below ``val/`` where the run trains. A subclass says
    what is measured, what is logged and what is written.

    Attributes:
        headline: The figure that decides which checkpoint is the best.
        predictions: The named tuple that the steps return.
        results: The last result of each stage.
    """

    headline: ClassVar[str]
    predictions: ClassVar[type[Any]]

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self._metrics: dict[str, Metric] = {}
        self._unwritten: set[str] = set()

    @abstractmethod
    def _metric(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> Metric:
        """A fresh metric, which the predictions of a stage are given to."""

    def _result(
        self, stage: str, measured: Any, trainer: Trainer, pl_module: LightningModule
    ) -> Result:
        """What is kept of that which the metric computed."""
        return measured

    @abstractmethod
    def _figures(self, result: Result) -> dict[str, float]:
        """Figures to log, by name; the first is shown on the progress bar."""

    @abstractmethod
    def _report(self, stage: str, result: Result) -> None:
        """Say in words what came out, and what is odd about it."""

    @abstractmethod
    def _write_files(
        self, folder: Path, stage: str, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        """Write the last result of a stage into an existing folder."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new evaluation."""
        self._begin("val", trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new evaluation."""
        self._begin("test", trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the predictions of a batch."""
        self._metrics["val"].update(self.predictions(*outputs))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the predictions of a batch."""
        self._metrics["test"].update(self.predictions(*outputs))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute and log the figures."""
        if not trainer.sanity_checking:
            self._conclude("val", trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute and log the figures."""
        self._conclude("test", trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files, unless training will validate again.

        A run that is killed behind its last checkpoint could not write them any more.
        """
        if not trainer.sanity_checking and not _will_validate_again(trainer):
            self._write("val", trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        self._write("test", trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files of the last validation, where others were to come."""
        if "val" in self._unwritten:
            self._write("val", trainer, pl_module)

    def _begin(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        self._metrics[stage] = self._metric(stage, trainer, pl_module).to(pl_module.device)

    def _conclude(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        # What was collected is not needed any more once it is computed.
        measured = self._metrics.pop(stage).compute()
        result = self._result(stage, measured, trainer, pl_module)
        self.results[stage] = result
        self._unwritten.add(stage)
        for place, (name, value) in enumerate(self._figures(result).items()):
            # Every process has the same: of equal numbers the maximum is exact, a mean is not.
            key, on_bar = f"{stage}/{name}", place == 0
            pl_module.log(key, value, prog_bar=on_bar, sync_dist=True, reduce_fx="max")
        if trainer.is_global_zero:
            self._report(stage, result)

    def _write(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unwritten.discard(stage)
        folder = run_directory(trainer)
        if trainer.state.fn == TrainerFn.FITTING:
            folder /= stage
        if not trainer.is_global_zero or stage not in self.results:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._write_files(folder, stage, trainer, pl_module)


def _will_validate_again(trainer: Trainer) -> bool:
    """Whether the epochs to come hold a validation, unless something ends the run before."""
    if trainer.state.fn != TrainerFn.FITTING or trainer.max_epochs is None:
        return False
    every = trainer.check_val_every_n_epoch or 1
    return (trainer.current_epoch + 1) // every < trainer.max_epochs // every
