"""What is written of a sweep: the best trial, what differs between trials, and a picture."""

import csv
from pathlib import Path

import pytest

from video_adapt.apps.sweep_file import Choices, Range, Sweep
from video_adapt.apps.sweep_study import TrialRow
from video_adapt.reports.sweep_report import best_of, describe, plot_sweep, write_sweep_report

DOMAINS = {
    "model.init_args.optimizer.lr": Range(1e-4, 1e-1, log=True),
    "model.init_args.head": Choices(("linear", "text")),
    "data.init_args.root": Choices(("videos",)),
}


def sweep(*, maximize=True, domains=DOMAINS):
    command = ("fit", "${args}")
    return Sweep(
        Path("s.yaml"), "e.yaml", "bayes", "val/top1", maximize, domains, command, None, None
    )


def row(number, state, value, lr=0.01, head="linear", note=""):
    point = dict(zip(DOMAINS, (lr, head, "videos"), strict=True))
    return TrialRow(number, state, value, 2.0, point, Path(f"out/trial_{number:04d}"), note)


ROWS = [
    row(0, "complete", 0.5),
    row(1, "pruned", 0.9, lr=0.001),
    row(2, "failed", None, note="out of memory"),
    row(3, "complete", 0.75, head="text"),
    row(4, "complete", 0.75),
]


@pytest.mark.parametrize(("maximize", "number"), [(True, 3), (False, 0)])
def test_the_best_is_complete_and_the_first_of_its_value(maximize, number):
    assert best_of(sweep(maximize=maximize), ROWS).number == number
    assert best_of(sweep(), ROWS[1:3]) is None


def test_what_all_trials_share_is_said_once(tmp_path):
    said = write_sweep_report(sweep(), ROWS, tmp_path)
    text = (tmp_path / "sweep.md").read_text()
    assert "5 trials of e.yaml (bayes): 3 complete, 1 pruned, 1 failed." in text
    assert "Best val/top1 0.75, trial 3: optimizer.lr 0.01, head text.\n" in said
    assert "In all of them: data.root videos.\n" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == "| trial | val/top1 | state | time | optimizer.lr | head |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 1", "| 3", "| 4", "| 0", "| 2"]
    assert "failed: out of memory" in lines[-1]
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert {line["data.init_args.root"] for line in csv.DictReader(file)} == {"videos"}


def test_a_single_trial_says_all_its_settings():
    fixed = {name: DOMAINS[name] for name in ["data.init_args.root"]}
    assert describe(sweep(domains=fixed), {"data.init_args.root": "videos"}) == "data.root videos"


def test_the_picture_has_a_panel_for_every_setting_that_varies():
    order, rate, head = plot_sweep(sweep(), ROWS).axes
    (line,) = order.get_lines()
    assert line.get_xdata().tolist() == [0, 3, 4]
    assert line.get_ydata().tolist() == [0.5, 0.75, 0.75]
    assert (rate.get_xlabel(), rate.get_xscale()) == ("optimizer.lr", "log")
    assert [tick.get_text() for tick in head.get_xticklabels()] == ["linear", "text"]
    places = [float(dots.get_offsets()[0, 0]) for dots in head.collections]
    assert places == [0.0, 0.0, 1.0, 0.0]
