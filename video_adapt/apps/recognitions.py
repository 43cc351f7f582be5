"""What was recognised: as lines for a reader, as JSON and CSV, and as pictures."""

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .outputs import whole_file

if TYPE_CHECKING:
    from video_adapt.reports.sheets import SheetRow

    from .recogniser import Recognition

NONE = "none of these"


def describe(results: Sequence["Recognition"], top: int, below: float | None = None) -> str:
    """Lines for a reader: the video, then its labels, one line per window if there are several.

    Where no label is as probable as ``below``, none counts, and those there are follow.
    """
    lines = [results[0].video]
    if len(results) == 1:
        lines += [f"  {NONE}"] if results[0].is_none(below) else []
        lines += [f"  {score:6.1%}  {label}" for label, score in results[0].top(top)]
        return "\n".join(lines) + "\n"
    for result in results:
        labels = ", ".join(f"{label} {score:.0%}" for label, score in result.top(min(top, 3)))
        none = f"{NONE}; " if result.is_none(below) else ""
        lines.append(f"  {clock(result.start_s)} - {clock(result.end_s)}  {none}{labels}")
    return "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """Seconds as ``minutes:seconds``, the way players show them."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def as_records(
    results: Iterable["Recognition"], top: int, below: float | None = None
) -> list[dict[str, Any]]:
    """Results as plain values; ``rejected`` is told where there is a threshold."""
    return [
        {
            "video": result.video,
            "start_s": round(result.start_s, 3),
            "end_s": round(result.end_s, 3),
            "labels": [{"label": name, "score": score} for name, score in result.top(top)],
        }
        | ({} if below is None else {"rejected": result.is_none(below)})
        for result in results
    ]


def write_results(
    args: argparse.Namespace, found: Sequence["Recognition"], broken: dict[str, str]
) -> None:
    """Write the files and draw the pictures that were asked for.

    Args:
        args: Of the command: ``json``, ``csv``, ``plot``, ``top`` and ``reject_below``.
        found: What was recognised.
        broken: Why a video could not be read, by video.
    """
    records = as_records(found, args.top, args.reject_below)
    if args.json:
        from video_adapt.callbacks.save_config import made_by

        failures = [{"video": video, "error": error} for video, error in broken.items()]
        content = {"results": records, "broken": failures, "made_by": made_by(args.checkpoint)}
        _write_text(args.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if args.csv:
        _write_rows(args.csv, records)
    if args.plot and found:
        _plot(args, found)


def _write_text(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text)
    else:
        with whole_file(target) as file:
            file.write(text)


def _write_rows(target: str, records: Iterable[dict[str, Any]]) -> None:
    if target == "-":
        _fill(sys.stdout, records)
        return
    with whole_file(target) as file:
        _fill(file, records)


def _fill(file: TextIO, records: Iterable[dict[str, Any]]) -> None:
    table = csv.writer(file)
    table.writerow(["video", "start_s", "end_s", "rank", "label", "score"])
    for record in records:
        place = record["video"], record["start_s"], record["end_s"]
        if record.get("rejected"):
            table.writerow([*place, 0, NONE, ""])
        for rank, entry in enumerate(record["labels"], start=1):
            table.writerow([*place, rank, entry["label"], f"{entry['score']:.6g}"])


def _plot(args: argparse.Namespace, found: Sequence["Recognition"]) -> None:
    """One picture of everything, or one per video where the target is a folder."""
    from video_adapt.metrics import save_figure
    from video_adapt.reports.sheets import plot_sheet

    target: Path = args.plot
    shown = [(result.video, _sheet_row(result, args.top, args.reject_below)) for result in found]
    if target.suffix.lower() == ".png":
        save_figure(plot_sheet([row for _, row in shown]), target)
        return
    for number, video in enumerate(dict.fromkeys(video for video, _ in shown)):
        rows = [row for of, row in shown if of == video]
        save_figure(plot_sheet(rows), target / f"{number:03d}_{Path(video).stem}.png")


def _sheet_row(result: "Recognition", top: int, below: float | None) -> "SheetRow":
    from video_adapt.reports.sheets import SheetRow

    stretch = f"{clock(result.start_s)} - {clock(result.end_s)}"
    if result.is_none(below):
        stretch = f"{NONE}, {stretch}"
    title = "/".join(Path(result.video).parts[-2:])  # the folder often is the class
    return SheetRow(title, stretch, result.frames, result.frame_times_s, result.top(min(top, 5)))
