"""From video files to labels through the command line."""

import csv
import json

import pytest
import torch
import yaml
from lightning.pytorch import seed_everything

from tests.integration.conftest import MOTIONS, run

# Folders are the classes here, and a folder has no space in its name.
CLASSES = sorted(motion.replace(" ", "_") for motion in MOTIONS)


def top1(run_dir, stage):
    return json.loads((run_dir / stage / "metrics.json").read_text())


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_record(finished):
    assert (finished / "checkpoints/best.ckpt").exists()
    assert (finished / "checkpoints/last.ckpt").exists()
    assert (finished / "val/confusion.png").stat().st_size > 1000
    rows = table(finished / "metrics.csv")
    logged = {key for row in rows for key, value in row.items() if value}
    assert {"train/loss", "val/top1", "cost/trained_parameters", "data/wait_share"} <= logged
    record = json.loads((finished / "run.json").read_text())
    assert record["seed"] == 0
    assert record["data"]["val_clips"] == 7
    assert len(record["data"]["train_digest"]) == 64
    assert {"torch", "lightning", "av"} <= set(record["versions"])
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["model"]["class_path"].endswith("DiST")
    assert config["model"]["init_args"]["frame_ratio"] == 2


def test_the_checkpoint_holds_the_trained_part_alone(finished):
    checkpoint = torch.load(finished / "checkpoints/best.ckpt", weights_only=True)
    assert all(key.startswith(("network.", "head.")) for key in checkpoint["state_dict"])
    record = checkpoint["video_adapt"]
    assert record["class_names"] == CLASSES
    assert record["input"]["sampler"]["num_frames"] == 8


def test_saved_configuration_runs_again(finished, tmp_path):
    words = ("--run_dir", tmp_path / "again", "--trainer.logger=null")
    assert run("fit", "-c", finished / "config.yaml", *words) == 0
    assert top1(tmp_path / "again", "val")["videos"] == 7
    first = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    again = torch.load(tmp_path / "again/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_testing_measures_all_views(finished_copy, experiment, tmp_path):
    path = experiment(tmp_path, eval_views=3)
    checkpoint = finished_copy / "checkpoints/best.ckpt"
    assert run("test", "-c", path, "--ckpt_path", checkpoint) == 0
    assert top1(finished_copy, "test")["views"] == 3
    assert top1(finished_copy, "test")["videos"] == 7


def test_a_resumed_run_equals_an_uninterrupted_one(experiment, tmp_path):
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    whole.mkdir()
    rest.mkdir()
    keep_all = (
        "--trainer.callbacks+=ModelCheckpoint",
        f"--trainer.callbacks.dirpath={whole}",
        "--trainer.callbacks.filename=at-{step}",
        "--trainer.callbacks.every_n_train_steps=1",
        "--trainer.callbacks.save_top_k=-1",
    )
    assert run("fit", "-c", experiment(whole, epochs=2), *keep_all) == 0
    # Three steps make an epoch, so this is in the middle of the second one.
    middle = whole / "at-step=4.ckpt"
    assert run("fit", "-c", experiment(rest, epochs=2), "--ckpt_path", middle) == 0
    a = torch.load(whole / "at-step=6.ckpt", weights_only=True)
    b = torch.load(rest / "run/checkpoints/last.ckpt", weights_only=True)
    assert a["global_step"] == b["global_step"] == 6
    assert all(torch.equal(a["state_dict"][key], b["state_dict"][key]) for key in a["state_dict"])


def test_the_table_of_a_resumed_run_goes_on(experiment, tmp_path):
    path = experiment(tmp_path, epochs=1)
    assert run("fit", "-c", path) == 0
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert run("fit", "-c", path, "--ckpt_path", last, "--trainer.max_epochs=2") == 0
    rows = table(tmp_path / "run/metrics.csv")
    assert [int(row["step"]) for row in rows if row.get("train/loss")] == list(range(6))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--model.init_args.frame_ratios=4"], 2, "did you mean 'frame_ratio'?"),
        (["--trainer.max_epohcs=4"], 2, "did you mean 'max_epochs'?"),
        (["--data.init_args.root=/nowhere"], 1, "/nowhere"),
        (["--model.init_args.num_frames=16"], 1, "clips of 8 frames"),
        (["--trainer.accelerator=cuda"], 1, "accelerator"),
        (["--model.init_args.backbone.init_args.weights=/no/such/file.pt"], 1, "/no/such/file.pt"),
    ],
)
def test_wrong_settings_are_one_line(experiment, tmp_path, capsys, words, code, message):
    if "--trainer.accelerator=cuda" in words and torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so asking for one is no error")
    path = experiment(tmp_path)
    capsys.readouterr()
    try:
        result = run("fit", "-c", path, *words)
    except SystemExit as stop:
        result = stop.code
    error = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert result == code
    assert len(error) == 1
    assert error[0].startswith("video-adapt: error: ")
    assert message in error[0]


def test_a_folder_with_a_run_is_not_overwritten(finished_copy, experiment, tmp_path, capsys):
    assert run("fit", "-c", experiment(tmp_path)) == 1
    said = capsys.readouterr().err
    assert "--overwrite=true" in said
    assert "go on with --ckpt_path last," in said


def test_an_untrained_head_is_not_measured(experiment, tmp_path, capsys):
    assert run("test", "-c", experiment(tmp_path)) == 1
    assert "--ckpt_path" in capsys.readouterr().err


def test_a_checkpoint_of_another_method_is_refused(finished, experiment, tmp_path, capsys):
    path = experiment(tmp_path, method="TunedClassifier")
    assert run("test", "-c", path, "--ckpt_path", finished / "checkpoints/best.ckpt") == 1
    assert "checkpoint of video_adapt.methods.dual_encoder.method.DiST" in capsys.readouterr().err


def test_a_checkpoint_of_another_backbone_is_refused(finished, experiment, tmp_path, capsys):
    words = ("--ckpt_path", finished / "checkpoints/best.ckpt", "--seed_everything=1")
    assert run("test", "-c", experiment(tmp_path), *words) == 1
    assert "give the backbone the weights of the training run" in capsys.readouterr().err


def test_recognise_labels_a_file_and_draws_it(finished, world, tmp_path):
    # The tower of this run is random, so its weights go by the seed, as they did in training.
    seed_everything(0, verbose=False)
    video = sorted((world / "val").rglob("*.mp4"))[0]
    words = ("--json", tmp_path / "x.json", "--plot", tmp_path / "x.png", "--top", "2")
    assert run("recognise", finished / "checkpoints/last.ckpt", video, *words) == 0
    assert (tmp_path / "x.png").stat().st_size > 1000
    written = json.loads((tmp_path / "x.json").read_text())
    assert written["broken"] == []
    (result,) = written["results"]
    labels = result["labels"]
    assert len(labels) == 2
    assert {entry["label"] for entry in labels} <= set(CLASSES)
    assert labels[0]["score"] >= labels[1]["score"]
    # The same video, seen as in validation, has the same scores.
    rows = table(finished / "val/predictions.csv")
    (row,) = [row for row in rows if row["video"] == str(video)]
    assert float(row[labels[0]["label"]]) == pytest.approx(labels[0]["score"], abs=1e-4)
