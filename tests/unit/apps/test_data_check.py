"""Every fault of a data set is found, with file and line, and makes the exit code 1."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data_modules.conftest import write_video
from video_adapt.apps import data_check
from video_adapt.errors import AnnotationError, ConfigurationError


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos: two classes for training, two for validation."""
    root = tmp_path_factory.mktemp("clean")
    for number, name in enumerate(["train/jump/0", "train/run/1", "val/jump/2", "val/run/3"]):
        write_video(root / f"{name}.mp4", number, frames=10)
    return root


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


def _kinds(problems: list[dict[str, str]]) -> list[str]:
    return [problem["kind"] for problem in problems]


def test_clean_data_pass(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(tmp_path, "--root", root, "--decode") == (0, [])
    out = capsys.readouterr().out
    assert "nothing wrong" in out
    assert "train: 2 clips, val: 2 clips" in out


def test_empty_unreadable_and_missing(root: Path, tmp_path: Path) -> None:
    (root / "train/jump/empty.mp4").touch()
    (root / "train/jump/text.mp4").write_text("not a video")
    source = tmp_path / "list.txt"
    names = ["jump/0.mp4 0", "run/1.mp4 1", "jump/empty.mp4 0", "jump/text.mp4 0", "jump/no.mp4 0"]
    source.write_text("\n".join(names))
    code, problems = _check(tmp_path, "--root", root / "train", "--list", source)
    assert code == 1
    assert {problem["kind"]: problem["where"] for problem in problems} == {
        "missing": f"{source}:5",
        "empty": f"{source}:3",
        "unreadable": f"{source}:4",
    }


def test_decoding_finds_what_headers_hide(root: Path, tmp_path: Path) -> None:
    path = root / "train/jump/0.mp4"
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") - 4
    end = start + int.from_bytes(content[start : start + 4])
    content[end - 100 : end] = b"\xff" * 100
    path.write_bytes(content)
    assert _check(tmp_path, "--root", root) == (0, [])
    code, problems = _check(tmp_path, "--root", root, "--decode")
    assert (code, _kinds(problems)) == (1, ["unreadable"])


def test_file_that_was_cut_off(root: Path, tmp_path: Path) -> None:
    path = root / "val/run/3.mp4"
    path.write_bytes(path.read_bytes()[:-100])
    code, problems = _check(tmp_path, "--root", root)
    assert (code, _kinds(problems)) == (1, ["truncated"])
    assert "its header promises 10 frames" in problems[0]["message"]


def test_copies_and_leaks(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "train/run/1.mp4", root / "train/run/copy.mp4")
    shutil.copy(root / "train/run/1.mp4", root / "val/run/leak.mp4")
    _, problems = _check(tmp_path, "--root", root)
    assert [(p["kind"], Path(p["where"]).name) for p in problems] == [
        ("duplicate", "copy.mp4"),
        ("leakage", "leak.mp4"),
    ]
    assert "has the content of" in problems[1]["message"]


def test_clips_of_one_video_leak_only_where_they_overlap(root: Path, tmp_path: Path) -> None:
    header = "path,label,start_s,end_s"
    train, val = tmp_path / "train.csv", tmp_path / "val.csv"
    train.write_text(f"{header}\ntrain/jump/0.mp4,jump,0,0.5\ntrain/run/1.mp4,run,,\n")
    val.write_text(f"{header}\ntrain/jump/0.mp4,jump,0.5,0.9\ntrain/jump/0.mp4,jump,0.4,0.45\n")
    _, problems = _check(tmp_path, "--root", root, "--list", train, "--val", val)
    assert [(p["kind"], p["where"]) for p in problems] == [("leakage", f"{val}:3")]


def test_labels_times_and_lines(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    lines = ["path,label,start_s,end_s", "jump/0.mp4,run,,", "run/1.mp4,run,0,7"]
    source.write_text("\n".join([*lines, "run/1.mp4,walk,,", "oops", "jump/0.mp4,run,,"]))
    names = tmp_path / "names.txt"
    names.write_text("jump\nrun\n")
    code, problems = _check(
        tmp_path, "--root", root / "train", "--list", source, "--classes", names
    )
    assert code == 1
    assert [(p["kind"], p["where"].rpartition(":")[2]) for p in problems] == [
        ("malformed", "5"),
        ("label", "4"),
        ("duplicate", "6"),
        ("mislabelled", "2"),
        ("time", "3"),
        ("label", str(root / "train")),
    ]
    assert "class 'jump' (0) has no training clip" in problems[-1]["message"]
    assert "lasts 1.00 s, the clip runs from 0.0 s to 7.0 s" in problems[4]["message"]


def test_config_is_read_with_its_include(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPS", str(root))
    (tmp_path / "base").mkdir()
    (tmp_path / "base/data.yaml").write_text(
        "class_path: KineticsDataModule\ninit_args:\n  root: ${oc.env:CLIPS}\n  val: val\n"
        "  train: train\n  sampler: {init_args: {num_frames: '${.....model.num_frames}'}}\n"
    )
    experiment = tmp_path / "x.yaml"
    experiment.write_text("model: {num_frames: 8}\ndata: base/data.yaml\n")
    assert _check(tmp_path, "-c", experiment) == (0, [])
    assert _check(tmp_path, "-c", tmp_path / "base/data.yaml") == (0, [])


def test_wrong_usage_is_a_named_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIPS", raising=False)
    config = tmp_path / "x.yaml"
    with pytest.raises(ConfigurationError, match=r"needs -c EXPERIMENT.yaml or --root"):
        _check(tmp_path)
    with pytest.raises(ConfigurationError, match=r"x.yaml: cannot read it"):
        _check(tmp_path, "-c", config)
    config.write_text("data: {init_args: {root: '${oc.env:CLIPS}'}}")
    with pytest.raises(ConfigurationError, match=r"x.yaml: .*'CLIPS' not found"):
        _check(tmp_path, "-c", config)
    config.write_text("model: 1\n")
    with pytest.raises(ConfigurationError, match="has no `data` with a `root`"):
        _check(tmp_path, "-c", config)
    with pytest.raises(AnnotationError, match="the data root is not a folder"):
        _check(tmp_path, "--root", root / "none")
