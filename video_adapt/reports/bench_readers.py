"""Ways to read frames of a video, ours among them, measured one to a process.

Every reader is made by a function that imports what it needs: a process holds no other reader's
libraries, and importing is no part of the time.
"""

import importlib
import json
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Indices = NDArray[np.int64]
# A file, the numbers of the frames of each clip, the short side they are scaled to: the clips.
Reader = Callable[[Path, Sequence[Indices], int | None], Iterator[object]]


def ours() -> Reader:
    """The reader of this package."""
    from video_adapt.video import VideoReader

    def read(path: Path, wanted: Sequence[Indices], short_side: int | None) -> Iterator[Tensor]:
        with VideoReader(path, short_side=short_side) as reader:
            for indices in wanted:
                yield reader.frames_at(indices)

    return read


def decode_all() -> Reader:
    """Every frame to RGB, then the wanted ones, then their size."""
    import av

    def read(path: Path, wanted: Sequence[Indices], short_side: int | None) -> Iterator[Tensor]:
        with av.open(str(path)) as container:
            images: list[Any] = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        every = np.stack(images)
        for indices in wanted:
            yield _scaled(torch.from_numpy(every[indices]), short_side)

    return read


def keep_wanted(*, convert_all: bool) -> Reader:
    """Every frame decoded and perhaps converted to RGB, only the wanted ones kept."""
    import av

    def read(path: Path, wanted: Sequence[Indices], short_side: int | None) -> Iterator[Tensor]:
        numbers = set(np.concatenate(wanted).tolist())
        kept: dict[int, Any] = {}
        with av.open(str(path)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                image = frame.to_ndarray(format="rgb24") if convert_all or i in numbers else None
                if i in numbers:
                    kept[i] = image
        for indices in wanted:
            clip = np.stack([kept[i] for i in indices.tolist()])
            yield _scaled(torch.from_numpy(clip), short_side)

    return read


def torchcodec_exact() -> Reader:
    """The exact mode of torchcodec, which scans the file as ours does."""
    decoders: Any = importlib.import_module("torchcodec.decoders")

    def read(path: Path, wanted: Sequence[Indices], short_side: int | None) -> Iterator[Tensor]:
        decoder = decoders.VideoDecoder(
            str(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC"
        )
        for indices in wanted:
            yield _scaled(decoder.get_frames_at(indices.tolist()).data, short_side)

    return read


def opencv() -> Reader:
    """OpenCV: seek to the first frame of a clip, step through the rest, convert the wanted."""
    import cv2

    cv2.setNumThreads(1)

    def read(path: Path, wanted: Sequence[Indices], short_side: int | None) -> Iterator[list[Any]]:
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        for indices in wanted:
            numbers, clip = set(indices.tolist()), []
            video.set(cv2.CAP_PROP_POS_FRAMES, min(numbers))
            for number in range(min(numbers), max(numbers) + 1):
                video.grab()
                if number in numbers:
                    image = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
                    if short_side is not None:
                        scale = short_side / min(image.shape[:2])
                        image = cv2.resize(image, None, fx=scale, fy=scale)
                    clip.append(image)
            yield clip
        video.release()

    return read


READERS: dict[str, Callable[[], Reader]] = {
    "ours": ours,
    "decode all": decode_all,
    "convert all, keep wanted": partial(keep_wanted, convert_all=True),
    "decode all, keep wanted": partial(keep_wanted, convert_all=False),
    "torchcodec, exact": torchcodec_exact,
    "OpenCV": opencv,
}
MODULES = {"torchcodec, exact": "torchcodec", "OpenCV": "cv2"}


def measure(
    name: str, paths: Sequence[Path], wanted: Sequence[Indices], short_side: int | None
) -> tuple[float, float]:
    """Read every file once; to be called in a fresh process.

    Returns:
        The best CPU time of a file in milliseconds, user and system, all threads; the peak of
        this process' memory above what numpy and torch take, in MB, the reader's libraries
        included.
    """
    torch.set_num_threads(1)
    before, times = _memory_kb("VmRSS"), []
    read = READERS[name]()
    for path in paths:
        start = _cpu_seconds()
        for clip in read(path, wanted, short_side):
            del clip
        times.append(_cpu_seconds() - start)
    return 1000 * min(times), (_memory_kb("VmHWM") - before) / 1000


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory_kb(field: str) -> int:
    """What Linux says of this process; ``ru_maxrss`` would still hold its parent's peak."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(field)).split()[1])


def _scaled(frames: Tensor, short_side: int | None) -> Tensor:
    """uint8 ``[T, H, W, 3]`` to ``[T, 3, H, W]``; scaling keeps the layout, which is faster."""
    frames = frames.permute(0, 3, 1, 2)
    if short_side is None:
        return frames
    height, width = frames.shape[-2:]
    scale = short_side / min(height, width)
    size = (round(height * scale), round(width * scale))
    return F.interpolate(frames, size, mode="bicubic", antialias=True)


def main() -> None:
    """Measure as the JSON on standard input says; print the two figures as JSON."""
    order = json.load(sys.stdin)
    paths = [Path(path) for path in order["paths"]]
    wanted = [np.array(indices, dtype=np.int64) for indices in order["wanted"]]
    figures = measure(order["name"], paths, wanted, order["short_side"])
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
