"""What a report shows of a run that detected events in long videos."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from video_adapt.callbacks.detection_files import (
    Detection,
    Results,
    TrueVideo,
    read_csv,
    read_ground_truth,
)
from video_adapt.errors import VideoDecodeError
from video_adapt.metrics import Detections, GroundTruth, match_detections, save_figure

from .document import Heading, Paragraph, Part, Picture
from .kind import Figure, Kind, measured
from .runs import Run
from .timeline import draw_timeline, plot_timeline

logger = logging.getLogger(__name__)

_DETECTIONS, _TRUTH = "detections.csv", "ground_truth.json"
_HALF_DIGIT = 5e-7  # scores are written with six digits
_PICTURES = {
    "precision_recall": "What is right of what is reported, by what is found, as the score "
    "threshold falls",
    "class_ap": "Average precision of every class",
    "errors": "Kinds of error among the most confident detections",
    "false_alarms": "Events found by false alarms per hour; the points are the thresholds that "
    "validation chose for a precision",
}


class Example(NamedTuple):
    """A video, what was reported of it and how right that was.

    Attributes:
        name: Of the video.
        video: What is known of it, events among that.
        reported: Its detections from the threshold up.
        right: How many of them found an event.
    """

    name: str
    video: TrueVideo
    reported: list[Detection]
    right: int

    @property
    def f1(self) -> float:
        """Share of right ones in events and detections together."""
        return 2 * self.right / (len(self.video.events) + len(self.reported))

    @property
    def text(self) -> str:
        """The same in words."""
        events = len(self.video.events)
        return (
            f"{len(self.reported)} found, {self.right} right; "
            f"{events - self.right} of {events} events missed"
        )


def threshold_of(results: dict[str, Any], found: Results) -> float:
    """Score from which detections are shown.

    It is the threshold for the wanted precision, or, where none reached it, that which reports as
    many detections as there are events.
    """
    if results["all_classes"] is not None:
        return float(results["all_classes"]["threshold"])
    scores = sorted((d.score for videos in found.values() for d in videos), reverse=True)
    return min(scores[: results["events"]], default=1.0)


def examples_of(found: Results, truth: dict[str, TrueVideo], tiou: float) -> list[Example]:
    """The best, the median and the worst of the videos with events, by F1.

    Args:
        found: What was reported, by the name of the video.
        truth: What really happens.
        tiou: Overlap from which a detection finds an event of its class.
    """
    matching = match_detections(*_arrays(found, truth), tiou)
    right = np.bincount(
        matching.detections.video_id[matching.found >= 0], minlength=len(truth)
    ).tolist()
    examples = [
        Example(name, video, list(found.get(name, ())), right[place])
        for place, (name, video) in enumerate(truth.items())
        if video.events
    ]
    ranked = sorted(examples, key=lambda e: (-e.f1, len(e.video.events)))
    places = sorted({0, len(ranked) // 2, len(ranked) - 1}) if ranked else []
    return [ranked[place] for place in places]


def _arrays(found: Results, truth: dict[str, TrueVideo]) -> tuple[Detections, GroundTruth]:
    events = [(place, e) for place, video in enumerate(truth.values()) for e in video.events]
    ids = {name: place for place, name in enumerate(truth)}
    reported = [(ids[name], d) for name, detections in found.items() for d in detections]
    labels = {d.label: 0 for _, d in [*events, *reported]}
    labels = {label: place for place, label in enumerate(labels)}

    def columns(rows: list[tuple[int, Detection]]) -> Detections:
        return Detections(
            np.array([video for video, _ in rows], np.int64),
            np.array([(d.start_s, d.end_s) for _, d in rows], np.float64).reshape(-1, 2),
            np.array([d.score for _, d in rows], np.float64),
            np.array([labels[d.label] for _, d in rows], np.int64),
        )

    true = columns(events)
    return columns(reported), GroundTruth(true.video_id, true.segments_s, true.label)


def _summary(run: Run) -> str:
    results = run.results
    where = f"{results['videos']} videos with {results['events']} events ({run.stage_name})"
    if results["mAP"] is None:
        return f"No mAP on {where}."
    by_tiou = ", ".join(f"{value:.1%} at {t}" for t, value in results["mAP_by_tiou"].items())
    words = [
        f"mAP {results['mAP']:.1%} on {where}, the mean over tIoU: {by_tiou}.",
        f"AR@100 {results['AR@100']:.1%}.",
    ]
    wanted, point = results["precision_wanted"], results["all_classes"]
    if point is None:
        words.append(f"No score threshold is known for a precision of {wanted:.0%}.")
    else:
        words.append(
            f"At the score threshold {point['threshold']:.3f}, chosen for a precision of "
            f"{wanted:.0%}, {point['recall']:.1%} of the events are found, at "
            f"{point['false_alarms_per_hour']:,.1f} false alarms per hour."
        )
    return " ".join(words)


def _parts(run: Run, out: Path) -> list[Part]:
    folder = run.folder / run.stage
    pictures = [
        Picture(_copied(folder / f"{name}.png", out), caption)
        for name, caption in _PICTURES.items()
        if (folder / f"{name}.png").is_file()
    ]
    parts: list[Part] = [Heading("Right and wrong"), *pictures] if pictures else []
    return [*parts, *_timelines(run, out)]


def _copied(picture: Path, out: Path) -> Path:
    copy = out / picture.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(picture.read_bytes())
    return copy


def _timelines(run: Run, out: Path) -> list[Part]:
    folder = run.folder / run.stage
    found, truth = read_csv(folder / _DETECTIONS), read_ground_truth(folder / _TRUTH)
    threshold = threshold_of(run.results, found)
    reported = {
        name: [d for d in detections if d.score >= threshold - _HALF_DIGIT]
        for name, detections in found.items()
    }
    pictures = [
        Picture(_draw(example, out / f"example_{number}.png"), f"{example.name}: {example.text}")
        for number, example in enumerate(examples_of(reported, truth, run.results["tiou"]), start=1)
    ]
    return [Heading("Examples"), _explained(run.results, threshold), *pictures] if pictures else []


def _explained(results: dict[str, Any], threshold: float) -> Paragraph:
    reason = (
        "as many detections as there are events, as no threshold is known for the wanted precision"
        if results["all_classes"] is None
        else f"the threshold for a precision of {results['precision_wanted']:.0%}"
    )
    return Paragraph(
        "The best, the median and the worst video by F1: detections that score at least "
        f"{threshold:.3f} ({reason}) against what really happens (dark), right at a tIoU of "
        f"{results['tiou']:g} or more."
    )


def _draw(example: Example, out: Path) -> Path:
    """The timeline over frames, or without them where the video is out of reach."""
    video = example.video
    if video.path is not None:
        try:
            return draw_timeline(video.path, example.reported, ground_truth=video.events, out=out)
        except VideoDecodeError as error:
            logger.warning("a timeline without frames: %s", error)
    ends_s = [d.end_s for d in (*video.events, *example.reported)]
    length_s = max(ends_s) if video.duration_s is None else video.duration_s
    figure = plot_timeline(example.name, None, length_s, example.reported, video.events)
    return save_figure(figure, out)


def _at_tiou(threshold: str) -> Figure:
    def value(run: Run) -> float | None:
        return (run.results.get("mAP_by_tiou") or {}).get(threshold)

    return Figure(f"mAP@{threshold}", value, "%", 1, 100.0)


def _at_threshold(title: str, key: str, unit: str, scale: float) -> Figure:
    def value(run: Run) -> float | None:
        return (run.results.get("all_classes") or {}).get(key)

    return Figure(title, value, unit, 1, scale)


_MAP, _RECALL = measured("mAP", "mAP"), measured("AR@100", "AR@100")


def _figures(run: Run) -> list[Figure]:
    return [
        _MAP,
        *map(_at_tiou, run.results.get("mAP_by_tiou") or ()),
        _RECALL,
        _at_threshold("events found at the threshold", "recall", "%", 100.0),
        _at_threshold("false alarms per hour there", "false_alarms_per_hour", "", 1.0),
        Figure("events", lambda run: run.results.get("events")),
        Figure("videos", lambda run: run.results.get("videos")),
        Figure("hours of video", lambda run: run.results.get("hours"), digits=2),
    ]


def _curves(run: Run) -> dict[str, str]:
    """The mean, the most lenient and the strictest tIoU, and recall."""
    logged = sorted(name[len("val/") :] for name in run.curves if name.startswith("val/mAP@"))
    names = ["mAP", *dict.fromkeys([*logged[:1], *logged[-1:]]), "AR@100"]
    return {name: name for name in names}


DETECTION = Kind(
    name="detection",
    files=(_DETECTIONS, _TRUTH),
    headline="mAP",
    figures=_figures,
    columns=(_MAP, _at_tiou("0.50"), _RECALL),
    learning="validation",
    curves=_curves,
    summary=_summary,
    parts=_parts,
)
