"""Experiments of retrieval fit the teachers they name, the published lists and sizes."""

import json
import pickle
import re

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from data_modules import MSRVTTDataModule
from video_adapt.backbones import CLIP
from video_adapt.methods import TeachCLIP
from video_adapt.methods.teachclip import StudentSpec

from .test_experiments import FILES, ROOT, written

READ_BY_BOTH = ("root", "train", "val", "test", "captions", "paragraph", "until_s", "max_words")
TAUGHT = [
    (path, teacher)
    for path in FILES
    if path.parent.name == "teachclip"
    for teacher in written(path)["model"]["init_args"].get("teachers", [])
]
COLUMNS = {"a": "video_id\nvideo0\nvideo1\n", "b": "key,video_id,sentence\nret0,video2,c 2\n"}
TABLES = {
    "videos": [
        {"video_id": f"video{n}", "split": split}
        for n, split in enumerate(("train", "train", "validate", "test"))
    ],
    "sentences": [{"video_id": f"video{n}", "caption": f"{k} {n}"} for n in range(4) for k in "cd"],
}
WORDS = {f"video{n}": [[k, str(n)] for k in "cd"] for n in range(4)}
PARAGRAPHS = {
    f"video{n}": {"duration": 40.5, "timestamps": [[0, 1], [1, 2]], "sentences": [f"c {n}", "d."]}
    for n in range(4)
}
MOMENTS = [{"video": f"video{n}", "description": f"{k} {n}"} for k in "cd" for n in range(4)]


@pytest.mark.parametrize(
    ("path", "teacher"), TAUGHT, ids=[f"{p.stem}-{t['init_args']['weights']}" for p, t in TAUGHT]
)
def test_a_student_names_a_teacher_that_another_file_trains(path, teacher):
    asked = teacher["init_args"]
    trained = {written(file)["run_dir"]: written(file) for file in FILES}
    found = trained[asked["weights"].removesuffix("/checkpoints/best.ckpt")]
    parts = found["model"]["init_args"]
    assert found["model"]["class_path"] == "TeacherRetriever"
    assert [parts.get(key) for key in ("backbone", "adapter")] == [
        asked.get(key) for key in ("backbone", "adapter")
    ]
    assert parts["head"]["class_path"] == asked["head"]["class_path"]
    # `masked` says how a head teaches, not what it learned.
    assert parts["head"]["init_args"] == {
        key: value for key, value in asked["head"]["init_args"].items() if key != "masked"
    }
    mine, theirs = (of["data"]["init_args"] for of in (written(path), found))
    assert {key: mine.get(key) for key in READ_BY_BOTH} == {
        key: theirs.get(key) for key in READ_BY_BOTH
    }


def test_teachers_that_share_a_cache_folder_are_the_same():
    caches = {}
    for _, teacher in TAUGHT:
        folder = teacher["init_args"].get("cache", teacher["init_args"]["weights"])
        assert caches.setdefault(folder, teacher) == teacher


