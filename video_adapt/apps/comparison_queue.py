"""The missing runs of a comparison, some of them at the same time."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from .comparison_file import PlannedRun
from .comparison_places import Place, make_places
from .comparison_processes import Processes
from .comparison_runs import Outcome, perform
from .comparison_state import Found

_LOOK_S = 1.0


class Task(NamedTuple):
    """A run that is to be brought to its end.

    Attributes:
        run: The run.
        found: How far it is.
        log: File for what it says.
        label: What messages call it.
        behind: Names of earlier runs that must have ended before, as it reads their files.
    """

    run: PlannedRun
    found: Found
    log: Path
    label: str
    behind: Sequence[str]


def perform_all(
    tasks: Sequence[Task],
    *,
    at_once: int,
    overwrite: bool,
    begins: Callable[[Task], None],
    ended: Callable[[Task, Outcome, float], None],
) -> None:
    """Bring runs to their end, in their order; one that fails does not keep the others.

    Signals that ask to stop are handed to all that run; this returns to nobody before they saved.

    Args:
        tasks: The runs, at least one.
        at_once: How many run at the same time.
        overwrite: Whether they may replace what their folders hold.
        begins: Told of a run that begins, in the thread of its own.
        ended: Told of one that ended, and of the seconds that it took.

    Raises:
        KeyboardInterrupt: If this process was asked to stop.
    """
    processes = Processes()
    free: SimpleQueue[Place] = SimpleQueue()
    for place in make_places(at_once):
        free.put(place)

    def work(task: Task, before: Sequence[Future[tuple[Outcome, float]]]) -> tuple[Outcome, float]:
        # Those were begun earlier, so that somebody works on them: nobody waits for ever.
        wait(before)
        processes.go_on()
        begins(task)
        place, began_s = free.get(), time.monotonic()
        try:
            outcome = perform(
                task.run,
                task.found,
                task.log,
                overwrite=overwrite,
                place=place,
                processes=processes,
            )
        finally:
            free.put(place)
        return outcome, time.monotonic() - began_s

    with processes.stopped_by_signals(), ThreadPoolExecutor(at_once) as pool:
        futures: dict[str, Future[tuple[Outcome, float]]] = {}
        try:
            for task in tasks:
                before = [futures[name] for name in task.behind if name in futures]
                futures[task.run.name] = pool.submit(work, task, before)
            of = {futures[task.run.name]: task for task in tasks}
            pending = set(of)
            while pending:
                # A signal that came to another thread is noticed between two waits.
                done, pending = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    ended(of[future], *future.result())
        except BaseException:
            processes.stop()
            raise
