"""The demonstration world: coloured shapes that move, turn and grow, told as scenes.

A scene is a short story without pixels: which shapes there are, and when each of them performs
which motion. :mod:`.synthetic_render` draws scenes, :mod:`.synthetic_files` writes video files.

Why no single frame tells a motion. A pose is four numbers on a circle of circumference one: ``x``
and ``y`` (a shape that leaves the picture on one side enters on the other), ``angle``, and ``size``
(the largest is followed by the smallest). All four start uniformly at random; a motion changes one
of them at even speed. A uniform point on a circle stays uniform however far it travels, so for
every motion and at every frame number the pose has the same, uniform, distribution.

Why few motions are told by an unordered bag of frames. Each of the four numbers is changed in four
ways that visit *the same poses in another order*: forwards, backwards, forwards and back, backwards
and back. A bag shows at best which number changed, so no classifier that ignores the order of
frames can be right about more than ``numbers / motions`` of the clips: 4 / 16 = 25 % with all
motions.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Attribute = Literal["x", "y", "angle", "size"]
Order = Literal["forward", "backward", "forward and back", "backward and back"]

ATTRIBUTES: tuple[Attribute, ...] = ("x", "y", "angle", "size")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 35),
    "green": (40, 190, 60),
    "blue": (45, 80, 240),
    "yellow": (240, 225, 50),
    "purple": (165, 50, 205),
    "orange": (245, 140, 30),
    "cyan": (50, 215, 230),
    "white": (245, 245, 245),
}

SHAPES = ("circle", "square", "triangle", "cross", "ring", "bar")

PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)
HEADINGS = ("up", "right", "down", "left")
SIZES = ("small", "medium", "big")


class Motion(NamedTuple):
    """One way to change one number of a pose.

    Attributes:
        attribute: The number that changes.
        order: The order in which it passes through its values.
    """

    attribute: Attribute
    order: Order


ONE_WAY: dict[str, Motion] = {
    "moves right": Motion("x", "forward"),
    "moves left": Motion("x", "backward"),
    "moves down": Motion("y", "forward"),
    "moves up": Motion("y", "backward"),
    "turns clockwise": Motion("angle", "forward"),
    "turns counterclockwise": Motion("angle", "backward"),
    "grows": Motion("size", "forward"),
    "shrinks": Motion("size", "backward"),
}

ROUND_TRIPS: dict[str, Motion] = {
    f"{name} and back": Motion(m.attribute, "forward and back")
    if m.order == "forward"
    else Motion(m.attribute, "backward and back")
    for name, m in ONE_WAY.items()
}

MOTIONS: dict[str, Motion] = ONE_WAY | ROUND_TRIPS


class Act(NamedTuple):
    """A motion with its time.

    Attributes:
        motion: Name of the motion, a key of :data:`MOTIONS`.
        start_frame: First frame of the act.
        stop_frame: Frame behind its last.
        travel: Part of the circle that the changed number passes through, in (0, 1).
    """

    motion: str
    start_frame: int
    stop_frame: int
    travel: float


class Actor(NamedTuple):
    """One shape and all that it does.

    Attributes:
        colour: A key of :data:`COLOURS`.
        shape: One of :data:`SHAPES`.
        start: Pose before the first act, in the order of :data:`ATTRIBUTES`, each in [0, 1).
        acts: What it does, in order of time; between its acts it stands still.
    """

    colour: str
    shape: str
    start: tuple[float, float, float, float]
    acts: tuple[Act, ...] = ()

    @property
    def name(self) -> str:
        """Colour and shape, as captions call it."""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape}"

    def poses(self, num_frames: int) -> NDArray[np.float64]:
        """Pose at every frame, ``[T, 4]``, on the unrolled circle (take it modulo one)."""
        poses = np.tile(np.asarray(self.start, dtype=np.float64), (num_frames, 1))
        for act in self.acts:
            motion = MOTIONS[act.motion]
            column = ATTRIBUTES.index(motion.attribute)
            steps = act.stop_frame - act.start_frame
            path = act.travel * visiting_order(motion.order, steps) / steps
            path -= path[0]  # an act sets out from where the shape stands
            poses[act.start_frame : act.stop_frame, column] += path
            poses[act.stop_frame :, column] += path[-1]
        return poses


class Scene(NamedTuple):
    """A story: shapes in front of a background that depends on the seed alone.

    Attributes:
        actors: The shapes, the last in front.
        num_frames: Length in frames.
        seed: Seed of background and noise.
        in_turn: Whether a shape is visible only while it acts.
    """

    actors: tuple[Actor, ...]
    num_frames: int
    seed: int
    in_turn: bool = False

    @property
    def acts(self) -> list[tuple[Actor, Act]]:
        """Every act with its actor, in order of time."""
        pairs = [(actor, act) for actor in self.actors for act in actor.acts]
        return sorted(pairs, key=lambda pair: pair[1].start_frame)

    def visible(self, actor: Actor) -> NDArray[np.bool_]:
        """At which frames a shape is visible, ``[T]``."""
        shown = np.full(self.num_frames, not self.in_turn)
        for act in actor.acts:
            shown[act.start_frame : act.stop_frame] = True
        return shown


def visiting_order(order: Order, steps: int) -> NDArray[np.int64]:
    """In which order a motion visits ``steps`` evenly spaced values: a permutation of them.

    A round trip takes every other value on the way out and the rest on the way back
    (0 2 4 5 3 1), so that it visits what the one-way trip visits, no value twice.
    """
    values = np.arange(steps)
    if order.endswith("and back"):
        values = np.concatenate([values[::2], values[1::2][::-1]])
    return values if order.startswith("forward") else steps - 1 - values


def random_actor(rng: np.random.Generator) -> Actor:
    """A shape at rest: colour, shape and pose uniformly at random."""
    x, y, angle, size = rng.random(4).tolist()
    colour = str(rng.choice(list(COLOURS)))
    return Actor(colour, str(rng.choice(SHAPES)), (x, y, angle, size))


def _random_act(rng: np.random.Generator, motion: str, start: int, stop: int) -> Act:
    return Act(motion, start, stop, float(rng.uniform(0.45, 0.75)))


def trimmed_scene(rng: np.random.Generator, motion: str, num_frames: int) -> Scene:
    """One shape that performs one motion from the first frame to the last."""
    actor = random_actor(rng)._replace(acts=(_random_act(rng, motion, 0, num_frames),))
    return Scene((actor,), num_frames, seed=int(rng.integers(2**31)))


def untrimmed_scene(
    rng: np.random.Generator, motions: list[str], num_frames: int, act_frames: tuple[int, int]
) -> Scene:
    """One shape that stands still, performs, stands still, performs another motion, and so on.

    Acts and the rests between them draw their lengths from the same range, so neither tells the
    other apart. The shape is visible all the time: only motion tells an act from a rest.

    Args:
        rng: Source of everything random.
        motions: Names to draw from.
        num_frames: Length of the video.
        act_frames: Shortest and longest act.
    """
    acts: list[Act] = []
    shortest, longest = act_frames
    start = int(rng.integers(shortest, longest + 1))
    stop = start + int(rng.integers(shortest, longest + 1))
    while stop < num_frames:
        acts.append(_random_act(rng, str(rng.choice(motions)), start, stop))
        start = stop + int(rng.integers(shortest, longest + 1))
        stop = start + int(rng.integers(shortest, longest + 1))
    actor = random_actor(rng)._replace(acts=tuple(acts))
    return Scene((actor,), num_frames, seed=int(rng.integers(2**31)))


def captioned_scene(
    rng: np.random.Generator,
    motions: list[str],
    num_frames: int,
    *,
    num_actors: int = 2,
    in_turn: bool = False,
) -> Scene:
    """Several shapes of different colour and shape that perform one after another.

    Args:
        rng: Source of everything random.
        motions: Names to draw from.
        num_frames: Length of the video.
        num_actors: Number of shapes.
        in_turn: Whether each is visible only while it performs, as after a cut; otherwise all are
            visible all the time.
    """
    colours = rng.permutation(list(COLOURS))[:num_actors]
    shapes = rng.permutation(SHAPES)[:num_actors]
    edges = np.linspace(0, num_frames, num_actors + 1).astype(int).tolist()
    actors = [
        random_actor(rng)._replace(
            colour=str(colours[i]),
            shape=str(shapes[i]),
            acts=(_random_act(rng, str(rng.choice(motions)), edges[i], edges[i + 1]),),
        )
        for i in range(num_actors)
    ]
    return Scene(tuple(actors), num_frames, int(rng.integers(2**31)), in_turn)


def captions(scene: Scene) -> list[str]:
    """Sentences that all tell who does what, in order of time."""
    told = [f"{actor.name} {act.motion}" for actor, act in scene.acts]
    if len(told) == 1:
        return told
    return [
        ", then ".join(told),
        "first " + ", next ".join(told),
        " after ".join(reversed(told)),
    ]


def place_of(pose: NDArray[np.float64]) -> str:
    """Where in the picture a pose ``[4]`` is: one of :data:`PLACES`."""
    column, row = (int(value) for value in (pose[:2] % 1.0) * 3)
    return PLACES[row][column]


def heading_of(pose: NDArray[np.float64]) -> str:
    """Where the bright end of the shape points, the nearest of :data:`HEADINGS`."""
    return HEADINGS[round(float(pose[2]) * 4) % 4]


def size_of(pose: NDArray[np.float64]) -> str:
    """One of :data:`SIZES`."""
    return SIZES[int(float(pose[3]) % 1.0 * 3)]
