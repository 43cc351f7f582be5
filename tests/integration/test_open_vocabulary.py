"""From base to novel through the command line: fit, test, report, two processes."""

import json

import pytest
import yaml

from tests.integration.conftest import run
from tests.integration.test_processes import run_twofold
from video_adapt.video.synthetic_files import WorldSpec, write_world

QUIET = "--trainer.logger=false"


@pytest.fixture(scope="module")
def spoken_world(tmp_path_factory):
    """12 training videos of as many base classes, 24 test videos of base and novel ones."""
    root = tmp_path_factory.mktemp("spoken_world") / "openvocab"
    motions = ("moves right", "moves down")
    spec = WorldSpec("openvocab", train=12, val=24, seconds=0.5, size=32, fps=8, motions=motions)
    write_world(root, spec, workers=1)
    return root


@pytest.fixture(scope="module")
def spoken(spoken_world, tower):
    """Write an experiment file of open vocabulary; keyword arguments replace parts of its data."""

    def write(folder, **data):
        folder.mkdir(parents=True, exist_ok=True)
        schedule = {"class_path": "WarmupCosine", "init_args": {"max_epochs": 1}}
        arguments = {
            "backbone": {"class_path": "CLIP", "init_args": {"name": str(tower), "weights": None}},
            "regime": "residual_only",
            "optimizer": {"new_lr": 0.001, "schedule": schedule},
        }
        protocol = {
            "root": str(spoken_world),
            "classes": "classes.json",
            "part": "base",
            "train": "train.csv",
            "val": "val_base.csv",
            "test_sets": {
                "base": {"videos": "val_base.csv"},
                "novel": {"videos": "test_novel.csv", "part": "novel"},
            },
            "sampler": {"class_path": "CoveringSampler", "init_args": {"num_frames": 2}},
            "loader": {"batch_size": 4, "eval_batch_size": 2, "num_workers": 0},
            "eval_views": 2,
        }
        content = {
            "run_dir": str(folder / "run"),
            "model": {"class_path": "FROSTER", "init_args": arguments},
            "data": {"class_path": "OpenVocabularyDataModule", "init_args": protocol | data},
            "trainer": {
                "max_epochs": 1,
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


def test_trained_on_base_and_tested_on_both(tmp_path, spoken, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    experiment = spoken(tmp_path)
    assert run("fit", "-c", experiment, QUIET) == 0
    checkpoint = tmp_path / "run/checkpoints/best.ckpt"
    assert run("test", "-c", experiment, "--ckpt_path", checkpoint) == 0
    folder = tmp_path / "run/test"
    written = json.loads((folder / "metrics.json").read_text())
    classes = {name: facts["classes"] for name, facts in written["sets"].items()}
    assert classes == {"base": 12, "novel": 12}
    assert {facts["videos"] for facts in written["sets"].values()} == {12}
    assert {facts["views"] for facts in written["sets"].values()} == {2}
    assert set(written["top1"]) == set(written["zero_shot_top1"]) == {"base", "novel", "HM"}
    assert "| harmonic mean |" in (folder / "results.md").read_text()
    assert run("report", tmp_path / "run") == 0
    assert "zero-shot novel" in (tmp_path / "run/report/report.md").read_text()


def test_two_processes_measure_what_one_does(tmp_path, spoken):
    experiment = spoken(tmp_path)
    words = ("test", "-c", experiment, "--run_dir", tmp_path / "run")
    assert run("fit", "-c", experiment, QUIET) == 0
    checkpoint = ("--ckpt_path", tmp_path / "run/checkpoints/last.ckpt")
    assert run(*words, *checkpoint, QUIET) == 0
    alone = json.loads((tmp_path / "run/metrics.json").read_text())
    (tmp_path / "run/metrics.json").unlink()
    run_twofold(*words, *checkpoint, QUIET)
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == alone


def test_a_novel_class_that_is_trained_on_is_refused(tmp_path, spoken, spoken_world, capsys):
    classes = json.loads((spoken_world / "classes.json").read_text())
    (tmp_path / "both.json").write_text(json.dumps(classes["base"]))
    sets = {"novel": {"videos": "test_novel.csv", "classes": str(tmp_path / "both.json")}}
    experiment = spoken(tmp_path, test_sets=sets)
    assert run("fit", "-c", experiment, QUIET) == 1
    assert "is in both 'train' and 'novel'" in capsys.readouterr().err
