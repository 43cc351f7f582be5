"""``video-adapt features``: store what a detector sees of videos, to train on it without them."""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_adapt.errors import ConfigurationError, VideoDecodeError

from .detect import progress
from .recognise import find_videos

if TYPE_CHECKING:
    from torch import Tensor

    from video_adapt.video import WindowSampler

    from .feature_extractor import FeatureExtractor

logger = logging.getLogger(__name__)

HELP = "store features of long videos, to train detectors on them"
_RECORD = "features.json"
_EXPERIMENTS = (".yaml", ".yml")
_FREE = ("checkpoint", "videos")
"""What may differ between two runs into one folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model",
        type=Path,
        help="checkpoint of a detector, or experiment file whose model.backbone is taken as it is "
        "published; windows are those of its data",
    )
    parser.add_argument("videos", nargs="+", type=Path, help="video files, or folders of them")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of a .npy per video and features.json; videos that it has are not done again",
    )
    parser.add_argument(
        "--dtype", choices=["float32", "float16"], default="float32", help="type of the numbers"
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, help="windows that pass the model together (default 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Store the features of all videos; 1 if any of them could not be read.

    Raises:
        ConfigurationError: If there is no video, two are called the same, or the folder holds
            features of another kind.
        WeightsError: If the checkpoint cannot be used.
    """
    videos = _by_name(list(find_videos(args.videos)), args.videos[0])
    from .feature_extractor import FeatureExtractor

    from_experiment = args.model.suffix.lower() in _EXPERIMENTS
    build = (
        FeatureExtractor.from_experiment if from_experiment else FeatureExtractor.from_checkpoint
    )
    extract = build(args.model, device=args.device, batch_size=args.batch_size)
    record = extract.describe() | {"dtype": args.dtype, "videos": {}}
    record["videos"] = _known(args.out / _RECORD, record)
    kept = [name for name in videos if name in record["videos"] and _file(args, name).is_file()]
    broken = 0
    for number, (name, video) in enumerate(videos.items(), start=1):
        if name in kept:
            continue
        try:
            with progress(f"{number}/{len(videos)} {video.name}") as on_progress:
                rows, facts = extract(video, on_progress=on_progress)
        except VideoDecodeError as error:
            broken += 1
            logger.warning("%s", error)
            continue
        _write_rows(rows, _file(args, name), args.dtype)
        record["videos"][name] = {"file": str(video.resolve())} | facts
        _write_record(record, args.out / _RECORD)
    _report(args, extract, stored=len(videos) - broken - len(kept), kept=len(kept))
    if broken:
        sys.stderr.write(f"{broken} of {len(videos)} videos could not be read\n")
    return 1 if broken else 0


def settings(width: int, sampler: "WindowSampler", folder: Path) -> str:
    """The part of an experiment file that reads stored features, as YAML."""
    given = {
        field.name: getattr(sampler, field.name)
        for field in fields(sampler)
        if field.name != "frames_per_position" and getattr(sampler, field.name) != field.default
    }
    values = json.dumps({"frames_per_position": 1} | given)
    stride = getattr(sampler, "snippet_stride", 1)
    path = json.dumps(f"{folder.resolve()}/{{name}}.npy")
    return "\n".join(
        [
            "model:",
            "  class_path: FeatureDetector",
            f"  init_args: {{width: {width}}}",
            "data:",
            "  class_path: THUMOSDataModule",
            "  init_args:",
            f"    features: {{width: {width}, stride: {stride}, path: {path}}}",
            f"    sampler: {{class_path: {type(sampler).__name__}, init_args: {values}}}",
            "",
        ]
    )


def _by_name(videos: Sequence[Path], asked: Path) -> dict[str, Path]:
    """Videos by the name that an annotation calls them by: that of the file."""
    if not videos:
        raise ConfigurationError(f"{asked}: no video in this folder; name files instead")
    named: dict[str, Path] = {}
    for video in videos:
        if (other := named.setdefault(video.stem, video)) != video:
            raise ConfigurationError(
                f"{other} and {video} are both called {video.stem!r}; store them in two folders"
            )
    return named


def _known(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder holds already.

    Raises:
        ConfigurationError: If it comes from another model or from other windows.
    """
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    ours = json.loads(json.dumps(record))  # as it comes back from a file
    other = [key for key in ours if key not in _FREE and found.get(key) != ours[key]]
    if other:
        raise ConfigurationError(
            f"{path}: the features here differ in {', '.join(other)}; choose another --out"
        )
    videos: dict[str, Any] = found["videos"]
    return videos


def _file(args: argparse.Namespace, name: str) -> Path:
    path: Path = args.out / f"{name}.npy"
    return path


def _write_rows(rows: "Tensor", path: Path, dtype: str) -> None:
    """Write rows by way of a neighbour file, so that nobody reads half of them."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, rows.numpy().astype(dtype))
    partial.replace(path)


def _write_record(record: Mapping[str, Any], path: Path) -> None:
    partial = path.with_suffix(".partial")
    text = json.dumps(record, indent=1, ensure_ascii=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def _report(
    args: argparse.Namespace, extract: "FeatureExtractor", *, stored: int, kept: int
) -> None:
    before = f", {kept} were there before" if kept else ""
    sys.stderr.write(f"{args.out}: stored {stored} videos{before}; an experiment reads them with\n")
    sys.stdout.write(settings(extract.width, extract.sampler, args.out))
