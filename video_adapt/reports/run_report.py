"""A short report of one run, or of several side by side, made from the files they left."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from video_adapt.errors import ConfigurationError, VideoDecodeError
from video_adapt.metrics import plot_confusion, save_figure
from video_adapt.video import VideoReader

from .document import Heading, Listing, Paragraph, Part, Picture, Table, write_report
from .plots import plot_comparison, plot_learning, plot_learning_together
from .runs import Prediction, Run, confusion_of, read_run
from .sheets import SheetRow, plot_sheet

logger = logging.getLogger(__name__)

_EXAMPLES, _FRAMES, _FRAME_SIDE = 4, 6, 160


def report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write ``report.md``, ``report.html`` and their pictures.

    Args:
        folders: Folder of one run, or of several to compare.
        out: Where to write; None = ``report`` inside the folder of the one run.

    Returns:
        Path of the HTML page.

    Raises:
        ConfigurationError: If a folder holds no run, or several runs come without ``out``.
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
    parts: list[Part] = [Heading(run.name, 1), Paragraph(_summary(run))]
    parts += [Heading("Figures"), Table(["figure", "value"], _figures(run))]
    if (learning := plot_learning(run)) is not None:
        picture = save_figure(learning, out / "learning.png")
        parts += [Heading("Learning"), Picture(picture, "Loss and validation accuracy by step")]
    confusion, names = confusion_of(run.predictions)
    if names:
        picture = save_figure(plot_confusion(confusion, names), out / "confusion.png")
        caption = f"Videos by label and prediction, {_stage(run)}; colour is the share of the row"
        parts += [Heading("What was taken for what"), Picture(picture, caption)]
    if rows := example_rows(run.predictions):
        picture = save_figure(plot_sheet(rows), out / "examples.png")
        caption = "Right and wrong predictions; of the wrong ones, those the model was surest of"
        parts += [Heading("Examples"), Picture(picture, caption)]
    return [*parts, *_settings(run)]


def several_runs(runs: Sequence[Run], out: Path) -> list[Part]:
    """The parts of a comparison; pictures are written to ``out``."""
    header = ["run", "top-1", "top-5", "trained", "GMACs", "memory", "step", "checkpoint"]
    rows = [[run.name, *_columns(run)] for run in runs]
    parts: list[Part] = [
        Heading("Comparison", 1),
        Paragraph(
            "Trained parameters; multiply-adds of one view; peak memory of training (of the GPU, "
            "or of the process without one); median training step; bytes of a checkpoint."
        ),
        Table(header, rows),
        Picture(save_figure(plot_comparison(runs), out / "comparison.png"), "Accuracy and cost"),
    ]
    if (learning := plot_learning_together(runs)) is not None:
        picture = save_figure(learning, out / "learning.png")
        parts += [Heading("Learning"), Picture(picture, "Validation accuracy by optimiser step")]
    return parts


def example_rows(predictions: Sequence[Prediction], count: int = _EXAMPLES) -> list[SheetRow]:
    """Frames and scores of some videos predicted right and some predicted wrong.

    Right ones are spread over the list; wrong ones are those with the highest probability.
    Videos that are not there any more are left out.
    """
    known = [p for p in predictions if p.label]
    right = [p for p in known if p.predicted == p.label]
    wrong = sorted((p for p in known if p.predicted != p.label), key=lambda p: -p.scores[0][1])
    spread = np.linspace(0, len(right) - 1, min(count, len(right))).round().astype(int)
    rows = []
    for prediction in [*(right[k] for k in spread), *wrong[:count]]:
        try:
            rows.append(_example(prediction))
        except VideoDecodeError as error:
            logger.warning("no example: %s", error)
    return rows


def _example(prediction: Prediction) -> SheetRow:
    with VideoReader(prediction.path, short_side=_FRAME_SIDE) as reader:
        times_s = reader.timestamps_s
        start_s, end_s = prediction.start_s or 0.0, prediction.end_s or np.inf
        inside = np.flatnonzero((times_s >= start_s - 1e-4) & (times_s < end_s - 1e-4))
        if not len(inside):
            raise VideoDecodeError(f"{prediction.path}: no frame after {start_s:g} s")
        chosen = inside[np.linspace(0, len(inside) - 1, _FRAMES).round().astype(int)]
        path = Path(prediction.path)
        return SheetRow(
            f"{path.parent.name}/{path.name}",
            f"{times_s[inside[0]]:.1f} - {times_s[inside[-1]]:.1f} s",
            reader.frames_at(chosen),
            times_s[chosen],
            prediction.scores[:4],
            prediction.label,
        )


def _summary(run: Run) -> str:
    config = run.record.get("config", {})
    model, data = (_class_name(config.get(key)) for key in ("model", "data"))
    machine = run.record.get("machine", {}).get("device", "unknown device")
    classes = len(run.results.get("class_accuracy", {}))
    accuracy = run.results.get("top1")
    words = [f"{model} on {data}, {machine}."]
    if accuracy is not None:
        words.append(
            f"Top-1 {accuracy:.1%} of {run.results['videos']} videos ({_stage(run)}); "
            f"chance is {1 / classes:.1%} with {classes} classes."
        )
    return " ".join(words)


def _stage(run: Run) -> str:
    return "evaluation" if run.stage == "." else run.stage


def _figures(run: Run) -> list[list[str]]:
    results = run.results
    wait = run.median("data/wait_share")
    names = ["top-1", "top-5", "trained parameters", "multiply-adds of a view"]
    names += ["peak memory of training", "step", "checkpoint"]
    top1, top5, *cost = _columns(run)
    values = [top1, top5, *cost]
    rows = [list(pair) for pair in zip(names, values, strict=True)]
    rows.insert(2, ["mean class accuracy", _percent(results.get("mean_class"))])
    rows.insert(3, ["videos", _text("{:,}", results.get("videos"))])
    rows.insert(5, ["all parameters", _text("{:,.0f}", run.last("cost/total_parameters"))])
    rows.append(["time spent waiting for data", _percent(wait)])
    return rows


def _columns(run: Run) -> list[str]:
    """Figures of one run, as text in the order of the comparison's columns."""
    macs, size = run.last("cost/multiply_adds"), run.checkpoint_bytes
    return [
        _percent(run.results.get("top1")),
        _percent(run.results.get("top5")),
        _text("{:,.0f}", run.last("cost/trained_parameters")),
        _text("{:,.3f} G", None if macs is None else macs / 1e9),
        _text("{:,.0f} MiB", run.peak_memory),
        _text("{:,.1f} ms", run.median("cost/step_ms")),
        _text("{:,.2f} MB", None if size is None else size / 1e6),
    ]


def _percent(value: float | None) -> str:
    return _text("{:.1%}", value)


def _text(pattern: str, value: float | None) -> str:
    return "–" if value is None else pattern.format(value)


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
