from pathlib import Path

import pytest
import yaml

from video_adapt.apps.comparison_file import read_comparison
from video_adapt.errors import ConfigurationError

SMALL = {"out": "runs/c", "experiments": {"probe": {"file": "probe.yaml"}}}


@pytest.fixture
def write(tmp_path):
    """Write a comparison beside two experiment files."""
    for name in ("probe.yaml", "data.yaml"):
        (tmp_path / name).write_text("run_dir: runs/x\n")

    def write(content):
        path = tmp_path / "small_world.yaml"
        path.write_text(
            content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        )
        return path

    return write


def test_a_run_is_an_ordinary_command(write, tmp_path):
    common = {"data": "data.yaml", "trainer.max_epochs": 2}
    own = {"model.init_args.tuning": "full", "data.init_args.classes": None}
    experiments = {"probe": {"file": "probe.yaml", "set": own}}
    comparison = read_comparison(write(SMALL | {"set": common, "experiments": experiments}))
    [run] = comparison.runs
    assert run.name == "probe_0"
    assert run.words == [
        "fit",
        "--config",
        str(tmp_path / "probe.yaml"),
        f"--data={tmp_path / 'data.yaml'}",
        "--trainer.max_epochs=2",
        "--model.init_args.tuning=full",
        "--data.init_args.classes=null",
        "--seed_everything=0",
        "--run_dir=runs/c/runs/probe_0",
    ]


def test_its_own_lines_tell_an_experiment_apart(write, tmp_path):
    experiments = {
        "probe": {"file": "probe.yaml", "set": {"a.b": [1, 2]}},
        "b": SMALL["experiments"]["probe"],
    }
    content = SMALL | {"set": {"common": 1}, "experiments": experiments}
    entries = read_comparison(write(content)).entries
    file = str(tmp_path / "probe.yaml")
    assert [e.difference for e in entries] == [f"{file} --a.b=[1, 2]", file]


def test_every_experiment_has_its_first_seed_before_the_second(write):
    experiments = {
        "zero": {"file": "probe.yaml", "command": "validate", "seeds": [4]},
        "probe": {"file": "probe.yaml", "title": "A probe"},
    }
    content = SMALL | {"seeds": [1, 0], "experiments": experiments, "runs": "elsewhere"}
    comparison = read_comparison(write(content))
    assert [run.name for run in comparison.runs] == ["zero_4", "probe_1", "probe_0"]
    assert [run.command for run in comparison.runs] == ["validate", "fit", "fit"]
    assert comparison.runs[1].folder == Path("elsewhere/probe_1")
    assert [entry.title for entry in comparison.entries] == ["zero", "A probe"]


def test_what_is_not_said_has_a_default(write):
    comparison = read_comparison(write(SMALL))
    assert comparison.title == "Small world"
    assert comparison.reuse == ()
    assert comparison.runs_folder == Path("runs/c/runs")
    assert read_comparison(write(SMALL | {"reuse": ["runs/demo"]})).reuse == (Path("runs/demo"),)


def test_what_was_trained_is_tested_if_asked(write):
    experiments = {
        "zero": {"file": "probe.yaml", "command": "test"},
        "probe": {"file": "probe.yaml"},
        "full": {"file": "probe.yaml", "test": "best"},
    }
    zero, probe, full = read_comparison(
        write(SMALL | {"test": "last", "experiments": experiments})
    ).runs
    assert (zero.test, probe.test, full.test) == ("", "last", "best")
    assert probe.test_words == [
        "test",
        *probe.words[1:],
        "--ckpt_path=runs/c/runs/probe_0/checkpoints/last.ckpt",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": [0]}, "'seed' is unknown; known: title, out"),
        ({"experiments": {}}, "experiments is empty"),
        ({"experiments": ["probe"]}, "experiments: wants names with values"),
        ({"experiments": {"a b": {"file": "probe.yaml"}}}, "names a folder"),
        ({"experiments": {"a": {}}}, "experiments.a: file is missing"),
        ({"experiments": {"a": {"file": "x.yaml"}}}, "x.yaml is not there"),
        ({"experiments": {"a": {"file": "probe.yaml", "lines": 1}}}, "'lines' is unknown"),
        ({"experiments": {"a": {"file": "probe.yaml", "command": "train"}}}, "command=train"),
        ({"seeds": []}, "seeds=\\[\\]"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"seeds": [True]}, "different whole numbers"),
        ({"set": {"data": "missing.yaml"}}, "missing.yaml is not there"),
        ({"set": ["data"]}, "set: wants names with values"),
        ({"reuse": "runs"}, "reuse wants a list"),
        ({"test": "worst"}, "test=worst; choose best, last, averaged"),
    ],
)
def test_what_is_wrong_is_named(write, change, problem):
    with pytest.raises(ConfigurationError, match=problem):
        read_comparison(write(SMALL | change))


def test_files_that_are_none_are_named(write, tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        read_comparison(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigurationError, match="is no YAML"):
        read_comparison(write("a: [1"))
    with pytest.raises(ConfigurationError, match="out is missing"):
        read_comparison(write({"experiments": {}}))
