"""No frame, and no unordered bag of frames, gives a motion away."""

from itertools import pairwise

import numpy as np
import pytest

from video_adapt.video.synthetic import (
    ATTRIBUTES,
    COLOURS,
    MOTIONS,
    ONE_WAY,
    SHAPES,
    Act,
    Actor,
    Scene,
    captioned_scene,
    captions,
    heading_of,
    place_of,
    size_of,
    trimmed_scene,
    untrimmed_scene,
    visiting_order,
)
from video_adapt.video.synthetic_render import render

FRAMES = 16


def path(name, start=0.0):
    """The number that a motion changes, at every frame, over 9/16 of its circle."""
    column = ATTRIBUTES.index(MOTIONS[name].attribute)
    pose = [0.0] * 4
    pose[column] = start
    act = Act(name, 0, FRAMES, travel=9 / 16)
    return Actor("red", "bar", tuple(pose), (act,)).poses(FRAMES)[:, column]


@pytest.mark.parametrize("name", MOTIONS)
def test_at_every_frame_number_a_pose_is_as_uniform_as_at_the_start(name):
    """Starts on an even grid of the circle lie on the same grid at every later frame."""
    cells = 256  # a step of the path is 9 / 256 of the circle: nine cells
    starts = np.arange(cells) / cells
    for frame in range(FRAMES):
        travelled = path(name)[frame]
        landed = np.sort(np.rint((starts + travelled) * cells).astype(int) % cells)
        np.testing.assert_array_equal(landed, np.arange(cells))
        assert (travelled * cells) == pytest.approx(round(travelled * cells), abs=1e-9)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_the_motions_of_an_attribute_visit_the_same_poses_in_different_orders(attribute):
    paths = [path(name) for name, motion in MOTIONS.items() if motion.attribute == attribute]
    assert len(paths) == 4  # hence at most one bag in four is told apart by order-blind means
    bags = [np.sort(p - p.min()) for p in paths]  # the start is uniform, so a shift is nothing
    for bag in bags[1:]:
        np.testing.assert_allclose(bag, bags[0], atol=1e-12)
    for i, first in enumerate(paths):
        for second in paths[:i]:
            assert np.abs(first - second).max() > 0.2


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("forward", [0, 1, 2, 3, 4, 5]),
        ("backward", [5, 4, 3, 2, 1, 0]),
        ("forward and back", [0, 2, 4, 5, 3, 1]),
        ("backward and back", [5, 3, 1, 0, 2, 4]),
    ],
)
def test_orders_are_permutations(order, expected):
    assert visiting_order(order, 6).tolist() == expected


def test_a_motion_changes_one_number_only():
    scene = trimmed_scene(np.random.default_rng(0), "grows", 12)
    poses = scene.actors[0].poses(12)
    assert (np.diff(poses[:, 3]) > 0).all()
    assert np.ptp(poses[:, :3], axis=0).tolist() == [0, 0, 0]


def test_an_actor_rests_outside_its_acts_and_goes_on_from_where_it_stands():
    acts = (Act("moves right", 2, 6, 0.5), Act("moves left", 8, 12, 0.5))
    x = Actor("red", "ring", (0.25, 0, 0, 0), acts).poses(14)[:, 0]
    expected = [0.25] * 3 + [0.375, 0.5] + [0.625] * 4 + [0.5, 0.375] + [0.25] * 3
    np.testing.assert_allclose(x, expected)


def test_scenes_depend_on_their_seed_alone():
    scenes = [trimmed_scene(np.random.default_rng(seed), "grows", 8) for seed in (3, 3, 4)]
    assert scenes[0] == scenes[1] != scenes[2]


def test_looks_do_not_depend_on_the_motion():
    """Equal seeds give equal shapes, colours and starts whatever the motion."""
    cast = {
        trimmed_scene(np.random.default_rng(5), name, 8).actors[0]._replace(acts=())
        for name in MOTIONS
    }
    assert len(cast) == 1
    assert {
        trimmed_scene(np.random.default_rng(i), "grows", 8).actors[0].colour for i in range(100)
    } == set(COLOURS)
    assert {
        trimmed_scene(np.random.default_rng(i), "grows", 8).actors[0].shape for i in range(100)
    } == set(SHAPES)


def test_untrimmed_acts_do_not_meet_and_leave_rests():
    scene = untrimmed_scene(np.random.default_rng(1), list(ONE_WAY), 400, (10, 30))
    acts = [act for _, act in scene.acts]
    edges = [0, *(edge for act in acts for edge in (act.start_frame, act.stop_frame))]
    assert len(acts) > 3
    assert all(10 <= b - a <= 30 for a, b in pairwise(edges))
    assert edges[-1] < 400


def test_captions_tell_the_acts_in_order():
    actors = (
        Actor("blue", "square", (0, 0, 0, 0), (Act("grows", 8, 16, 0.5),)),
        Actor("orange", "circle", (0, 0, 0, 0), (Act("moves left", 0, 8, 0.5),)),
    )
    assert captions(Scene(actors, 16, seed=0)) == [
        "an orange circle moves left, then a blue square grows",
        "first an orange circle moves left, next a blue square grows",
        "a blue square grows after an orange circle moves left",
    ]


def test_captions_of_a_single_act_are_one_sentence():
    scene = trimmed_scene(np.random.default_rng(0), "turns clockwise", 8)
    (told,) = captions(scene)
    assert told == f"{scene.actors[0].name} turns clockwise"


def test_captioned_actors_differ_in_colour_and_shape():
    for seed in range(20):
        one, two = captioned_scene(np.random.default_rng(seed), list(ONE_WAY), 16).actors
        assert one.colour != two.colour
        assert one.shape != two.shape


def test_shapes_in_turn_are_seen_while_they_act():
    rng = np.random.default_rng(3)
    scene = captioned_scene(rng, list(ONE_WAY), 12, num_actors=3, in_turn=True)
    shown = np.array([scene.visible(actor) for actor in scene.actors])
    assert shown.sum(axis=0).tolist() == [1] * 12
    assert shown.argmax(axis=0).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    second = scene._replace(actors=scene.actors[1:2])
    assert (render(scene, range(4, 8), size=32) == render(second, range(4, 8), size=32)).all()
    nobody = scene._replace(actors=())
    assert (render(second, range(4), size=32) == render(nobody, range(4), size=32)).all()
    assert captions(scene)[0].count(", then ") == 2
    everybody = scene._replace(in_turn=False)
    assert all(everybody.visible(actor).all() for actor in everybody.actors)


def test_words_for_poses():
    assert place_of(np.array([0.1, 0.9, 0, 0])) == "bottom left"
    assert place_of(np.array([1.5, -0.5, 0, 0])) == "middle"  # on the circle
    assert [heading_of(np.array([0, 0, a, 0])) for a in (0.1, 0.25, 0.5, 0.75, 0.9)] == [
        "up",
        "right",
        "down",
        "left",
        "up",
    ]
    assert [size_of(np.array([0, 0, 0, s])) for s in (0.1, 0.5, 0.9)] == ["small", "medium", "big"]
