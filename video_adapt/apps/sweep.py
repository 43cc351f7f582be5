"""``video-adapt sweep``: a sweep file of Weights & Biases, on its service or without any."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from video_adapt.errors import ConfigurationError

if TYPE_CHECKING:
    from .sweep_file import Sweep
    from .sweep_study import Claim, Study
    from .sweep_trial import Outcome

HELP = "try many settings of an experiment: by W&B, or with --local without any service"
MOST_TRIALS = 20
_STOPS = (signal.SIGTERM, signal.SIGUSR1)
_GIVE_UP = 3  # failures before anything succeeded, as W&B's agent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, help="sweep file, e.g. experiments/sweeps/demo.yaml")
    parser.add_argument(
        "--local",
        action="store_true",
        help="run the trials here, with optuna; several such commands share the trials, and a "
        "stopped one goes on when it is given again",
    )
    parser.add_argument(
        "--trials",
        type=int,
        help="trials of the whole sweep (default: run_cap of the file, or else 20; a grid: all)",
    )
    parser.add_argument("--out", type=Path, help="folder (default: runs/sweeps/NAME OF THE FILE)")
    parser.add_argument(
        "--storage", help="file or URL (sqlite:///FILE) of the trials (default: OUT/trials.log)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of what is drawn")
    parser.add_argument("--project", default="video-adapt", help="project of W&B")


def run(args: argparse.Namespace) -> int:
    """Run the trials here, or register the sweep with W&B and name the agent's command.

    Raises:
        ConfigurationError: If the file has no meaning, optuna is missing, no trial can succeed, or
            W&B cannot be reached.
    """
    from .sweep_file import read_sweep

    sweep = read_sweep(args.file)
    if not args.local:
        return _register(sweep, args.project)
    if args.trials is not None and args.trials < 1:
        raise ConfigurationError(f"--trials {args.trials}: give a whole number from 1")
    out = args.out or Path("runs/sweeps") / sweep.name
    try:
        from .sweep_study import Study
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--local needs {error.name}; pip install 'video-adapt[sweep]'"
        ) from error
    study = Study(sweep, out, storage=args.storage, seed=args.seed)
    most = args.trials or sweep.trials or (sys.maxsize if sweep.method == "grid" else MOST_TRIALS)
    # As at the keyboard: what runs is asked to stop, and goes on with the next command.
    before = {number: signal.signal(number, _interrupt) for number in _STOPS}
    try:
        _run_trials(sweep, study, out, most)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.stdout.write(_report(sweep, study, out))
    return 0


def _run_trials(sweep: "Sweep", study: "Study", out: Path, most: int) -> None:
    from video_adapt.reports.sweep_report import describe

    failures = 0
    while (claim := study.claim(most)) is not None:
        _say(claim, describe(sweep, claim.point))
        with claim.lock:
            try:
                outcome = _run_one(sweep, study, claim)
            except KeyboardInterrupt:
                _say(claim, "stopped; the same command goes on")
                raise
            study.finish(claim, outcome)
        _report(sweep, study, out)
        value = "" if outcome.value is None else f"{sweep.metric} {outcome.value:.4g}, "
        note = f": {outcome.note}" if outcome.note else ""
        _say(claim, f"{outcome.state}, {value}{outcome.duration_s:.0f} s{note}")
        failures = failures + 1 if outcome.state == "failed" else 0
        _check_worth(sweep, study, claim, outcome, failures)


def _say(claim: "Claim", text: str) -> None:
    sys.stdout.write(f"trial {claim.number}: {text}\n")
    sys.stdout.flush()


def _run_one(sweep: "Sweep", study: "Study", claim: "Claim") -> "Outcome":
    from .sweep_trial import TABLE, run_trial

    last = claim.folder / "checkpoints" / "last.ckpt"
    go_on = f"--ckpt_path={last}" if last.is_file() else "--overwrite=true"
    if not last.is_file():
        # Figures of an abandoned attempt would count until the new one writes its own.
        (claim.folder / TABLE).unlink(missing_ok=True)
    return run_trial(
        [*sweep.words(claim.point, claim.folder), go_on],
        claim.folder,
        sweep.metric,
        group=sweep.name,
        lock=claim.lock.fileno(),
        falls_behind=lambda place, value: study.falls_behind(claim, place, value),
    )


def _check_worth(
    sweep: "Sweep", study: "Study", claim: "Claim", outcome: "Outcome", failures: int
) -> None:
    """Stop where no trial can succeed: a wrong key, or one failure after the other."""
    from .sweep_trial import OUTPUT, WRONG_USAGE

    if outcome.code == WRONG_USAGE:
        raise ConfigurationError(f"{sweep.path}: {outcome.note}")
    if failures >= _GIVE_UP and all(row.value is None for row in study.rows()):
        raise ConfigurationError(
            f"{sweep.path}: {failures} trials failed and none succeeded; see "
            f"{claim.folder / OUTPUT}: {outcome.note}"
        )


def _report(sweep: "Sweep", study: "Study", out: Path) -> str:
    from video_adapt.reports.sweep_report import write_sweep_report

    with study.locked():
        return write_sweep_report(sweep, study.rows(), out)


def _register(sweep: "Sweep", project: str) -> int:
    """Hand the file to W&B's own command, which answers with that of the agent."""
    from video_adapt.wandb_account import wandb_mode

    if wandb_mode() != "online":
        raise ConfigurationError(
            "W&B is offline here (no key, no server or WANDB_MODE); `wandb login`, or run the "
            "trials without it: add --local"
        )
    command = [sys.executable, "-m", "wandb", "sweep", "--project", project, str(sweep.path)]
    return subprocess.run(command, check=False).returncode


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
