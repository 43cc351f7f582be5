"""Sweep files: what they mean here, and one line for what has no meaning."""

import math
import sys
from pathlib import Path

import pytest
import yaml

from video_adapt.apps.sweep_file import Choices, Hyperband, Range, read_sweep
from video_adapt.errors import ConfigurationError

FOLDER = "--run_dir=runs/${oc.env:WANDB_RUN_ID}"
COMMAND = ["${env}", "${interpreter}", "-m", "video_adapt", "fit", "-c", "${program}", "${args}"]
CONTENT = {
    "program": "experiment.yaml",
    "method": "bayes",
    "metric": {"name": "val/top1", "goal": "maximize"},
    "parameters": {"lr": {"min": 0.1, "max": 1.0}},
    "command": [*COMMAND, FOLDER],
}


@pytest.fixture
def read(tmp_path):
    def write_and_read(**parts):
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(CONTENT | parts))
        return read_sweep(path)

    return write_and_read


@pytest.mark.parametrize(
    ("entry", "domain"),
    [
        ({"value": 3}, Choices((3,))),
        ({"values": [[1, 2], "a", False]}, Choices(([1, 2], "a", False))),
        ({"min": 1, "max": 8}, Range(1, 8, whole=True)),
        ({"min": 1, "max": 8.0}, Range(1, 8.0)),
        ({"min": 1, "max": 8, "distribution": "uniform"}, Range(1, 8)),
        ({"min": 0, "max": 1, "q": 0.25, "distribution": "q_uniform"}, Range(0, 1, step=0.25)),
        (
            {"min": 1e-4, "max": 0.1, "distribution": "log_uniform_values"},
            Range(1e-4, 0.1, log=True),
        ),
        (
            {"min": -2, "max": 1, "distribution": "log_uniform"},
            Range(math.exp(-2), math.exp(1), log=True),
        ),
    ],
)
def test_domains(read, entry, domain):
    assert read(parameters={"x": entry}).domains["x"] == domain


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"method": "hyperband"}, "method is 'hyperband'; choose one of grid, random, bayes"),
        ({"program": None}, "program is missing"),
        ({"metric": {"name": "val/top1"}}, "metric.goal is None; choose one of maximize"),
        ({"metric": {"goal": "maximize"}}, "metric.name is missing"),
        ({"parameters": {}}, "parameters is missing"),
        ({"run_cap": 0}, "run_cap is 0; give a whole number from 1"),
        ({"command": COMMAND}, "every trial needs a folder of its own; add '--run_dir=runs/sweeps"),
        ({"command": ["${args_json}", FOLDER]}, "without ${args}"),
        ({"command": [*COMMAND, "${args_json}", FOLDER]}, "${args_json} is not known"),
        ({"early_terminate": {"type": "median"}}, "write {type: hyperband, min_iter: 1}"),
        ({"early_terminate": {"type": "hyperband"}}, "give min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 9, "max_iter": 3}}, "not below"),
    ],
)
def test_what_has_no_meaning_is_refused(read, parts, message):
    with pytest.raises(ConfigurationError) as error:
        read(**parts)
    assert message in str(error.value)
    assert "sweep.yaml: " in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"min": 2, "max": 1}, "min is below max"),
        ({"min": 0, "max": 1, "distribution": "log_uniform_values"}, "and above 0"),
        ({"min": "1e-4", "max": 1}, "x.min is '1e-4', not a number; write 1.0e-4"),
        ({"min": 1}, "x.max is None, not a number"),
        ({"mu": 0, "min": 0, "max": 1, "distribution": "normal"}, "normal runs on W&B alone"),
        ({"values": [1, None]}, 'write "null" in quotes'),
        ({"values": []}, "is not a list of values"),
        ({"values": [1, 2], "probabilities": [0.1, 0.9]}, "probabilities are W&B's alone"),
        ({"parameters": {"y": {"value": 1}}}, "write the whole key with dots"),
        (3, "write the whole key with dots"),
    ],
)
def test_a_parameter_without_meaning_is_named(read, entry, message):
    with pytest.raises(ConfigurationError) as error:
        read(parameters={"x": entry})
    assert f"parameters.{'x'}" in str(error.value)
    assert message in str(error.value)


def test_first_rung_follows_from_the_last(read):
    entry = {"type": "hyperband", "max_iter": 27, "s": 2, "eta": 3}
    assert read(early_terminate=entry).hyperband == Hyperband(3, 3, 27)
    assert read(early_terminate={"type": "hyperband", "min_iter": 2}).hyperband == Hyperband(
        2, 3, None
    )


def test_a_grid_is_every_combination_in_order(read):
    parameters = {
        "a": {"values": ["x", "y"]},
        "b": {"min": 1, "max": 3},
        "c": {"min": 0.0, "max": 0.3, "q": 0.1, "distribution": "q_uniform"},
    }
    grid = list(read(method="grid", parameters=parameters).grid())
    assert len(grid) == 2 * 3 * 4
    assert grid[0] == {"a": "x", "b": 1, "c": 0.0}
    assert grid[1] == {"a": "x", "b": 1, "c": pytest.approx(0.1)}
    assert grid[-1] == {"a": "y", "b": 3, "c": pytest.approx(0.3)}
    with pytest.raises(ConfigurationError, match=r"parameters.a: a grid has no end here"):
        read(method="grid", parameters={"a": {"min": 0.5, "max": 1}})


def test_words_are_those_of_the_agent(read):
    sweep = read()
    point = {"model.lr": 0.5, "names": ["a", "b"]}
    begin = [sys.executable, "-m", "video_adapt", "fit", "-c", "experiment.yaml"]
    settings = ["--model.lr=0.5", "--names=['a', 'b']"]
    assert sweep.words(point) == [*begin, *settings, FOLDER]
    assert sweep.words(point, Path("out/x")) == [*begin, *settings, "--run_dir=out/x"]


def test_number_of_trials_and_place_of_the_file_do_not_make_another_sweep(read):
    assert read().identity == read(run_cap=7).identity
    assert read().identity != read(parameters={"lr": {"min": 0.1, "max": 2.0}}).identity
    assert read().identity != read(program="other.yaml").identity


def test_a_file_that_is_no_sweep(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("just words")
    with pytest.raises(ConfigurationError, match="not a sweep file"):
        read_sweep(path)
    path.write_text("a: [1")
    with pytest.raises(ConfigurationError, match="no YAML"):
        read_sweep(path)
