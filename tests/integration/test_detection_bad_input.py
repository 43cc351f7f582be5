"""What bad input of detection gets: one line that names place, cause and mend."""

import json

import numpy as np
import pytest

from tests.integration.conftest import MOTIONS, left_over, run

QUIET = "--trainer.logger=false"


@pytest.fixture
def refuse(refused, detection, tmp_path):
    """Fit on changed data; returns the line, and sees that nothing half-written is left."""

    def check(*words, command="fit", **data):
        line = refused(command, "-c", detection(tmp_path, **data), QUIET, *words)
        assert not left_over(tmp_path)
        return line

    return check


@pytest.fixture
def annotated(long_world, tmp_path):
    """Write the world's annotation after a function has changed its database; returns its path."""

    def write(change):
        content = json.loads((long_world / "annotations.json").read_text())
        change(content["database"])
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(content, indent=1))
        return path

    return write


def sampled(stride):
    settings = {"positions": 16, "snippet_stride": stride}
    return {"class_path": "SlidingWindows", "init_args": settings}


def line_of(path, video):
    lines = path.read_text().splitlines()
    return f"{path}:{next(n for n, text in enumerate(lines, 1) if f'{video}' in text)}"


def changed_event(**values):
    def change(database):
        database["train_00001"]["annotations"][0] |= values

    return change


def without_events(database):
    for video in database.values():
        if video["subset"] != "training":
            video["annotations"] = []


def test_an_event_that_ends_before_it_starts(refuse, annotated):
    path = annotated(changed_event(segment=[7.5, 2.0]))
    line = refuse(train=str(path))
    assert line_of(path, "train_00001") in line
    assert "runs from 7.5 s to 2.0 s; the end must come after the start" in line


def test_a_label_that_the_classes_lack(refuse, annotated):
    path = annotated(changed_event(label="move left"))
    line = refuse(train=str(path))
    assert f"{line_of(path, 'train_00001')}: unknown label 'move left'" in line
    assert "did you mean 'moves left'?" in line


def test_a_subset_that_no_video_is_in(refuse, long_world):
    line = refuse(subsets={"train": "trianing"})
    assert f"{long_world}/annotations.json: no video in the subset 'trianing', only in" in line
    assert "set data.subsets" in line


def test_nothing_to_learn_from(refuse, annotated):
    path = annotated(lambda database: [v.update(annotations=[]) for v in database.values()])
    line = refuse(train=str(path))
    assert f"{path}: none of its 5 training videos has an event; check data.subsets" in line


def test_without_an_event_to_find_it_is_said_that_nothing_is_measured(
    detection, annotated, tmp_path, caplog
):
    path = detection(tmp_path, val=str(annotated(without_events)))
    assert run("fit", "-c", path, QUIET) == 0
    assert "val: no video has an event, so there is no mAP" in caplog.text
    text = (tmp_path / "run/val/metrics.json").read_text()
    assert json.loads(text)["mAP"] is None
    assert "NaN" not in text
    assert [path.name for path in tmp_path.rglob("*.ckpt")] == ["last.ckpt"]


def test_a_window_that_chunks_do_not_divide(refuse):
    line = refuse(frames_per_chunk=5)
    assert "16 positions x 1 frames are 16, not a multiple of the 5 frames of a chunk" in line
    assert "change data.sampler" in line


def test_a_video_shorter_than_a_chunk(refuse, long_world):
    line = refuse(frames_per_chunk=16, sampler=sampled(4))
    assert f"{long_world}/annotations.json:" in line
    assert ".mp4: 40 frames give 10 to look at, fewer than the 16 of one chunk; exclude" in line


@pytest.fixture
def external(tmp_path):
    """Class scores of whole videos, of any list of classes; returns arguments of the run."""

    def write(classes):
        names = [f"val_{number:05d}" for number in range(3)]
        results = {name: [1 / len(classes)] * len(classes) for name in names}
        path = tmp_path / "external.json"
        path.write_text(json.dumps({"results": results, "class": classes}))
        return path, f"--model.init_args.postprocess.video_labels.path={path}"

    return write


