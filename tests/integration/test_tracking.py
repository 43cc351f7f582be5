"""What Weights & Biases receives of a run: read back from the file of an offline one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
import yaml
from lightning.pytorch import Callback

from tests.integration.conftest import run
from tests.integration.wandb_stub import wandb_service
from tests.unit.callbacks.wandb_file import read_offline_run, read_offline_runs
from video_adapt.callbacks import WandbTracker
from video_adapt.errors import ConfigurationError


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Somebody who never logged in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "netrc"))
        wandb.teardown()  # it goes by the environment of the first run of the process
        yield


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, experiment, stranger):
    """The folder of a run, and W&B's file of it."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALL_RATE", "0.002")
        rate = "--model.init_args.optimizer.lr=${oc.env:SMALL_RATE}"
        assert run("fit", "-c", experiment(folder, epochs=1), rate) == 0
    return folder / "run", read_offline_run(folder / "run")


def test_the_configuration_is_complete_and_resolved(tracked):
    _, record = tracked
    config = record.config["config"]
    arguments = config["model"]["init_args"]
    assert config["model"]["class_path"].endswith("DiST")
    assert arguments["optimizer"]["lr"] == 0.002
    assert arguments["optimizer"]["betas"] == [0.9, 0.999]
    assert arguments["branch"]["stem_kernel"] == 5
    assert config["data"]["init_args"]["loader"]["batch_size"] == 4
    assert "${" not in json.dumps(config)


def test_what_else_decides_a_result_is_there(tracked):
    folder, record = tracked
    assert record.config["seed"] == 0
    assert record.config["command"] == "FITTING"
    assert {"torch", "lightning", "av"} <= record.config["versions"].keys()
    written = json.loads((folder / "run.json").read_text())
    assert record.config["data"] == written["data"]
    assert record.config["data"]["train_clips"] == 12
    assert len(record.config["data"]["val_digest"]) == 64


def test_the_curves_are_there(tracked):
    folder, record = tracked
    losses = [row["train/loss"] for row in record.history if "train/loss" in row]
    assert len(losses) == 3
    measured = json.loads((folder / "val/metrics.json").read_text())
    (top1,) = [row["val/top1"] for row in record.history if "val/top1" in row]
    assert top1 == pytest.approx(measured["top1"])
    assert record.summary["val/videos"] == 7
    logged = {key for row in record.history for key in row}
    assert {"cost/step_ms", "data/wait_share", "memory/train_process"} <= logged
    assert 0 < record.summary["cost/trained_parameters"] < record.summary["cost/total_parameters"]
    assert record.summary["cost/multiply_adds"] > 0


def test_the_confusion_picture_is_the_one_on_disk(tracked):
    folder, record = tracked
    key = "val/confusion/filenames"
    ((picture,),) = [row[key] for row in record.history if key in row]
    assert (record.files / picture).read_bytes() == (folder / "val/confusion.png").read_bytes()


def test_right_and_wrong_examples_are_shown(tracked):
    _, record = tracked
    key = "val/examples/filenames"
    ((picture,),) = [row[key] for row in record.history if key in row]
    assert (record.files / picture).read_bytes().startswith(b"\x89PNG")
    assert "media/left_out" not in record.summary


def test_a_run_ends_with_its_command(tracked):
    """Otherwise the next one in the same process would write into it."""
    assert wandb.run is None


class Ends(Callback):
    """Ends a run behind a step: asks its own process to stop, or fails."""

    step, fails = -1, False

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step - 1 and not self.fails:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and self.fails:
            raise ConfigurationError("killed here")


ENDS = "--trainer.callbacks+=tests.integration.test_tracking.Ends"


def curve(*records):
    """Step of training and loss of every row that holds one."""
    rows = [row for record in records for row in record.history if "train/loss" in row]
    return [(row["trainer/global_step"], row["train/loss"]) for row in rows]


