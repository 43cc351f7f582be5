import socket

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from tests.unit.callbacks.wandb_file import read_offline_run
from video_adapt.callbacks import (
    Cost,
    Evaluation,
    MediaBudget,
    PeakMemory,
    WandbTracker,
    run_directory,
)
from video_adapt.callbacks.tracking import log_settings, tracked_id
from video_adapt.wandb_account import wandb_mode


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """A machine on which nobody ever logged in."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_offline_without_a_key(stranger):
    assert wandb_mode() == "offline"


def test_offline_with_a_key_but_no_server(stranger, monkeypatch, server):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert wandb_mode() == "offline"


def test_a_key_in_netrc_counts(stranger, monkeypatch, tmp_path, server):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_mode() == "offline"
    (tmp_path / "netrc").write_text("machine 127.0.0.1\n  login user\n  password secret\n")
    assert wandb_mode() == "online"


def test_environment_decides(stranger, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"


def test_the_environment_decides_for_every_run_of_a_process(stranger, monkeypatch, tmp_path):
    wandb.teardown()
    for mode, begun in (("disabled", 0), ("offline", 1)):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert WandbTracker(tmp_path).experiment is not None
        wandb.finish()
        assert len(list(tmp_path.glob("wandb/offline-run-*"))) == begun


def test_run_directory_is_that_of_the_table(tmp_path):
    trainer = quick_trainer(tmp_path, logger=[WandbTracker(tmp_path), CSVLogger(tmp_path, "demo")])
    assert run_directory(trainer) == tmp_path / "demo/version_0"
    assert run_directory(quick_trainer(tmp_path)) == tmp_path


@pytest.mark.parametrize("mode", ["disabled", None])
def test_whole_run_is_tracked(tmp_path, stranger, monkeypatch, mode):
    """Without account offline, with everything in the file; disabled without a crash."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()  # it goes by the environment of the first run of the process
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    loggers = [CSVLogger(tmp_path, "demo"), WandbTracker(tmp_path, project="demo")]
    callbacks = Evaluation(), PeakMemory(), Cost()
    trainer = quick_trainer(tmp_path, *callbacks, logger=loggers, max_epochs=2)
    log_settings(trainer, {"seed": 7, "config": {"model": {"lr": 0.25}}})
    trainer.fit(ToyRecogniser(), ToyData([0, 0, 1, 1, 2, 0, 1, 1], [0, 2, 0, 1]))
    wandb.finish()
    if mode == "disabled":
        assert not list(tmp_path.glob("wandb/offline-run-*"))
        return

    run = read_offline_run(tmp_path)
    assert run.config["seed"] == 7
    assert run.config["config"] == {"model": {"lr": 0.25}}
    curve = [row["val/top1"] for row in run.history if "val/top1" in row]
    assert curve == [0.75, 0.75]
    logged = {key for row in run.history for key in row}
    assert {"data/wait_share", "cost/step_ms", "memory/train_process"} <= logged
    assert run.summary["cost/trained_parameters"] == 9
    assert run.summary["val/videos"] == 4
    key = "val/confusion/filenames"
    ((picture,),) = [row[key] for row in run.history if key in row]
    assert (run.files / picture).read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def picture(tmp_path):
    """Writes a picture of one pixel and of any size from 100 bytes."""

    def write(name, size):
        path = tmp_path / f"{name}.png"
        Image.new("L", (1, 1)).save(path)
        path.write_bytes(path.read_bytes().ljust(size, b" "))
        return path

    return write


def test_pictures_beyond_the_budget_are_counted_and_said_once(
    tmp_path, stranger, monkeypatch, picture, caplog
):
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = WandbTracker(tmp_path, media=MediaBudget(number=2, megabytes=0.001))
    for step, (name, size) in enumerate([("a", 600), ("b", 600), ("c", 300), ("d", 100)]):
        tracker.show(f"val/{name}", picture(name, size), step)
    wandb.finish()
    run = read_offline_run(tmp_path)
    shown = {key for row in run.history for key in row if key.endswith("filenames")}
    assert shown == {"val/a/filenames", "val/c/filenames"}
    assert run.summary["media/left_out"] == 2
    (said,) = [record.getMessage() for record in caplog.records if "media" in record.getMessage()]
    assert "2 pictures or 0.001 MB of a run; val/b and others" in said


def test_a_run_of_an_agent_belongs_to_the_project_of_its_sweep(tmp_path, monkeypatch):
    assert WandbTracker(tmp_path)._wandb_init["project"] == "video-adapt"
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert "project" not in WandbTracker(tmp_path)._wandb_init


def test_a_resumed_run_goes_on_in_the_same_run(tmp_path, stranger, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()
    tracker = WandbTracker(tmp_path)
    tracker.go_on("abc")
    tracker.log_metrics({"loss": 0.5}, step=3)
    assert tracked_id(quick_trainer(tmp_path, logger=tracker)) == "abc"
    wandb.finish()
    assert read_offline_run(tmp_path).id == "abc"


def test_without_wandb_there_is_no_id(tmp_path):
    assert tracked_id(quick_trainer(tmp_path)) is None


def test_the_run_that_an_agent_names_counts_more(tmp_path, monkeypatch):
    tracker = WandbTracker(tmp_path)
    monkeypatch.setenv("WANDB_RUN_ID", "trial")
    tracker.go_on("abc")
    assert tracker._wandb_init["id"] is None
    monkeypatch.delenv("WANDB_RUN_ID")
    tracker.go_on("abc")
    assert tracker._wandb_init["id"] == "abc"
