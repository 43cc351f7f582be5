"""A sweep without a service: several processes, interruptions, failures, and a real run."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.integration.conftest import run

TOY = Path(__file__).with_name("sweep_toy.py")
PROGRAM = Path(sys.executable).with_name("video-adapt")


@pytest.fixture
def toy(tmp_path):
    """Writes a sweep file of the toy program."""

    def write(parameters, *, method="grid", **parts):
        words = ["${interpreter}", "${program}", "${args}", "--run_dir=x/${oc.env:WANDB_RUN_ID}"]
        content = {
            "program": str(TOY),
            "method": method,
            "metric": {"name": "val/top1", "goal": "maximize"},
            "parameters": parameters,
            "command": words,
        }
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump(content | parts))
        return path

    return write


def table(out):
    with (out / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_run_once_and_reported(toy, tmp_path, capsys):
    path, out = toy({"x": {"values": [0.1, 0.3, 0.2]}, "y": {"value": [1, 2]}}), tmp_path / "out"
    assert run("sweep", path, "--local", "--out", out) == 0
    rows = table(out)
    assert [row["x"] for row in rows] == ["0.1", "0.3", "0.2"]
    assert [float(row["value"]) for row in rows] == pytest.approx([0.3, 0.9, 0.6])
    assert {row["state"] for row in rows} == {"complete"}
    text = (out / "sweep.md").read_text()
    assert "Best val/top1 0.9, trial 1: x 0.3.\n\nIn all of them: y [1, 2].\n" in text
    assert "| trial | val/top1 | state | time | x |\n" in text
    again = f"{sys.executable} {TOY} --x=0.3 '--y=[1, 2]' --run_dir={out}/trial_0001_again"
    assert again in text
    assert again in capsys.readouterr().out
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")

    before = (out / "trial_0000/metrics.csv").stat().st_mtime_ns
    assert run("sweep", path, "--local", "--out", out) == 0
    assert table(out) == rows
    assert (out / "trial_0000/metrics.csv").stat().st_mtime_ns == before


def test_a_trial_that_falls_behind_is_stopped(toy, tmp_path):
    early = {"type": "hyperband", "min_iter": 1, "max_iter": 2, "eta": 2}
    parameters = {"x": {"values": [0.9, 0.8, 0.2, 0.1, 0.05, 0.01]}, "wait": {"value": 0.7}}
    out = tmp_path / "out"
    assert run("sweep", toy(parameters, early_terminate=early), "--local", "--out", out) == 0
    rows = table(out)
    assert rows[0]["state"] == "complete"
    stopped = [row for row in rows if row["state"] == "pruned"]
    assert stopped
    lines = (Path(stopped[0]["run"]) / "metrics.csv").read_text().splitlines()
    assert len(lines) < 1 + 3


def test_a_failed_trial_is_reported_and_the_rest_goes_on(toy, tmp_path):
    parameters = {"x": {"value": 0.5}, "fails": {"values": [True, False]}}
    stale = tmp_path / "out/trial_0000/metrics.csv"
    stale.parent.mkdir(parents=True)
    stale.write_text("step,val/top1\n1,0.9\n")
    assert run("sweep", toy(parameters), "--local", "--out", tmp_path / "out") == 0
    failed, complete = table(tmp_path / "out")
    assert (failed["state"], failed["note"]) == ("failed", "x is impossible")
    assert not stale.exists()
    assert (complete["state"], complete["value"]) == ("complete", "1.5")


def test_a_sweep_in_which_nothing_can_succeed_ends(toy, tmp_path, refused):
    out = tmp_path / "out"
    path = toy({"x": {"values": [0.1, 0.2]}, "wrong": {"value": 1}})
    assert "unknown key 'wrong'" in refused("sweep", path, "--local", "--out", out)
    assert len(table(out)) == 1

    other = tmp_path / "other"
    path = toy({"x": {"values": [1, 2, 3, 4]}, "fails": {"value": True}})
    assert "3 trials failed and none succeeded" in refused("sweep", path, "--local", "--out", other)
    assert len(table(other)) == 3

    third = tmp_path / "third"
    path = toy({"x": {"value": 1}}, metric={"name": "val/top2", "goal": "maximize"})
    assert run("sweep", path, "--local", "--out", third) == 0
    (row,) = table(third)
    assert row["note"] == "val/top2 was never logged; there are val/top1"


def test_a_sweep_stops_with_a_run_that_somebody_stopped(toy, tmp_path, capsys):
    path, out = toy({"x": {"values": [1, 2]}, "stops": {"value": 1}}), tmp_path / "out"
    for _ in range(2):
        assert run("sweep", path, "--local", "--out", out) == 130
        assert "trial 0: stopped; the same command goes on\n" in capsys.readouterr().out
    assert not (out / "trial_0001").exists()


def start(path, out):
    return subprocess.Popen(
        [PROGRAM, "sweep", path, "--local", "--out", out],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(condition, patience_s=300.0):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


@pytest.mark.parametrize(
    "stop",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
    ],
)
def test_a_killed_sweep_goes_on_beside_another_process(toy, tmp_path, stop):
    """Every point once, and the trial that was running again, in its folder."""
    values = [0.1, 0.2, 0.3, 0.4]
    path, out = toy({"x": {"values": values}, "wait": {"value": 0.5}}), tmp_path / "out"
    first = start(path, out)
    wait_for(lambda: (out / "trial_0001/metrics.csv").exists())
    first.send_signal(stop)
    said = first.communicate(timeout=300)[1]
    assert first.returncode != 0
    assert "Traceback" not in said
    pair = [start(path, out) for _ in range(2)]
    for process in pair:
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said
    rows = table(out)
    assert sorted(float(row["x"]) for row in rows) == values
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]


def test_a_real_run_is_a_trial(experiment, tmp_path):
    words = ["${env}", "${interpreter}", "-m", "video_adapt", "fit", "-c", "${program}", "${args}"]
    rate = "model.init_args.optimizer.lr"
    content = {
        "program": str(experiment(tmp_path, epochs=1)),
        "method": "random",
        "metric": {"name": "val/top1", "goal": "maximize"},
        "parameters": {rate: {"min": 0.001, "max": 0.01}},
        "command": [*words, "--run_dir=runs/${oc.env:WANDB_RUN_ID}"],
    }
    path, out = tmp_path / "rates.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(content))
    assert run("sweep", path, "--local", "--trials", "1", "--out", out) == 0
    (row,) = table(out)
    folder = out / "trial_0000"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["lr"] == float(row[rate])
    assert row["state"] == "complete"
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
