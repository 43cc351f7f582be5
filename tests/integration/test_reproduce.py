"""A run made again from its own record."""

import csv
import json

import pytest
import torch

from tests.integration.conftest import run
from tests.integration.four_jobs import worlds, write_experiments

FIGURES = {
    "recognition": "val/top1",
    "detection": "val/mAP",
    "retrieval": "val/t2v_R@1",
    "open_vocabulary": "val/top1",
}


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


def test_a_figure_that_is_not_the_run_s_is_named(finished_copy, again, capsys):
    table = finished_copy / "metrics.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = next(row for row in reversed(rows) if row["val/top1"])
    told["val/top1"], true = "0.123", float(told["val/top1"])
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert run("reproduce", finished_copy, "--against", again[1]) == 1
    differs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("differs")]
    step = f"step {told['step']}: 0.123, again {true:.9g}"
    assert differs == [f"differs: val/top1: {step} (at most {abs(true - 0.123):.3g} apart)"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tower, experiment, detection):
    """Run folders of one epoch by job."""
    folder = tmp_path_factory.mktemp("trained")
    roots = worlds(folder / "worlds", 3)
    experiments = write_experiments(folder / "experiments", tower, experiment, detection)
    for job, path in experiments.items():
        words = ("-c", path, f"--data.init_args.root={roots[job]}", "--trainer.log_every_n_steps=1")
        assert run("fit", *words, f"--run_dir={folder / job}") == 0
    return {job: folder / job for job in experiments}


@pytest.mark.slow
@pytest.mark.parametrize(("job", "figure"), FIGURES.items())
def test_every_job_is_made_again_to_the_last_bit(trained, tmp_path, capsys, job, figure):
    capsys.readouterr()
    assert run("reproduce", trained[job], "--out", tmp_path / "again") == 0
    said = capsys.readouterr().out
    assert "nothing that was recorded has changed" in said
    assert "equal to the last bit" in said
    report = json.loads((tmp_path / "again/reproduction.json").read_text())
    assert {"train/loss", figure} <= {found["name"] for found in report["figures"]}


@pytest.mark.slow
def test_an_evaluation_is_made_again(finished_copy, experiment, tmp_path):
    checkpoint = finished_copy / "checkpoints/best.ckpt"
    assert run("test", "-c", experiment(tmp_path, eval_views=3), "--ckpt_path", checkpoint) == 0
    assert run("reproduce", finished_copy / "test", "--out", tmp_path / "again") == 0
    assert json.loads((tmp_path / "again/test/metrics.json").read_text())["views"] == 3
