import csv
from pathlib import Path
from types import SimpleNamespace

from video_adapt.callbacks.table import count_rows, run_table


def log(logger, step, **values):
    logger.log_metrics({"epoch": 0, **values}, step)
    logger.save()


def steps(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["step"] for row in csv.DictReader(file)]


def test_a_new_run_begins_a_new_table(tmp_path):
    for _ in range(2):
        logger = run_table(tmp_path)
        log(logger, 0, loss=1.0)
    assert steps(tmp_path) == ["0"]


def test_a_resumed_run_keeps_what_was_there_at_its_checkpoint(tmp_path):
    logger = run_table(tmp_path)
    for step in range(3):
        log(logger, step, loss=1.0)
    counted = count_rows(SimpleNamespace(loggers=[logger]))
    log(logger, 3, score=2.0)
    again = run_table(tmp_path, resume=True, rows=counted)
    assert steps(tmp_path) == ["0", "1", "2"]
    log(again, 3, score=3.0)
    assert steps(tmp_path) == ["0", "1", "2", "3"]
    assert count_rows(SimpleNamespace(loggers=[again])) == 4


def test_without_a_number_all_rows_are_kept(tmp_path):
    logger = run_table(tmp_path)
    log(logger, 0, loss=1.0)
    run_table(tmp_path, resume=True)
    assert steps(tmp_path) == ["0"]


def test_rows_that_wait_are_counted_and_written(tmp_path):
    logger = run_table(tmp_path)
    logger.log_metrics({"parameters": 7.0}, 0)
    assert count_rows(SimpleNamespace(loggers=[logger])) == 1
    assert steps(tmp_path) == ["0"]
    assert count_rows(SimpleNamespace(loggers=[])) == 0


def test_figures_of_the_run_are_told_again_only_where_they_differ(tmp_path):
    logger = run_table(tmp_path)
    logger.log_metrics({"parameters": 7}, 0)
    log(logger, 1, loss=1.0)
    again = run_table(tmp_path, resume=True, rows=2)
    again.log_metrics({"parameters": 7}, 2)
    log(again, 3, loss=1.0)
    again.log_metrics({"parameters": 8}, 4)
    again.save()
    assert steps(tmp_path) == ["0", "1", "3", "4"]


def test_the_table_is_replaced_in_one_piece(tmp_path, monkeypatch):
    """A run that is killed while a column is added still has its rows."""
    logger = run_table(tmp_path)
    log(logger, 0, loss=1.0)
    seen = []

    def replace(self, target):
        seen.append((self.name, steps(tmp_path)))
        return rename(self, target)

    rename = Path.replace
    monkeypatch.setattr(Path, "replace", replace)
    log(logger, 1, score=2.0)
    assert seen == [("metrics.partial", ["0"])]
    assert steps(tmp_path) == ["0", "1"]