def test_classes_from_outside_that_lack_one(refuse, external):
    path, word = external(["moves left", "moves right", "shrinks"])
    line = refuse(word)
    assert f"{path}: " in line
    assert "'grows'" in line


def test_classes_from_outside_name_the_detections(detection, external, tmp_path):
    _, word = external(["shrinks", *MOTIONS])
    assert run("fit", "-c", detection(tmp_path), QUIET, word) == 0
    found = json.loads((tmp_path / "run/val/detections.json").read_text())["results"]
    assert len({d["label"] for d in found["val_00000"]}) == 2


@pytest.fixture
def rows(long_world, tmp_path):
    for video in long_world.rglob("*.mp4"):
        np.save(tmp_path / f"{video.stem}.npy", np.zeros((20, 6), "float32"))
    return {"width": 6, "stride": 2, "path": f"{tmp_path}/{{name}}.npy"}


def test_features_of_another_width(refuse, rows):
    line = refuse(features=rows | {"width": 8}, sampler=sampled(2))
    assert "features have the shape [20, 6], expected [rows, 8]; mend data.features.width" in line


def test_features_of_another_width_than_the_model(refuse, rows):
    line = refuse("--model.init_args.width=8", features=rows, sampler=sampled(2))
    assert "FeatureDetector reads features [B, S, 8], the data gives [2, 16, 6]" in line
    assert "model.width" in line


def test_features_of_another_stride(refuse, rows):
    line = refuse(features=rows | {"stride": 1}, sampler=sampled(2))
    assert "20 rows for 40 frames are one in 2, not in 1; mend data.features.stride" in line


def test_a_stride_that_features_cannot_give(refuse, rows):
    line = refuse(features=rows, sampler=sampled(3))
    assert "make snippet_stride a multiple of data.features.stride" in line


def test_features_for_a_model_of_frames(refused, detection, tmp_path, rows):
    words = [f"--data.init_args.features={json.dumps(rows)}", "--data.init_args.sampler"]
    words[1] += f"={json.dumps(sampled(2))}"
    line = refused("fit", "-c", detection(tmp_path), QUIET, *words)
    assert "AdaTAD reads frames, the data gives features; remove data.features" in line


def test_frames_for_a_model_of_features(refused, detection, tmp_path, rows):
    words = ("--data.init_args.features=null",)
    line = refused("fit", "-c", detection(tmp_path, features=rows), QUIET, *words)
    assert "FeatureDetector reads features, the data gives frames; set data.features" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.init_args.detector.init_args.pyramid.width=32"], "of another shape"),
        (["--model.init_args.tuning=frozen"], "unknown: backbone.adapters.0."),
        (["--seed_everything=1"], "give the backbone the weights of the training run"),
    ],
    ids=["size", "tuning", "backbone"],
)
def test_a_checkpoint_of_something_else(refused, detection, detected, tmp_path, words, message):
    checkpoint = ("--ckpt_path", detected / "checkpoints/best.ckpt")
    line = refused("test", "-c", detection(tmp_path), QUIET, *checkpoint, *words)
    assert message in line


def test_a_checkpoint_of_another_method(refused, detection, finished, tmp_path):
    checkpoint = ("--ckpt_path", finished / "checkpoints/best.ckpt")
    line = refused("test", "-c", detection(tmp_path), QUIET, *checkpoint)
    assert "checkpoint of video_adapt.methods.dual_encoder.method.DiST given to" in line


def test_a_missing_video(refuse, annotated, tmp_path, long_world):
    def add(database):
        database["gone"] = database["train_00001"] | {}

    path = annotated(add)
    line = refuse(train=str(path))
    assert f"{line_of(path, 'gone')}: 1 of 6 files are missing below" in line
