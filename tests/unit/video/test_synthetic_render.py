"""Pixels agree with poses, frames with their numbers."""

import numpy as np
import pytest

from video_adapt.errors import ConfigurationError
from video_adapt.video.synthetic import COLOURS, SHAPES, Act, Actor, Scene, trimmed_scene
from video_adapt.video.synthetic_render import read_frame_code, render


def mask(picture, colour):
    """Pixels of the hue of a colour of the palette, light or dark ``[H, W]``."""
    towards = np.asarray(COLOURS[colour]) / np.linalg.norm(COLOURS[colour])
    return (picture @ towards > 0.98 * np.linalg.norm(picture, axis=-1)) & (picture.sum(-1) > 60)


def still(x=0.5, y=0.5, angle=0.0, size=0.9, shape="circle"):
    scene = Scene((Actor("yellow", shape, (x, y, angle, size)),), 1, seed=0)
    return render(scene, size=64)[0]


def test_a_shape_is_where_its_pose_says():
    rows, columns = np.nonzero(mask(still(x=0.3, y=0.7, size=0.5), "yellow"))
    assert columns.mean() / 64 == pytest.approx(0.3, abs=0.02)
    assert rows.mean() / 64 == pytest.approx(0.7, abs=0.03)


def test_a_shape_that_leaves_on_one_side_enters_on_the_other():
    seen = mask(still(x=0.0), "yellow")
    np.testing.assert_allclose(seen[:, :32].sum(), seen[:, 32:].sum(), rtol=0.1)
    assert seen[:, 28:36].sum() == 0


def test_size_grows_evenly_in_ratio():
    widths = [np.ptp(np.nonzero(mask(still(size=s), "yellow"))[1]) + 1 for s in (0.0, 0.5, 0.99)]
    expected = [2 * 0.9 * 64 * radius for radius in (0.13, (0.13 * 0.36) ** 0.5, 0.36)]
    np.testing.assert_allclose(widths, expected, atol=1.5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("angle", "direction"), [(0.0, (0, -1)), (0.25, (1, 0)), (0.5, (0, 1)), (0.75, (-1, 0))]
)
def test_the_bright_end_turns_clockwise(shape, angle, direction):
    light = still(angle=angle, shape=shape).astype(float)
    light -= still(angle=angle + 0.5, shape=shape)  # what is behind the shape cancels
    grid = np.arange(64) - 31.5
    weight = light.sum(-1)
    turn = np.array([(weight * grid).sum(), (weight * grid[:, None]).sum()])
    np.testing.assert_allclose(turn / np.linalg.norm(turn), direction, atol=0.15)


def test_a_frame_does_not_depend_on_its_company():
    scene = trimmed_scene(np.random.default_rng(0), "moves up", 20)
    whole = render(scene, size=32)
    np.testing.assert_array_equal(render(scene, [17, 3, 3], size=32), whole[[17, 3, 3]])


def test_rendering_is_deterministic_and_noisy():
    scene = Scene((), 2, seed=4)
    first, second = render(scene, size=32).astype(int)
    np.testing.assert_array_equal(render(scene, size=32), [first, second])
    assert 9 < np.std(first - second) < 16  # sqrt(2) times the noise of one frame
    assert np.abs((first - second).mean()) < 1


def test_frame_code_tells_the_number_of_the_frame():
    actor = Actor("white", "bar", (0, 0, 0, 0), (Act("moves down", 0, 900, 0.5),))
    numbers = [0, 1, 37, 255, 256, 899]
    pictures = render(Scene((actor,), 900, seed=1), numbers, size=64, frame_code=True)
    assert [read_frame_code(picture) for picture in pictures] == numbers


def test_frame_code_refuses_what_does_not_fit():
    with pytest.raises(ConfigurationError, match="65536"):
        render(Scene((), 65537, seed=1), [65536], size=16, frame_code=True)
