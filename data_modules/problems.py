"""What can be wrong with a data set: raised at the first fault, or collected for a report."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from video_adapt.errors import AnnotationError

Kind = Literal[
    "malformed",
    "label",
    "time",
    "duplicate",
    "missing",
    "unreadable",
    "empty",
    "truncated",
    "mislabelled",
    "leakage",
    "subset",
    "rate",
    "short",
    "events",
    "features",
    "caption",
    "long",
]


class Problem(NamedTuple):
    """One fault of a data set.

    Attributes:
        kind: Which sort of fault.
        where: ``file:line`` of the list that is wrong, or the file itself.
        message: Cause and mend, one line.
    """

    kind: Kind
    where: str
    message: str


@dataclass
class Problems:
    """A sink for faults.

    Args:
        strict: Raise the first fault instead of collecting all of them.
    """

    strict: bool = True
    found: list[Problem] = field(default_factory=list)

    def add(self, kind: Kind, where: str, message: str) -> None:
        """Raise or note a fault.

        Raises:
            AnnotationError: In strict mode, with ``where: message``.
        """
        if self.strict:
            raise AnnotationError(f"{where}: {message}")
        self.found.append(Problem(kind, where, message))
