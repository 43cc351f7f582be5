"""The figures of a comparison as tables for other programs."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from .kind import Figure
from .runs import Run
from .seeds import Experiment


def write_tables(
    experiments: Sequence[Experiment], figures: Sequence[Figure], out: Path
) -> tuple[Path, Path]:
    """Write ``comparison.csv``, a line an experiment, and ``runs.csv``, a line a run.

    Columns carry their unit; what is not known is empty.

    Args:
        experiments: Rows of the comparison.
        figures: Columns.
        out: Folder to write to.
    """
    means = out / "comparison.csv"
    pairs = [column for figure in figures for column in (_name(figure), f"{_name(figure)} std")]
    _write(means, ["experiment", "runs", *pairs], (_experiment(e, figures) for e in experiments))
    each = out / "runs.csv"
    header = ["experiment", "seed", "folder", "commit", "device", *map(_name, figures)]
    _write(each, header, (_run(e.name, run, figures) for e in experiments for run in e.runs))
    return means, each


def _name(figure: Figure) -> str:
    unit = figure.unit.strip()
    return f"{figure.title} ({unit})" if unit else figure.title


def _experiment(experiment: Experiment, figures: Sequence[Figure]) -> list[object]:
    row: list[object] = [experiment.name, len(experiment.runs)]
    for figure in figures:
        mean = figure.mean(experiment.runs)
        spread = (
            None if mean is None or len(experiment.runs) < 2 else figure.spread(experiment.runs)
        )
        row += [mean, spread]
    return row


def _run(name: str, run: Run, figures: Sequence[Figure]) -> list[object]:
    machine = run.record.get("machine", {})
    facts = [run.record.get("seed"), run.folder.as_posix(), run.record.get("git")]
    return [name, *facts, machine.get("device"), *(figure.mean([run]) for figure in figures)]


def _write(path: Path, header: Sequence[str], rows: Iterator[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
