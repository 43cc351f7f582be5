"""From captioned videos to recall through the command line."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tests.integration.conftest import run
from tests.integration.test_processes import run_twofold
from video_adapt.video.synthetic_files import WorldSpec, write_world

FILES = ("metrics.json", "ranks.csv")
ONE_BY_ONE = {"batch_size": 3, "eval_batch_size": 1, "num_workers": 0}
QUIET = "--trainer.logger=false"


@pytest.fixture(scope="module")
def captioned_world(tmp_path_factory):
    """6 training videos of three captions, 5 test videos of one."""
    root = tmp_path_factory.mktemp("captioned_world") / "captioned"
    spec = WorldSpec(layout="captioned", train=6, val=5, seconds=2.0, size=32, fps=4)
    write_world(root, spec, workers=1)
    return root


@pytest.fixture(scope="module")
def retrieval(captioned_world, tower):
    """Write an experiment file of retrieval.

    ``model`` is another class with its settings, or more settings of the student's; other keyword
    arguments replace those of what joins the frames.
    """

    def write(folder, *, model=None, **student):
        folder.mkdir(parents=True, exist_ok=True)
        schedule = {"class_path": "WarmupCosine", "init_args": {"max_epochs": 2}}
        arguments = {
            "backbone": {"class_path": "CLIP", "init_args": {"name": str(tower), "weights": None}},
            "optimizer": {"lr": 0.003, "tower_lr": 0.0003, "schedule": schedule},
        }
        kind, settings = model or ("TeachCLIP", {})
        if kind == "TeachCLIP":
            settings = settings | {"student": {"kind": "afa", "layers": 1, "heads": 2, **student}}
        arguments |= settings
        lists = {"train": "train.csv", "val": "test.csv", "captions": "captions.json"}
        sampler = {"class_path": "SecondSampler", "init_args": {"num_frames": 4, "per_second": 2}}
        content = {
            "run_dir": str(folder / "run"),
            "model": {"class_path": kind, "init_args": arguments},
            "data": {
                "class_path": "MSRVTTDataModule",
                "init_args": {
                    "root": str(captioned_world),
                    **lists,
                    "sampler": sampler,
                    "train_captions": "one",
                    "loader": ONE_BY_ONE,
                },
            },
            "trainer": {
                "max_epochs": 2,
                "accelerator": "cpu",
                "devices": 1,
                "enable_progress_bar": False,
                "log_every_n_steps": 1,
            },
        }
        path = folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture(scope="module")
def searched(tmp_path_factory, retrieval):
    """The folder of a run of two epochs; tests must not write into it."""
    folder = tmp_path_factory.mktemp("searched")
    assert run("fit", "-c", retrieval(folder)) == 0
    return folder / "run"


@pytest.fixture
def searched_copy(tmp_path, searched):
    """A copy of the finished run to write into."""
    return Path(shutil.copytree(searched, tmp_path / "run"))


@pytest.fixture
def one_thread(monkeypatch):
    """As in each of several processes; sums may round differently over more threads."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


def trained(path):
    return torch.load(path, weights_only=True)


def test_a_run_leaves_its_record(searched):
    figures = json.loads((searched / "val/metrics.json").read_text())
    assert (figures["captions"], figures["videos"]) == (5, 5)
    rows = table(searched / "val/ranks.csv")
    assert len(rows) == 5
    assert all(row["video"].startswith("video") and row["caption"] for row in rows)
    hits = sum(row["rank"] == "1" for row in rows)
    assert figures["t2v"]["R@1"] == pytest.approx(20 * hits)
    assert all((row["best_video"] == row["video"]) == (row["rank"] == "1") for row in rows)
    logged = {k for row in table(searched / "metrics.csv") for k, value in row.items() if value}
    expected = {"train/loss", "val/t2v_R@1", "val/t2v_SumR", "val/v2t_R@10", "cost/multiply_adds"}
    assert expected <= logged
    record = json.loads((searched / "run.json").read_text())
    assert record["data"]["train_videos"] == 6
    assert "class_names" not in record["config"]["model"]["init_args"]


def test_the_best_and_the_last_epoch_are_told_by_their_checkpoints(searched):
    last = trained(searched / "checkpoints/last.ckpt")
    assert last["epoch"] == 1
    best = trained(searched / "checkpoints/best.ckpt")
    states = [s for name, s in best["callbacks"].items() if "'monitor': 'val/t2v_R@1'" in name]
    by_epoch = [
        float(row["val/t2v_R@1"]) for row in table(searched / "metrics.csv") if row["val/t2v_R@1"]
    ]
    assert len(by_epoch) == 2
    assert [state["best_model_score"].item() for state in states] == [max(by_epoch)]
    assert by_epoch[best["epoch"]] == max(by_epoch)
    record = best["video_adapt"]
    assert record["class_names"] == []
    assert record["input"]["max_words"] == 32


def test_a_checkpoint_measures_as_its_run_did(searched_copy, retrieval, tmp_path):
    words = ("-c", retrieval(tmp_path), "--ckpt_path", searched_copy / "checkpoints/last.ckpt")
    for command in ("validate", "test"):
        assert run(command, *words) == 0
        assert contents(searched_copy / command) == contents(searched_copy / "val")
    assert run("predict", *words) == 0


