"""Faults of captioned videos are found, with file and line, and make the exit code 1."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data_modules.captioned_videos import write_captioned
from video_adapt.apps import data_check


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned") / "data")


@pytest.fixture
def root(clean: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(clean, tmp_path / "data")


def _check(tmp_path: Path, *words: Any) -> list[dict[str, str]]:
    parser = argparse.ArgumentParser()
    data_check.add_arguments(parser)
    report = tmp_path / "report.json"
    arguments = [*map(str, words), "--json", str(report), "--workers", "2"]
    code = data_check.run(parser.parse_args(arguments))
    problems = json.loads(report.read_text())["problems"]
    assert code == bool(problems)
    return problems


def _lists(root: Path) -> tuple[Any, ...]:
    return (
        "--root",
        root,
        "--list",
        "train.csv",
        "--val",
        "test.csv",
        "--captions",
        "captions.json",
    )


def _own(root: Path, *rows: str) -> Path:
    source = root / "own.csv"
    source.write_text("\n".join(["video,caption", *rows]) + "\n")
    return source


def test_clean_data_pass(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(tmp_path, *_lists(root), "--decode") == []
    out = capsys.readouterr().out
    assert "nothing wrong" in out
    assert "train: 3 videos, val: 1 videos" in out


def test_captions_without_videos_and_videos_without_captions(root: Path, tmp_path: Path) -> None:
    (root / "videos/video0.mp4").unlink()
    (root / "train.csv").write_text("video_id\nvideo0\nvideo1\nvideo9\nvideo1\n")
    shutil.copy(root / "videos/video1.mp4", root / "videos/stranger.mp4")
    problems = _check(tmp_path, *_lists(root))
    assert [(p["kind"], p["where"]) for p in problems] == [
        ("duplicate", f"{root}/train.csv:5"),
        ("caption", f"{root}/train.csv:4"),
        ("missing", f"{root}/train.csv:2"),
        ("caption", f"{root}/videos"),
    ]
    causes = ("already in", "video9 has no caption", "videos/video0.mp4", "1 of 4 videos in it")
    for problem, cause in zip(problems, causes, strict=True):
        assert cause in problem["message"]
    assert "first stranger.mp4; describe" in problems[3]["message"]


def test_empty_and_long_captions(root: Path, tmp_path: Path) -> None:
    words = " ".join(["word"] * 31)
    rows = [f"video{n},x" for n in range(4)]
    source = _own(root, *rows, "video0,", f"video1,{words}", f"video2,{words[:-5]}")
    problems = _check(tmp_path, "--root", root, "--captions", source)
    assert [(p["kind"], p["where"]) for p in problems] == [
        ("caption", f"{source}:6"),
        ("long", f"{source}:7"),  # 31 words and two marks are one token too many
    ]
    assert "a caption of video0 is empty" in problems[0]["message"]
    assert "a caption of video1 has 33 tokens, 32 are read" in problems[1]["message"]
    config = tmp_path / "x.yaml"
    config.write_text(
        "data:\n  class_path: data_modules.MSRVTTDataModule\n  init_args:\n"
        f"    root: {root}\n    train: own.csv\n    max_words: 40\n"
    )
    assert [p["kind"] for p in _check(tmp_path, "-c", config)] == ["caption"]


@pytest.mark.parametrize("missing", [False, True])
def test_leaking_videos(root: Path, tmp_path: Path, missing: bool) -> None:
    (root / "train.csv").write_text("video_id\nvideo1\nvideo3\n")
    if missing:
        (root / "videos/video3.mp4").unlink()
    problems = [p for p in _check(tmp_path, *_lists(root)) if p["kind"] != "missing"]
    assert [(p["kind"], p["where"]) for p in problems] == [("leakage", f"{root}/test.csv:2")]
    assert f"{root}/train.csv:3" in problems[0]["message"]


def test_copied_empty_and_short_files(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "videos/video3.mp4", root / "videos/video0.mp4")
    (root / "videos/video2.mp4").write_bytes(b"")
    source = root / "own.csv"
    source.write_text("video,caption,start_s,end_s\nvideo1,x,0,1\nvideo1,y,1,2\nvideo1,z,2.5,4\n")
    problems = _check(tmp_path, *_lists(root), "--test", source)
    assert [(p["kind"], p["where"]) for p in problems] == [
        ("empty", f"{root}/train.csv:4"),
        ("time", f"{source}:4"),
        ("leakage", f"{root}/test.csv:2"),
        ("leakage", f"{source}:2"),
        ("leakage", f"{source}:3"),
        ("leakage", f"{source}:4"),
    ]
    assert "lasts 2.00 s, it is described from 2.5 s on" in problems[1]["message"]
