import json
import sys
from pathlib import Path

import pytest

from video_adapt.apps import comparison_runs
from video_adapt.apps.comparison_file import PlannedRun
from video_adapt.apps.comparison_places import Place
from video_adapt.apps.comparison_processes import Processes
from video_adapt.apps.comparison_runs import commands_of, execute, last_word, perform
from video_adapt.apps.comparison_state import Found


@pytest.fixture
def run(tmp_path):
    return PlannedRun("fit", Path("probe.yaml"), ("--a=1",), 3, tmp_path / "probe_3")


ALONE = Place(1, {}, None, shares_gpu=False)


def bring(run, found, log, *, overwrite=False, place=ALONE):
    return perform(run, found, log, overwrite=overwrite, place=place, processes=Processes())


def test_a_run_begins_goes_on_or_begins_anew(run):
    def words(found, *, overwrite=False):
        [command] = commands_of(run, found, overwrite=overwrite)
        return command

    fresh = words(Found(run.folder))
    assert fresh == [sys.executable, "-m", "video_adapt", *run.words]
    anew = [*fresh, "--overwrite=true"]
    assert words(Found(run.folder), overwrite=True) == anew
    assert words(Found(run.folder, begun=True)) == anew
    left = Found(run.folder, checkpoint=Path("last.ckpt"), begun=True)
    assert words(left, overwrite=True) == [*fresh, "--ckpt_path=last.ckpt"]


def test_a_test_stands_behind_training(run):
    tested = run._replace(test="last")
    fit, test = commands_of(tested, Found(run.folder), overwrite=False)
    assert fit[3] == "fit"
    assert test[3:] == tested.test_words
    trained = Found(run.folder, begun=True, trained=True)
    assert commands_of(tested, trained, overwrite=True) == [test]


def test_what_cannot_be_trained_is_not_tested(run, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(
        comparison_runs, "execute", lambda words, log, **_: begun.append(words) or 1
    )
    (tmp_path / "log").touch()
    tested = run._replace(test="last")
    outcome = bring(tested, Found(run.folder), tmp_path / "log")
    assert outcome.state == "failed"
    assert len(begun) == 1


def test_a_process_has_its_variables_and_its_log(tmp_path):
    log = tmp_path / "logs/a.log"
    code = "import os, sys; print(os.environ['SEED']); print('oh', file=sys.stderr); sys.exit(3)"
    words = [sys.executable, "-c", code]
    environment = {"SEED": "5", "OMP_NUM_THREADS": "1"}
    assert execute(words, log, environment=environment, processes=Processes()) == 3
    lines = log.read_text().splitlines()
    assert lines[0].startswith(f"$ SEED=5 OMP_NUM_THREADS=1 {sys.executable} ")
    assert sorted(lines[-2:]) == ["5", "oh"]


def stand_in(monkeypatch, folder, code):
    """A process that leaves a record and ends; returns the variables that each one had."""
    variables = []

    def execute(words, log, *, environment, processes):
        variables.append(environment)
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_text("{}")
        log.write_text("video-adapt: error: no video\nbye\n")
        return code

    monkeypatch.setattr(comparison_runs, "execute", execute)
    return variables


def test_a_run_has_its_seed_and_what_its_place_says(run, tmp_path, monkeypatch):
    variables = stand_in(monkeypatch, run.folder, 0)
    place = Place(2, {"OMP_NUM_THREADS": "4"}, "", shares_gpu=False)
    bring(run, Found(run.folder), tmp_path / "log", place=place)
    assert variables == [{"SEED": "3", "OMP_NUM_THREADS": "4"}]


def test_what_a_run_took_is_noted_and_added_up(run, tmp_path, monkeypatch):
    stand_in(monkeypatch, run.folder, 1)
    outcome = bring(run, Found(run.folder), tmp_path / "log")
    assert outcome.state == "failed"
    assert outcome.problem == f"no video (exit code 1, {tmp_path / 'log'})"
    path = run.folder / "spent.json"
    first = json.loads(path.read_text())
    assert first["finished"] is False
    path.write_text(json.dumps(first | {"wall_s": 100.0}))
    stand_in(monkeypatch, run.folder, 0)
    again = Found(run.folder, checkpoint=Path("last.ckpt"), begun=True)
    assert bring(run, again, tmp_path / "log").state == "done"
    spent = json.loads(path.read_text())
    assert 100 <= spent["wall_s"] < 110
    assert (spent["attempts"], spent["finished"]) == (2, True)
    bring(run, Found(run.folder), tmp_path / "log", overwrite=True)
    assert json.loads(path.read_text())["attempts"] == 1


def test_energy_is_a_difference_or_unknown(run, tmp_path, monkeypatch):
    stand_in(monkeypatch, run.folder, 0)
    for counts, energy in (([5.0, 7.5], 2.5), ([None, None], None), ([5.0, None], None)):
        left = iter(counts)
        monkeypatch.setattr(
            comparison_runs.EnergyMeter, "read_j", lambda meter, left=left: next(left)
        )
        bring(run, Found(run.folder), tmp_path / "log")
        assert json.loads((run.folder / "spent.json").read_text())["gpu_j"] == energy


def test_energy_is_counted_on_a_gpu_of_its_own(run, tmp_path, monkeypatch):
    stand_in(monkeypatch, run.folder, 0)
    asked = []

    class Meter:
        def __init__(self, visible):
            asked.append(visible)

        def read_j(self):
            return None

    monkeypatch.setattr(comparison_runs, "EnergyMeter", Meter)
    for shares_gpu in (False, True):
        place = Place(4, {}, "3", shares_gpu=shares_gpu)
        bring(run, Found(run.folder), tmp_path / "log", place=place)
        spent = json.loads((run.folder / "spent.json").read_text())
        assert (spent["at_once"], spent["shares_gpu"]) == (4, shares_gpu)
    assert asked == ["3", ""]


def test_a_run_that_ever_shared_the_machine_has_shared_it(run, tmp_path, monkeypatch):
    stand_in(monkeypatch, run.folder, 1)
    shared = Place(2, {}, "0", shares_gpu=True)
    bring(run, Found(run.folder), tmp_path / "log", place=shared)
    bring(run, Found(run.folder, checkpoint=Path("last.ckpt"), begun=True), tmp_path / "log")
    spent = json.loads((run.folder / "spent.json").read_text())
    assert (spent["at_once"], spent["shares_gpu"]) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nvideo-adapt: error: no file\nafter\n", "no file"),
        ("Traceback\nKeyError: 'x'\n\n", "KeyError: 'x'"),
        ("", "nothing was said"),
    ],
)
def test_the_line_that_says_most(tmp_path, text, said):
    (tmp_path / "log").write_text(text)
    assert last_word(tmp_path / "log") == said
