"""A comparison runs its experiments in processes of their own, goes on with them, and reports."""

import csv
import json

import pytest
import yaml

from tests.integration.conftest import run

pytestmark = pytest.mark.slow


@pytest.fixture
def comparison(tmp_path, experiment, monkeypatch):
    """Frozen features against everything, one epoch each."""
    file = experiment(tmp_path, method="TunedClassifier", epochs=1)
    lines = {"model.init_args.readout": "embedding", "data.init_args.loader.num_workers": 0}
    content = {
        "out": str(tmp_path / "out"),
        "set": lines,
        "experiments": {
            "frozen": {"file": file.name},
            "full": {"file": file.name, "set": {"model.init_args.tuning": "full"}},
            "wrong": {"file": file.name, "set": {"model.init_args.tuning": "last_n"}},
        },
    }
    path = tmp_path / "comparison.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_runs_once_reports_all_and_goes_on(comparison, tmp_path, capsys):
    assert run("compare", comparison, "--at-once", "2") == 1
    output = capsys.readouterr()
    assert "failed: wrong_0: tuning=last_n with last_n=0" in output.err
    with (tmp_path / "out/comparison.csv").open() as file:
        frozen, full = csv.DictReader(file)
    assert float(frozen["trained parameters"]) < float(full["trained parameters"])
    assert float(frozen["time of the run (min)"]) > 0
    runs = tmp_path / "out/runs"
    times = [(runs / name / "run.json").stat().st_mtime_ns for name in ("frozen_0", "full_0")]
    # An interrupted run: its last epoch was never closed, its checkpoint is there.
    (runs / "full_0/spent.json").unlink()
    table = runs / "full_0/metrics.csv"
    table.write_text(table.read_text().replace("cost/step_ms", "cost/other"))
    run("compare", comparison)
    assert "full_0: goes on" in capsys.readouterr().out
    again = [(runs / name / "run.json").stat().st_mtime_ns for name in ("frozen_0", "full_0")]
    assert again[0] == times[0]
    assert again[1] > times[1]
    assert json.loads((runs / "full_0/spent.json").read_text())["finished"]
