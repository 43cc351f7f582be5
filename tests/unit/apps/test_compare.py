import argparse
import json
import threading
from pathlib import Path

import pytest
import yaml

from tests.unit.reports.detection_run import make_detection_run
from video_adapt.apps import compare, comparison_config, comparison_queue, comparison_runs
from video_adapt.apps.comparison_runs import Outcome
from video_adapt.errors import ConfigurationError


class Reader:
    """In place of the parser of training: the lines of a run are its settings."""

    def __call__(self, run):
        lines = dict(line.removeprefix("--").split("=") for line in run.lines)
        return lines | {"seed_everything": run.seed, "trainer": {"max_epochs": 2}}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A comparison whose runs are stand-ins; ``calls`` are the processes that were begun."""
    monkeypatch.setattr(comparison_config, "ConfigReader", Reader)
    calls = []
    company = threading.Barrier(1)

    def execute(words, log, *, environment, processes):
        calls.append(words)
        seed = int(environment["SEED"])
        if company.parties > 1:
            company.wait(timeout=10)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("video-adapt: error: out of luck\n")
        said = dict(word.removeprefix("--").split("=") for word in words if "=" in word)
        if said["lr"] == "bad":
            return 1
        folder = make_detection_run(tmp_path / "out/runs" / Path(said["run_dir"]).name, seed=seed)
        record = json.loads((folder / "run.json").read_text())
        config = {k: v for k, v in said.items() if k not in ("config", "run_dir")}
        config |= {"seed_everything": seed, "trainer": {"max_epochs": 2}}
        (folder / "run.json").write_text(json.dumps(record | {"command": "fit", "config": config}))
        return 0

    monkeypatch.setattr(comparison_runs, "execute", execute)
    (tmp_path / "a.yaml").touch()

    def ask(*words, second="0.2", together=1, **more):
        nonlocal company
        company = threading.Barrier(together)
        content = {
            "out": str(tmp_path / "out"),
            "seeds": [0, 1],
            "experiments": {
                "one": {"file": "a.yaml", "set": {"lr": "0.1"}},
                "two": {"file": "a.yaml", "set": {"lr": second} | more, "seeds": [0]},
            },
        }
        path = tmp_path / "cmp.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        parser = argparse.ArgumentParser()
        compare.add_arguments(parser)
        calls.clear()
        code = compare.run(parser.parse_args([str(path), *words]))
        return code, [next(w for w in c if "run_dir" in w).rpartition("/")[2] for c in calls]

    return ask


def report(tmp_path):
    return (tmp_path / "out/report.md").read_text()


def test_everything_runs_once_and_is_used_again(asked, tmp_path, capsys):
    assert asked() == (0, ["one_0", "two_0", "one_1"])
    said = capsys.readouterr().out
    assert "[3/3] one_1: mAP 87.5%" in said
    assert said.splitlines()[-1] == str(tmp_path / "out/report.html")
    assert "| one (n = 2) |" in report(tmp_path)
    assert asked() == (0, [])
    assert "finished before in" in capsys.readouterr().out


def test_a_changed_line_runs_what_it_changes(asked, tmp_path, capsys):
    asked()
    code, begun = asked(second="0.3")
    assert (code, begun) == (1, [])
    assert "two_0 holds a run of other settings (lr)" in capsys.readouterr().err
    assert "| two | two_0: " in report(tmp_path)
    (tmp_path / "out/runs/two_0").rename(tmp_path / "elsewhere")
    assert asked(second="0.3") == (0, ["two_0"])


def test_a_failure_is_reported_and_the_rest_goes_on(asked, tmp_path, capsys):
    assert asked(second="bad") == (1, ["one_0", "two_0", "one_1"])
    output = capsys.readouterr()
    assert "failed: two_0: out of luck (exit code 1" in output.err
    assert "| two | two_0: out of luck" in report(tmp_path)
    assert "| one (n = 2) |" in report(tmp_path)
    assert asked() == (0, ["two_0"])


def test_one_run_alone_writes_no_report(asked, tmp_path):
    assert asked("--run", "one_1") == (0, ["one_1"])
    assert not (tmp_path / "out/report.md").exists()
    with pytest.raises(ConfigurationError, match="no run 'three_0'; there are one_0, two_0, one_1"):
        asked("--run", "three_0")


def test_a_report_runs_nothing(asked, tmp_path):
    asked("--run", "one_1")
    assert asked("--report") == (0, [])
    assert "| two | two_0: not finished |" in report(tmp_path)


def test_jobs_are_the_runs_that_are_missing(asked, tmp_path, capsys):
    asked("--run", "one_1")
    capsys.readouterr()
    assert asked("--jobs", "slurm") == (0, [])
    assert "runs=(one_0 two_0)" in (tmp_path / "out/jobs.sh").read_text()
    assert asked("--jobs", "wandb") == (0, [])
    assert "- two_0" in (tmp_path / "out/sweep.yaml").read_text()
    assert "2 of 3 runs" in capsys.readouterr().out
    asked()
    capsys.readouterr()
    assert asked("--jobs", "slurm") == (0, [])
    assert "every run is finished" in capsys.readouterr().out


def test_several_run_at_once_and_are_reported_in_their_order(asked, tmp_path, capsys):
    code, begun = asked("--at-once", "3", together=3)
    assert (code, sorted(begun)) == (0, ["one_0", "one_1", "two_0"])
    text = report(tmp_path)
    assert "Up to 3 runs at once" in text
    assert text.index("| one (n = 2) |") < text.index("| two |")
    assert "[2/3] two_0: mAP 87.5%" in capsys.readouterr().out


def test_a_run_that_is_left_alone_has_the_whole_machine(asked, tmp_path):
    asked("--run", "one_0")
    asked("--run", "one_1")
    assert asked("--at-once", "3") == (0, ["two_0"])
    assert "at once" not in report(tmp_path)


def test_the_time_to_go_is_shared_by_those_that_run_at_once(asked, monkeypatch, capsys):
    def perform_all(tasks, *, at_once, overwrite, begins, ended):
        for task in tasks:
            ended(task, Outcome(task.run, "failed", task.found.folder), 600.0)

    monkeypatch.setattr(comparison_queue, "perform_all", perform_all)
    for number, left_min in ((1, (20, 10, 0)), (2, (10, 5, 0)), (9, (7, 3, 0))):
        with pytest.raises(ConfigurationError, match="no run of the comparison is finished"):
            asked("--at-once", str(number))
        said = capsys.readouterr().out.splitlines()
        assert [line.partition("10.0 min, about ")[2] for line in said] == [
            f"{left} min to go" for left in left_min
        ]


def test_a_run_stands_behind_those_whose_files_it_reads(asked, tmp_path, monkeypatch):
    behind = {}

    def perform_all(tasks, *, at_once, overwrite, begins, ended):
        behind.update({task.run.name: task.behind for task in tasks})
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison_queue, "perform_all", perform_all)
    with pytest.raises(KeyboardInterrupt):
        asked("--at-once", "2", weights=str(tmp_path / "out/runs/one_0/last.ckpt"))
    assert behind == {"one_0": [], "two_0": ["one_0"], "one_1": []}


def test_a_number_of_runs_at_once_is_at_least_one(asked):
    with pytest.raises(ConfigurationError, match="--at-once 0: give a whole number from 1"):
        asked("--at-once", "0")
