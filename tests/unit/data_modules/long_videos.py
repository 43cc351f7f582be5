"""Long videos whose frames show their numbers, and annotations of them."""

import json
from pathlib import Path
from typing import Any

from tests.unit.video.numbered_videos import write_video

FPS = 10
# Number of frames of each video; video v shows its frame i as the number 3 v + i.
FRAMES = {"a": 200, "b": 120, "c": 90, "d": 70, "e": 150}
EVENTS: dict[str, list[tuple[float, float, str]]] = {
    "a": [(1.0, 4.0, "run"), (5.0, 9.5, "jump"), (12.0, 18.0, "run")],
    "b": [(2.0, 6.0, "jump"), (2.0, 6.0, "jump")],
    "c": [],
    "d": [(0.5, 5.0, "run")],
    "e": [(3.0, 12.0, "jump"), (3.0, 12.0, "run")],
}
TRAINED = "abcd"


def video_of(name: str) -> int:
    """Number of a video, which its frames are shifted by."""
    return sorted(FRAMES).index(name)


def write_videos(root: Path) -> Path:
    """``videos/<name>.mp4`` and ``annotations.json`` below a folder."""
    (root / "videos").mkdir(parents=True)
    for name, count in FRAMES.items():
        shift = 3 * video_of(name)
        shown = range(shift, shift + count)
        write_video(root / f"videos/{name}.mp4", shown, rate=FPS, options={"g": "20"})
    write_annotations(root / "annotations.json", database())
    return root


def database() -> dict[str, dict[str, Any]]:
    """Annotation of every video: four for training, one for validation."""
    return {
        name: {
            "subset": "training" if name in TRAINED else "validation",
            "duration": count / FPS,
            "frame": count,
            "annotations": [
                {"segment": [start_s, end_s], "label": label}
                for start_s, end_s, label in EVENTS[name]
            ],
        }
        for name, count in FRAMES.items()
    }


def write_annotations(path: Path, videos: dict[str, Any]) -> Path:
    """Write them with one value a line, as they are handed around."""
    path.write_text(json.dumps({"database": videos}, indent=1))
    return path


def line_of(path: Path, name: str) -> str:
    """``file:line`` of a video's entry."""
    key = json.dumps(name) + ": {"
    lines = path.read_text().splitlines()
    return f"{path}:{next(i for i, line in enumerate(lines, 1) if key in line)}"
