"""The table of a run's figures, ``metrics.csv``, which a resumed run continues."""

import csv
import warnings
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger


def run_table(run_dir: str | Path, *, resume: bool = False) -> CSVLogger:
    """Lightning's CSV logger, writing straight into the folder of the run.

    Args:
        run_dir: Folder of the run; receives ``metrics.csv`` and ``hparams.yaml``.
        resume: Keep the rows of the interrupted run, which Lightning would delete.
    """
    path = Path(run_dir) / "metrics.csv"
    kept = path.read_text() if resume and path.is_file() else ""
    logger = CSVLogger(run_dir, name="", version="")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")
        writer = logger.experiment
    if kept:
        path.write_text(kept)
        writer.metrics_keys = next(csv.reader([kept.partition("\n")[0]]))
    return logger
