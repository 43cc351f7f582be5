"""The demonstration world as a base-to-novel protocol: new classes are new combinations.

A class is a colour, a shape and a motion. Every colour, every shape, every motion and every pair of
them occurs in a base class; half of the triples are left for the novel ones. Motions of one colour
and shape within a part are opposite ones, so that a bag of frames cannot tell them apart.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .synthetic import Scene, trimmed_scene

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle")
MOTIONS = ("moves right", "moves down", "moves left", "moves up")
LISTS = ("train", "val_base", "test_novel")


class Combination(NamedTuple):
    """A class of the protocol.

    Attributes:
        colour: A colour of the world.
        shape: A shape of it.
        motion: A motion of it.
    """

    colour: str
    shape: str
    motion: str

    @property
    def name(self) -> str:
        """The class in words."""
        return f"{self.colour} {self.shape} {self.motion}"

    @property
    def entry(self) -> str:
        """Name and description, as published class files have them."""
        return f"{self.name.capitalize()}: A {self.colour} {self.shape} that {self.motion}"


def combinations(motions: Sequence[str]) -> tuple[list[Combination], list[Combination]]:
    """Base and novel classes with these motions, as many of the one as of the other."""
    parts: tuple[list[Combination], list[Combination]] = ([], [])
    places = product(range(len(COLOURS)), range(len(SHAPES)), range(len(motions)))
    for colour, shape, motion in places:
        part = parts[(colour + shape + motion) % 2]
        part.append(Combination(COLOURS[colour], SHAPES[shape], motions[motion]))
    return parts


def combined_scene(rng: np.random.Generator, wanted: Combination, num_frames: int) -> Scene:
    """One shape of that colour that performs that motion from the first frame to the last."""
    scene = trimmed_scene(rng, wanted.motion, num_frames)
    actor = scene.actors[0]._replace(colour=wanted.colour, shape=wanted.shape)
    return scene._replace(actors=(actor,))


def write_protocol(root: Path, motions: Sequence[str], rows: Iterable[tuple[str, int]]) -> None:
    """Write ``classes.json`` and a ``path,label`` list each for training, base and novel classes.

    Args:
        root: Folder that the paths start at.
        motions: Those of the classes.
        rows: Path of every video, which begins with the name of its list, and its label.
    """
    parts = zip(("base", "novel"), combinations(motions), strict=True)
    classes = {
        part: [{"name": known.name, "entry": known.entry} for known in members]
        for part, members in parts
    }
    (root / "classes.json").write_text(json.dumps(classes, indent=1) + "\n")
    lines: dict[str, list[str]] = {name: ["path,label\n"] for name in LISTS}
    for path, label in rows:
        lines[path.partition("/")[0]].append(f"{path},{label}\n")
    for name, listed in lines.items():
        (root / f"{name}.csv").write_text("".join(listed))
