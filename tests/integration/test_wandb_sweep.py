"""W&B's own commands run a sweep file against a stand-in for their service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.wandb_stub import SWEEP, wandb_service

PROGRAMS = Path(sys.executable).parent
RATE, BETAS = "model.init_args.optimizer.lr", "model.init_args.optimizer.betas"
TOWER = "model.init_args.backbone.init_args.name"
SPREAD = ["--trainer.devices=2", "--trainer.strategy=ddp"]


def sweep_file(folder, experiment, tower):
    content = {
        "program": str(experiment),
        "method": "random",
        "metric": {"name": "val/top1", "goal": "maximize"},
        "parameters": {
            RATE: {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
            TOWER: {"value": str(tower)},
            BETAS: {"values": [[0.9, 0.99], [0.9, 0.999]]},
        },
        "command": [
            *("${env}", "${interpreter}", "-m", "video_adapt", "fit", "-c", "${program}"),
            *("${args}", *SPREAD, "--run_dir=runs/${oc.env:WANDB_RUN_ID}"),
        ],
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs a program of the environment in an empty folder; returns what it says."""
    for name in ("WANDB_MODE", "WANDB_SILENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*words):
        done = subprocess.run(
            [PROGRAMS / words[0], *map(str, words[1:])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return call


def test_agent_runs_a_trial_of_two_processes_as_one_run(
    tmp_path, experiment, tower, command, monkeypatch
):
    """Nested keys and lists reach the run, which reports to the service under the agent's id."""
    path = sweep_file(tmp_path, experiment(tmp_path, epochs=1), tower)
    point = {RATE: 0.02, TOWER: str(tower), BETAS: [0.8, 0.99]}
    with wandb_service([point]) as service:
        monkeypatch.setenv("WANDB_BASE_URL", service.url)
        said = command("video-adapt", "sweep", path)
        assert f"wandb agent tester/video-adapt/{SWEEP}" in said
        assert service.sweep["parameters"][TOWER] == {"value": str(tower)}
        said = command("wandb", "agent", "--count", "1", f"tester/video-adapt/{SWEEP}")

    assert "Starting with 2 processes" in said
    assert list(service.runs) == ["run0"], "one run, whatever the number of processes"
    config = yaml.safe_load((tmp_path / "runs/run0/config.yaml").read_text())
    optimizer = config["model"]["init_args"]["optimizer"]
    assert (optimizer["lr"], optimizer["betas"]) == (0.02, [0.8, 0.99])
    (top1,) = [row["val/top1"] for row in service.history["run0"] if "val/top1" in row]
    assert 0 <= top1 <= 1
    assert [name for name in service.uploads if "val/confusion" in name]
    assert "CreateAgent" in service.operations


def test_a_sweep_without_a_service_says_what_to_do(tmp_path, experiment, tower, refused):
    path = sweep_file(tmp_path, experiment(tmp_path), tower)
    assert "add --local" in refused("sweep", path)
