"""What an open-vocabulary evaluation leaves: a result table, figures, accuracy of every class."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from video_adapt.metrics import AccuracyResult, has_top5
from video_adapt.vocabulary import Vocabulary

from .evaluation import CLIP_COLUMNS, Clip

_HEADER = (
    *("test set", "classes", "videos", "top-1", "zero-shot CLIP", "difference", "top-5"),
    "mean class",
)


class SetScores(NamedTuple):
    """What came out on one set of videos.

    Attributes:
        vocabulary: Its classes.
        method: Figures of the method.
        zero_shot: Those of zero-shot CLIP on the same clips; None where it was not measured.
    """

    vocabulary: Vocabulary
    method: AccuracyResult
    zero_shot: AccuracyResult | None


class Measured(Protocol):
    """The parts of an evaluation that are written down."""

    @property
    def sets(self) -> Mapping[str, SetScores]:
        """What came out on every set."""

    @property
    def groups(self) -> Mapping[str, list[str]]:
        """Sets that are splits of one data set."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What the figures depend on."""


def write_predictions(path: Path, scores: SetScores, clips: Sequence[Clip] | None) -> None:
    """Write one line per video: where it lies, what it is and what it was taken for.

    Args:
        path: CSV file with the columns ``video``, ``start_s``, ``end_s``, ``label``,
            ``prediction``, ``probability`` of the prediction (softmax of the mean logits) and
            ``zero_shot``, what zero-shot CLIP took it for.
        scores: What came out; the lines are in the order of its videos.
        clips: Where every video lies, by its id; None writes the id itself.
    """
    names = [*scores.vocabulary.classes, ""]  # index -1: no label, no finite score, not measured
    videos = scores.method.videos
    others = scores.zero_shot.videos.prediction if scores.zero_shot else np.full(len(videos[0]), -1)
    logits = videos.scores / videos.views[:, None]
    with np.errstate(invalid="ignore"):  # of an infinite score nothing is a share
        best = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    rows = zip(videos.video_id, videos.label, videos.prediction, best, others, strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*CLIP_COLUMNS, "probability", "zero_shot"])
        for video_id, label, prediction, probability, other in rows:
            clip = Clip(str(video_id), None, None) if clips is None else clips[video_id]
            said = (names[label], names[prediction], f"{probability:.6g}", names[other])
            table.writerow([*clip, *said])


def write_class_accuracy(path: Path, sets: Mapping[str, SetScores]) -> None:
    """Write ``set, class, videos, top1, zero_shot_top1`` of every class; empty without videos."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["set", "class", "videos", "top1", "zero_shot_top1"])
        for name, scores in sets.items():
            counts = np.bincount(
                scores.method.videos.label[scores.method.videos.label >= 0],
                minlength=len(scores.vocabulary),
            )
            for label, title in enumerate(scores.vocabulary.classes):
                readings = (scores.method, scores.zero_shot)
                figures = [r and _digits(r.class_accuracy[label]) for r in readings]
                table.writerow([name, title, counts[label], *figures])


def write_metrics(
    path: Path,
    result: Measured,
    figures: Mapping[str, float],
    zero_shot: Mapping[str, float],
) -> None:
    """Write the figures as JSON; one that does not exist is null.

    Args:
        path: JSON file.
        result: What came out.
        figures: Top-1 by set, ``HM``, means and deviations of groups.
        zero_shot: The same of zero-shot CLIP; empty where it was not measured.
    """
    sets = {
        name: {
            "classes": len(scores.vocabulary),
            "videos": scores.method.num_videos,
            "unlabeled": scores.method.num_unlabeled,
            "views": int(scores.method.videos.views.max(initial=0)),
            **_figures(scores.method),
            "zero_shot": scores.zero_shot and _figures(scores.zero_shot),
        }
        for name, scores in result.sets.items()
    }
    written = {
        "top1": {name: _number(value) for name, value in figures.items()},
        "zero_shot_top1": {name: _number(value) for name, value in zero_shot.items()},
        "groups": dict(result.groups),
        "settings": dict(result.settings),
        "sets": sets,
    }
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_results(
    path: Path,
    result: Measured,
    figures: Mapping[str, float],
    zero_shot: Mapping[str, float],
) -> None:
    """Write a Markdown table in percent, zero-shot CLIP beside every result, and what it rests on.

    Args:
        path: Markdown file.
        result: What came out.
        figures: Top-1 by set, ``HM``, means and deviations of groups.
        zero_shot: The same of zero-shot CLIP; empty where it was not measured.
    """
    lines = [_row(_HEADER), "|" + "---|" * len(_HEADER)]
    for name, scores in result.sets.items():
        method = scores.method
        top5 = _percent(method.top5) if has_top5(len(scores.vocabulary)) else "–"
        cells = [name, str(len(scores.vocabulary)), str(method.num_videos)]
        cells += _compared(name, figures, zero_shot)
        lines.append(_row([*cells, top5, _percent(method.mean_class)]))
    if "HM" in figures:
        cells = ["harmonic mean", "", "", *_compared("HM", figures, zero_shot), "", ""]
        lines.append(_row(cells))
    for group, names in result.groups.items():
        if group in figures:
            cells = [f"{group}, mean ± std of {len(names)}", "", ""]
            lines.append(_row([*cells, *_compared(group, figures, zero_shot), "", ""]))
    lines += ["", "Percent; logits summed over views; ± is the sample standard deviation.", ""]
    lines += [f"- {key}: {value}" for key, value in result.settings.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _compared(
    name: str, figures: Mapping[str, float], zero_shot: Mapping[str, float]
) -> tuple[str, str, str]:
    """Of the method, of zero-shot CLIP, and the difference."""
    own = _spread(name, figures)
    if name not in zero_shot:
        return own, "–", "–"
    return own, _spread(name, zero_shot), f"{100 * (figures[name] - zero_shot[name]):+.2f}"


def _spread(name: str, figures: Mapping[str, float]) -> str:
    std = figures.get(f"{name}_std", math.nan)
    text = _percent(figures[name])
    return text if math.isnan(std) else f"{text} ± {_percent(std)}"


def _figures(result: AccuracyResult) -> dict[str, Any]:
    figures = {"top1": _number(result.top1), "mean_class": _number(result.mean_class)}
    if has_top5(len(result.class_accuracy)):
        figures["top5"] = _number(result.top5)
    return figures


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
