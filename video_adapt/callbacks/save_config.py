"""What a run was: every setting, the data, the versions, the seed, in one file and the tracker."""

import json
import logging
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from video_adapt.errors import ConfigurationError

from .provenance import how_started
from .tracking import log_settings, run_directory

logger = logging.getLogger(__name__)

_PACKAGES = ("torch", "lightning", "torchvision", "av", "open_clip_torch", "numpy", "video-adapt")


class SaveConfig(SaveConfigCallback):
    """Write ``config.yaml`` and ``run.json`` into the run's folder and tell the trackers.

    The folder is that of the CSV logger, which is new for every run; Lightning's own callback
    writes into W&B's common folder, where the second run would overwrite or stop. Digest and size
    of the data are added as soon as the lists are read, and once more at the end, when it is known
    how many videos could not be read.

    Args:
        parser: The parser of the command line.
        config: What it parsed.
        config_filename: Name of the file to write, which ``--config`` reads again.
        overwrite: Write over the file of an earlier run.
        multifile: Unused: one file holds everything.
        save_to_log_dir: Unused: the run's folder is where it goes.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = False,
    ) -> None:
        super().__init__(parser, config, config_filename, overwrite, save_to_log_dir=False)
        self._folder = Path()
        self._record: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder with all processes, then save in the first one.

        Raises:
            ConfigurationError: If the folder already holds the configuration of a run.
        """
        if not self.already_saved:
            self._folder = run_directory(trainer)
            taken = (self._folder / self.config_filename).is_file() and not self.overwrite
            if trainer.strategy.broadcast(taken):
                raise ConfigurationError(
                    f"{self._folder / self.config_filename}: another run is recorded here; choose "
                    "another folder or remove this one"
                )
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write both files and log their content; called in the first process only."""
        text = self.parser.dump(self.config, skip_none=False)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / self.config_filename).write_text(text, encoding="utf-8")
        self._record = {
            "command": stage,
            **describe_run(trainer),
            "started": how_started(self.config.get("ckpt_path")),
            "data": {},
            "config": yaml.safe_load(text),
        }
        write_json(self._folder / "run.json", self._record)
        log_settings(trainer, self._record)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what the data are."""
        self._record_data(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what the data are."""
        self._record_data(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what the data are."""
        self._record_data(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record how many videos could be read."""
        self._record_data(trainer)

    def _record_data(self, trainer: Trainer) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        facts = data.digest() if hasattr(data, "digest") else {}
        if self._record and facts != self._record["data"]:
            self._record["data"] = facts
            write_json(self._folder / "run.json", self._record)
            log_settings(trainer, {"data": facts})


def describe_run(trainer: Trainer) -> dict[str, Any]:
    """Everything beside configuration and data that decides a result, as plain values."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return {
        "seed": None if seed is None else int(seed),
        "versions": versions(),
        "git": git_commit(),
        "machine": _machine(trainer),
        "tracker": [
            {"run": logger.experiment.id, "folder": logger.experiment.dir}
            for logger in trainer.loggers
            if isinstance(logger, WandbLogger)
        ],
    }


def made_by(checkpoint: str | Path) -> dict[str, Any]:
    """What made a file of results: command, weights, code and versions, as plain values."""
    return {"started": how_started(checkpoint), "versions": versions(), "git": git_commit()}


def versions() -> dict[str, str]:
    """Version of every package that decides a result, and of Python."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit(folder: Path | None = None) -> str | None:
    """Commit of the working folder, ``+changes`` where it differs; None outside a repository."""
    if (git := shutil.which("git")) is None:
        return None

    def ask(*words: str) -> str | None:
        answer = subprocess.run(
            [git, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=10
        )
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and ask("status", "--porcelain", "-uno") else commit


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON by way of a neighbour file, so that nobody reads half of it."""
    partial = path.with_suffix(".partial")
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def _machine(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": name,
        "processes": trainer.world_size,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "precision": str(trainer.precision),
        "system": platform.platform(),
    }
