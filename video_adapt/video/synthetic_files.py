"""The demonstration world on disk: H.264 files in the layouts that data sets come in.

========== =========================================================== =========================
layout     videos                                                      annotation
========== =========================================================== =========================
trimmed    ``{train,val}/<motion>/<number>.mp4``                       Kinetics lists, folders
untrimmed  ``videos/<split>_<number>.mp4``                             ActivityNet JSON
captioned  ``videos/video<number>.mp4``                                MSR-VTT JSON and CSV
openvocab  ``{train,val_base,test_novel}/<class>/<number>.mp4``        FROSTER lists and classes
========== =========================================================== =========================

Every layout also has a ``world.json`` with the :class:`WorldSpec` it was made from, and is not
rendered again for the same one. A folder appears when all of it is written.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from video_adapt.errors import ConfigurationError

from .synthetic import (
    COLOURS,
    MOTIONS,
    ONE_WAY,
    SHAPES,
    Scene,
    captioned_scene,
    captions,
    trimmed_scene,
    untrimmed_scene,
)
from .synthetic_render import render
from .synthetic_vocabulary import LISTS, combinations, combined_scene, write_protocol
from .synthetic_vocabulary import MOTIONS as OPPOSITES

Layout = Literal["trimmed", "untrimmed", "captioned", "openvocab"]
Split = Literal["train", "val"]

SPLITS: tuple[Split, ...] = ("train", "val")
SECONDS: dict[Layout, float] = {
    "trimmed": 2.0,
    "untrimmed": 16.0,
    "captioned": 3.0,
    "openvocab": 2.0,
}
BLOCK_FRAMES = 256  # frames drawn at a time, so that an hour of video needs no more memory


@dataclass(frozen=True)
class WorldSpec:
    """All that a rendered world depends on; equal specifications give equal files.

    Args:
        layout: How the videos are annotated.
        train: Number of training videos.
        val: Number of validation videos.
        seconds: Length of a video; None for that of :data:`SECONDS`.
        size: Side of the picture in pixels, a multiple of 8.
        fps: Frames per second.
        seed: Seed of everything random.
        motions: Names of the motions that occur; None for all (trimmed), four (openvocab) or the
            one-way ones.
        actors: Shapes of a captioned video, which perform one after another.
        in_turn: Whether a shape of a captioned video is visible only while it performs.
        frame_code: Write each frame's number into the picture, for tests.

    Raises:
        ConfigurationError: If a value is impossible.
    """

    layout: Layout = "trimmed"
    train: int = 800
    val: int = 160
    seconds: float | None = None
    size: int = 64
    fps: int = 16
    seed: int = 0
    motions: tuple[str, ...] | None = None
    actors: int = 2
    in_turn: bool = False
    frame_code: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.size < 16 or self.size % 8:
            raise ConfigurationError(f"size is {self.size}: it must be a multiple of 8 from 16 on")
        if min(self.train, self.val) < 0 or self.fps < 1 or self.num_frames < 2:
            raise ConfigurationError(
                f"{self.train} + {self.val} videos of {self.num_frames} frames at {self.fps} per "
                "second cannot be rendered: counts must not be negative, videos need two frames"
            )
        most = min(len(COLOURS), len(SHAPES), self.num_frames // 2)
        if self.layout == "captioned" and not 1 <= self.actors <= most:
            raise ConfigurationError(
                f"{self.actors} shapes in a video of {self.num_frames} frames: from 1 to {most} "
                "are possible, each of its own colour and shape with two frames or more"
            )
        for name in self.motions or ():
            if name not in MOTIONS:
                raise ConfigurationError(f"unknown motion {name!r}; choose from {list(MOTIONS)}")

    @property
    def num_frames(self) -> int:
        """Frames of a video."""
        seconds = SECONDS[self.layout] if self.seconds is None else self.seconds
        return round(seconds * self.fps)

    @property
    def class_names(self) -> list[str]:
        """Names of the motions in alphabetical order: the index of a name is its label.

        Of the open vocabulary, names of base, then of novel classes, which have labels of their
        own.
        """
        if self.layout == "openvocab":
            return [known.name for part in combinations(self.combined) for known in part]
        return sorted(self.motions or (MOTIONS if self.layout == "trimmed" else ONE_WAY))

    @property
    def combined(self) -> tuple[str, ...]:
        """Motions of the open vocabulary, opposite ones two places apart."""
        return self.motions or OPPOSITES


class RenderJob(NamedTuple):
    """One video to be written."""

    path: Path
    scene: Scene
    split: Split
    label: int = -1


def write_world(root: Path, spec: WorldSpec, *, workers: int = 1) -> bool:
    """Render a world below ``root`` with a progress bar.

    Args:
        root: Folder to make. A complete world of the same specification is left as it is.
        spec: What to render.
        workers: Processes that render; one works in the calling process.

    Returns:
        Whether anything was rendered.

    Raises:
        ConfigurationError: If ``root`` holds a different world or other files.
    """
    record = _record(spec)
    stamp = root / "world.json"
    if stamp.is_file():
        known = json.loads(stamp.read_text())["spec"]
        if record == _record(WorldSpec()) | known:  # older ones lack settings of today
            return False
        raise ConfigurationError(
            f"{root}: holds a world of another specification; delete it or name another folder"
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigurationError(f"{root}: is not empty; name a new folder")
    building = root.with_name(f".{root.name}.partial")
    shutil.rmtree(building, ignore_errors=True)
    jobs = [job for split in SPLITS for job in _jobs(building, spec, split)]
    try:
        for folder in {job.path.parent for job in jobs}:
            folder.mkdir(parents=True)
        _render_all(jobs, spec, workers)
        _ANNOTATE[spec.layout](building, spec, jobs)
        _write_json(building / "world.json", {"spec": record, "classes": spec.class_names})
        building.replace(root)
    finally:
        shutil.rmtree(building, ignore_errors=True)  # what a failure left
    return True


def _record(spec: WorldSpec) -> dict[str, Any]:
    """The specification as it comes back from a file."""
    record: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return record


def _jobs(root: Path, spec: WorldSpec, split: Split) -> Iterable[RenderJob]:
    """Every video depends on the seed, its split and its number only."""
    names, (base, novel) = spec.class_names, combinations(spec.combined)
    count, offset = (spec.train, 0) if split == "train" else (spec.val, spec.train)
    for i in range(count):
        rng = np.random.default_rng([spec.seed, SPLITS.index(split), i])
        if spec.layout == "trimmed":
            label = i % len(names)
            path = root / split / names[label].replace(" ", "_") / f"{i:05d}.mp4"
            yield RenderJob(path, trimmed_scene(rng, names[label], spec.num_frames), split, label)
        elif spec.layout == "openvocab":
            place = i % len(base if split == "train" else names)
            known, label = ([*base, *novel][place], place % len(base))
            folder = LISTS[0 if split == "train" else 1 + (place >= len(base))]
            path = root / folder / known.name.replace(" ", "_") / f"{i:05d}.mp4"
            yield RenderJob(path, combined_scene(rng, known, spec.num_frames), split, label)
        elif spec.layout == "untrimmed":
            acts = (spec.fps, 3 * spec.fps)  # acts and rests last one to three seconds
            scene = untrimmed_scene(rng, names, spec.num_frames, acts)
            yield RenderJob(root / "videos" / f"{split}_{i:05d}.mp4", scene, split)
        else:
            scene = captioned_scene(
                rng, names, spec.num_frames, num_actors=spec.actors, in_turn=spec.in_turn
            )
            yield RenderJob(root / "videos" / f"video{offset + i}.mp4", scene, split)


def _render_all(jobs: list[RenderJob], spec: WorldSpec, workers: int) -> None:
    work = partial(write_scene, size=spec.size, fps=spec.fps, frame_code=spec.frame_code)
    paths, scenes = [job.path for job in jobs], [job.scene for job in jobs]
    if workers <= 1:
        for path, scene in track(zip(paths, scenes, strict=True), "Rendering", len(jobs)):
            work(path, scene)
        return
    # Spawned, not forked: the caller may run threads (torch, a progress bar).
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in track(pool.map(work, paths, scenes, chunksize=8), "Rendering", len(jobs)):
            pass


def write_scene(
    path: Path, scene: Scene, *, size: int = 64, fps: int = 16, frame_code: bool = False
) -> None:
    """Render a scene into one H.264 file.

    Args:
        path: File to write, with a suffix that names a container (``.mp4``).
        scene: What to draw.
        size: Side of the picture in pixels, even.
        fps: Frames per second.
        frame_code: Write each frame's number into the picture.
    """
    blocks = (
        render(
            scene,
            range(i, min(i + BLOCK_FRAMES, scene.num_frames)),
            size=size,
            frame_code=frame_code,
        )
        for i in range(0, scene.num_frames, BLOCK_FRAMES)
    )
    encode(path, blocks, size=size, fps=fps)


def encode(path: Path, blocks: Iterable[NDArray[np.uint8]], *, size: int, fps: int) -> None:
    """Encode blocks of RGB frames ``[T, H, W, 3]`` as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree is not reproducible at these sizes, least so across machines.
        exact = "mbtree=0:cpu-independent=1"
        stream.options = {"crf": "23", "preset": "veryfast", "x264-params": exact}
        stream.codec_context.thread_count = 1  # several threads would cut the picture differently
        for block in blocks:
            for picture in block:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _annotate_trimmed(root: Path, spec: WorldSpec, jobs: list[RenderJob]) -> None:
    """``<split>.txt`` with ``path label`` lines, ``labels.json`` and the story of every clip."""
    for split in SPLITS:
        lines = [f"{_name(job, root)} {job.label}\n" for job in jobs if job.split == split]
        (root / f"{split}.txt").write_text("".join(lines))
    labels = {name: label for label, name in enumerate(spec.class_names)}
    _write_json(root / "labels.json", labels)
    _write_json(root / "captions.json", {_name(j, root): captions(j.scene)[0] for j in jobs})


