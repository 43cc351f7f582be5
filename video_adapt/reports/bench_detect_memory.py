"""Memory of detection in files of two lengths: an hour must need no more than ten minutes."""

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.cli import instantiate_module
from rich.console import Console
from rich.progress import track

from data_modules.base import plain
from video_adapt.apps.convert import checkpoint_of
from video_adapt.apps.detector import SegmentDetector
from video_adapt.methods import AdaTAD
from video_adapt.video import SlidingWindows, WindowEvalTransform
from video_adapt.video.synthetic_files import WorldSpec, write_world

MINUTES = (10, 60)
THRESHOLDS = (0.1, 0.0)
"""The second keeps every segment, which an untrained head scores near 0.01, up to the end."""
_CLASSES = [f"class {i}" for i in range(8)]
_ARGUMENTS: dict[str, Any] = {
    "backbone": {"class_path": "video_adapt.backbones.TinyCLIP"},
    "detector": {
        "class_path": "video_adapt.detection.ActionFormer",
        "init_args": {
            "pyramid": {"width": 64, "embed_layers": 1, "stem_layers": 1, "levels": 3},
            "towers": {"width": 64, "layers": 1},
            "assignment": {"ranges": [[0, 4], [4, 8], [8, 10000]]},
            "heads": 4,
        },
    },
    "class_names": _CLASSES,
    "tuning": "frozen",
}


class DetectRow(NamedTuple):
    """One line of the table.

    Attributes:
        minutes: Length of the file.
        threshold: Least score of what is reported.
        segments: Segments that were reported.
        seconds: Time that detection took.
        megabytes: Peak memory of the whole process.
    """

    minutes: int
    threshold: float
    segments: int
    seconds: float
    megabytes: float


def run(out: Path, *, minutes: Sequence[int] = MINUTES, fps: int = 4) -> list[DetectRow]:
    """Write files where they are missing and detect in each, in a process of its own.

    Args:
        out: Folder of the report; the files go to ``detect`` in it.
        minutes: Lengths of the files.
        fps: Their frames per second.
    """
    checkpoint = write_checkpoint(out / "detect/detector.ckpt")
    videos = {}
    for length in minutes:
        spec = WorldSpec("untrimmed", train=0, val=1, seconds=60 * length, size=32, fps=fps)
        write_world(out / f"detect/{length}_minutes", spec)
        (videos[length],) = (out / f"detect/{length}_minutes/videos").glob("*.mp4")
    rounds = [(length, threshold) for threshold in THRESHOLDS for length in minutes]
    tracked = track(rounds, "detecting", console=Console(stderr=True))
    return [_in_own_process(checkpoint, videos[m], m, threshold) for m, threshold in tracked]


def render(rows: Sequence[DetectRow]) -> str:
    """A Markdown table with the memory as a share of that of the shortest file."""
    base = {row.threshold: row for row in sorted(rows, key=lambda row: -row.minutes)}
    lines = [
        "| detection in a file of | scores from | segments | seconds | peak MB | of the shortest |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.minutes} min | {row.threshold:g} | {row.segments} | {row.seconds:.0f} "
        f"| {row.megabytes:.0f} | {row.megabytes / base[row.threshold].megabytes:.3f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def write_checkpoint(path: Path) -> Path:
    """A small detector as training would leave it, but untrained."""
    method: AdaTAD = instantiate_module(AdaTAD, _ARGUMENTS)
    checkpoint = checkpoint_of(method, _ARGUMENTS)
    checkpoint["video_adapt"]["input"] = {
        "sampler": plain(SlidingWindows(64, snippet_stride=1)),
        "transform": plain(WindowEvalTransform()),
        "short_side": None,
        "frames_per_chunk": 1,
        "features": None,
        "class_names": _CLASSES,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


def measure(checkpoint: Path, video: Path, minutes: int, threshold: float) -> DetectRow:
    """Detect in one file; to be called in a fresh process."""
    detect = SegmentDetector(checkpoint, device="cpu")
    start = time.perf_counter()
    found = detect(video, threshold=threshold)
    seconds = time.perf_counter() - start
    return DetectRow(minutes, threshold, len(found), seconds, _peak_bytes() / 1e6)


def _peak_bytes() -> int:
    """Most memory that this program ever occupied; that of its parent does not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


def _in_own_process(checkpoint: Path, video: Path, minutes: int, threshold: float) -> DetectRow:
    words = [str(word) for word in (checkpoint, video, minutes, threshold)]
    answer = subprocess.run(
        [sys.executable, "-m", __name__, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return DetectRow(**json.loads(answer.stdout.splitlines()[-1]))


def main() -> None:
    """Measure one file and print its row as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("minutes", type=int)
    parser.add_argument("threshold", type=float)
    args = parser.parse_args()
    logging.disable()
    row = measure(args.checkpoint, args.video, args.minutes, args.threshold)
    sys.stdout.write(json.dumps(row._asdict()) + "\n")


if __name__ == "__main__":
    main()
