"""Videos whose every frame shows its own number, so that a wrong frame is known at sight."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

BITS = 8
BLOCK = 16
WIDTH, HEIGHT = 64, 64


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Two rows of four blocks, block ``k`` white where bit ``k`` is 1, over a moving pattern."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([(x * 3 + number * 5) % 200, (y * 2 + x) % 180, (y + number * 9) % 220], -1)
    for bit in range(BITS):
        top, left = bit // 4 * BLOCK, bit % 4 * BLOCK
        image[top : top + BLOCK, left : left + BLOCK] = 255 * (number >> bit & 1)
    return image.astype(np.uint8)


def numbers(frames: Tensor) -> list[int]:
    """The numbers that upright frames ``[T, 3, H, W]`` show, read at the blocks' middles."""
    middles = torch.arange(4) * BLOCK + BLOCK // 2
    bits = frames[:, 1][:, middles[:2, None], middles] > 127  # [T, 2, 4]
    return (bits.flatten(1) * 2 ** torch.arange(BITS)).sum(1).tolist()


def write_video(
    path: Path,
    shown: Sequence[int] = range(24),
    *,
    codec: str = "libx264",
    rate: int = 24,
    ticks: Sequence[int] | None = None,
    options: Mapping[str, str] | None = None,
    muxer: Mapping[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    turn: int = 0,
) -> Path:
    """Encode frames with the numbers ``shown``.

    Args:
        path: Its suffix names the container.
        shown: Number that each frame shows, at most 255.
        codec: Name of the encoder.
        rate: Frames per second.
        ticks: Time of each frame in units of ``1 / rate`` seconds; None: one unit each.
        options: Options of the encoder; x265 and friends are kept quiet and small.
        muxer: Options of the container.
        pix_fmt: Pixel format.
        size: Width and height as displayed.
        turn: Degrees, counter-clockwise, by which a player has to turn the stored picture.
    """
    ticks = range(len(shown)) if ticks is None else ticks
    with av.open(str(path), "w", options=dict(muxer or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = size[::-1] if turn % 180 else size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, rate)
        stream.codec_context.thread_count = 1
        if turn:
            stream.set_display_rotation(turn)
        for number, tick in zip(shown, ticks, strict=True):
            stored = np.rot90(picture(number, *size), -turn // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decode_plainly(path: Path) -> Tensor:
    """Every frame as PyAV gives them one after the other, ``[N, 3, H, W]``, not turned."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
