"""The training commands: a LightningCLI in which data, model and backbone tell each other once."""

import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported so that experiment files can name a class without its module.
import data_modules  # noqa: F401

from . import adapters, backbones, baselines, methods, video  # noqa: F401
from .callbacks import Cost, Evaluation, PeakMemory, RunRecord, default_loggers
from .errors import ConfigurationError

COMMANDS = ("fit", "validate", "test", "predict")


class Parser(LightningArgumentParser):
    """A parser that answers a wrong key with the nearest right one, in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and what was probably meant; exit with code 2."""
        text = " ".join(str(message).split())
        sys.stderr.write(f"video-adapt: error: {text}{self._suggestion(text)}\n")
        raise SystemExit(2)

    def _suggestion(self, text: str) -> str:
        wrong = re.search(r"(?:[Kk]ey|[Oo]ption|arguments?:) ['\"]?-*([\w.]+)", text)
        if wrong is None:
            return ""
        known = {action.dest.rpartition(".")[2] for action in self._actions}
        near = difflib.get_close_matches(wrong.group(1).rpartition(".")[2], sorted(known), n=1)
        return f" Did you mean {near[0]!r}?" if near else ""


class VideoAdaptCLI(LightningCLI):
    """LightningCLI whose runs live in one folder each and whose settings are said once.

    - ``data.class_names`` flows into the model; the backbone's pixels flow into the data.
    - ``--run_dir`` holds configuration, logs, checkpoints, predictions and pictures of a run.
    """

    def __init__(self, command: str, args: Sequence[str]) -> None:
        self._command = command
        super().__init__(
            args=list(args),
            parser_class=Parser,
            parser_kwargs={"parser_mode": "omegaconf+"},
            trainer_defaults={"use_distributed_sampler": False},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=RunRecord,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the command that was asked for: building a parser takes a second."""
        return {self._command: super().subcommands()[self._command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder, and the links that spare saying a thing twice."""
        parser.add_argument(
            "--run_dir", type=str, default="runs/unnamed", help="folder of all that the run writes"
        )
        parser.add_argument(
            "--overwrite", type=bool, default=False, help="replace a finished run in that folder"
        )
        parser.link_arguments("run_dir", "trainer.default_root_dir")
        parser.link_arguments(
            "data.class_names", "model.init_args.class_names", apply_on="instantiate"
        )

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint's arguments replace those of the experiment file
        # without a word; here the file rules, and a checkpoint that does not fit is refused.
        return

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the project's callbacks and trackers beside those of the experiment file."""
        config = self._get(self.config_init, "trainer")
        run_dir = Path(self._get(self.config_init, "run_dir"))
        if self._command == "fit":
            self._check_run_dir(run_dir)
        if config["logger"] is None or config["logger"] is True:
            kwargs["logger"] = default_loggers(run_dir)
        kwargs["callbacks"] = [*(config["callbacks"] or []), *self._own_callbacks(run_dir, config)]
        return super().instantiate_trainer(**kwargs)

    def _own_callbacks(self, run_dir: Path, config: Any) -> list[Any]:
        own: list[Any] = [Evaluation(), PeakMemory(), Cost()]
        given = config["callbacks"] or []
        checkpointing = config["enable_checkpointing"] is not False
        if checkpointing and not any(isinstance(c, ModelCheckpoint) for c in given):
            own.append(ModelCheckpoint(run_dir / "checkpoints", save_last=True, save_top_k=0))
        return own

    def _check_run_dir(self, run_dir: Path) -> None:
        resuming = self._get(self.config, "ckpt_path") is not None
        replacing = self._get(self.config, "overwrite")
        if (run_dir / "config.yaml").exists() and not (resuming or replacing):
            raise ConfigurationError(
                f"{run_dir} already holds a run; choose another --run_dir, go on with "
                f"--ckpt_path {run_dir}/checkpoints/last.ckpt, or add --overwrite=true"
            )


def run_trainer(args: Sequence[str]) -> int:
    """Run ``fit``, ``validate``, ``test`` or ``predict`` as the command line says it.

    Args:
        args: The command and its arguments.
    """
    VideoAdaptCLI(args[0], args)
    return 0
