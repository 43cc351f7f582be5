"""``video-adapt split-classes`` from the command line: what it writes can be trained on."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from data_modules import OpenVocabularyDataModule, TestSet
from video_adapt.__main__ import main

NAMES = ("jump", "run", "sit", "walk")


@pytest.fixture
def root(tmp_path) -> Path:
    """Five training and two validation videos of each of four classes."""
    for split, count in (("train", 5), ("val", 2)):
        for name in NAMES:
            for number in range(count):
                path = tmp_path / "videos" / split / name / f"{number}, {name}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    return tmp_path / "videos"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_command_makes_a_protocol_that_can_be_read(root, tmp_path, capsys):
    out = tmp_path / "split"
    assert main(["split-classes", str(out), "--root", str(root), "--shots", "3"]) == 0
    assert "2 base and 2 novel classes, 3 lists of 3 videos a class" in capsys.readouterr().out
    part = yaml.safe_load((out / "data.yaml").read_text())
    assert part["class_path"] == "OpenVocabularyDataModule"
    arguments = part["init_args"]
    sets = {name: TestSet(**given) for name, given in arguments.pop("test_sets").items()}
    for draw in (1, 2, 3):
        data = OpenVocabularyDataModule(**(arguments | {"draw": draw}), test_sets=sets)
        train = data.manifest("train")
        assert Counter(entry.label for entry in train.entries) == {0: 3, 1: 3}
        data.manifest("test")
    novel = data.test_manifest("novel")
    assert Counter(entry.label for entry in novel.entries) == {0: 2, 1: 2}
    base, unseen = set(data.class_names), set(data.vocabulary("novel").classes)
    assert base | unseen == set(NAMES)
    for manifest, names in ((train, data.class_names), (novel, data.test_vocabularies[1].classes)):
        for entry in manifest.entries:
            assert Path(entry.path).parent.name == names[entry.label]


def test_draws_differ_and_a_seed_repeats_them(root, tmp_path):
    words = ["--root", str(root), "--shots", "2", "--draws", "2"]
    for name, seed in (("a", "0"), ("b", "0"), ("c", "5")):
        assert main(["split-classes", str(tmp_path / name), *words, "--seed", seed]) == 0
    lists = {
        (name, draw): (tmp_path / name / f"train_2shot_s{draw}.csv").read_text()
        for name in "abc"
        for draw in (1, 2)
    }
    assert lists["a", 1] == lists["b", 1]
    assert lists["a", 1] != lists["a", 2]
    assert lists["a", 1] != lists["c", 1]


def test_novel_classes_and_descriptions_can_be_given(root, tmp_path):
    (tmp_path / "told.json").write_text(json.dumps({"run": "A race"}))
    words = ["--root", str(root), "--novel", "walk", "--descriptions", str(tmp_path / "told.json")]
    assert main(["split-classes", str(tmp_path / "split"), *words]) == 0
    assert json.loads((tmp_path / "split/classes.json").read_text()) == {
        "base": [{"name": "jump"}, {"name": "run", "entry": "run: A race"}, {"name": "sit"}],
        "novel": [{"name": "walk"}],
    }
    assert len(rows(tmp_path / "split/train_16shot_s1.csv")) == 15  # all that there are


def test_times_of_clips_are_kept(root, tmp_path):
    lines = ["path,label,start_s,end_s"]
    lines += [f'"train/{name}/0, {name}.mp4",{name},1.5,2.5' for name in NAMES]
    (root / "all.csv").write_text("\n".join(lines))
    words = ["--root", str(root), "--train", "all.csv", "--val", "val", "--novel", "run", "sit"]
    assert main(["split-classes", str(tmp_path / "split"), *words]) == 0
    assert rows(tmp_path / "split/train_16shot_s1.csv")[1] == {
        "path": "train/walk/0, walk.mp4",
        "label": "1",
        "start_s": "1.5",
        "end_s": "2.5",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--novel", "fly"], "novel classes: unknown label 'fly', not among 4 classes"),
        (["--novel", *NAMES], "4 of 4 classes would be novel; each part needs at least one"),
        (["--novel-share", "0.01"], "0 of 4 classes would be novel"),
        (["--novel-share", "1.5"], "novel share 1.5, 16 shots, 3 draws"),
        (["--shots", "0"], "0 shots"),
        (["--descriptions", "nowhere.json"], "nowhere.json: cannot read it"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(root, tmp_path, capsys, words, message):
    assert main(["split-classes", str(tmp_path / "split"), "--root", str(root), *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "split").exists()


def test_a_description_of_no_class_is_a_mistake(root, tmp_path, capsys):
    (tmp_path / "told.json").write_text(json.dumps({"ran": "A race"}))
    words = ["--root", str(root), "--descriptions", str(tmp_path / "told.json")]
    assert main(["split-classes", str(tmp_path / "split"), *words]) == 1
    assert "no class is called 'ran'" in capsys.readouterr().err


def test_a_folder_that_is_taken_stays_as_it_is(root, tmp_path, capsys):
    assert main(["split-classes", str(root), "--root", str(root)]) == 1
    assert "is not empty; name a new folder" in capsys.readouterr().err


def test_a_base_class_needs_training_videos(root, tmp_path, capsys):
    lines = ["path,label", *(f'"train/{n}/0, {n}.mp4",{n}' for n in NAMES[:3])]
    (root / "three.csv").write_text("\n".join(lines))
    (root / "names.txt").write_text("\n".join(NAMES))
    words = ["--root", str(root), "--train", "three.csv", "--val", "val", "--novel", "run"]
    assert main(["split-classes", str(tmp_path / "s"), *words, "--classes", "names.txt"]) == 1
    assert "base class 'walk' has no training video" in capsys.readouterr().err
