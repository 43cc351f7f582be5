import threading
import time
from pathlib import Path

import pytest

from video_adapt.apps import comparison_queue
from video_adapt.apps.comparison_file import PlannedRun
from video_adapt.apps.comparison_queue import Task, perform_all
from video_adapt.apps.comparison_runs import Outcome
from video_adapt.apps.comparison_state import Found


def task(name, *behind):
    run = PlannedRun("fit", Path("a.yaml"), (), 0, Path(name))
    return Task(run, Found(run.folder), Path(f"{name}.log"), name, behind)


@pytest.fixture
def bring(monkeypatch):
    """Brings tasks to their end with a function in place of runs; tells what happened, in order."""

    def bring(tasks, work, *, at_once, ended=lambda *_: None):
        happened = []

        def perform(run, found, log, *, overwrite, place, processes):
            assert overwrite
            work(run.name, place, processes)
            happened.append(f"end {run.name}")
            return Outcome(run, "done", found.folder)

        monkeypatch.setattr(comparison_queue, "perform", perform)
        perform_all(
            tasks,
            at_once=at_once,
            overwrite=True,
            begins=lambda task: happened.append(f"begin {task.label}"),
            ended=ended,
        )
        return happened

    return bring


def test_one_after_the_other_is_the_order_of_the_file(bring):
    tasks = [task(name) for name in "abc"]
    happened = bring(tasks, lambda *_: None, at_once=1)
    assert happened == ["begin a", "end a", "begin b", "end b", "begin c", "end c"]


def test_several_run_at_once_each_in_a_place_of_its_own(bring):
    company, places = threading.Barrier(3, timeout=10), []

    def work(name, place, processes):
        places.append(id(place))
        company.wait()

    ended = []
    bring(
        [task(name) for name in "abc"],
        work,
        at_once=3,
        ended=lambda task, outcome, took_s: ended.append((task.label, outcome.state)),
    )
    assert len(set(places)) == 3
    assert sorted(ended) == [("a", "done"), ("b", "done"), ("c", "done")]


def test_places_are_used_again(bring):
    bring([task(str(name)) for name in range(9)], lambda *_: None, at_once=2)


def test_a_run_waits_for_the_one_whose_files_it_reads(bring):
    others = threading.Event()

    def work(name, place, processes):
        if name == "teacher":
            assert others.wait(timeout=10)
        if name == "other":
            others.set()

    tasks = [task("teacher"), task("taught", "teacher", "finished before"), task("other")]
    happened = bring(tasks, work, at_once=3)
    assert happened.index("end teacher") < happened.index("begin taught")


def test_a_stop_begins_nothing_more(bring):
    begun = []

    def work(name, place, processes):
        begun.append(name)
        processes.stop()
        processes.go_on()

    with pytest.raises(KeyboardInterrupt):
        bring([task(name) for name in "abc"], work, at_once=1)
    assert begun == ["a"]


def test_an_error_stops_what_runs_beside_it(bring):
    begun, stopped = threading.Event(), threading.Event()

    def work(name, place, processes):
        if name == "a":
            assert begun.wait(timeout=10)
            raise OSError("no space left")
        begun.set()
        for _ in range(1000):
            time.sleep(0.005)
            try:
                processes.go_on()
            except KeyboardInterrupt:
                stopped.set()
                raise

    with pytest.raises(OSError, match="no space left"):
        bring([task("a"), task("b")], work, at_once=2)
    assert stopped.is_set()
