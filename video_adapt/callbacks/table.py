"""The table of a run's figures, ``metrics.csv``, which a resumed run continues."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only


class TableWriter(ExperimentWriter):
    """Lightning's writer of rows, which keeps those of an interrupted run.

    Figures of the whole run, which belong to no epoch, are not told again where they are the same.

    Args:
        log_dir: Folder of the run.
        kept: Number of rows to keep of an earlier table; None = all of them.
    """

    def __init__(self, log_dir: str, kept: int | None) -> None:
        super().__init__(log_dir)
        self._saved = 0
        self._told: dict[str, str] = {}
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        if kept == 0:
            path.unlink()
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)[:kept]
            self.metrics_keys = list(reader.fieldnames or [])
        self._saved = len(rows)
        self._write_all(rows)
        for row in rows:
            self._told |= {key: value for key, value in row.items() if value}

    @property
    def count(self) -> int:
        """Rows of the table, those included that are still to be written."""
        return self._saved + len(self.metrics)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Take up a row."""
        told = (self._told.get(key) == str(value) for key, value in metrics_dict.items())
        if "epoch" in metrics_dict or not all(told):
            super().log_metrics(metrics_dict, step)

    def save(self) -> None:
        """Write the rows that are new."""
        count = self.count
        super().save()
        self._saved = count

    def _check_log_dir_exists(self) -> None:
        """Lightning would delete the table here."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            rows = list(csv.DictReader(file))
        self._write_all(rows)

    def _write_all(self, rows: list[dict[str, str]]) -> None:
        """Replace the table in one piece, so that a run that is killed here loses nothing."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        path = Path(self.metrics_file_path)
        partial = path.with_suffix(".partial")
        partial.write_text(text.getvalue(), newline="")
        partial.replace(path)


def run_table(run_dir: str | Path, *, resume: bool = False, rows: int | None = None) -> CSVLogger:
    """Lightning's CSV logger, writing straight into the folder of the run.

    Args:
        run_dir: Folder of the run; receives ``metrics.csv`` and ``hparams.yaml``.
        resume: Keep the rows of the interrupted run, which Lightning would delete.
        rows: Number of rows to keep, those that were there when the checkpoint was written, see
            :func:`count_rows`; None = all.
    """
    logger = CSVLogger(run_dir, name="", version="")
    first: Any = rank_zero_only
    if first.rank == 0:
        logger._experiment = TableWriter(logger.log_dir, rows if resume else 0)
    return logger


def count_rows(trainer: Trainer) -> int:
    """Number of rows that the table holds now; they are on the disk afterwards."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger) and isinstance(logger._experiment, TableWriter):
            logger._experiment.save()
            return logger._experiment.count
    return 0
