import json
from pathlib import Path

import pytest

from video_adapt.apps.comparison_config import differences, digest_of
from video_adapt.apps.comparison_file import PlannedRun
from video_adapt.apps.comparison_state import Found, Records
from video_adapt.reports.spent import write_spent

CONFIG = {"seed_everything": 0, "model": {"lr": 0.1}, "trainer": {"max_epochs": 2}}


def record(folder, *, command="fit", epochs=2, config=CONFIG):
    """What a run leaves that closed some epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    own = config | {"run_dir": str(folder)}
    (folder / "run.json").write_text(json.dumps({"command": command, "config": own}))
    rows = [f"{epoch},{text}\n" for epoch in range(epochs) for text in ("", "5.0")]
    (folder / "metrics.csv").write_text("epoch,cost/step_ms\n" + "".join(rows) + f"{epochs},\n")


@pytest.fixture
def run(tmp_path):
    return PlannedRun("fit", Path("probe.yaml"), (), 0, tmp_path / "runs/probe_0")


def look(run, tmp_path, config=CONFIG):
    return Records([tmp_path / "runs", tmp_path / "elsewhere"]).find(run, config)


def test_nothing_there_is_a_fresh_run(run, tmp_path):
    assert look(run, tmp_path) == Found(run.folder)


def test_a_run_whose_last_epoch_is_closed_is_finished(run, tmp_path):
    record(run.folder)
    assert look(run, tmp_path).finished
    record(run.folder, epochs=1)
    assert not look(run, tmp_path).finished


def test_equal_settings_are_found_in_any_folder(run, tmp_path):
    record(tmp_path / "elsewhere/deep/other_name")
    found = look(run, tmp_path)
    assert found.finished
    assert found.folder == tmp_path / "elsewhere/deep/other_name"


def test_its_own_folder_comes_first(run, tmp_path):
    record(tmp_path / "elsewhere/a")
    record(run.folder)
    assert look(run, tmp_path).folder == run.folder


def test_an_interrupted_run_goes_on_from_its_checkpoint(run, tmp_path):
    record(run.folder, epochs=1)
    found = look(run, tmp_path)
    assert found.begun
    assert found.checkpoint is None
    last = run.folder / "checkpoints/last.ckpt"
    last.parent.mkdir()
    last.touch()
    assert look(run, tmp_path).checkpoint == last


def test_an_unfinished_run_elsewhere_is_left_alone(run, tmp_path):
    record(tmp_path / "elsewhere/a", epochs=1)
    assert look(run, tmp_path) == Found(run.folder)


def test_a_run_of_other_settings_stands_in_the_way(run, tmp_path):
    record(run.folder)
    found = look(run, tmp_path, CONFIG | {"model": {"lr": 0.2}, "new": 1})
    assert not found.finished
    assert "other settings (model.lr, new)" in found.problem
    assert "--overwrite" in found.problem


def test_an_evaluation_is_finished_with_its_figures(run, tmp_path):
    evaluation = run._replace(command="validate")
    folder = run.folder / "validate"
    record(folder, command="validate")
    assert not look(evaluation, tmp_path).finished
    (folder / "metrics.json").write_text("{}")
    found = look(evaluation, tmp_path)
    assert found.finished
    assert found.folder == folder
    assert not look(run, tmp_path).finished


def test_a_run_that_ended_early_is_finished_if_that_was_noted(run, tmp_path):
    record(run.folder, epochs=1)
    noted = {"wall_s": 1.0, "attempts": 1, "gpu_j": None, "at_once": 1, "shares_gpu": False}
    write_spent(run.folder, finished=False, **noted)
    assert not look(run, tmp_path).finished
    write_spent(run.folder, finished=True, **noted)
    assert look(run, tmp_path).finished
    record(run.folder, epochs=1, config=CONFIG | {"overwrite": True})  # begun anew
    assert not look(run, tmp_path).finished


def test_endless_training_is_finished_only_if_that_was_noted(run, tmp_path):
    endless = CONFIG | {"trainer": {"max_epochs": None}}
    record(run.folder, config=endless)
    assert not look(run, tmp_path, endless).finished


def test_a_trained_run_may_lack_its_test(run, tmp_path):
    tested = run._replace(test="last")
    record(tmp_path / "elsewhere/a")
    assert look(tested, tmp_path) == Found(run.folder)
    record(run.folder)
    assert look(tested, tmp_path) == Found(run.folder, begun=True, trained=True)
    (run.folder / "test").mkdir()
    (run.folder / "test/metrics.json").write_text("{}")
    assert look(tested, tmp_path).finished


def test_a_damaged_record_is_named_and_not_used(run, tmp_path, caplog):
    run.folder.mkdir(parents=True)
    (run.folder / "run.json").write_text("{")
    assert not look(run, tmp_path).finished
    assert "run.json: cannot be read" in caplog.text


def test_where_a_run_writes_and_what_it_shows_do_not_make_it_another():
    moved = CONFIG | {"run_dir": "b", "overwrite": True, "ckpt_path": "c", "media": {"number": 4}}
    moved["trainer"] = CONFIG["trainer"] | {"enable_progress_bar": False}
    assert digest_of("fit", CONFIG) == digest_of("fit", moved)
    assert digest_of("fit", CONFIG) != digest_of("validate", CONFIG)
    assert digest_of("fit", CONFIG) != digest_of("fit", CONFIG | {"seed_everything": 1})
    assert differences(CONFIG, moved) == []
