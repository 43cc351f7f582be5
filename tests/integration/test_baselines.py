"""Every baseline trains and is measured through the same command as the methods."""

import json

import pytest
import yaml

from tests.integration.conftest import run

SHORT = {"loader": {"batch_size": 6, "num_workers": 0}}
QUIET = "--trainer.logger=false"
ADAPTER = {"class_path": "STAdapter", "init_args": {"width": 8}}
BASELINES = {
    "linear_probe": ("TunedClassifier", {"readout": "norm_then_mean", "head": "linear"}),
    "attentive_probe": ("AttentiveProbe", {"num_frames": 8}),
    "evl": ("EVL", {"num_frames": 8, "layers": 2}),
    "st_adapter": (
        "TunedClassifier",
        {"tuning": "adapter", "adapter": ADAPTER, "readout": "mean_then_norm", "head": "linear"},
    ),
    "full": ("TunedClassifier", {"tuning": "full", "readout": "embedding", "head": "text"}),
}


def write(path, class_path, *, drop=(), **arguments):
    """Change the model of an experiment file."""
    content = yaml.safe_load(path.read_text())
    model = content["model"]
    kept = {k: v for k, v in model["init_args"].items() if k in ("backbone", "optimizer")}
    model["class_path"] = class_path
    model["init_args"] = {k: v for k, v in kept.items() if k not in drop} | arguments
    path.write_text(yaml.safe_dump(content))
    return path


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize(("cls", "arguments"), BASELINES.values(), ids=BASELINES.keys())
def test_a_baseline_trains_and_is_measured(experiment, tmp_path, cls, arguments):
    path = write(experiment(tmp_path, epochs=1, **SHORT), cls, **arguments)
    assert run("fit", "-c", path, QUIET) == 0
    found = metrics(tmp_path / "run/val")
    assert found["videos"] == 7
    assert found["views"] == 1
    assert 0 <= found["top1"] <= 1
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()


def test_zero_shot_is_measured_without_training(experiment, tmp_path, capsys):
    path = experiment(tmp_path, **SHORT)
    path = write(path, "ZeroShot", drop=["optimizer"], template="a shape that {}")
    assert run("validate", "-c", path) == 0
    assert metrics(tmp_path / "run/validate")["videos"] == 7
    capsys.readouterr()
    assert run("fit", "-c", path, QUIET) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line == (
        "video-adapt: error: ZeroShot has nothing to train: use validate, test or predict"
    )
