import hashlib
import platform
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule

from video_adapt.apps.reproduce_changes import Fact, changes_since
from video_adapt.apps.reproduce_record import Recorded
from video_adapt.callbacks.provenance import code_digest
from video_adapt.callbacks.save_config import versions
from video_adapt.errors import ConfigurationError


class ListedData(LightningDataModule):
    """Data whose digest is the text of their list."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.found: dict[str, str] = {}

    def manifest(self, split: str) -> None:
        self.found[split] = Path(self.source).read_text()

    def test_manifest(self, name: str) -> None:
        self.found[name] = f"set {name}"

    def digest(self) -> dict[str, str]:
        return {f"{name}_digest": text for name, text in self.found.items()}


@pytest.fixture
def facts(tmp_path):
    """The record of a test that was made here and now."""
    (tmp_path / "list.txt").write_text("abc")
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    data = {"class_path": f"{__name__}.ListedData", "init_args": {"source": "list.txt"}}
    return {
        "command": "test",
        "versions": versions(),
        "git": None,
        "machine": {
            "device": platform.machine(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
        },
        "started": {
            "folder": str(tmp_path),
            "code": code_digest(),
            "checkpoint": {"path": "best.ckpt", "sha256": sha256},
        },
        "data": {"test_digest": "abc", "test_clips": 7, "novel_digest": "set novel"},
        "config": {"ckpt_path": "best.ckpt", "trainer": {"accelerator": "cpu"}, "data": data},
    }


def changes(tmp_path, facts):
    return changes_since(Recorded(tmp_path / "x/test", facts))


def test_nothing_changes_by_itself(tmp_path, facts):
    assert changes(tmp_path, facts) == []


def test_every_version_counts(tmp_path, facts):
    facts["versions"] = {**versions(), "torch": "1.0", "left-pad": "2.0"}
    assert changes(tmp_path, facts) == [
        Fact("torch", "1.0", versions()["torch"]),
        Fact("left-pad", "2.0", "not installed"),
    ]


def test_code_counts_and_a_commit_names_it(tmp_path, facts):
    facts |= {"git": "c0ffee"}
    assert changes(tmp_path, facts) == []  # the same code in another commit
    facts["started"]["code"] = "1" * 64
    now = f"{code_digest()[:12]}, commit None"
    assert changes(tmp_path, facts) == [Fact("code", "111111111111, commit c0ffee", now)]


def test_without_a_digest_the_commit_counts(tmp_path, facts):
    facts |= {"git": "c0ffee"}
    del facts["started"]["code"]
    assert changes(tmp_path, facts) == [Fact("commit", "c0ffee", "None")]


def test_the_machine_counts(tmp_path, facts):
    facts["machine"] = {"device": "NVIDIA H100", "vectors": "AVX1024"}
    assert changes(tmp_path, facts) == [
        Fact("device", "NVIDIA H100", platform.machine()),
        Fact("vectors of the CPU", "AVX1024", torch.backends.cpu.get_cpu_capability()),
    ]


def test_a_gpu_that_the_run_would_take_is_the_device(tmp_path, facts, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA T4")
    assert changes(tmp_path, facts) == []
    facts["config"]["trainer"]["accelerator"] = "auto"
    assert changes(tmp_path, facts) == [Fact("device", platform.machine(), "NVIDIA T4")]


def test_weights_count(tmp_path, facts):
    (tmp_path / "best.ckpt").write_bytes(b"others")
    now = hashlib.sha256(b"others").hexdigest()
    then = facts["started"]["checkpoint"]["sha256"]
    assert changes(tmp_path, facts) == [Fact(f"weights {tmp_path}/best.ckpt", then, now)]


def test_lists_count_and_lie_where_the_run_began(tmp_path, facts):
    (tmp_path / "list.txt").write_text("abcd")
    assert changes(tmp_path, facts) == [Fact("data of test", "abc", "abcd")]
    facts["data"]["novel_digest"] = "set other"
    assert changes(tmp_path, facts)[1] == Fact("data of novel", "set other", "set novel")


def test_settings_that_are_none_any_more_name_the_commit_that_knows_them(tmp_path, facts):
    facts |= {"git": "c0ffee"}
    facts["config"]["data"]["init_args"]["gone"] = 1
    with pytest.raises(ConfigurationError, match=r"Option 'gone' is not accepted.*commit c0ffee"):
        changes(tmp_path, facts)
