"""Open-vocabulary data: one loader per test set, videos in other places, published lists."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules import LoaderOptions, OpenVocabularyDataModule, TestSet
from data_modules.open_vocabulary_files import CopyFinder
from data_modules.problems import Problems
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.video import SegmentSampler

from .conftest import contents

PUBLISHED = Path(
    os.environ.get("VIDEO_ADAPT_OPEN_VOCAB", Path(__file__).parents[4] / "shared/data/open_vocab")
)
CLASSES = {
    "base": [{"name": "jump", "entry": "Jump: A leap"}, {"name": "run", "entry": "Run: A race"}],
    "novel": ["sit", "stand", "walk"],
}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Lists over the videos of ``conftest``: two of base classes, one of novel ones."""
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    train = [f"train/{('jump', 'run')[i % 2]}/{i}.mp4,{i % 2}" for i in range(6)]
    (tmp_path / "train_s1.csv").write_text("\n".join(["path,label", *train[:4]]))
    (tmp_path / "train_s2.csv").write_text("\n".join(["path,label", *train[2:]]))
    with gzip.open(tmp_path / "val.csv.gz", "wt") as file:
        file.write("path,label\nval/jump/6.mp4,0\nval/run/7.mp4,1\n")
    (tmp_path / "novel.csv").write_text("path,label\nval/jump/8.mp4,2\nval/jump/6.mp4,0\n")
    return tmp_path


def data(root: Path, lists: Path, **arguments: Any) -> OpenVocabularyDataModule:
    given: dict[str, Any] = {
        "classes": "classes.json",
        "part": "base",
        "train": "train_s{draw}.csv",
        "val": "val.csv.gz",
        "lists": lists,
        "test_sets": {
            "base": TestSet("val.csv.gz"),
            "novel": TestSet("novel.csv", part="novel"),
        },
        "sampler": SegmentSampler(4),
        "loader": LoaderOptions(batch_size=2, num_workers=0, short_side=None),
        "eval_views": 2,
        "seed": 0,
    }
    return OpenVocabularyDataModule(root, **(given | arguments))


def test_each_test_set_has_its_own_loader_and_classes(videos: Path, lists: Path) -> None:
    module = data(videos, lists)
    assert module.class_names == ["Jump", "Run"]
    assert [(v.name, v.classes) for v in module.test_vocabularies] == [
        ("base", ("Jump", "Run")),
        ("novel", ("sit", "stand", "walk")),
    ]
    base, novel = (list(loader) for loader in module.test_dataloader())
    assert torch.cat([batch.label for batch in base]).tolist() == [0, 0, 1, 1]
    assert torch.cat([batch.label for batch in novel]).tolist() == [2, 2, 0, 0]
    assert torch.cat([batch.video_id for batch in novel]).tolist() == [0, 0, 1, 1]
    shown = [contents(clip)[0] for batch in novel for clip in batch.frames]
    assert shown == [8, 8, 6, 6]


def test_a_draw_is_another_training_list(videos: Path, lists: Path) -> None:
    first, second = (data(videos, lists, draw=draw).manifest("train") for draw in (1, 2))
    assert first is not None
    assert second is not None
    assert [Path(entry.path).stem for entry in first.entries] == ["0", "1", "2", "3"]
    assert [Path(entry.path).stem for entry in second.entries] == ["2", "3", "4", "5"]


def test_plain_names_where_descriptions_are_not_wanted(videos: Path, lists: Path) -> None:
    assert data(videos, lists, described=False).class_names == ["jump", "run"]
    assert data(videos, lists).vocabulary("val").descriptions == ("A leap", "A race")


