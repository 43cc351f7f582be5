"""Every sweep file names an experiment and settings that its command line knows."""

import re
from pathlib import Path

import pytest

from tests.cli.test_experiments import ROOT, Dry
from video_adapt.apps.sweep_file import Choices, read_sweep

FILES = sorted((ROOT / "experiments/sweeps").glob("*.yaml"))


def corners(sweep):
    """The first and the last value of every setting."""
    for place in (0, -1):
        yield {
            name: domain.values[place]
            if isinstance(domain, Choices)
            else (domain.low, domain.high)[place]
            for name, domain in sweep.domains.items()
        }


def value_of(config, key):
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_trial_is_a_command_that_the_program_takes(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = read_sweep(path.relative_to(ROOT))
    assert Path(sweep.program).is_file()
    for name in re.findall(r"oc\.env:(\w+)", _texts(Path(sweep.program))):
        monkeypatch.setenv(name, "/videos")
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    for point in corners(sweep):
        command = sweep.words(point)
        words = command[command.index("fit") :]
        monkeypatch.setattr("sys.argv", ["video-adapt", *words])
        config = Dry("fit").config["fit"]
        assert config.run_dir == f"runs/sweeps/{path.stem}/run1"
        for key, value in point.items():
            assert value_of(config, key) == value


def _texts(path):
    """An experiment file and all that lies in ``_base``."""
    base = (ROOT / "experiments/_base").glob("*.yaml")
    return "".join(file.read_text() for file in (path, *base))


def test_all_methods_have_an_example():
    sweeps = [read_sweep(path) for path in FILES]
    assert {sweep.method for sweep in sweeps} == {"grid", "random", "bayes"}
    assert any(sweep.hyperband for sweep in sweeps)
