"""``video-adapt compare``: run what is missing of a comparison, and report on all of it."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .comparison_file import Comparison, PlannedRun
    from .comparison_runs import Outcome
    from .comparison_state import Found

HELP = "run experiments that differ by stated lines, and report what each gives and costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, help="comparison file: experiments, lines, seeds")
    only = parser.add_mutually_exclusive_group()
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
    """Run what is missing, one after the other, and write the report.

    Finished runs of equal settings are used again, wherever the file says they may lie; one that
    was interrupted goes on. A run that fails is reported, and the rest goes on.

    Returns:
        0, or 1 if a run failed.

    Raises:
        ConfigurationError: If the file is wrong, or ``--run`` names no run of it.
    """
    # The training commands take seconds to import; `video-adapt --help` must not wait for them.
    from .comparison_config import ConfigReader
    from .comparison_file import read_comparison
    from .comparison_state import Records

    comparison = read_comparison(args.file)
    chosen = _choose(comparison, args.run)
    read = ConfigReader()
    # A wrong line of the last experiment is found before the first one runs.
    configs = [(planned, read(planned)) for planned in chosen]
    records = Records([comparison.runs_folder, *comparison.reuse])
    found = [(planned, records.find(planned, config)) for planned, config in configs]
    if args.jobs is not None:
        return _write_jobs(comparison, found, args.jobs)
    outcomes = _look(found) if args.report else _perform(comparison, found, args.overwrite)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        sys.stderr.write(f"failed: {outcome.run.name}: {outcome.problem}\n")
    if args.run is None:
        page = _report(comparison, outcomes)
        sys.stdout.write(f"{page}\n")
    return 1 if failed else 0


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


def _perform(
    comparison: "Comparison", found: Sequence[tuple["PlannedRun", "Found"]], overwrite: bool
) -> list["Outcome"]:
    from .comparison_runs import Outcome, perform

    outcomes: list[Outcome] = []
    missing = sum(not state.finished for _, state in found)
    took_s: list[float] = []
    for number, (planned, state) in enumerate(found, 1):
        label = f"[{number}/{len(found)}] {planned.name}"
        if state.finished:
            outcomes.append(Outcome(planned, "reused", state.folder))
            _say(f"{label}: {_result(outcomes[-1])}, finished before in {state.folder}")
            continue
        if state.problem and not overwrite:
            outcomes.append(Outcome(planned, "failed", state.folder, state.problem))
            continue
        log = comparison.out / f"logs/{planned.name}.log"
        _say(f"{label}: {'goes on' if state.checkpoint or state.trained else 'begins'}, {log}")
        began_s = time.monotonic()
        outcomes.append(perform(planned, state, log, overwrite=overwrite))
        took_s.append(time.monotonic() - began_s)
        left_min = sum(took_s) / len(took_s) * (missing - len(took_s)) / 60
        ending = f"{took_s[-1] / 60:.1f} min, about {left_min:.0f} min to go"
        _say(f"{label}: {_result(outcomes[-1])}, {ending}")
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
