"""Faults of annotated long videos are found, with file and line, and make the exit code 1."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data_modules.long_videos import database, line_of, write_annotations, write_videos
from video_adapt.apps import data_check


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("long") / "data")


@pytest.fixture
def root(clean: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(clean, tmp_path / "data")


def _check(tmp_path: Path, *words: Any) -> tuple[int, list[dict[str, str]]]:
    parser = argparse.ArgumentParser()
    data_check.add_arguments(parser)
    report = tmp_path / "report.json"
    arguments = [*map(str, words), "--json", str(report), "--workers", "2"]
    code = data_check.run(parser.parse_args(arguments))
    return code, json.loads(report.read_text())["problems"]


def _check_json(root: Path, *words: Any) -> list[dict[str, str]]:
    source = root / "annotations.json"
    code, problems = _check(root, "--root", root, "--train", source, "--val", source, *words)
    assert code == bool(problems)
    return problems


def _spoil(root: Path, name: str, **values: Any) -> str:
    """Change what is said about a video; its ``file:line``."""
    videos = database()
    videos[name] |= values
    write_annotations(root / "annotations.json", videos)
    return line_of(root / "annotations.json", name)


def test_clean_data_pass(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check_json(root, "--decode") == []
    out = capsys.readouterr().out
    assert "nothing wrong" in out
    assert "train: 4 videos, val: 1 videos" in out


@pytest.mark.parametrize(
    ("values", "kind", "cause"),
    [
        ({"annotations": [{"segment": [5, 12.5], "label": "run"}]}, "time", "outside of its 12.00"),
        ({"annotations": [{"segment": [-1, 2], "label": "run"}]}, "time", "before the video"),
        ({"annotations": [{"segment": [5, 5], "label": "run"}]}, "time", "has no length"),
        ({"annotations": [{"segment": [5, 4], "label": "run"}]}, "time", "runs from 5.0 s to 4.0"),
        ({"annotations": [{"segment": 5}]}, "malformed", "expected `segment` and `label`"),
        ({"subset": "trainig"}, "subset", "'trainig', which no split reads; mend it, or name it"),
        ({"duration": 14.0, "frame": 140}, "rate", "lasts 12.00 s, annotated are 14.00 s"),
        ({"frame": 240}, "rate", "has 10 frames per second, annotated are 20; it is read by time"),
    ],
)
def test_fault_of_a_video(root: Path, values: dict[str, Any], kind: str, cause: str) -> None:
    where = _spoil(root, "b", **values)
    problems = _check_json(root)
    assert [(p["kind"], p["where"]) for p in problems] == [(kind, where)]
    assert cause in problems[0]["message"]


def test_labels_outside_the_class_map(root: Path) -> None:
    (root / "classes.txt").write_text("jump\nrun\nwalk\n")
    problems = _check_json(root, "--classes", root / "classes.txt")
    assert [p["message"] for p in problems] == ["class 'walk' (2) has no training event"]
    (root / "classes.txt").write_text("jump\n")
    problems = _check_json(root, "--classes", root / "classes.txt")
    assert {p["kind"] for p in problems} == {"label"}
    assert len(problems) == 3  # in a, d and e; the same sentence is said once
    assert "unknown label 'run'" in problems[0]["message"]


def test_split_without_events(root: Path) -> None:
    _spoil(root, "e", annotations=[])
    (problem,) = _check_json(root)
    assert (problem["kind"], problem["where"]) == ("events", str(root))
    assert "no event in any of the 1 videos of 'val'" in problem["message"]


def test_missing_empty_short_and_leaking_files(root: Path, tmp_path: Path) -> None:
    (root / "videos/a.mp4").unlink()
    (root / "videos/b.mp4").write_bytes(b"")
    shutil.copy(root / "videos/e.mp4", root / "videos/c.mp4")
    config = tmp_path / "x.yaml"
    config.write_text(
        "data:\n  class_path: data_modules.THUMOSDataModule\n  init_args:\n"
        f"    root: {root}\n    train: annotations.json\n    val: annotations.json\n"
        "    sampler: {class_path: SlidingWindows, init_args: {positions: 64, snippet_stride: 5}}\n"
    )
    code, problems = _check(tmp_path, "-c", config)
    source = root / "annotations.json"
    assert code == 1
    assert sorted((p["kind"], p["where"].rpartition(":")[2]) for p in problems) == sorted(
        (kind, line_of(source, name).rpartition(":")[2])
        for kind, name in [
            ("missing", "a"),
            ("empty", "b"),
            ("rate", "c"),  # it lasts as long as e
            ("short", "d"),
            ("leakage", "e"),
        ]
    )
    (short,) = (p["message"] for p in problems if p["kind"] == "short")
    assert "70 frames, of which 14 are looked at, fewer than the 16 of one chunk" in short


def test_own_list_of_segments(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    rows = ["path,start_s,end_s,label", "videos/a.mp4,1,2,run", "videos/a.mp4,3,,run"]
    source.write_text("\n".join([*rows, "videos/d.mp4,1,9,run"]))
    code, problems = _check(tmp_path, "--segments", "--root", root, "--list", source)
    assert code == 1
    assert [(p["kind"], p["where"]) for p in problems] == [
        ("malformed", f"{source}:3"),
        ("time", f"{source}:4"),
    ]


def test_features_of_another_width_or_stride(root: Path, tmp_path: Path) -> None:
    (root / "features").mkdir()
    for name, video in database().items():
        np.save(root / f"features/{name}.npy", np.zeros((video["frame"] // 2, 4), np.float32))
    np.save(root / "features/a.npy", np.zeros((100, 5), np.float32))
    np.save(root / "features/b.npy", np.zeros((30, 4), np.float32))
    config = tmp_path / "x.yaml"
    config.write_text(
        "class_path: THUMOSDataModule\ninit_args:\n"
        f"  root: {root}\n  train: annotations.json\n  val: annotations.json\n"
        "  features: {width: 4, stride: 2}\n"
    )
    code, problems = _check(tmp_path, "-c", config)
    source = root / "annotations.json"
    assert code == 1
    assert [(p["kind"], p["where"]) for p in problems] == [
        ("features", line_of(source, "a")),
        ("features", line_of(source, "b")),
    ]
    assert "[100, 5], expected [rows, 4]" in problems[0]["message"]
    assert "30 rows for 120 frames are one in 4, not in 2" in problems[1]["message"]
