"""Our reader beside other ways to the same frames, each in a process of its own, side by side."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from video_adapt.video import dense_indices, segment_indices

from . import bench_readers
from .bench_readers import MODULES, Indices

FPS = 30
PIECE = 10 * FPS  # frames that are encoded; longer files repeat them
REFERENCE = "ours"
RIVALS = ("torchcodec, exact", "OpenCV")


class Task(NamedTuple):
    """Frames that every contender has to deliver.

    Attributes:
        name: What is read, for the table.
        file: Name of the file, without number and suffix.
        size: Width and height of the file in pixels.
        gop: Frames from one key frame to the next.
        pieces: Length of the file in tens of seconds.
        wanted: Frame numbers of each clip.
        contenders: Who takes part, beside ours.
        short_side: What frames are scaled to; None = as stored.
        copies: Equal files that a process reads, each once so that nobody profits from what he
            remembers; the best time counts.
    """

    name: str
    file: str
    size: tuple[int, int]
    gop: int
    pieces: int
    wanted: list[Indices]
    contenders: tuple[str, ...] = RIVALS
    short_side: int | None = None
    copies: int = 1


class DecodeRow(NamedTuple):
    """One line of the table.

    Attributes:
        task: What was read.
        name: Who read it.
        milliseconds: CPU time, user and system, of all threads.
        megabytes: Peak memory of the process above what numpy and torch take.
        skipped: Why nothing was measured; empty where it was.
    """

    task: str
    name: str
    milliseconds: float = float("nan")
    megabytes: float = float("nan")
    skipped: str = ""


def tasks() -> list[Task]:
    """A short clip, a few frames of a long file, dense windows of a long file."""
    few, many = ("decode all",), ("convert all, keep wanted", "decode all, keep wanted")
    size, short = (340, 256), "16 frames over 10 s at 224 px"
    clip = Task(short, "clip", size, 250, 1, _spread(1), few + RIVALS, short_side=224, copies=5)
    film = Task("16 frames over 5 min", "film", size, 250, 30, _spread(30), many + RIVALS)
    return [clip, film, _dense(250), _dense(12)]


def run(out: Path) -> list[DecodeRow]:
    """Write the files where they are missing and measure every contender on them.

    Args:
        out: Folder of the report; the files go to ``videos`` in it.
    """
    todo = tasks()
    for task in todo:
        write_files(task, out)
    rounds = [(task, name) for task in todo for name in (REFERENCE, *task.contenders)]
    tracked = track(rounds, "decoding", console=Console(stderr=True))
    return [_in_own_process(out, task, name) for task, name in tracked]


def render(rows: Sequence[DecodeRow]) -> str:
    """A Markdown table with every figure beside its multiple of ours."""
    base = {row.task: row for row in rows if row.name == REFERENCE}
    lines = [
        "| decoding | reader | CPU ms | of ours | peak MB | of ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = f"{row.skipped} | - | - | -"
        if not row.skipped:
            time, memory = base[row.task].milliseconds, base[row.task].megabytes
            figures = (
                f"{row.milliseconds:.0f} | {row.milliseconds / time:.2f} "
                f"| {row.megabytes:.0f} | {row.megabytes / memory:.1f}"
            )
        lines.append(f"| {row.task} | {row.name} | {figures} |")
    return "\n".join(lines) + "\n"


def _spread(pieces: int) -> list[Indices]:
    return [segment_indices(pieces * PIECE, 16, 0.5)]


def _dense(gop: int) -> Task:
    pieces = 48
    starts = np.random.default_rng(0).integers(pieces * PIECE - 64, size=30)
    wanted = [dense_indices(pieces * PIECE, 16, 4, start=int(start)) for start in starts]
    name = f"30 windows of 16 frames, stride 4, of 8 min, GOP {gop}"
    return Task(name, f"long_gop{gop}", (320, 240), gop, pieces, wanted)


def _in_own_process(out: Path, task: Task, name: str) -> DecodeRow:
    module = MODULES.get(name)
    if module and importlib.util.find_spec(module) is None:
        return DecodeRow(task.name, name, skipped="not installed: `pip install video-adapt[bench]`")
    order = {
        "name": name,
        "paths": [str(path) for path in _paths(task, out)],
        "wanted": [indices.tolist() for indices in task.wanted],
        "short_side": task.short_side,
    }
    answer = subprocess.run(
        [sys.executable, "-m", bench_readers.__name__],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        cause = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        return DecodeRow(task.name, name, skipped=f"failed: {cause.replace('|', '/')}")
    milliseconds, megabytes = json.loads(answer.stdout.splitlines()[-1])
    return DecodeRow(task.name, name, milliseconds, megabytes)


def _paths(task: Task, out: Path) -> list[Path]:
    return [out / "videos" / f"{task.file}_{i}.mp4" for i in range(task.copies)]


def write_files(task: Task, out: Path) -> None:
    """Write the copies of a task's file below ``out``, unless all of them exist."""
    paths = _paths(task, out)
    if all(path.exists() for path in paths):
        return
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    piece, whole = out / "videos" / "piece.mp4", out / "videos" / "partial.mp4"
    write_piece(piece, task.size, task.gop)
    repeat(piece, whole, task.pieces)
    for path in paths:
        shutil.copyfile(whole, path)
    piece.unlink()
    whole.unlink()


def write_piece(path: Path, size: tuple[int, int], gop: int) -> None:
    """Encode ten seconds of a moving, noisy picture as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.options = {"crf": "23", "preset": "veryfast"}
        for picture in _pictures(*size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def repeat(piece: Path, path: Path, times: int) -> None:
    """Write the packets of a file several times over, without encoding anything."""
    with av.open(str(piece)) as source, av.open(str(path), "w") as target:
        given = source.streams.video[0]
        stream = target.add_stream_from_template(given)
        length = round(PIECE / FPS / float(given.time_base or 1))
        packets = [packet for packet in source.demux(given) if packet.size]
        stamps = [(packet.pts or 0, packet.dts or 0) for packet in packets]
        for shift in range(0, times * length, length):
            for packet, (pts, dts) in zip(packets, stamps, strict=True):
                packet.stream = stream
                packet.pts, packet.dts = pts + shift, dts + shift
                target.mux(packet)


def _pictures(width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """A camera that wanders over a coarse pattern, with a noise of its own in every frame."""
    rng = np.random.default_rng(0)
    world = rng.integers(40, 216, (height // 4, width // 4, 3)).repeat(8, 0).repeat(8, 1)
    for i in range(PIECE):
        x = int((np.sin(i / 40) + 1) / 2 * width * 0.9)
        y = int((np.cos(i / 29) + 1) / 2 * height * 0.9)
        view = world[y : y + height, x : x + width]
        yield (view + rng.integers(-12, 13, view.shape)).astype(np.uint8)
