"""Report of a comparison: what every experiment gives, what it costs, and in what they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from video_adapt.errors import ConfigurationError
from video_adapt.metrics import save_figure

from .comparison_plots import plot_tradeoff
from .comparison_tables import write_tables
from .document import Heading, Listing, Paragraph, Part, Picture, Table, write_report
from .kind import CHECKPOINT, MACS, MEMORY, STEP, TOTAL, TRAINED, WAIT, Figure, Kind
from .kinds import common_kind
from .plots import plot_comparison, plot_learning_together
from .runs import Run
from .seeds import Experiment
from .spent import ENERGY, GPU_HOURS, MINUTES, read_spent

_WAIT = WAIT._replace(column="data wait")
_OF_TRAINING = (CHECKPOINT, MEMORY, STEP, _WAIT)
SIZES = (TRAINED, TOTAL, CHECKPOINT)
COSTS = (MEMORY, STEP, _WAIT, MACS, MINUTES, GPU_HOURS, ENERGY)

_GIVES = (
    "Mean ± standard deviation over seeds, of the last evaluation. Trained parameters, all "
    "parameters and bytes of a checkpoint stand beside it."
)
_COSTS = (
    "Peak memory of training (of the GPU, or of the process without one); median training step; "
    "share of the time that training waited for decoded videos; multiply-adds of one view; time of "
    "the whole run, its start and its evaluations included. What was not measured is unknown; – "
    "stands where nothing trains."
)


class Row(NamedTuple):
    """One experiment.

    Attributes:
        title: Its name.
        difference: In what it differs from the others.
        runs: Its finished runs, one for each seed.
        problems: What became of the others.
    """

    title: str
    difference: str
    runs: Sequence[Run]
    problems: Sequence[str]


def compare(title: str, rows: Sequence[Row], out: Path, *, command: str, asked: str) -> Path:
    """Write ``report.md``, ``report.html``, their pictures, ``comparison.csv`` and ``runs.csv``.

    Args:
        title: Title of the report.
        rows: The experiments in their order.
        out: Folder to write to.
        command: What makes the report again.
        asked: The comparison file, letter by letter.

    Returns:
        Path of the HTML page.

    Raises:
        ConfigurationError: If no run is finished, or they are of different kinds.
    """
    experiments = [Experiment(row.title, list(row.runs)) for row in rows if row.runs]
    if not experiments:
        problems = [problem for row in rows for problem in row.problems]
        raise ConfigurationError(f"no run of the comparison is finished; first: {problems[0]}")
    runs = [run for experiment in experiments for run in experiment.runs]
    kind = common_kind(runs)
    out.mkdir(parents=True, exist_ok=True)
    write_tables(experiments, (*kind.columns, *SIZES, *COSTS), out)
    parts: list[Part] = [
        Heading(title, 1),
        Paragraph(_setting(runs)),
        Heading("What it gives"),
        Paragraph(_GIVES),
        _table(experiments, (*kind.columns, *SIZES)),
        *_pictures(experiments, kind, out),
        Heading("What it costs"),
        Paragraph(_COSTS),
        _table(experiments, COSTS),
        Heading("In what they differ"),
        Table(
            ["experiment", "file and lines"],
            [[row.title, row.difference] for row in rows],
            texts=True,
        ),
        *_problems(rows),
        Heading("Again"),
        Paragraph(
            f"Made by `{command}`. Figures of every run: runs.csv; of every experiment: "
            "comparison.csv."
        ),
        Listing("The comparison file", asked),
    ]
    return write_report(out, parts)


def cell(figure: Figure, runs: Sequence[Run]) -> str:
    """A figure of some runs as text: never a zero for what was not measured."""
    if figure.mean(runs) is not None:
        return figure.text(runs)
    trains = any(TRAINED.value(run) != 0 for run in runs)
    return "unknown" if trains or figure not in _OF_TRAINING else "–"


def _table(experiments: Sequence[Experiment], figures: Sequence[Figure]) -> Table:
    header = ["experiment", *(figure.column or figure.title for figure in figures)]
    rows = [[e.title, *(cell(figure, e.runs) for figure in figures)] for e in experiments]
    return Table(header, rows)


def _pictures(experiments: Sequence[Experiment], kind: Kind, out: Path) -> list[Part]:
    bars = save_figure(plot_comparison(experiments, kind), out / "comparison.png")
    parts: list[Part] = [Picture(bars, "Result and cost")]
    figure = plot_tradeoff(experiments, kind)
    if figure is not None:
        path = save_figure(figure, out / "cost.png")
        parts.append(Picture(path, f"{kind.columns[0].title} against what it costs"))
    if (learning := plot_learning_together(experiments, kind)) is not None:
        path = save_figure(learning, out / "learning.png")
        title = f"{kind.columns[0].title} on validation by optimiser step"
        parts += [Heading("Learning"), Picture(path, title)]
    return parts


def _problems(rows: Sequence[Row]) -> list[Part]:
    problems = [[row.title, problem] for row in rows for problem in row.problems]
    if not problems:
        return []
    return [
        Heading("What is missing"),
        Table(["experiment", "run and cause"], problems, texts=True),
    ]


def _setting(runs: Sequence[Run]) -> str:
    """On what the runs were made; says where they are not alike."""
    facts: dict[str, set[Any]] = {
        "devices": {run.record.get("machine", {}).get("device", "unknown") for run in runs},
        "validation lists": {run.record.get("data", {}).get("val_digest") for run in runs},
        "commits": {run.record.get("git") for run in runs},
    }
    seeds = sorted({run.record["seed"] for run in runs if run.record.get("seed") is not None})
    told = f"{len(runs)} runs, seeds {', '.join(map(str, seeds))}."
    told += f" Device: {', '.join(sorted(facts['devices']))}."
    noted = [read_spent(run.folder).get("at_once") for run in runs]
    at_once = [number for number in noted if number is not None]
    if max(at_once, default=1) > 1:
        told += (
            f" Up to {max(at_once)} runs at once: times of steps, waits for data and minutes are "
            "those of a shared machine."
        )
        facts["numbers of runs at once"] = set(at_once)
    mixed = [name for name, values in facts.items() if len(values) > 1]
    if mixed:
        told += f" Not alike in all runs: {', '.join(mixed)}."
    return told
