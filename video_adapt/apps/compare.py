"""``video-adapt compare``: run what is missing of a comparison, and report on all of it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison_file import Comparison, PlannedRun
    from .comparison_queue import Task
    from .comparison_runs import Outcome
    from .comparison_state import Found

HELP = "run experiments that differ by stated lines, and report what each gives and costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, help="comparison file: experiments, lines, seeds")
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--at-once",
        type=int,
        default=1,
        metavar="N",
        help="run so many at the same time: each has its share of the cores and, where there are "
        "GPUs, one of them (default: 1, with all of the machine)",
    )
    only.add_argument(
        "--jobs",
        choices=("slurm", "wandb"),
        help="run nothing; write the missing runs as an array script or as a sweep file",
    )
    only.add_argument("--run", metavar="NAME", help="this run alone, without report, e.g. dist_0")
    only.add_argument("--report", action="store_true", help="run nothing; report what is finished")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace runs of other settings that lie where runs of this comparison belong",
    )


def run(args: argparse.Namespace) -> int:
    """Run what is missing, one after the other or some at once, and write the report.

    Finished runs of equal settings are used again, wherever the file says they may lie; one that
    was interrupted goes on. A run that fails is reported, and the rest goes on.

    Returns:
        0, or 1 if a run failed.

    Raises:
        ConfigurationError: If the file is wrong, ``--run`` names no run of it, or ``--at-once`` is
            no number of runs.
    """
    # The training commands take seconds to import; `video-adapt --help` must not wait for them.
    from .comparison_config import ConfigReader
    from .comparison_file import read_comparison
    from .comparison_state import Records

    _check(args.at_once)
    comparison = read_comparison(args.file)
    chosen = _choose(comparison, args.run)
    read = ConfigReader()
    # A wrong line of the last experiment is found before the first one runs.
    configs = {planned.name: read(planned) for planned in chosen}
    records = Records([comparison.runs_folder, *comparison.reuse])
    found = [(planned, records.find(planned, configs[planned.name])) for planned in chosen]
    if args.jobs is not None:
        return _write_jobs(comparison, found, args.jobs)
    if args.report:
        outcomes = _look(found)
    else:
        tasks = _tasks(comparison, found, configs, args.overwrite)
        outcomes = _perform(found, tasks, at_once=args.at_once, overwrite=args.overwrite)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        sys.stderr.write(f"failed: {outcome.run.name}: {outcome.problem}\n")
    if args.run is None:
        page = _report(comparison, outcomes)
        sys.stdout.write(f"{page}\n")
    return 1 if failed else 0


def _check(at_once: int) -> None:
    from video_adapt.errors import ConfigurationError

    if at_once < 1:
        raise ConfigurationError(f"--at-once {at_once}: give a whole number from 1")


def _choose(comparison: "Comparison", name: str | None) -> list["PlannedRun"]:
    from video_adapt.errors import ConfigurationError

    runs = comparison.runs
    if name is None:
        return runs
    if not (chosen := [planned for planned in runs if planned.name == name]):
        known = ", ".join(planned.name for planned in runs)
        raise ConfigurationError(f"{comparison.path}: there is no run {name!r}; there are {known}")
    return chosen


def _write_jobs(
    comparison: "Comparison", found: Sequence[tuple["PlannedRun", "Found"]], kind: str
) -> int:
    from .comparison_jobs import write_slurm, write_sweep

    names = [planned.name for planned, state in found if not state.finished]
    if not names:
        sys.stdout.write("every run is finished; `--report` writes the report\n")
        return 0
    path = (write_slurm if kind == "slurm" else write_sweep)(comparison, names)
    sys.stdout.write(f"{path}: {len(names)} of {len(found)} runs\n")
    return 0


def _look(found: Sequence[tuple["PlannedRun", "Found"]]) -> list["Outcome"]:
    from .comparison_runs import Outcome

    return [
        Outcome(planned, "reused", state.folder)
        if state.finished
        else Outcome(planned, "missing", state.folder, state.problem or "not finished")
        for planned, state in found
    ]


def _tasks(
    comparison: "Comparison",
    found: Sequence[tuple["PlannedRun", "Found"]],
    configs: dict[str, dict[str, Any]],
    overwrite: bool,
) -> list["Task"]:
    """What is to be run; a run that reads what an earlier one writes stands behind it."""
    from .comparison_config import folders_read
    from .comparison_queue import Task

    tasks: list[Task] = []
    for number, (planned, state) in enumerate(found, 1):
        if state.finished or (state.problem and not overwrite):
            continue
        read = folders_read(configs[planned.name])
        tasks.append(
            Task(
                planned,
                state,
                log=comparison.out / f"logs/{planned.name}.log",
                label=f"[{number}/{len(found)}] {planned.name}",
                behind=[t.run.name for t in tasks if t.run.folder.resolve() in read],
            )
        )
    return tasks


def _perform(
    found: Sequence[tuple["PlannedRun", "Found"]],
    tasks: Sequence["Task"],
    *,
    at_once: int,
    overwrite: bool,
) -> list["Outcome"]:
    from .comparison_queue import perform_all

    outcomes = _settle(found)
    took_s: list[float] = []
    # Where there are fewer runs than places, each has more of the machine.
    at_once = min(at_once, len(tasks))

    def begins(task: "Task") -> None:
        goes_on = task.found.checkpoint or task.found.trained
        _say(f"{task.label}: {'goes on' if goes_on else 'begins'}, {task.log}")

    def ended(task: "Task", outcome: "Outcome", run_s: float) -> None:
        outcomes[task.run.name] = outcome
        took_s.append(run_s)
        left_s = sum(took_s) / len(took_s) * (len(tasks) - len(took_s)) / at_once
        ending = f"{run_s / 60:.1f} min, about {left_s / 60:.0f} min to go"
        _say(f"{task.label}: {_result(outcome)}, {ending}")

    if tasks:
        perform_all(tasks, at_once=at_once, overwrite=overwrite, begins=begins, ended=ended)
    return [outcomes[planned.name] for planned, _ in found]


def _settle(found: Sequence[tuple["PlannedRun", "Found"]]) -> dict[str, "Outcome"]:
    """What has become of runs already: those that are finished, those whose folder is taken."""
    from .comparison_runs import Outcome

    outcomes: dict[str, Outcome] = {}
    for number, (planned, state) in enumerate(found, 1):
        if state.finished:
            outcomes[planned.name] = reused = Outcome(planned, "reused", state.folder)
            where = f"finished before in {state.folder}"
            _say(f"[{number}/{len(found)}] {planned.name}: {_result(reused)}, {where}")
        elif state.problem:
            outcomes[planned.name] = Outcome(planned, "failed", state.folder, state.problem)
    return outcomes


def _result(outcome: "Outcome") -> str:
    """What came out of a run, in a few words."""
    from video_adapt.reports.kinds import kind_of
    from video_adapt.reports.runs import read_run

    if outcome.state == "failed":
        return "failed"
    finished = read_run(outcome.folder)
    columns = kind_of(finished).columns
    return f"{columns[0].title} {columns[0].text([finished])}" if columns else "no evaluation"


def _report(comparison: "Comparison", outcomes: Sequence["Outcome"]) -> Path:
    from video_adapt.reports.comparison import Row, compare
    from video_adapt.reports.runs import read_run

    by_name = {outcome.run.name: outcome for outcome in outcomes}
    rows = []
    for entry in comparison.entries:
        mine = [by_name[planned.name] for planned in entry.runs]
        finished = [outcome for outcome in mine if outcome.state in ("reused", "done")]
        rows.append(
            Row(
                title=entry.title,
                difference=entry.difference,
                runs=[read_run(outcome.folder) for outcome in finished],
                problems=[f"{o.run.name}: {o.problem}" for o in mine if o not in finished],
            )
        )
    command = f"video-adapt compare {comparison.path}"
    asked = comparison.path.read_text(encoding="utf-8")
    return compare(comparison.title, rows, comparison.out, command=command, asked=asked)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