def test_a_stopped_run_goes_on_in_the_same_run(
    tmp_path, experiment, tracked, stranger, monkeypatch, capfd
):
    """A new one in its folder does not, and neither does one elsewhere that begins from it."""
    words = ("fit", "-c", experiment(tmp_path, epochs=2), ENDS)
    monkeypatch.setattr(Ends, "step", 2)
    assert run(*words) == 75
    monkeypatch.setattr(Ends, "step", -1)
    assert run(*words, "--ckpt_path=auto") == 0
    assert "wandb: WARN" not in capfd.readouterr().err
    first, second = read_offline_runs(tmp_path / "run")
    assert first.id == second.id
    assert [step for step, _ in curve(first, second)] == list(range(6))

    last = tmp_path / "run/checkpoints/last.ckpt"
    assert run(*words, f"--ckpt_path={last}", f"--run_dir={tmp_path / 'other'}") == 0
    assert read_offline_run(tmp_path / "other").id != first.id
    assert run(*words, "--overwrite=true") == 0
    assert read_offline_runs(tmp_path / "run")[-1].id != first.id


def test_a_tracker_of_the_experiment_file_goes_on_too(tmp_path, experiment, stranger, monkeypatch):
    path = experiment(tmp_path, epochs=1)
    content = yaml.safe_load(path.read_text())
    tracker = {"class_path": "WandbTracker", "init_args": {"save_dir": str(tmp_path / "run")}}
    content["trainer"]["logger"] = tracker
    path.write_text(yaml.safe_dump(content))
    monkeypatch.setattr(Ends, "step", 2)
    assert run("fit", "-c", path, ENDS) == 75
    monkeypatch.setattr(Ends, "step", -1)
    assert run("fit", "-c", path, ENDS, "--ckpt_path=auto") == 0
    first, second = read_offline_runs(tmp_path / "run")
    assert first.id == second.id


def test_what_a_killed_run_did_behind_its_checkpoint_comes_again(
    tmp_path, experiment, stranger, monkeypatch
):
    words = ("fit", "-c", experiment(tmp_path, epochs=2), ENDS, "--ckpt_path=auto")
    monkeypatch.setattr(Ends, "step", 5)
    monkeypatch.setattr(Ends, "fails", True)
    assert run(*words) == 1
    monkeypatch.setattr(Ends, "step", -1)
    assert run(*words) == 0
    first, second = read_offline_runs(tmp_path / "run")
    assert first.id == second.id
    again = curve(second)[:2]
    assert [step for step, _ in again] == [3, 4]
    assert curve(first)[3:] == again
    assert dict(curve(first, second)).keys() == set(range(6))


@pytest.fixture
def member(monkeypatch):
    """Somebody who logged in at a service that knows nothing yet."""
    wandb.teardown()
    with wandb_service([]) as service:
        monkeypatch.setenv("WANDB_BASE_URL", service.url)
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        monkeypatch.setenv("WANDB_SILENT", "true")
        monkeypatch.delenv("WANDB_MODE", raising=False)
        yield service
    wandb.teardown()


def log_twice(folder):
    """A run that was killed behind step 2, and went on behind step 1."""
    for steps in ((0, 1, 2), (2, 3)):
        tracker = WandbTracker(folder)
        tracker.go_on("abc")
        for step in steps:
            tracker.log_metrics({"train/loss": 0.5}, step)
        wandb.finish()


def assert_no_row_is_lost(service):
    """W&B takes no row that goes back."""
    assert list(service.runs) == ["abc"]
    rows = service.history["abc"]
    assert [row["trainer/global_step"] for row in rows] == [0, 1, 2, 2, 3]
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4]


def test_online_the_service_numbers_the_rows_on(tmp_path, member):
    log_twice(tmp_path)
    assert_no_row_is_lost(member)


def test_offline_files_of_a_run_are_sent_one_behind_the_other(tmp_path, member, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_twice(tmp_path)
    files = list(tmp_path.glob("wandb/offline-run-*"))
    assert len(files) == 2
    sync = [Path(sys.executable).with_name("wandb"), "sync", *files]
    subprocess.run(sync, check=True, capture_output=True, cwd=tmp_path, timeout=120)
    assert_no_row_is_lost(member)