def test_a_resumed_run_equals_an_uninterrupted_one(retrieval, tmp_path):
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    keep_all = (
        "--trainer.callbacks+=ModelCheckpoint",
        f"--trainer.callbacks.dirpath={whole}",
        "--trainer.callbacks.filename=at-{step}",
        "--trainer.callbacks.every_n_train_steps=1",
        "--trainer.callbacks.save_top_k=-1",
    )
    assert run("fit", "-c", retrieval(whole), QUIET, *keep_all) == 0
    # Two steps make an epoch, so this is in the middle of the second one.
    middle = ("--ckpt_path", whole / "at-step=3.ckpt")
    assert run("fit", "-c", retrieval(rest), QUIET, *middle) == 0
    expected = trained(whole / "at-step=4.ckpt")
    resumed = trained(rest / "run/checkpoints/last.ckpt")
    assert resumed["global_step"] == 4
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], tensor), name
    assert contents(whole / "run/val") == contents(rest / "run/val")


def test_a_student_without_a_vector_is_searched_too(retrieval, tmp_path):
    assert run("fit", "-c", retrieval(tmp_path, kind="tightTransf"), QUIET) == 0
    assert len(table(tmp_path / "run/val/ranks.csv")) == 5


def test_two_processes_search_as_one(searched_copy, retrieval, tmp_path, one_thread):
    """Five videos: one process reads three of them, the other two."""
    words = ("-c", retrieval(tmp_path), "--ckpt_path", searched_copy / "checkpoints/last.ckpt")
    said = run_twofold("test", *words)
    assert "Starting with 2 processes" in said
    assert "warn" not in said.lower(), said
    by_two = contents(searched_copy / "test")
    assert run("test", *words) == 0
    assert contents(searched_copy / "test") == by_two


def test_an_untrained_student_is_not_measured(retrieval, tmp_path, refused):
    said = refused("validate", "-c", retrieval(tmp_path))
    assert "validate without trained weights would measure a random head" in said


HEADS = "video_adapt.retrieval.teachers"


def xclip(width):
    sizes = {"width": width, "words": 32, "frames": 4, "layers": 1, "heads": 2}
    return {"class_path": f"{HEADS}.XCLIP", "init_args": sizes}


def test_a_teacher_is_trained_and_then_teaches_from_its_cache(retrieval, tower, tmp_path, refused):
    width = json.loads(Path(tower).read_text())["embed_dim"]
    first = retrieval(tmp_path / "teacher", model=("TeacherRetriever", {"head": xclip(width)}))
    assert run("fit", "-c", first, QUIET) == 0
    assert len(table(tmp_path / "teacher/run/val/ranks.csv")) == 5
    weights = tmp_path / "teacher/run/checkpoints/last.ckpt"
    words = ("-c", first, "--ckpt_path", weights)
    assert run("validate", *words) == 0
    assert contents(tmp_path / "teacher/run/validate") == contents(tmp_path / "teacher/run/val")

    towers = {"class_path": "CLIP", "init_args": {"name": str(tower), "weights": None}}
    taught = {
        "head": xclip(width),
        "backbone": towers,
        "weights": str(weights),
        "cache": str(tmp_path / "cache"),
    }
    settings = {"teachers": [taught], "micro_batch": 2, "teaching": {"fine": 2.0}}
    second = retrieval(tmp_path / "student", model=("TeachCLIP", settings))
    assert run("fit", "-c", second, QUIET) == 0
    checkpoint = trained(tmp_path / "student/run/checkpoints/last.ckpt")
    assert checkpoint["hyper_parameters"]["teachers"] == []
    assert not any("teacher" in name for name in checkpoint["state_dict"])
    assert list((tmp_path / "cache").rglob("video-*.safetensors"))
    words = ("-c", second, "--ckpt_path", tmp_path / "student/run/checkpoints/last.ckpt")
    assert run("validate", *words) == 0

    taught["head"] = xclip(2 * width)
    third = retrieval(tmp_path / "other", model=("TeachCLIP", {"teachers": [taught]}))
    assert "is made for features of width" in refused("fit", "-c", third)


def test_two_processes_learn_from_one_anothers_pairs(retrieval, tower, tmp_path, one_thread):
    width = json.loads(Path(tower).read_text())["embed_dim"]
    towers = {"class_path": "CLIP", "init_args": {"name": str(tower), "weights": None}}
    taught = {"head": xclip(width), "backbone": towers, "cache": str(tmp_path / "cache")}
    settings = {"teachers": [taught], "micro_batch": 1}
    path = retrieval(tmp_path, model=("TeachCLIP", settings))
    # Three pairs a process: both have the same number of steps.
    said = run_twofold("fit", "-c", path, QUIET)
    assert "warn" not in said.lower(), said
    assert trained(tmp_path / "run/checkpoints/last.ckpt")["global_step"] == 2
    assert list((tmp_path / "cache").rglob("video-*.safetensors"))
