"""Search over vectors of videos: the calls that every index answers, and what goes in and out."""

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor

from video_adapt.errors import ConfigurationError

Backend = Literal["torch", "faiss", "lancedb"]
Damaged = Literal["error", "skip"]
_NO_FIELDS: Mapping[str, object] = {}


class Entry(NamedTuple):
    """What a vector is of.

    Attributes:
        path: The video's file.
        start_s: Where the clip begins in it, in seconds.
        end_s: Where it ends, in seconds.
        fields: Anything else worth a filter, as values that JSON knows.
    """

    path: str
    start_s: float
    end_s: float
    fields: Mapping[str, object] = _NO_FIELDS

    def as_json(self, name: str) -> str:
        """One line of JSON, the id first.

        Raises:
            ConfigurationError: If a time is not finite, the end precedes the start, or a field is
                nothing that JSON knows.
        """
        times = (self.start_s, self.end_s)
        if not all(map(math.isfinite, times)) or self.end_s < self.start_s:
            raise ConfigurationError(
                f"{name!r}: lasts from {self.start_s} s to {self.end_s} s; give finite times, the "
                "end not before the start"
            )
        try:
            return json.dumps([name, *self], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{name!r}: its fields cannot be stored ({error}); use text, finite numbers, "
                "truth values, lists and mappings"
            ) from error


Filter = Callable[[Entry], bool]


class Hits(NamedTuple):
    """What a search found: for each of ``Q`` queries the same number ``K`` of vectors, best first.

    Attributes:
        ids: Their ids, ``Q`` lists of ``K``.
        scores: Cosines, float32 ``[Q, K]``.
        entries: What they are of, ``Q`` lists of ``K``.
    """

    ids: list[list[str]]
    scores: Tensor
    entries: list[list[Entry]]


class Index(Protocol):
    """Vectors by id, in a folder, that can be searched by cosine."""

    def __len__(self) -> int:
        """Number of vectors."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a vector of this id."""

    def add(self, ids: Sequence[str], vectors: Tensor, metadata: Sequence[Entry]) -> None:
        """Store vectors; they are on the disk when this returns, and none of them before.

        Args:
            ids: Names, each once; a name that is there already has its vector replaced.
            vectors: Of any norm but 0, ``[n, D]``.
            metadata: What each is of.

        Raises:
            ConfigurationError: If the three do not fit one another or the index, or another
                process wrote to it since it was opened.
            WeightsError: If a vector is not finite or zero.
        """

    def delete(self, ids: Sequence[str]) -> int:
        """Forget vectors; those of unknown names are none.

        Returns:
            How many there were.

        Raises:
            ConfigurationError: If another process wrote to the index since it was opened.
        """

    def search(self, queries: Tensor, k: int, where: Filter | None = None) -> Hits:
        """Find the vectors of the highest cosines.

        Args:
            queries: Of any norm but 0, ``[Q, D]``.
            k: How many for each; fewer where fewer are there or pass the filter.
            where: Which entries may be found; all if left out.

        Raises:
            ConfigurationError: If the queries have another width, or ``k`` is not positive.
            WeightsError: If a query is not finite or zero.
        """

    def compact(self) -> None:
        """Rewrite the folder without deleted vectors and without remains of interrupted writes."""

    def save(self, folder: str | Path) -> None:
        """Write a compact copy into a new folder.

        Raises:
            ConfigurationError: If the folder holds an index already.
        """


def require_fit(ids: Sequence[str], vectors: Tensor, metadata: Sequence[Entry]) -> None:
    """Refuse what is not one vector and one entry for every id.

    Raises:
        ConfigurationError: If their numbers differ or an id comes twice.
    """
    if not len(ids) == len(vectors) == len(metadata) or len(set(ids)) < len(ids):
        raise ConfigurationError(
            f"{len(set(ids))} different ids of {len(ids)}, {len(vectors)} vectors, "
            f"{len(metadata)} entries; give one of each, every id once"
        )


def require_positive(k: int) -> None:
    """Refuse a search for nothing.

    Raises:
        ConfigurationError: If ``k`` is not positive.
    """
    if k < 1:
        raise ConfigurationError(f"k is {k}; ask for at least one")


def import_extra(module: str) -> Any:
    """Import what only one backend needs.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"this index needs the package {module} ({error}); pip install video_adapt[index], or "
            "use backend='torch'"
        ) from error
