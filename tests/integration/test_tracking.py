"""What Weights & Biases receives of a run: read back from the file of an offline one."""

import json

import pytest
import wandb

from tests.integration.conftest import run
from tests.unit.callbacks.wandb_file import read_offline_run


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, experiment):
    """The folder of a run by somebody who never logged in, and W&B's file of it."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(folder / "netrc"))
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