def test_labels_are_corrected_on_demand_and_the_variant_has_a_name(
    videos: Path, lists: Path
) -> None:
    pairs = (("jump", "run"), ("sit", "walk"))
    published = data(videos, lists, exchanged=pairs)
    corrected = data(videos, lists, exchanged=pairs, labels="corrected")
    assert data(videos, lists).label_variant == "as listed"
    assert (published.label_variant, published.class_names) == ("as published", ["Jump", "Run"])
    assert (corrected.label_variant, corrected.class_names) == ("as corrected", ["Run", "Jump"])
    assert corrected.vocabulary("novel").classes == ("walk", "stand", "sit")
    with pytest.raises(ConfigurationError, match="no part has both"):
        _ = data(videos, lists, exchanged=(("jump", "walk"),)).class_names


def test_lists_of_all_test_sets_are_read_before_a_test(videos: Path, lists: Path) -> None:
    module = data(videos, lists)
    assert module.manifest("test") is None
    assert set(module.digest()) >= {"base_digest", "novel_digest", "novel_clips"}
    (lists / "novel.csv").write_text("path,label\nval/jump/8.mp4,3\n")
    with pytest.raises(AnnotationError, match=r"novel.csv:2: label 3 is out of range, 3 classes"):
        data(videos, lists).manifest("test")


def test_missing_videos_are_named_and_can_be_left_out(videos: Path, lists: Path) -> None:
    (lists / "novel.csv").write_text("path,label\nval/jump/8.mp4,2\nval/jump/9.mp4,0\n")
    with pytest.raises(AnnotationError, match=r"1 of 2 files are missing .* first .*jump/9.mp4"):
        data(videos, lists).manifest("test")
    module = data(videos, lists, on_broken="skip", max_broken_share=0.5)
    module.manifest("test")
    assert module.digest()["novel_clips"] == 1
    problems = Problems(strict=False)
    data(videos, lists).read_test_set("novel", problems)
    assert [(p.kind, p.where) for p in problems.found] == [("missing", f"{lists}/novel.csv:3")]


def test_a_novel_class_that_training_knows_is_refused(videos: Path, lists: Path) -> None:
    (lists / "other.json").write_text(json.dumps(["Run", "sit", "stand"]))
    sets = {"novel": TestSet("novel.csv", classes="other.json")}
    for split in ("train", "test"):
        with pytest.raises(AnnotationError, match="'Run' is in both 'train' and 'novel'"):
            data(videos, lists, test_sets=sets).manifest(split)


def test_names_of_test_sets(videos: Path, lists: Path) -> None:
    with pytest.raises(ConfigurationError, match="test set 'a/b': use letters"):
        data(videos, lists, test_sets={"a/b": TestSet("novel.csv")})
    with pytest.raises(ConfigurationError, match="no test set 'nvel'; there are base, novel"):
        data(videos, lists).vocabulary("nvel")
    with pytest.raises(ConfigurationError, match="no test set; set"):
        data(videos, lists, test_sets={}).test_dataloader()


def test_splits_of_a_group_belong_together(videos: Path, lists: Path) -> None:
    sets = {
        name: TestSet("novel.csv", part="novel", group=group)
        for name, group in [("a1", "a"), ("full", None), ("a2", "a")]
    }
    assert data(videos, lists, test_sets=sets).test_groups == {"a": ["a1", "a2"]}


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_video_may_have_another_extension(tmp_path: Path) -> None:
    find = CopyFinder(touched(tmp_path, "sit/a (1), b!.mp4", "sit/c.mkv"), by_id=False)
    assert find(["sit/a (1), b!.avi"]) == f"{tmp_path}/sit/a (1), b!.mp4"
    assert find(["sit/c.webm"]) == f"{tmp_path}/sit/c.mkv"
    assert find(["sit/d.webm"]) is None