@pytest.mark.parametrize(
    ("name", "files", "counts"),
    [
        (
            "msrvtt_1k",
            {
                "MSRVTT_train.9k.csv": COLUMNS["a"],
                "MSRVTT_JSFUSION_test.csv": COLUMNS["b"],
                "MSRVTT_data.json": json.dumps(TABLES),
            },
            {"train": (2, 4), "val": (1, 1), "test": (1, 1)},
        ),
        (
            "msrvtt_3k",
            {"MSRVTT_data.json": json.dumps(TABLES)},
            {"train": (2, 4), "val": (1, 2), "test": (1, 2)},
        ),
        (
            "msvd",
            {
                "train_list.txt": "video0\nvideo1\n",
                "val_list.txt": "video2\n",
                "test_list.txt": "video3\n",
                "raw-captions.pkl": pickle.dumps(WORDS),
            },
            {"train": (2, 4), "val": (1, 2), "test": (1, 2)},
        ),
        (
            "vatex",
            {
                "VATEX_train.csv": COLUMNS["a"],
                "VATEX_val.csv": "video_id\nvideo2\n",
                "VATEX_test.csv": "video_id\nvideo3\n",
                "VATEX_data.json": json.dumps(TABLES),
            },
            {"train": (2, 4), "val": (1, 2), "test": (1, 2)},
        ),
        (
            "activitynet_captions",
            {
                "train_ids.json": json.dumps(["video0", "video1"]),
                "val_ids.json": json.dumps(["video2"]),
                "train.json": json.dumps({k: PARAGRAPHS[k] for k in ("video0", "video1")}),
                "val_1.json": json.dumps({"video2": PARAGRAPHS["video2"]}),
            },
            {"train": (2, 2), "val": (1, 1), "test": (1, 1)},
        ),
        (
            "didemo",
            {
                "train_list.txt": "video0\nvideo1\n",
                "val_list.txt": "video2\n",
                "test_list.txt": "video3\n",
                "train_data.json": json.dumps(MOMENTS[:2] + MOMENTS[4:6]),
                "val_data.json": json.dumps([MOMENTS[2]]),
                "test_data.json": json.dumps([MOMENTS[3]]),
            },
            {"train": (2, 2), "val": (1, 1), "test": (1, 1)},
        ),
    ],
)
def test_data_files_read_the_lists_as_they_are_handed_around(name, files, counts, tmp_path):
    (tmp_path / "videos").mkdir()
    for number in range(4):
        (tmp_path / f"videos/video{number}.avi").touch()
    for file, content in files.items():
        packed = content if isinstance(content, bytes) else content.encode()
        (tmp_path / file).write_bytes(packed)
    module = built_data(name, tmp_path)
    found = {split: module.manifest(split) for split in counts}
    assert {s: (len(m), len(m.captions)) for s, m in found.items()} == counts


def test_the_overlapping_list_of_msrvtt_is_one_line_away(tmp_path, caplog):
    (tmp_path / "videos").mkdir()
    for number in range(4):
        (tmp_path / f"videos/video{number}.mp4").touch()
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(TABLES))
    (tmp_path / "MSRVTT_train.7k.csv").write_text("video_id\nvideo0\nvideo1\nvideo2\n")
    module = built_data(
        "msrvtt_3k", tmp_path, train="MSRVTT_train.7k.csv", captions="MSRVTT_data.json"
    )
    module._warn_of_overlap(module.manifest("train"))
    assert "1 of 1 validation videos are trained on" in caplog.text


def built_data(name, root, **changed):
    """The data module of a base file, with the videos below ``root``."""
    values = yaml.safe_load((ROOT / f"experiments/_base/{name}.yaml").read_text())
    values["init_args"] |= {"root": str(root), **changed}
    parser = ArgumentParser()
    parser.add_subclass_arguments(MSRVTTDataModule, "data")
    return parser.instantiate(parser.parse_object({"data": values})).data


def test_the_student_is_as_large_as_the_published_one():
    asked = written(ROOT / "experiments/teachclip/msrvtt_1k_vitb32.yaml")["model"]["init_args"]
    with torch.device("meta"):
        backbone = CLIP(asked["backbone"]["init_args"]["name"], None)
        model = TeachCLIP(backbone, student=StudentSpec(**asked["student"]))
    parts = (model, model.backbone, model.student.temporal, model.student.pooling)
    sizes = [sum(p.numel() for p in part.parameters()) / 1e6 for part in parts]
    assert [round(size, 2) for size in sizes] == [164.19, 151.28, 12.65, 0.26]


def test_every_published_row_has_its_file():
    rows = {path.stem for path in FILES if path.parent == ROOT / "experiments/teachclip"}
    table = (ROOT / "video_adapt/methods/teachclip/README.md").read_text()
    named = set(re.findall(r"`(\w+_vitb(?:16|32)\w*)`", table))
    teachers = {path.stem for path in (ROOT / "experiments/teachclip/teachers").glob("*.yaml")}
    assert named == (rows | teachers) - {"own_videos"}
