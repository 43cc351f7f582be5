"""A folder of tiny videos whose frames tell which video and which frame they are."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from torch import Tensor

from .long_videos import write_videos

FRAMES, FPS = 20, 10


def write_video(path: Path, number: int, *, frames: int = FRAMES) -> None:
    """Grey frames of 64x48: frame i of video v has the level ``10 i + v``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The index goes in front, so that a file that was cut off can still be opened.
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"qp": "0", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for i in range(frames):
            planes = np.full((72, 64), 128, np.uint8)  # 48 rows of brightness, 24 of colour
            planes[:48] = 10 * i + number
            # Full range: the limited one rounds neighbouring levels together.
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuvj420p")))
        container.mux(stream.encode())


def contents(clip: Tensor) -> tuple[int, list[int]]:
    """Number of the video and numbers of the frames of a clip ``[T, C, H, W]`` of it."""
    levels = clip.float().mean((1, 2, 3)).round().int().tolist()
    videos = {level % 10 for level in levels}
    assert len(videos) == 1, levels
    return videos.pop(), [level // 10 for level in levels]


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train/<class>/<number>.mp4`` with six videos of two classes, and three in ``val``."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(6):
        write_video(root / f"train/{('jump', 'run')[number % 2]}/{number}.mp4", number)
    for number in range(6, 9):
        write_video(root / f"val/{('jump', 'run')[number % 2]}/{number}.mp4", number)
    return root


@pytest.fixture
def broken_list(videos: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a list of the training videos with files that are no videos among them."""

    def write(good: int, bad: int) -> Path:
        lines = []
        for number in range(good):
            name = ("jump", "run")[number % 2]
            lines.append(f"{videos}/train/{name}/{number}.mp4 {number % 2}")
        for number in range(bad):
            path = tmp_path / f"bad{number}.mp4"
            path.write_text("not a video")
            lines.append(f"{path} 0")
        source = tmp_path / "list.txt"
        source.write_text("\n".join(lines) + "\n")
        return source

    return write


@pytest.fixture(scope="session")
def long_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five long videos with their annotation, see :mod:`.long_videos`."""
    return write_videos(tmp_path_factory.mktemp("long") / "data")
