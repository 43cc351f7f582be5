import argparse
import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from video_adapt.apps import ratios
from video_adapt.errors import ConfigurationError


@pytest.fixture
def commands(monkeypatch):
    """In the place of tests: novel classes gain what base classes lose."""
    seen = []

    def run(command, *, check):
        seen.append(command)
        values = dict(
            word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word
        )
        share = float(values["model.init_args.patch_ratio"])
        folder = Path(values["run_dir"]) / "test"
        folder.mkdir(parents=True)
        top1 = {"base": 0.9 - share / 2, "novel": share, "HM": None}
        (folder / "metrics.json").write_text(json.dumps({"top1": top1}))
        return SimpleNamespace(returncode=3 if share == 0.3 else 0)

    monkeypatch.setattr(ratios.subprocess, "run", run)
    return seen


def run(folder, *words):
    parser = argparse.ArgumentParser()
    ratios.add_arguments(parser)
    given = ["--config", "x.yaml", "--ckpt_path", "y.ckpt", "--out", str(folder)]
    return ratios.run(parser.parse_args([*given, *words]))


def test_every_ratio_is_tested_once_and_they_share_a_table_and_a_picture(tmp_path, commands):
    words = ["--ratios", "1", "0", "0.25", "1", "--set", "data.init_args.root=/data"]
    assert run(tmp_path, *words) == 0
    rows = list(csv.reader((tmp_path / "ratios.csv").read_text().splitlines()))
    assert rows == [
        ["ratio", "base", "novel", "HM"],
        ["0", "0.9000", "0.0000", ""],
        ["0.25", "0.7750", "0.2500", ""],
        ["1", "0.4000", "1.0000", ""],
    ]
    assert (tmp_path / "ratios.png").stat().st_size > 1000
    assert len(commands) == 3
    for command in commands:
        assert command[1:8] == [
            "-m",
            "video_adapt",
            "test",
            "--config",
            "x.yaml",
            "--ckpt_path",
            "y.ckpt",
        ]
        assert command[-1] == "--data.init_args.root=/data"


def test_all_tenths_are_the_default(tmp_path):
    parser = argparse.ArgumentParser()
    ratios.add_arguments(parser)
    given = parser.parse_args(["-c", "x", "--ckpt_path", "y", "--out", str(tmp_path)])
    assert list(given.ratios) == pytest.approx([i / 10 for i in range(11)])


def test_a_failed_test_stops_the_command(tmp_path, commands):
    with pytest.raises(ConfigurationError, match=r"ratio 0\.3 ended with code 3"):
        run(tmp_path, "--ratios", "0.3", "0.5")
    assert len(commands) == 1


def test_an_impossible_ratio_is_refused_before_anything_runs(tmp_path, commands):
    with pytest.raises(ConfigurationError, match=r"--ratios 1\.2"):
        run(tmp_path, "--ratios", "0", "1.2")
    assert not commands
