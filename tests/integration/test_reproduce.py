"""A run made again from its own record."""

import json

import pytest
import torch

from tests.integration.conftest import run


@pytest.fixture(scope="module")
def again(tmp_path_factory, finished):
    """The finished run made again; tests must not write into it."""
    out = tmp_path_factory.mktemp("reproduced") / "again"
    return run("reproduce", finished, "--out", out), out


def test_two_runs_of_one_seed_are_equal_to_the_last_bit(finished, again):
    code, out = again
    report = json.loads((out / "reproduction.json").read_text())
    assert [figure for figure in report["figures"] if figure["where"]] == []
    assert code == 0
    assert report["reproduced"]
    assert report["changed"] == []
    names = {figure["name"] for figure in report["figures"]}
    assert {"train/loss", "val/top1", "cost/trained_parameters", "mean_class"} <= names
    assert not {"cost/step_ms", "data/wait_share", "memory/train_process"} & names
    states = [
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (finished, out)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_another_seed_is_another_run(experiment, finished, tmp_path, capsys):
    path = experiment(tmp_path)
    assert run("fit", "-c", path, "--seed_everything=1") == 0
    capsys.readouterr()
    assert run("reproduce", finished, "--against", tmp_path / "run") == 1
    said = capsys.readouterr().out
    assert "differs: train/loss: step 0: " in said
    assert "NOT reproduced" in said


def test_what_has_changed_is_said_before_anything_runs(finished_copy, tmp_path, capsys):
    path = finished_copy / "run.json"
    record = json.loads(path.read_text())
    record["versions"]["torch"] = "1.0"
    record["started"]["code"] = "0" * 64
    record["data"]["val_digest"] = "other"
    path.write_text(json.dumps(record))
    capsys.readouterr()
    out = tmp_path / "again"
    assert run("reproduce", finished_copy, "--out", out, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"changed since: torch: 1.0 -> {torch.__version__.partition('+')[0]}" in said
    assert "changed since: code: 000000000000, commit " in said
    assert "changed since: data of val: other -> " in said
    assert "data of train" not in said
    assert f"--config {finished_copy}/config.yaml --run_dir {out} --overwrite=false" in said
    assert not out.exists()


@pytest.mark.slow
def test_two_detections_of_one_seed_are_equal(detected, tmp_path):
    assert run("reproduce", detected, "--out", tmp_path / "again") == 0
    report = json.loads((tmp_path / "again/reproduction.json").read_text())
    assert {"train/loss", "val/mAP"} <= {figure["name"] for figure in report["figures"]}


@pytest.mark.slow
def test_an_evaluation_is_made_again(finished_copy, experiment, tmp_path):
    checkpoint = finished_copy / "checkpoints/best.ckpt"
    assert run("test", "-c", experiment(tmp_path, eval_views=3), "--ckpt_path", checkpoint) == 0
    assert run("reproduce", finished_copy / "test", "--out", tmp_path / "again") == 0
    assert json.loads((tmp_path / "again/test/metrics.json").read_text())["views"] == 3
