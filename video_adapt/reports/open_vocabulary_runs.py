"""What a report shows of a run whose classes are text: base to novel, or across data sets."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from video_adapt.metrics import save_figure

from .document import Heading, Paragraph, Part, Picture, Table
from .kind import Figure, Kind
from .plots import bars
from .runs import Run

_CLASSES = "class_accuracy.csv"
_CURVES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class"}
_SHOWN = 5


class ClassChange(NamedTuple):
    """A class, as the method and as zero-shot CLIP have it.

    Attributes:
        test_set: The set that it is a class of.
        name: Its name.
        videos: Its videos.
        top1: Share that the method gets right.
        zero_shot: Share that zero-shot CLIP gets right.
    """

    test_set: str
    name: str
    videos: int
    top1: float
    zero_shot: float

    @property
    def gain(self) -> float:
        """What the method adds."""
        return self.top1 - self.zero_shot


def read_class_changes(path: Path) -> list[ClassChange]:
    """Every class of a ``class_accuracy.csv`` that has videos and was compared."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            ClassChange(
                row["set"],
                row["class"],
                int(row["videos"]),
                float(row["top1"]),
                float(row["zero_shot_top1"]),
            )
            for row in csv.DictReader(file)
            if row["top1"] and row["zero_shot_top1"]
        ]


def _top1(name: str, title: str = "", *, zero_shot: bool = False) -> Figure:
    """Top-1 of a set, of a group, or ``HM``; of the method or of zero-shot CLIP."""
    key, prefix = ("zero_shot_top1", "zero-shot ") if zero_shot else ("top1", "")

    def value(run: Run) -> float | None:
        return run.results.get(key, {}).get(name)

    return Figure(prefix + (title or name), value, "%", 1, 100.0)


def _mean_of_sets(run: Run) -> float | None:
    top1 = run.results.get("top1", {})
    values = [top1[name] for name in run.results.get("sets", {})]
    return None if not values or None in values else float(np.mean(values))


def _figures(run: Run) -> Sequence[Figure]:
    names = list(run.results["top1"])
    shown = [_top1(name, _title(name)) for name in names]
    compared = run.results["zero_shot_top1"]
    return shown + [_top1(name, _title(name), zero_shot=True) for name in compared]


def _title(name: str) -> str:
    if name == "HM":
        return "harmonic mean"
    stem = name.removesuffix("_std")
    return name if stem == name else f"{stem}, standard deviation over splits"


def _summary(run: Run) -> str:
    top1, zero_shot = run.results["top1"], run.results["zero_shot_top1"]
    told = []
    for name in top1:
        if name.endswith("_std") or top1[name] is None:
            continue
        beside = "" if zero_shot.get(name) is None else f" (zero-shot CLIP {zero_shot[name]:.1%})"
        told.append(f"{_title(name)} {top1[name]:.1%}{beside}")
    return f"Top-1 ({run.stage_name}): {', '.join(told)}."


def _parts(run: Run, out: Path) -> list[Part]:
    settings = [[key, value] for key, value in run.results["settings"].items()]
    parts: list[Part] = [Heading("What the figures rest on"), Table(["setting", "value"], settings)]
    names = list(run.results["sets"])
    panels = {
        title: [_percent(run.results[key].get(name)) for name in names]
        for title, key in (("top-1, %", "top1"), ("zero-shot CLIP, %", "zero_shot_top1"))
        if run.results[key]
    }
    picture = save_figure(bars(names, panels, alike=True), out / "sets.png")
    parts.append(Picture(picture, "Top-1 by test set"))
    changes = read_class_changes(run.folder / run.stage / _CLASSES)
    return [*parts, *_class_parts(changes)]


def _class_parts(changes: Sequence[ClassChange]) -> list[Part]:
    if not changes:
        return []
    ordered = sorted(changes, key=lambda change: -change.gain)
    gained = [change for change in ordered[:_SHOWN] if change.gain > 0]
    lost = [change for change in ordered[::-1][:_SHOWN] if change.gain < 0]
    better = sum(change.gain > 0 for change in changes)
    worse = sum(change.gain < 0 for change in changes)
    header = ["set", "class", "videos", "top-1", "zero-shot CLIP", "difference"]
    rows = [
        [
            *(change.test_set, change.name, str(change.videos)),
            *(f"{change.top1:.1%}", f"{change.zero_shot:.1%}", f"{100 * change.gain:+.1f}"),
        ]
        for change in (*gained, *reversed(lost))
    ]
    text = (
        f"Against zero-shot CLIP {better} of {len(changes)} classes are better, {worse} worse; "
        "those that gain and lose most:"
    )
    return [Heading("Classes"), Paragraph(text), *([Table(header, rows)] if rows else [])]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


BASE_TO_NOVEL = Kind(
    name="open vocabulary, base to novel",
    files=(_CLASSES, "predictions_base.csv", "predictions_novel.csv"),
    headline="top1",
    figures=_figures,
    columns=(
        _top1("HM", "harmonic mean"),
        *(_top1("base"), _top1("novel"), _top1("HM", "harmonic mean", zero_shot=True)),
    ),
    learning="validation accuracy on base classes",
    curves=lambda run: _CURVES,
    summary=_summary,
    parts=_parts,
)
CROSS_DATASET = Kind(
    name="open vocabulary",
    files=(_CLASSES,),
    headline="top1",
    figures=_figures,
    columns=(
        Figure("mean of test sets", _mean_of_sets, "%", 1, 100.0),
        *(_top1("ucf101_full", "UCF*"), _top1("ucf101", "UCF")),
        *(_top1("hmdb51_full", "HMDB*"), _top1("hmdb51", "HMDB"), _top1("k600", "K600")),
    ),
    learning="validation accuracy",
    curves=lambda run: _CURVES,
    summary=_summary,
    parts=_parts,
)