def _annotate_untrimmed(root: Path, spec: WorldSpec, jobs: list[RenderJob]) -> None:
    """``annotations.json`` (times in seconds) and ``category_idx.txt``, a class name a line."""
    subsets = {"train": "training", "val": "validation"}
    database: dict[str, Any] = {}
    for job in jobs:
        segments = [
            {
                "segment": [act.start_frame / spec.fps, act.stop_frame / spec.fps],
                "label": act.motion,
                "label_id": spec.class_names.index(act.motion),
            }
            for _, act in job.scene.acts
        ]
        database[job.path.stem] = {
            "subset": subsets[job.split],
            "duration": spec.num_frames / spec.fps,
            "frame": spec.num_frames,
            "fps": float(spec.fps),
            "annotations": segments,
        }
    _write_json(root / "annotations.json", {"version": "demonstration", "database": database})
    (root / "category_idx.txt").write_text("".join(f"{name}\n" for name in spec.class_names))


def _annotate_captioned(root: Path, spec: WorldSpec, jobs: list[RenderJob]) -> None:
    """``captions.json`` as MSR-VTT's, the list of training ids, and one sentence a test video."""
    splits = {"train": "train", "val": "test"}
    videos = [
        {
            "video_id": job.path.stem,
            "id": i,
            "category": 0,
            "url": "",
            "start time": 0.0,
            "end time": spec.num_frames / spec.fps,
            "split": splits[job.split],
        }
        for i, job in enumerate(jobs)
    ]
    told = [(job.path.stem, text) for job in jobs for text in captions(job.scene)]
    sentences = [{"sen_id": i, "video_id": v, "caption": text} for i, (v, text) in enumerate(told)]
    _write_json(root / "captions.json", {"info": {}, "videos": videos, "sentences": sentences})
    _write_csv(
        root / "train.csv", ["video_id"], [[j.path.stem] for j in jobs if j.split == "train"]
    )
    held_out = [job for job in jobs if job.split == "val"]
    rows = [
        [f"ret{i}", j.path.stem, j.path.stem, captions(j.scene)[0]] for i, j in enumerate(held_out)
    ]
    _write_csv(root / "test.csv", ["key", "vid_key", "video_id", "sentence"], rows)


def _annotate_openvocab(root: Path, spec: WorldSpec, jobs: list[RenderJob]) -> None:
    """Lists of base and novel classes, see :func:`write_protocol`."""
    write_protocol(root, spec.combined, [(_name(job, root), job.label) for job in jobs])


_ANNOTATE: dict[Layout, Callable[[Path, WorldSpec, list[RenderJob]], None]] = {
    "trimmed": _annotate_trimmed,
    "untrimmed": _annotate_untrimmed,
    "captioned": _annotate_captioned,
    "openvocab": _annotate_openvocab,
}


def _name(job: RenderJob, root: Path) -> str:
    return job.path.relative_to(root).as_posix()


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
