"""From long videos to segments through the command line."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml

from tests.integration.conftest import DETECTORS, MOTIONS, run

QUIET = "--trainer.logger=false"
BRIEF = (QUIET, "--trainer.limit_train_batches=1")
PICTURES = ("precision_recall", "class_ap", "errors", "false_alarms")


def measured(run_dir, stage):
    return json.loads((run_dir / stage / "metrics.json").read_text())


def found(run_dir, stage):
    return json.loads((run_dir / stage / "detections.json").read_text())["results"]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def trained(folder, name="last"):
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)


def test_a_run_leaves_its_record(detected):
    count = measured(detected, "val")["detections"]
    assert count == sum(map(len, found(detected, "val").values())) > 0
    assert len(table(detected / "val/detections.csv")) == count
    assert measured(detected, "val")["videos"] == 3
    for name in PICTURES:
        assert (detected / f"val/{name}.png").stat().st_size > 1000
    logged = {k for row in table(detected / "metrics.csv") for k, value in row.items() if value}
    assert {"train/loss", "val/mAP", "val/mAP@0.50", "val/AR@100", "cost/multiply_adds"} <= logged
    assert json.loads((detected / "run.json").read_text())["data"]["val_videos"] == 3


def test_the_best_checkpoint_is_that_of_the_highest_map(detected):
    callbacks = trained(detected, "best")["callbacks"]
    (best,) = [state for name, state in callbacks.items() if "'monitor': 'val/mAP'" in name]
    assert best["best_model_path"].endswith("checkpoints/best.ckpt")
    assert best["best_model_score"].item() == measured(detected, "val")["mAP"]


def test_the_checkpoint_holds_the_trained_part_and_its_average(detected):
    checkpoint = trained(detected)
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert all(name.startswith(("head.", "backbone.adapters.")) for name in averaged)
    assert averaged.keys() == current.keys()
    assert any(not torch.equal(averaged[name], current[name]) for name in averaged)
    record = checkpoint["video_adapt"]
    assert record["class_names"] == sorted(MOTIONS)
    assert record["input"]["sampler"]["positions"] == 16
    assert record["input"]["frames_per_chunk"] == 4
    assert record["calibration"] is not None


def test_a_checkpoint_measures_as_its_run_did(detected_copy, detection, tmp_path):
    path = detection(tmp_path)
    words = ("-c", path, "--ckpt_path", detected_copy / "checkpoints/last.ckpt")
    for command in ("validate", "test"):
        assert run(command, *words) == 0
        assert found(detected_copy, command) == found(detected_copy, "val")
        assert measured(detected_copy, command) == measured(detected_copy, "val")
    assert run("predict", *words) == 0


def test_a_resumed_run_equals_an_uninterrupted_one(detection, tmp_path):
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    keep_all = (
        "--trainer.callbacks+=ModelCheckpoint",
        f"--trainer.callbacks.dirpath={whole}",
        "--trainer.callbacks.filename=at-{step}",
        "--trainer.callbacks.every_n_train_steps=1",
        "--trainer.callbacks.save_top_k=-1",
    )
    one_by_one = {"loader": {"batch_size": 1, "eval_batch_size": 3, "num_workers": 0}}
    two_epochs = (QUIET, "--trainer.max_epochs=2")
    assert run("fit", "-c", detection(whole, **one_by_one), *two_epochs, *keep_all) == 0
    # Five steps make an epoch, so this is in the middle of the second one.
    middle = ("--ckpt_path", whole / "at-step=7.ckpt")
    assert run("fit", "-c", detection(rest, **one_by_one), *two_epochs, *middle) == 0
    expected = torch.load(whole / "at-step=10.ckpt", weights_only=True)
    resumed = trained(rest / "run")
    assert resumed["global_step"] == 10
    for part in ("state_dict", "current_model_state"):
        for name, tensor in expected[part].items():
            assert torch.equal(resumed[part][name], tensor), (part, name)


@pytest.mark.parametrize("backbone", ["CLIP", "VideoMAE"])
@pytest.mark.parametrize("tuning", ["frozen", "side", "full"])
def test_one_argument_decides_what_trains(detection, tmp_path, tuning, backbone):
    path = detection(tmp_path, backbone=backbone)
    assert run("fit", "-c", path, *BRIEF, f"--model.init_args.tuning={tuning}") == 0
    assert measured(tmp_path / "run", "val")["videos"] == 3
    names = trained(tmp_path / "run")["state_dict"]
    inside = {name.split(".")[1] for name in names if name.startswith("backbone.")}
    tower = {"CLIP": "towers", "VideoMAE": "tower"}[backbone]
    assert inside == {"frozen": set(), "side": {"adapters"}, "full": {tower}}[tuning]


@pytest.mark.parametrize("head", ["TriDet", "GTAD"])
def test_one_component_decides_what_detects(detection, tmp_path, head):
    component = tmp_path / "head.yaml"
    component.write_text(yaml.safe_dump({"class_path": head, "init_args": DETECTORS[head]}))
    path = detection(tmp_path, backbone="VideoMAE")
    assert run("fit", "-c", path, *BRIEF, f"--model.init_args.detector={component}") == 0
    assert measured(tmp_path / "run", "val")["detections"] > 0


@pytest.fixture
def features(long_world, tmp_path):
    """A row of numbers for every second frame of every video; returns their description."""
    (tmp_path / "rows").mkdir()
    noise = np.random.default_rng(0)
    for video in long_world.rglob("*.mp4"):
        np.save(tmp_path / f"rows/{video.stem}.npy", noise.normal(size=(20, 6)).astype("float32"))
    return {"width": 6, "stride": 2, "path": f"{tmp_path}/rows/{{name}}.npy"}


def sampled(stride, **others):
    settings = {"positions": 16, "snippet_stride": stride, **others}
    return {"class_path": "SlidingWindows", "init_args": settings}


def test_detectors_train_on_features(detection, tmp_path, features):
    path = detection(tmp_path, features=features, sampler=sampled(2))
    assert run("fit", "-c", path, QUIET) == 0
    assert {name.split(".")[0] for name in trained(tmp_path / "run")["state_dict"]} == {"head"}
    checkpoint = tmp_path / "run/checkpoints/best.ckpt"
    assert run("test", "-c", path, "--ckpt_path", checkpoint) == 0
    assert measured(tmp_path / "run", "test") == measured(tmp_path / "run", "val")
