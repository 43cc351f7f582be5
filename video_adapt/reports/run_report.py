"""A short report of one run, or of several side by side, made from the files they left."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from video_adapt.errors import ConfigurationError
from video_adapt.metrics import save_figure

from .document import Heading, Listing, Paragraph, Part, Picture, Table, write_report
from .kind import COSTS_OF_ONE, COSTS_TO_COMPARE, Figure, Kind
from .kinds import common_kind, kind_of
from .plots import plot_comparison, plot_learning, plot_learning_together
from .runs import Run, read_run
from .seeds import experiments_of


def report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write ``report.md``, ``report.html`` and their pictures.

    Args:
        folders: Folder of one run, or of several to compare.
        out: Where to write; None = ``report`` inside the folder of the one run.

    Returns:
        Path of the HTML page.

    Raises:
        ConfigurationError: If a folder holds no run, several runs are of different kinds, or
            several runs come without ``out``.
    """
    runs = [read_run(folder) for folder in folders]
    if len(runs) == 1:
        target = out or runs[0].folder / "report"
        return write_report(target, one_run(runs[0], target))
    if out is None:
        raise ConfigurationError("a report of several runs needs a folder of its own: give --out")
    return write_report(out, several_runs(runs, out))


def one_run(run: Run, out: Path) -> list[Part]:
    """The parts of a report of one run; pictures are written to ``out``."""
    kind = kind_of(run)
    parts: list[Part] = [
        Heading(run.name, 1),
        Paragraph(_summary(run, kind)),
        Heading("Figures"),
        *([_table("result", kind.figures(run), run)] if run.evaluation else []),
        _table("cost", COSTS_OF_ONE, run),
    ]
    if (learning := plot_learning(run, kind)) is not None:
        picture = save_figure(learning, out / "learning.png")
        parts += [Heading("Learning"), Picture(picture, f"Loss and {kind.learning} by step")]
    if run.evaluation is not None:
        parts += kind.parts(run, out)
    return [*parts, *_settings(run)]


def several_runs(runs: Sequence[Run], out: Path) -> list[Part]:
    """The parts of a comparison; pictures are written to ``out``.

    Raises:
        ConfigurationError: If the runs are of different kinds.
    """
    kind, experiments = common_kind(runs), experiments_of(runs)
    figures = [*kind.columns, *COSTS_TO_COMPARE]
    header = ["run", *(figure.column or figure.title for figure in figures)]
    rows = [[e.title, *(figure.text(e.runs) for figure in figures)] for e in experiments]
    explained = kind.legend + (
        "Trained parameters; multiply-adds of one view; peak memory of training (of the GPU, or of "
        "the process without one); median training step; bytes of a checkpoint."
    )
    if any(len(experiment.runs) > 1 for experiment in experiments):
        explained += (
            " Runs that differ in their seed or few-shot draw alone share a row: mean ± standard "
            "deviation."
        )
    comparison = save_figure(plot_comparison(experiments, kind), out / "comparison.png")
    parts: list[Part] = [
        Heading("Comparison", 1),
        Paragraph(explained),
        Table(header, rows),
        Picture(comparison, "Result and cost"),
    ]
    if (learning := plot_learning_together(experiments, kind)) is not None:
        picture = save_figure(learning, out / "learning.png")
        title = f"{kind.columns[0].title} on validation by optimiser step"
        parts += [Heading("Learning"), Picture(picture, title)]
    return parts


def _table(title: str, figures: Sequence[Figure], run: Run) -> Table:
    return Table([title, "value"], [[figure.title, figure.text([run])] for figure in figures])


def _summary(run: Run, kind: Kind) -> str:
    config = run.record.get("config", {})
    model, data = (_class_name(config.get(key)) for key in ("model", "data"))
    machine = run.record.get("machine", {}).get("device", "unknown device")
    result = "" if run.evaluation is None else kind.summary(run)
    if run.evaluation is not None and (label := run.results.get("settings", {}).get("method")):
        model = f"{label}," if label != model else model  # a variant is not taken for another
    return f"{model} on {data}, {machine}. {result}".rstrip()


def _class_name(part: Any) -> str:
    """The class that a part of the configuration names."""
    path = part.get("class_path", "") if isinstance(part, dict) else ""
    return path.rpartition(".")[2] or "unknown"


def _settings(run: Run) -> list[Part]:
    if not run.record:
        return []
    facts = {key: value for key, value in run.record.items() if key != "config"}
    config = {k: v for k, v in run.record.get("config", {}).items() if k in ("model", "data")}
    return [
        Heading("Settings"),
        Listing("Model and data", yaml.safe_dump(config, sort_keys=False, allow_unicode=True)),
        Listing("Versions, data, machine, seed", yaml.safe_dump(facts, sort_keys=False)),
    ]
