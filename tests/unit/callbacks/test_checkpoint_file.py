import os
from pathlib import Path

import pytest
import torch

from video_adapt.callbacks import CheckpointFile


def step(path):
    return torch.load(path, weights_only=True)["step"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_checkpoint_but_one_is_kept(tmp_path):
    path = tmp_path / "checkpoints/last.ckpt"
    for number in range(3):
        CheckpointFile().save_checkpoint({"step": number}, path)
    assert step(path) == 2
    assert step(path.with_name("previous.ckpt")) == 1
    assert names(path.parent) == ["last.ckpt", "previous.ckpt"]


def test_others_are_replaced(tmp_path):
    for number in range(2):
        CheckpointFile().save_checkpoint({"step": number}, tmp_path / "best.ckpt")
    assert names(tmp_path) == ["best.ckpt"]
    assert step(tmp_path / "best.ckpt") == 1


def test_nothing_is_moved_before_it_is_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    CheckpointFile().save_checkpoint({"step": 0}, path)
    settled = []

    def fsync(handle):
        settled.append(Path(f"/proc/self/fd/{handle}").readlink())
        assert step(path) == len(settled) - 1  # the old one until the new one has settled

    monkeypatch.setattr(os, "fsync", fsync)
    CheckpointFile().save_checkpoint({"step": 1}, path)
    assert settled == [tmp_path / ".last.ckpt.partial", tmp_path]


def test_a_disk_that_fails_leaves_both(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    for number in range(2):
        CheckpointFile().save_checkpoint({"step": number}, path)

    def fsync(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"last\.ckpt"):
        CheckpointFile().save_checkpoint({"step": 2}, path)
    assert step(path) == 1
    assert step(tmp_path / "previous.ckpt") == 0
    assert names(tmp_path) == ["last.ckpt", "previous.ckpt"]
