"""The training commands: a LightningCLI in which data, model and backbone tell each other once."""

import argparse
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse._deprecated import JsonargparseDeprecationWarning
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

import data_modules

# Importing these packages is what lets an experiment file name their classes without a module.
from . import adapters, backbones, baselines, callbacks, detection, methods, tasks, video
from .callbacks import (
    EMA,
    Chance,
    CheckpointFile,
    Cost,
    DetectionEvaluation,
    EffectiveBatch,
    EpochAverage,
    Evaluation,
    MediaBudget,
    OpenVocabularyEvaluation,
    PeakMemory,
    Preemption,
    Progress,
    RetrievalEvaluation,
    SaveConfig,
    WandbTracker,
    Watchdog,
)
from .callbacks.evaluation_hooks import EvaluationCallback
from .callbacks.preemption import Interrupted, RunStopped
from .callbacks.table import run_table
from .callbacks.tracking import finish_tracking
from .cli_messages import explain
from .cli_resume import find_start, go_on_line, is_begun, named_error
from .cli_words import spell_nulls
from .errors import ConfigurationError, WeightsError
from .reports.media import show_media
from .tasks.fully_sharded import strategy_named

logger = logging.getLogger(__name__)
SPLITS: dict[str, tuple[data_modules.annotations.Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}
PACKAGES = (
    adapters,
    backbones,
    baselines,
    callbacks,
    data_modules,
    detection,
    methods,
    tasks,
    video,
)
EVALUATIONS: dict[str, type[EvaluationCallback[Any]]] = {
    "recognition": Evaluation,
    "detection": DetectionEvaluation,
    "retrieval": RetrievalEvaluation,
    "open_vocabulary": OpenVocabularyEvaluation,
}
ALWAYS: tuple[type[Callback], ...] = (EffectiveBatch, PeakMemory, Cost, Chance, Watchdog)


class Parser(LightningArgumentParser):
    """A parser that answers a wrong key with its place and the nearest right one, in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong, where, and what was probably meant; exit with code 2."""
        text = explain(message, sys.argv[1:], options=_options(self), classes=_class_names())
        sys.stderr.write(f"video-adapt: error: {text}\n")
        raise SystemExit(2)


class VideoAdaptCLI(LightningCLI):
    """LightningCLI whose runs live in one folder each and whose settings are said once.

    The classes flow from the data into the model, the pixels from the backbone into the data.
    ``--run_dir`` holds configuration, figures, checkpoints, predictions and pictures of a run.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``; its arguments are the process's.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        super().__init__(
            parser_class=Parser,
            parser_kwargs={"parser_mode": "omegaconf+"},
            # The data module shards by itself, without padding; Cost counts the parameters.
            trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the command that was asked for: building a parser takes a second."""
        return {self._command: LightningCLI.subcommands()[self._command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder, and the link that spares naming the classes twice."""
        parser.add_argument(
            "--run_dir", type=str, default="runs/unnamed", help="folder of all that the run writes"
        )
        parser.add_argument(
            "--overwrite", type=bool, default=False, help="replace an earlier run in that folder"
        )
        parser.add_class_arguments(MediaBudget, "media")
        parser.link_arguments("run_dir", "trainer.default_root_dir")
        parser.link_arguments(
            "data.class_names", "model.init_args.class_names", apply_on="instantiate"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments of this process."""
        self.config = parser.parse_args(spell_nulls(sys.argv[1:]))

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint's arguments replace those of the experiment file
        # without a word. Here the file rules, and a checkpoint that does not fit it is refused.
        return

    def before_instantiate_classes(self) -> None:
        """Look at the output folder and the checkpoint before anything slow happens.

        Raises:
            ConfigurationError: If the folder holds another run.
            WeightsError: If the checkpoint is missing, damaged or none.
        """
        self._run_dir = Path(self._get(self.config, "run_dir"))
        given = self._get(self.config, "ckpt_path")
        self._start = find_start(given, self._run_dir, command=self._command)
        self._resuming = self._start.checkpoint is not None
        path = str(self._start.checkpoint) if self._resuming else None
        self.config[self._command]["ckpt_path"] = path
        replacing = self._resuming or self._get(self.config, "overwrite")
        if self._command == "fit" and not replacing:
            self._refuse_to_replace(unless_empty=given == "auto")

    def _refuse_to_replace(self, *, unless_empty: bool) -> None:
        """Keep an earlier run's results; one that failed before it had any is no loss."""
        figures = (self._run_dir / "metrics.csv").exists() and not unless_empty
        if figures or any(self._run_dir.glob("checkpoints/*.ckpt")):
            go_on = "go on with --ckpt_path last, " if is_begun(self._run_dir) else ""
            raise ConfigurationError(
                f"{self._run_dir} already holds a run; choose another --run_dir, {go_on}"
                "or add --overwrite=true"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the project's callbacks and trackers to those of the experiment file."""
        self._check_trained()
        self._check_lists()
        self._share_cores()
        given = self._get(self.config_init, "trainer")
        kwargs["strategy"] = strategy_named(given["strategy"])
        if given["logger"] is None or given["logger"] is True:
            kwargs["logger"] = self._trackers()
        self._go_on_tracking(kwargs.get("logger", given["logger"]))
        if given["plugins"] is None:
            kwargs["plugins"] = [CheckpointFile()]
        callbacks = list(given["callbacks"] or [])
        for kind in (EVALUATIONS[self.model.job], *ALWAYS):
            if not any(isinstance(callback, kind) for callback in callbacks):
                callbacks.append(kind())
        if given["enable_progress_bar"] is not False:
            callbacks.append(Progress())
        if self._command == "fit" and given["enable_checkpointing"] is not False:
            callbacks += self._checkpointing(callbacks)
            if not any(isinstance(callback, Preemption) for callback in callbacks):
                callbacks.append(Preemption())
        kwargs["callbacks"] = callbacks
        return super().instantiate_trainer(**kwargs)

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except WeightsError as error:
            raise named_error(error, self._start.checkpoint) from error

    def _trackers(self) -> list[Logger]:
        fitting = self._command == "fit"
        folder = self._run_dir if fitting else self._run_dir / self._command
        table = run_table(folder, resume=fitting and self._resuming, rows=self._start.table_rows)
        media = self._get(self.config_init, "media")
        return [table, WandbTracker(self._run_dir, name=self._run_dir.name, media=media)]

    def _go_on_tracking(self, trackers: Any) -> None:
        if self._command != "fit":
            return  # what is measured later is a run of its own
        for tracker in trackers if isinstance(trackers, list) else [trackers]:
            if isinstance(tracker, WandbTracker):
                tracker.go_on(self._start.tracked_id)

    def after_fit(self) -> None:
        """Show W&B what the report would show of the last validation."""
        show_media(self.trainer, self._run_dir / "val", "val")

    def after_validate(self) -> None:
        """Show W&B what the report would show of the validation."""
        show_media(self.trainer, self._run_dir / "validate", "val")

    def after_test(self) -> None:
        """Show W&B what the report would show of the test."""
        show_media(self.trainer, self._run_dir / "test", "test")

    def _checkpointing(self, given: Sequence[Any]) -> list[ModelCheckpoint]:
        if any(isinstance(callback, ModelCheckpoint) for callback in given):
            return []
        # The weights, two averages of the optimiser, and perhaps the average of the weights.
        copies = 4 if any(isinstance(callback, EMA | EpochAverage) for callback in given) else 3
        needed = copies * tasks.count_parameters(self.model).checkpoint_bytes
        self._run_dir.mkdir(parents=True, exist_ok=True)
        needed *= 3  # the best one, the last one and the one before
        if (free := shutil.disk_usage(self._run_dir).free) < needed:
            raise ConfigurationError(
                f"{self._run_dir}: {free / 1e6:.0f} MB free on this disk, checkpoints need about "
                f"{needed / 1e6:.0f} MB; free some or choose another --run_dir"
            )
        folder = self._run_dir / "checkpoints"
        headline = EVALUATIONS[self.model.job].headline
        best = ModelCheckpoint(
            folder,
            filename="best",
            monitor=f"val/{headline}",
            mode="max",
            enable_version_counter=False,
        )
        # Lightning writes its own last.ckpt only when the best one changes.
        last = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
        return [best, last] if self._has_a_best() else [last]

    def _has_a_best(self) -> bool:
        """Whether validation can tell one checkpoint from another."""
        truth = getattr(self.datamodule, "ground_truth", None)
        if truth is None or len(truth("val").label):
            return True
        logger.warning("no event to find in validation: there will be no best.ckpt, only last.ckpt")
        return False

    def _share_cores(self) -> None:
        """Leave the loader's workers a core each: threads that wait for one another only burn."""
        workers = getattr(getattr(self.datamodule, "loader", None), "num_workers", 0)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, torch.get_num_threads() - workers))

    def _check_lists(self) -> None:
        """Read the lists now: a fault in one leaves neither a folder nor a tracked run behind."""
        if isinstance(self.datamodule, data_modules.VideoDataModule):
            for split in SPLITS[self._command]:
                self.datamodule.manifest(split)

    def _check_trained(self) -> None:
        if self._command == "fit" or self._resuming:
            return
        if any(p.requires_grad for p in self.model.parameters()):
            raise ConfigurationError(
                f"{self._command} without trained weights would measure a random head; add "
                f"--ckpt_path {self._run_dir}/checkpoints/best.ckpt"
            )


def run_trainer(args: Sequence[str]) -> int:
    """Run ``fit``, ``validate``, ``test`` or ``predict`` as the command line says it.

    Args:
        args: The command and its arguments.

    Returns:
        The exit code.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Advertisements, and what a download tells of every attempt; the error at its end says enough.
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero.addFilter(lambda record: "Tip: For seamless" not in record.getMessage())
    for name in ("httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Lightning 2.6 calls torch 2.14 and jsonargparse 4.53 in ways that these deprecate.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")
    warnings.filterwarnings("ignore", category=JsonargparseDeprecationWarning)
    # A kernel side of length one has any stride; two processes warn of every other than theirs.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # What W&B would print, the run's record holds; an offline run is sent with `wandb sync`.
    os.environ.setdefault("WANDB_SILENT", "true")
    # Lightning starts further processes with the arguments of this one, so they belong here.
    sys.argv[1:] = args
    # It does not see that the data module knows its place.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")
    try:
        VideoAdaptCLI(args[0])
    except RunStopped as stop:
        finish_tracking(failed=True)
        return _say_stopped(args, stop)
    except Interrupted:
        finish_tracking(failed=True)
        raise KeyboardInterrupt from None
    except BaseException:
        finish_tracking(failed=True)
        raise
    finish_tracking()
    return 0


def _say_stopped(words: Sequence[str], stop: RunStopped) -> int:
    """Name the command to go on; of several processes the first one speaks and tells by its code.

    Lightning kills all of them at once where another one ends with a code.
    """
    first: Any = rank_zero_only
    if first.rank != 0:
        return 0
    sys.stderr.write(f"video-adapt: {go_on_line(words, stop)}\n")
    return stop.code


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """Dotted names of all that a parser takes, its subcommands included."""
    found: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action._name_parser_map.values():
                found |= _options(subparser)
        else:
            found.add(action.dest)
    return found


def _class_names() -> set[str]:
    """Names of the classes that an experiment file can name without their module."""
    return {
        name
        for package in PACKAGES
        for name, value in vars(package).items()
        if isinstance(value, type)
    }
