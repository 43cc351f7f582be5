"""Sentences around the name of a class, for a text tower to read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from video_adapt.errors import ConfigurationError
from video_adapt.vocabulary import Vocabulary

_SHOWN = ("photo", "video", "example", "demonstration")
_DOING = ("", "using ", "doing ", "during ", "performing ", "practicing ")
TEMPLATES = tuple(
    f"a {shown} of {who}{{}}."
    for shown in _SHOWN
    for who in ("", *(f"a person {doing}" for doing in _DOING))
)
"""The 28 sentences of FROSTER and Open-VCLIP, in their order."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """How a class is put into words: in ``P`` sentences, of which a training step reads a few.

    With ``described`` a sentence is the template around the name, then the class's entry ``name:
    description``, and the last prompt is the entry alone; without it, the templates are all.

    Args:
        templates: Sentences around the name; ``{}`` is the name.
        described: Whether the entry follows every template and is a prompt of its own.

    Raises:
        ConfigurationError: If there is no prompt, or a template has no place for the name.

    Source: FROSTER (ICLR 2024), as trained; ``described=False`` is Open-VCLIP (ICML 2023).
    """

    templates: tuple[str, ...] = TEMPLATES
    described: bool = True

    def __post_init__(self) -> None:
        """Check the sentences."""
        if not self.templates and not self.described:
            raise ConfigurationError("no prompt: give templates, or described: true")
        if wrong := [text for text in self.templates if text.count("{}") != 1]:
            raise ConfigurationError(
                f"template {wrong[0]!r} must hold {{}} once, where the name of the class goes"
            )

    def __len__(self) -> int:
        """Number ``P`` of sentences of a class."""
        return len(self.templates) + self.described

    def write(self, vocabulary: Vocabulary, number: int) -> list[str]:
        """One prompt for every class.

        Args:
            vocabulary: The ``K`` classes.
            number: Which prompt, from 0.

        Returns:
            ``K`` sentences.
        """
        if number == len(self.templates):
            return list(vocabulary.entries)
        said = [self.templates[number].replace("{}", name) for name in vocabulary.classes]
        if not self.described:
            return said
        return [f"{text} {entry}" for text, entry in zip(said, vocabulary.entries, strict=True)]

    def draw(self, *seed: int) -> Sequence[int]:
        """Prompts of a training step: one template for all classes, and the entry alone.

        Args:
            *seed: Numbers that decide, such as seed, epoch and step: every process draws alike.
                The released code draws in every process by itself, from a generator without seed.
        """
        entry = [len(self.templates)] if self.described else []
        if not self.templates:
            return entry
        return [int(np.random.default_rng(seed).integers(len(self.templates))), *entry]
