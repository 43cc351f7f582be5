"""Classes that are given as text: what an open-vocabulary recogniser tells apart."""

from collections import Counter
from dataclasses import dataclass

from .errors import ConfigurationError


@dataclass(frozen=True)
class Vocabulary:
    """Classes by name, in the order of their labels, each perhaps with a sentence about it.

    Args:
        name: What the set of classes is called in tables and figures: ``base``, ``novel`` ...
        classes: ``K`` plain names, unique.
        descriptions: ``K`` sentences, empty where a class has none; left out if no class has one.

    Raises:
        ConfigurationError: If there is no class, a name is empty or appears twice, or there are not
            as many descriptions as classes.
    """

    name: str
    classes: tuple[str, ...]
    descriptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be told apart."""
        if not self.classes:
            raise ConfigurationError(f"classes of {self.name!r}: there are none; name at least one")
        if empty := [i for i, name in enumerate(self.classes) if not name.strip()]:
            raise ConfigurationError(
                f"classes of {self.name!r}: class {empty[0]} has an empty name; name it"
            )
        # Case and outer space do not tell classes apart: the tokenizer drops both.
        counts = Counter(name.strip().lower() for name in self.classes)
        if twice := [name for name in self.classes if counts[name.strip().lower()] > 1]:
            raise ConfigurationError(
                f"classes of {self.name!r}: {twice[0]!r} appears twice; keep one of them"
            )
        if self.descriptions and len(self.descriptions) != len(self.classes):
            raise ConfigurationError(
                f"classes of {self.name!r}: {len(self.classes)} classes, "
                f"{len(self.descriptions)} descriptions; give one for each, empty if there is none"
            )

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def entries(self) -> tuple[str, ...]:
        """``name: description`` of every class, the name alone where there is no description."""
        told = self.descriptions or ("",) * len(self)
        return tuple(
            f"{name}: {text}" if text else name
            for name, text in zip(self.classes, told, strict=True)
        )
