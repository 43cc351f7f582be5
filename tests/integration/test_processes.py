"""Two processes give what one gives, without hanging."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.contracts.helpers import tiny_clip
from tests.contracts.test_baselines import BUILDERS as BASELINES
from tests.integration.conftest import run
from video_adapt.errors import WeightsError
from video_adapt.tasks import frozen_names

FILES = ("metrics.json", "predictions.csv")
# One video at a time, so that a clip meets the same arithmetic whoever computes it.
ALONE = {"loader": {"batch_size": 3, "eval_batch_size": 1, "num_workers": 0}}


def run_twofold(*words):
    """The console command on two processes; returns what it says. A hang fails by the clock."""
    program = Path(sys.executable).with_name("video-adapt")
    spread = ("--trainer.devices=2", "--trainer.strategy=ddp")
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [program, *map(str, words), *spread],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture
def one_thread(monkeypatch):
    """As in each of several processes; sums may round differently over more threads."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_two_processes_train_and_measure_as_one(experiment, tmp_path, one_thread):
    """Seven videos: one process measures four of them, the other three."""
    path = experiment(tmp_path, epochs=1, eval_views=2, **ALONE)
    folder = tmp_path / "run"
    said = run_twofold("fit", "-c", path)
    assert "Starting with 2 processes" in said
    assert "7 videos" in said
    assert "warn" not in said.lower(), said
    assert "deprecated" not in said.lower(), said

    checkpoint = ("--ckpt_path", folder / "checkpoints/last.ckpt")
    assert run("validate", "-c", path, *checkpoint) == 0
    assert contents(folder / "val") == contents(folder / "validate")

    run_twofold("test", "-c", path, *checkpoint)
    by_two = contents(folder / "test")
    assert run("test", "-c", path, *checkpoint) == 0
    assert contents(folder / "test") == by_two


def test_two_processes_detect_as_one(detection, tmp_path, one_thread):
    """Nine windows of three videos: one process detects in five windows, the other in four."""
    files = ("metrics.json", "detections.json", "detections.csv")
    one_by_one = {"loader": {"batch_size": 1, "num_workers": 0}}
    path, folder = detection(tmp_path, **one_by_one), tmp_path / "run"
    said = run_twofold("fit", "-c", path)
    assert "Starting with 2 processes" in said
    assert "warn" not in said.lower(), said
    assert run("validate", "-c", path, "--ckpt_path", folder / "checkpoints/last.ckpt") == 0
    by_one, by_two = (
        [(folder / stage / name).read_bytes() for name in files] for stage in ("validate", "val")
    )
    assert by_one == by_two


def test_sharded_weights_are_refused_in_one_line(experiment, tmp_path, refused):
    path = experiment(tmp_path)
    for name in ("fsdp_cpu_offload", "deepspeed_stage_2"):
        said = refused("fit", "-c", path, f"--trainer.strategy={name}")
        assert f"trainer.strategy {name} takes weights apart" in said


@pytest.mark.parametrize("theirs", ["same", "other"])
def test_processes_with_other_frozen_weights_are_refused(theirs):
    method = BASELINES["linear_probe"](tiny_clip())
    other = BASELINES["linear_probe"](tiny_clip(seed=1))
    source = method if theirs == "same" else other
    first = source._digest(frozen_names(source))
    method._trainer = SimpleNamespace(
        world_size=2,
        strategy=SimpleNamespace(
            broadcast=lambda mine: first, reduce_boolean_decision=lambda mine: mine
        ),
    )
    if theirs == "same":
        method.on_fit_start()
    else:
        with pytest.raises(WeightsError, match="differ between processes"):
            method.on_fit_start()
