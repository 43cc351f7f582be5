"""Pixels of the demonstration world: shapes drawn by distance functions on a noisy background."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from video_adapt.errors import ConfigurationError

from .synthetic import COLOURS, Actor, Scene

Array = NDArray[np.floating]

RADIUS = (0.13, 0.36)  # smallest and largest, as parts of the side of the picture
NOISE_LEVELS = 9.0  # standard deviation of the noise of each frame, in grey levels
CODE_BITS = 16


def _circle(x: Array, y: Array) -> Array:
    return np.hypot(x, y) - 0.9


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - 0.75


def _triangle(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x) * 0.866 - y * 0.5, y) - 0.5


def _cross(x: Array, y: Array) -> Array:
    a, b = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(a, b) - 0.95, np.minimum(a, b) - 0.3)


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - 0.65) - 0.25


def _bar(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x) - 0.4, np.abs(y) - 0.95)


# Signed distance to the outline, negative inside, for a shape of radius 1 that points up; y down.
OUTLINES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
    "bar": _bar,
}


def _shade(y: Array) -> Array:
    """Brightness along the heading: light in front, dark behind, so that even a circle points."""
    return np.clip(0.6 - 0.45 * y, 0.15, 1.0)


def background(seed: int, size: int) -> Array:
    """Dim, slightly coloured waves ``[size, size, 3]``, in grey levels, the same in all frames."""
    rng = np.random.default_rng([seed, 1])
    grid = np.arange(size, dtype=np.float32) / size
    picture = np.full((size, size, 3), rng.uniform(60, 110), dtype=np.float32)
    picture += rng.uniform(-12, 12, 3).astype(np.float32)
    for _ in range(6):
        across, down = rng.integers(-4, 5, 2)
        wave = np.cos(2 * np.pi * (across * grid[None, :] + down * grid[:, None] + rng.random()))
        picture += wave[..., None] * rng.uniform(0, 9, 3)
    return picture.astype(np.float32)


def render(
    scene: Scene, frames: Sequence[int] | None = None, *, size: int, frame_code: bool = False
) -> NDArray[np.uint8]:
    """Draw frames of a scene; a frame depends on its number alone, not on which others are drawn.

    Args:
        scene: What to draw.
        frames: Numbers of the wanted frames; None for all.
        size: Side of the picture in pixels.
        frame_code: Write each frame's number into its top quarter, for :func:`read_frame_code`.

    Returns:
        RGB, uint8 ``[T, H, W, 3]``.
    """
    index = np.arange(scene.num_frames) if frames is None else np.asarray(frames, dtype=np.int64)
    video = np.broadcast_to(background(scene.seed, size), (len(index), size, size, 3)).copy()
    for actor in scene.actors:
        seen = scene.visible(actor)[index]
        video[seen] = _drawn(video[seen], actor, actor.poses(scene.num_frames)[index[seen]])
    for picture, number in zip(video, index.tolist(), strict=True):
        noise = np.random.default_rng([scene.seed, 2, number])
        picture += NOISE_LEVELS * noise.standard_normal(picture.shape, dtype=np.float32)
        if frame_code:
            _write_frame_code(picture, number)
    pixels: NDArray[np.uint8] = np.rint(video).clip(0, 255).astype(np.uint8)
    return pixels


def _drawn(video: Array, actor: Actor, poses: NDArray[np.float64]) -> Array:
    """Every frame of ``video [T, H, W, 3]`` with one shape over it at its ``poses [T, 4]``."""
    size = video.shape[1]
    x, y, angle, scale = (poses % 1.0).astype(np.float32).T[:, :, None, None]
    smallest, largest = RADIUS
    radius = smallest * (largest / smallest) ** scale  # [T, 1, 1]; equal steps are equal ratios
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    dx = (grid[None, None, :] - x + 0.5) % 1.0 - 0.5  # the picture has no edge: left follows right
    dy = (grid[None, :, None] - y + 0.5) % 1.0 - 0.5
    cos, sin = np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)
    u = (cos * dx + sin * dy) / radius  # the shape's own axes; turning clockwise on the screen
    v = (cos * dy - sin * dx) / radius
    cover = (0.5 - OUTLINES[actor.shape](u, v) * radius * size).clip(0, 1)  # 1 pixel soft edge
    colour = np.asarray(COLOURS[actor.colour], dtype=np.float32) * _shade(v)[..., None]
    return video + cover[..., None] * (colour - video)


def _write_frame_code(picture: Array, number: int) -> None:
    """Two rows of eight black or white blocks, the most significant bit first."""
    if number >= 1 << CODE_BITS:
        raise ConfigurationError(
            f"frame {number} does not fit the {CODE_BITS} bits of the frame code; "
            "render a shorter video or leave frame_code off"
        )
    side = picture.shape[0] // 8
    for bit in range(CODE_BITS):
        row, column = divmod(bit, 8)
        value = 255 * (number >> (CODE_BITS - 1 - bit) & 1)
        picture[row * side : (row + 1) * side, column * side : (column + 1) * side] = value


def read_frame_code(picture: NDArray[np.uint8]) -> int:
    """The number that :func:`render` wrote into a frame ``[H, W, 3]``, also after compression."""
    side = picture.shape[0] // 8
    number = 0
    for bit in range(CODE_BITS):
        row, column = divmod(bit, 8)
        block = picture[row * side : (row + 1) * side, column * side : (column + 1) * side]
        number = number << 1 | int(block.mean() > 127)
    return number