def test_a_kinetics_video_is_found_by_its_id(tmp_path: Path) -> None:
    root = touched(
        *(tmp_path, "train/run/-eg_pJubR-C_000005_000015.mkv", "val/run/-eg_pJubR-C.mp4"),
        *("val/other/-eg_pJubR-C.mp4", "val/notes.txt"),
    )
    by_id, literal = CopyFinder(root, by_id=True), CopyFinder(root, by_id=False)
    listed = ["val/sit/-eg_pJubR-C_000001_000011.mp4"]
    assert literal(listed) is None
    assert by_id(listed) == f"{root}/val/other/-eg_pJubR-C.mp4"
    assert by_id(["val/run/-eg_pJubR-C_000001_000011.mp4"]) == f"{root}/val/run/-eg_pJubR-C.mp4"
    assert by_id(["-eg_pJubR-C_000005_000015.mp4"]) == (
        f"{root}/train/run/-eg_pJubR-C_000005_000015.mkv"
    )
    assert by_id(["val/sit/unknown_id_.mp4"]) is None


def test_commas_belong_to_the_path(videos: Path, lists: Path, tmp_path: Path) -> None:
    root = touched(tmp_path / "root", "sit/one, two [3] & four!.avi")
    (lists / "novel.csv").write_text("path,label\nsit/one, two [3] & four!.avi,1\n")
    (entry,) = data(root, lists).read_test_set("novel").entries
    assert (Path(entry.path).name, entry.label) == ("one, two [3] & four!.avi", 1)


@pytest.mark.parametrize(
    ("name", "videos", "part", "count"),
    [
        ("base_to_novel/hmdb51", "val_base", "base", 780),
        ("base_to_novel/hmdb51", "test_novel", "novel", 750),
        ("base_to_novel/ucf101", "test_novel", "novel", 1695),
        ("base_to_novel/ssv2", "train_16shot_s3", "base", 1392),
        ("base_to_novel/k400", "train_16shot_s2", "base", 3113),
        ("base_to_novel/k400", "train_16shot_s2_nominal", "base", 3200),
        ("cross_dataset/hmdb51", "test_full", None, 5100),
        ("cross_dataset/ucf101", "test_split3", None, 3696),
        ("cross_dataset/k600", "test_split1", None, 7276),
    ],
)
def test_published_lists_are_read_as_they_are(
    tmp_path: Path, name: str, videos: str, part: str | None, count: int
) -> None:
    folder = PUBLISHED / name
    if not folder.is_dir():
        pytest.skip(f"{folder}: no published lists; set VIDEO_ADAPT_OPEN_VOCAB")
    classes = f"classes_{videos[5:]}.json" if name.endswith("k600") else "classes.json"
    module = OpenVocabularyDataModule(
        tmp_path,
        classes=classes,
        lists=folder,
        part=part,
        test_sets={"novel": TestSet(f"{videos}.csv.gz")},
    )
    problems = Problems(strict=False)
    manifest = module.read_test_set("novel", problems)
    assert {problem.kind for problem in problems.found} == {"missing"}
    assert len(manifest.missing) == count
    labels = {entry.label for entry in manifest.missing}
    assert labels == set(range(len(module.class_names)))


def test_the_published_fault_of_hmdb_is_put_right(tmp_path: Path) -> None:
    folder = PUBLISHED / "base_to_novel/hmdb51"
    if not folder.is_dir():
        pytest.skip(f"{folder}: no published lists; set VIDEO_ADAPT_OPEN_VOCAB")
    errors = json.loads((PUBLISHED / "known_label_errors.json").read_text())
    known = errors["hmdb51_base_to_novel"]
    pairs = tuple(tuple(part["names_say"]) for part in known.values())
    for labels, key in (("published", "names_say"), ("corrected", "videos_show")):
        module = OpenVocabularyDataModule(
            tmp_path,
            classes="classes.json",
            lists=folder,
            part="base",
            test_sets={"novel": TestSet("test_novel.csv.gz", part="novel")},
            exchanged=pairs,
            labels=labels,
            described=False,
        )
        found = {"base": module.vocabulary("train"), "novel": module.vocabulary("novel")}
        for part, fault in known.items():
            names = [found[part].classes[label] for label in fault["labels"]]
            assert names == fault[key]
