"""Detections as files: JSON for evaluation, CSV for spreadsheets, SRT for video players."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from video_adapt.callbacks.detection_files import Detection, Results, write_csv, write_json

__all__ = ["SHORTEST_CUE_MS", "Detection", "Results", "write_csv", "write_json", "write_srt"]

SHORTEST_CUE_MS = 300  # what is shorter cannot be read


def write_srt(detections: Sequence[Detection], out: Path, *, most: int = 3) -> Path:
    """Write subtitles that name what happens while it happens.

    Players show overlapping subtitles as they please, so these never overlap: whenever a detection
    begins or ends a new subtitle follows, with one line per label, best first. A stretch too short
    to be read between two others is given to its neighbour.

    Args:
        detections: Of one video.
        out: The file; its folder is made if need be.
        most: Labels shown at once.
    """
    cues = [
        f"{number}\n{_clock(start_ms)} --> {_clock(end_ms)}\n{text}\n"
        for number, (start_ms, end_ms, text) in enumerate(_joined(_cues(detections, most)), start=1)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(cues), encoding="utf-8")
    return out


def _cues(detections: Sequence[Detection], most: int) -> Iterator[tuple[int, int, str]]:
    """Start and end in milliseconds and text of every stretch between two changes."""
    in_ms = [(round(1000 * d.start_s), round(1000 * d.end_s), d) for d in detections]
    changes = sorted({time for start, end, _ in in_ms for time in (start, end)})
    for start_ms, end_ms in pairwise(changes):
        scores: dict[str, float] = {}
        for start, end, found in in_ms:
            if start <= start_ms and end_ms <= end:
                scores[found.label] = max(found.score, scores.get(found.label, 0.0))
        best = sorted(scores.items(), key=lambda item: -item[1])[:most]
        if best:
            # An empty line would end the subtitle.
            lines = [f"{' '.join(label.split())} {score:.0%}" for label, score in best]
            yield start_ms, end_ms, "\n".join(lines)


def _joined(cues: Iterator[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """The same, with neighbours of equal text made one and short ones given to their neighbours."""
    joined: list[tuple[int, int, str]] = []
    for start_ms, end_ms, text in cues:
        if joined and joined[-1][1] == start_ms:
            before_ms, _, text_before = joined[-1]
            if text == text_before or end_ms - start_ms < SHORTEST_CUE_MS:
                joined[-1] = (before_ms, end_ms, text_before)
                continue
            if start_ms - before_ms < SHORTEST_CUE_MS:
                joined[-1] = (before_ms, end_ms, text)
                continue
        joined.append((start_ms, end_ms, text))
    return joined


def _clock(time_ms: int) -> str:
    """``hh:mm:ss,mmm``."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{ms:03d}"
