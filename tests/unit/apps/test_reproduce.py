import argparse
import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from video_adapt.apps import reproduce
from video_adapt.apps.reproduce_changes import Fact
from video_adapt.apps.reproduce_record import command_of, read_record
from video_adapt.errors import ConfigurationError, WeightsError


def write_run(folder, *, command="fit", losses=(1.0, 0.5), top1=0.75, **changes):
    """What a run leaves, and what an evaluation of it leaves."""
    own = folder if command == "fit" else folder / command
    results = folder / ("val" if command == "fit" else command)
    results.mkdir(parents=True, exist_ok=True)
    trainer = {"callbacks": None, "num_nodes": 1, "accelerator": "cpu"}
    record = {
        "command": command,
        "seed": 3,
        "versions": {"torch": torch.__version__},
        "git": None,
        "machine": {"device": "x86_64", "threads": 5},
        "started": {"words": ["video-adapt", command, "-c", "x y.yaml"], "folder": str(folder)},
        "data": {},
        "config": {"ckpt_path": None, "trainer": trainer | changes.pop("trainer", {})},
        **changes,
    }
    (own / "run.json").write_text(json.dumps(record))
    (own / "config.yaml").write_text("")
    rows = [
        {"step": step, "train/loss": loss, "cost/step_ms": id(loss)}
        for step, loss in enumerate(losses)
    ]
    with (own / "metrics.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (results / "metrics.json").write_text(json.dumps({"top1": top1}))
    return own


@pytest.fixture
def child(monkeypatch):
    """In the place of the program: leaves what ``child.leaves`` says and ends with its code."""
    child = SimpleNamespace(leaves={}, code=0, command=None, settings={})

    def start(command, **settings):
        child.command, child.settings = command, settings
        folder = Path(command[command.index("--run_dir") + 1])
        write_run(folder, command=command[3], **child.leaves)
        return SimpleNamespace(returncode=child.code)

    monkeypatch.setattr(reproduce.subprocess, "run", start)
    monkeypatch.setattr(reproduce, "changes_since", lambda recorded: [])
    return child


def run(*words):
    parser = argparse.ArgumentParser()
    reproduce.add_arguments(parser)
    return reproduce.run(parser.parse_args([str(word) for word in words]))


def test_the_same_figures_are_a_reproduction(tmp_path, child, capsys, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    folder = write_run(tmp_path / "x")
    assert run(folder) == 0
    out = tmp_path / "x_again"
    assert child.command == [
        *(sys.executable, "-m", "video_adapt", "fit"),
        *("--config", str(folder / "config.yaml"), "--run_dir", str(out), "--overwrite=false"),
        *("--trainer.logger=null", "--seed_everything=3", "--ckpt_path=null"),
    ]
    assert child.settings["cwd"] == folder
    assert child.settings["env"]["OMP_NUM_THREADS"] == "5"
    assert child.settings["env"]["WANDB_MODE"] == "disabled"
    said = capsys.readouterr().out
    assert "nothing that was recorded has changed" in said
    assert "was: video-adapt fit -c 'x y.yaml'" in said
    assert f"now: cd {folder} && OMP_NUM_THREADS=5 {sys.executable}" in said
    assert "\nreproduced: 2 figures, 3 values, equal to the last bit\n" in said
    report = json.loads((out / "reproduction.json").read_text())
    assert report["reproduced"]
    assert report["figures"][0] == {"name": "train/loss", "values": 2, "apart": 0, "where": ""}


def test_another_figure_is_none_and_the_first_difference_is_named(tmp_path, child, capsys):
    folder = write_run(tmp_path / "x", losses=(1.0, 0.5, 0.25))
    child.leaves = {"losses": (1.0, 0.625, 0.75)}
    assert run(folder, "--out", tmp_path / "y") == 1
    said = capsys.readouterr().out
    assert "differs: train/loss: step 1: 0.5, again 0.625 (at most 0.5 apart)\n" in said
    assert "NOT reproduced: 1 of 2 figures differ" in said
    assert not json.loads((tmp_path / "y/reproduction.json").read_text())["reproduced"]


def test_small_differences_are_tolerated_where_one_says_so(tmp_path, child, capsys):
    folder = write_run(tmp_path / "x")
    child.leaves = {"losses": (1.0, 0.501), "top1": 0.7501}
    assert run(folder, "--tolerance", "0.01") == 0
    assert "equal within 0.01" in capsys.readouterr().out


def test_results_count_too(tmp_path, child, capsys):
    folder = write_run(tmp_path / "x")
    child.leaves = {"top1": 0.5}
    assert run(folder) == 1
    assert "differs: top1: 0.75, again 0.5 (at most 0.25 apart)" in capsys.readouterr().out


def test_an_evaluation_is_made_again_beside_its_run(tmp_path, child):
    weights = tmp_path / "x.ckpt"
    weights.touch()
    config = {"ckpt_path": "../x.ckpt", "trainer": {"callbacks": None, "num_nodes": 1}}
    folder = write_run(tmp_path / "x", command="test", config=config)
    assert run(folder) == 0
    assert child.command[3] == "test"
    assert str(tmp_path / "x_again") in child.command
    assert f"--ckpt_path={tmp_path / 'x'}/../x.ckpt" in child.command
    assert (tmp_path / "x_again/test/metrics.csv").is_file()


def test_nothing_runs_where_only_the_command_is_wanted(tmp_path, child, capsys):
    assert run(write_run(tmp_path / "x"), "--dry-run") == 0
    assert child.command is None
    assert not (tmp_path / "x_again").exists()
    assert "now: cd " in capsys.readouterr().out


def test_nothing_runs_where_two_runs_are_compared(tmp_path, child):
    first, second = write_run(tmp_path / "x"), write_run(tmp_path / "y", losses=(1.0, 0.75))
    assert run(first, "--against", second) == 1
    assert child.command is None


def test_what_has_changed_is_the_first_thing_to_restore(tmp_path, child, capsys, monkeypatch):
    changed = [Fact("torch", "2.0", "3.0")]
    monkeypatch.setattr(reproduce, "changes_since", lambda recorded: changed)
    child.leaves = {"top1": 0.5}
    assert run(write_run(tmp_path / "x")) == 1
    said = capsys.readouterr().out
    assert said.startswith("changed since: torch: 2.0 -> 3.0\n")
    assert "restore what has changed since: torch" in said


def test_a_gpu_s_sums_are_named_where_nothing_else_has_changed(tmp_path, child, capsys):
    child.leaves = {"top1": 0.5}
    assert run(write_run(tmp_path / "x", machine={"device": "NVIDIA H100"})) == 1
    assert "--trainer.deterministic=true" in capsys.readouterr().out


def test_a_taken_folder_is_left_alone(tmp_path, child):
    folder = write_run(tmp_path / "x")
    with pytest.raises(ConfigurationError, match=f"--against {folder}"):
        run(folder, "--out", folder)
    assert child.command is None


def test_several_nodes_are_left_to_their_launcher(tmp_path, child):
    with pytest.raises(ConfigurationError, match="2 nodes"):
        run(write_run(tmp_path / "x", trainer={"num_nodes": 2}))
    assert child.command is None


def test_a_run_that_fails_is_an_error(tmp_path, child):
    child.code = 3
    with pytest.raises(ConfigurationError, match="code 3"):
        run(write_run(tmp_path / "x"))


def test_a_resumed_run_starts_at_the_beginning(tmp_path, child, capsys):
    folder = tmp_path / "x"
    own = {"ckpt_path": "checkpoints/last.ckpt", "trainer": {"callbacks": None, "num_nodes": 1}}
    write_run(folder, config=own)
    assert run(folder) == 0
    assert "--ckpt_path=null" in child.command
    assert "as if it had never been interrupted" in capsys.readouterr().out


def test_weights_of_another_run_are_begun_with_again(tmp_path):
    config = {"ckpt_path": "../first.ckpt", "trainer": {"callbacks": None}}
    recorded = read_record(write_run(tmp_path / "x", config=config))
    with pytest.raises(WeightsError, match=r"first\.ckpt: .* gone"):
        command_of(recorded, tmp_path / "y")
    (tmp_path / "first.ckpt").touch()
    command = command_of(recorded, tmp_path / "y")
    assert f"--ckpt_path={tmp_path / 'x'}/../first.ckpt" in command


def test_checkpoints_never_go_into_a_folder_of_the_old_run(tmp_path):
    callbacks = [
        {"class_path": "EMA", "init_args": {"decay": 0.5}},
        {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(tmp_path / "x"), "a": 1}},
    ]
    recorded = read_record(write_run(tmp_path / "x", trainer={"callbacks": callbacks}))
    (word,) = [w for w in command_of(recorded, tmp_path / "y") if "callbacks" in w]
    moved = json.loads(word.partition("=")[2])
    assert moved[0] == callbacks[0]
    assert moved[1]["init_args"] == {"dirpath": str(tmp_path / "y/checkpoints_1"), "a": 1}


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="name a run's folder"):
        read_record(tmp_path)
    write_run(tmp_path / "x", command="test")
    with pytest.raises(ConfigurationError, match=r"name one of .*/x/\{test\}"):
        read_record(tmp_path / "x")


def test_a_record_of_another_command_is_refused(tmp_path):
    folder = write_run(tmp_path / "x")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"command": "predict"}))
    with pytest.raises(ConfigurationError, match="'predict'"):
        read_record(folder)
    (folder / "run.json").write_text("{")
    with pytest.raises(ConfigurationError, match="not valid JSON"):
        read_record(folder)
