"""Captioned stills of the demonstration world, and questions about them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from video_adapt.backbones.clip_config import OPENAI_MEAN, OPENAI_STD
from video_adapt.video.synthetic import (
    COLOURS,
    HEADINGS,
    PLACES,
    SHAPES,
    SIZES,
    Actor,
    Scene,
    heading_of,
    place_of,
    random_actor,
    size_of,
)
from video_adapt.video.synthetic_render import render

WORDS: dict[str, Sequence[str]] = {
    "colour": list(COLOURS),
    "shape": SHAPES,
    "size": SIZES,
    "place": [place for row in PLACES for place in row],
    "heading": HEADINGS,
}
PROMPTS = ("{}", "{}.", "a photo of {}.", "a picture of {}", "a video of {}.")


class Stills(NamedTuple):
    """Pictures with what is true of them, and what nearly is.

    Attributes:
        pictures: Normalised, ``[B, 3, H, W]``.
        captions: One sentence a picture.
        mistakes: Captions with one word exchanged, of all pictures.
        actors: The first shape of each picture.
        alone: Where it is the only one, ``[B]``.
    """

    pictures: Tensor
    captions: list[str]
    mistakes: list[str]
    actors: list[Actor]
    alone: Tensor


class Question(NamedTuple):
    """One thing to ask of a picture.

    Attributes:
        options: Every possible answer.
        sentence: Makes a sentence of a shape and an answer.
        answer: The right one for a shape.
    """

    options: Sequence[str]
    sentence: Callable[[Actor, str], str]
    answer: Callable[[Actor], str]


QUESTIONS: dict[str, Question] = {
    "colour and shape": Question(
        [Actor(colour, shape, (0, 0, 0, 0)).name for colour in COLOURS for shape in SHAPES],
        lambda actor, name: f"a photo of {name}.",
        lambda actor: actor.name,
    ),
    "place": Question(
        WORDS["place"],
        lambda actor, place: f"a photo of {actor.name} at the {place}.",
        lambda actor: all_words(actor)["place"],
    ),
    "heading": Question(
        WORDS["heading"],
        lambda actor, heading: f"a photo of {actor.name} pointing {heading}.",
        lambda actor: all_words(actor)["heading"],
    ),
    "size": Question(
        WORDS["size"],
        lambda actor, size: f"a photo of a {size} {actor.colour} {actor.shape}.",
        lambda actor: all_words(actor)["size"],
    ),
}


def draw_stills(seed: Sequence[int], count: int, *, size: int, pairs: float) -> Stills:
    """Draw ``count`` pictures of one shape, or of two in a share ``pairs`` of them."""
    rng = np.random.default_rng(seed)
    pictures: list[NDArray[np.uint8]] = []
    actors: list[Actor] = []
    alone: list[bool] = []
    captions: list[str] = []
    mistakes: list[str] = []
    for _ in range(count):
        cast = tuple(random_actor(rng) for _ in range(1 + int(rng.random() < pairs)))
        pictures.append(render(Scene(cast, 1, int(rng.integers(2**31))), size=size)[0])
        prompt = PROMPTS[rng.integers(len(PROMPTS))]
        words = describe(rng, cast[0])
        if len(cast) == 2:
            prompt = prompt.format(f"{{}} and {cast[1].name}")
            words = {key: words[key] for key in ("colour", "shape")}
        captions.append(prompt.format(phrase(words)))
        mistakes += [prompt.format(phrase(wrong)) for wrong in exchange_a_word(rng, words)]
        actors.append(cast[0])
        alone.append(len(cast) == 1)
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255  # [B, 3, H, W]
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (OPENAI_MEAN, OPENAI_STD))
    return Stills((pixels - mean) / std, captions, mistakes, actors, torch.tensor(alone))


def describe(rng: np.random.Generator, actor: Actor) -> dict[str, str]:
    """Words for a shape, by kind; each of size, place and heading is left out at random."""
    always = ("colour", "shape")
    words = all_words(actor)
    return {key: word for key, word in words.items() if key in always or rng.random() < 0.7}


def all_words(actor: Actor) -> dict[str, str]:
    """Every word for a shape, by kind."""
    pose = np.asarray(actor.start)
    return {
        "colour": actor.colour,
        "shape": actor.shape,
        "size": size_of(pose),
        "place": place_of(pose),
        "heading": heading_of(pose),
    }


def phrase(words: Mapping[str, str]) -> str:
    """Say the words that :func:`describe` found."""
    said = " ".join(words[key] for key in ("size", "colour", "shape") if key in words)
    said = f"an {said}" if said[0] in "aeiou" else f"a {said}"
    if "place" in words:
        said += f" at the {words['place']}"
    if "heading" in words:
        said += f" pointing {words['heading']}"
    return said


def exchange_a_word(rng: np.random.Generator, words: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Exchange one word, then another, for a different one of its kind."""
    for key in rng.permutation(list(words))[:2]:
        others = [other for other in WORDS[key] if other != words[key]]
        yield {**words, key: others[rng.integers(len(others))]}
