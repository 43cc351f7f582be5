import json
import subprocess

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from tests.unit.callbacks.toy import ToyData, ToyRecogniser
from video_adapt import __version__
from video_adapt.callbacks import SaveConfig
from video_adapt.callbacks.provenance import code_digest
from video_adapt.callbacks.save_config import git_commit, made_by, versions
from video_adapt.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["video-adapt"])


class CliData(ToyData):
    def __init__(self, videos: int = 4):
        super().__init__([0] * 2 * videos, [0] * videos)


def validate(folder, **logger):
    table = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(folder), "name": "toy", **logger},
    }
    arguments = {
        "seed_everything": 11,
        "trainer": {
            "accelerator": "cpu",
            "logger": [table],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
        },
        "data": {"videos": 3},
    }
    LightningCLI(
        ToyRecogniser,
        CliData,
        save_config_callback=SaveConfig,
        args=["validate", f"--config={_write(folder / 'given.yaml', arguments)}"],
    )


def _write(path, content):
    path.write_text(yaml.safe_dump(content))
    return path


def test_every_run_keeps_its_own_record(tmp_path):
    validate(tmp_path)
    validate(tmp_path)
    for version in ("version_0", "version_1"):
        record = json.loads((tmp_path / "toy" / version / "run.json").read_text())
        config = yaml.safe_load((tmp_path / "toy" / version / "config.yaml").read_text())
        assert record["config"] == config
        assert config["data"]["videos"] == 3
        assert record["seed"] == 11
        assert record["data"] == {"val_digest": "abc", "val_clips": 3}
        assert record["versions"]["video-adapt"] == __version__
        assert record["versions"].keys() >= {"torch", "lightning", "av", "open_clip_torch"}
        assert record["machine"]["processes"] == 1
        assert record["machine"]["threads"] == torch.get_num_threads()
        assert record["started"]["words"] == ["video-adapt"]
        assert record["started"]["code"] == code_digest()


def test_never_writes_over_another_run(tmp_path):
    validate(tmp_path, version="mine")
    before = (tmp_path / "toy/mine/run.json").read_text()
    with (
        pytest.warns(UserWarning, match="exists and is not empty"),
        pytest.raises(ConfigurationError, match="another run is recorded here"),
    ):
        validate(tmp_path, version="mine")
    assert (tmp_path / "toy/mine/run.json").read_text() == before


def test_settings_reach_the_tracker(tmp_path):
    validate(tmp_path)
    logged = yaml.safe_load((tmp_path / "toy/version_0/hparams.yaml").read_text())
    assert logged["config"]["data"]["videos"] == 3
    assert logged["data"]["val_digest"] == "abc"


def test_versions_name_what_is_missing(monkeypatch):
    monkeypatch.setattr("video_adapt.callbacks.save_config._PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] == "not installed"


def test_a_file_of_results_is_signed(tmp_path):
    weights = tmp_path / "best.ckpt"
    weights.write_bytes(b"weights")
    signed = made_by(weights)
    assert signed["started"]["checkpoint"]["path"] == str(weights)
    assert len(signed["started"]["checkpoint"]["sha256"]) == 64
    assert signed["started"]["code"] == code_digest()
    assert signed["versions"] == versions()
    assert signed["git"] == git_commit()


def test_commit_tells_whether_files_were_changed(tmp_path):
    assert git_commit(tmp_path) is None
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    file = tmp_path / "file"
    file.write_text("one")
    for words in (["init", "-q"], ["add", "file"], [*me, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    commit = git_commit(tmp_path)
    assert len(commit) == 40
    file.write_text("two")
    assert git_commit(tmp_path) == f"{commit}+changes"
