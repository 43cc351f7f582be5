"""Runs of two processes stop behind the same step and go on as if they had never been stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from tests.integration.test_resume import compare

ROOT = Path(__file__).parents[2]
RANKS, STEP = "TEST_RESUME_RANKS", "TEST_RESUME_STEP"
STOPS = "--trainer.callbacks+=tests.integration.test_resume_processes.StopsSome"
LOADER = {"batch_size": 2, "eval_batch_size": 2, "num_workers": 0}  # three steps an epoch


class StopsSome(Callback):
    """Asks some of the processes to stop behind a step; the environment says which and when."""

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        asked = str(trainer.global_rank) in os.environ.get(RANKS, "").split()
        if asked and trainer.global_step == int(os.environ[STEP]) - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def fit_twofold(path, ranks="", step=0):
    """Train with two processes, the first of which starts the other; returns code and words."""
    settings = {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", RANKS: ranks, STEP: str(step)}
    spread = ("--trainer.devices=2", "--trainer.strategy=ddp")
    command = ["-m", "video_adapt", "fit", "-c", str(path), *spread, STOPS, "--ckpt_path=auto"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory, experiment):
    """Folder of the run that nobody stops."""
    folder = tmp_path_factory.mktemp("whole_twofold")
    code, said = fit_twofold(experiment(folder, epochs=2, loader=LOADER))
    assert code == 0, said
    return folder / "run"


def stopped(path, ranks, step):
    """Stop a run; whoever was asked, all end behind the step, and leave one checkpoint of it."""
    code, said = fit_twofold(path, ranks, step)
    assert code == 75, said
    assert said.count("go on: video-adapt fit") == 1, said
    folder = path.parent / "run/checkpoints"
    assert torch.load(folder / "last.ckpt")["global_step"] == step
    return {file.name for file in folder.iterdir()}


def test_two_processes_stop_where_one_of_them_was_asked_to(experiment, tmp_path):
    """The first one says so, the other one only obeys."""
    path = experiment(tmp_path, epochs=2, loader=LOADER)
    assert stopped(path, ranks="1", step=2) == {"last.ckpt"}


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("ranks", ["0", "1", "0 1"])
def test_two_processes_go_on_as_if_they_had_never_been_stopped(
    experiment, tmp_path, whole, ranks, step
):
    path = experiment(tmp_path, epochs=2, loader=LOADER)
    stopped(path, ranks, step)
    code, said = fit_twofold(path)
    assert code == 0, said
    compare(tmp_path / "run", whole)
