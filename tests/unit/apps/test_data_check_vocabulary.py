"""Test sets with classes of their own are checked like every split."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.data_modules.conftest import write_video
from video_adapt.apps import data_check
from video_adapt.errors import AnnotationError

LISTS = {
    "train.csv": ["a/0.mp4,0", "b/1.mp4,1"],
    "val.csv": ["a/2.mp4,0", "b/3.mp4,1"],
    "novel.csv": ["c/4.mp4,0", "d/5.mp4,1"],
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vocabulary") / "data"
    for number, name in enumerate("ababcd"):
        write_video(root / f"{name}/{number}.mp4", number, frames=5)
    (root / "classes.json").write_text(json.dumps({"base": ["a", "b"], "novel": ["c", "d"]}))
    for name, lines in LISTS.items():
        (root / name).write_text("\n".join(["path,label", *lines]) + "\n")
    arguments = {
        "root": str(root),
        "classes": "classes.json",
        "part": "base",
        "train": "train.csv",
        "val": "val.csv",
        "test_sets": {
            "base": {"videos": "val.csv"},
            "novel": {"videos": "novel.csv", "part": "novel"},
        },
    }
    data = {"class_path": "OpenVocabularyDataModule", "init_args": arguments}
    (root / "experiment.yaml").write_text(yaml.safe_dump({"data": data}))
    return root


@pytest.fixture
def root(clean: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    root = shutil.copytree(clean, tmp_path / "data")
    experiment = root / "experiment.yaml"
    experiment.write_text(experiment.read_text().replace(str(clean), str(root)))
    return root


def _check(root: Path, **changes: Any) -> list[dict[str, str]]:
    experiment, report = root / "experiment.yaml", root / "report.json"
    content = yaml.safe_load(experiment.read_text())
    content["data"]["init_args"] |= changes
    experiment.write_text(yaml.safe_dump(content))
    parser = argparse.ArgumentParser()
    data_check.add_arguments(parser)
    words = ["-c", str(experiment), "--json", str(report), "--workers", "2"]
    code = data_check.run(parser.parse_args(words))
    problems: list[dict[str, str]] = json.loads(report.read_text())["problems"]
    assert code == bool(problems)
    return problems


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def test_clean_data_pass_and_every_set_is_counted(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _check(root) == []
    assert "base: 2 clips, novel: 2 clips" in capsys.readouterr().out.replace("\n", " ")


def test_missing_leaking_and_mislabelled_videos_of_a_test_set(root: Path) -> None:
    for line in ("c/9.mp4,0", "a/0.mp4,0", "c/7.mp4,1"):
        _append(root / "novel.csv", line)
    write_video(root / "c/7.mp4", 7, frames=5)
    found = {problem["kind"]: problem["where"] for problem in _check(root)}
    assert found == {
        "missing": f"{root}/novel.csv:4",
        "leakage": f"{root}/novel.csv:5",
        "mislabelled": f"{root}/novel.csv:6",
    }


def test_exchanged_names_are_mislabelled_until_they_are_corrected(root: Path) -> None:
    names = {"base": ["b", "a"], "novel": ["c", "d"]}
    (root / "classes.json").write_text(json.dumps(names))
    assert {problem["kind"] for problem in _check(root, exchanged=[["a", "b"]])} == {"mislabelled"}
    assert _check(root, labels="corrected") == []


def test_a_novel_class_that_is_trained_on_stops_the_check(root: Path) -> None:
    (root / "classes.json").write_text(json.dumps({"base": ["a", "b"], "novel": ["c", "A"]}))
    with pytest.raises(AnnotationError, match="class 'A' is in both 'base' and 'novel'"):
        _check(root)
