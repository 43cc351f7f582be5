"""The account of every tensor when weights meet a model."""

from collections.abc import Sequence
from typing import NamedTuple


class LoadReport(NamedTuple):
    """What became of every tensor of a file and of a model; nothing goes unmentioned.

    Attributes:
        loaded: Names taken over from the file, whatever they were called there.
        converted: Those among them whose values had to change, such as a resized embedding.
        new: Names of the model that the file lacks and is allowed to lack: they keep their start.
        unused: Names of the file that the model lacks and is allowed to lack.
    """

    loaded: tuple[str, ...]
    converted: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def render(self, *, names: int = 6) -> str:
        """Counts, and for everything but plainly loaded tensors also names.

        Args:
            names: How many groups of names to spell out before counting the rest.

        Returns:
            E.g. ``301 tensors loaded | converted 1 (visual.positional_embedding)``.
        """
        parts = [f"{len(self.loaded)} tensors loaded"]
        for title, members in zip(self._fields[1:], self[1:], strict=True):
            if members:
                parts.append(f"{title} {len(members)} ({summarise(members, limit=names)})")
        return " | ".join(parts)


def summarise(names: Sequence[str], *, limit: int) -> str:
    """Group dotted names by all but their last part: ``a.{bias,weight}, b`` and so on.

    Args:
        names: Dotted names.
        limit: Groups to spell out; the rest is counted.
    """
    leaves: dict[str, list[str]] = {}
    for name in names:
        owner, _, leaf = name.rpartition(".")
        leaves.setdefault(owner or name, []).append(leaf)
    groups = [_join(owner, found) for owner, found in leaves.items()]
    more = len(groups) - limit
    return ", ".join(groups[:limit]) + (f" and {more} more" if more > 0 else "")


def _join(owner: str, leaves: list[str]) -> str:
    if leaves == [owner]:
        return owner  # a name without dots owns itself
    return f"{owner}.{leaves[0]}" if len(leaves) == 1 else f"{owner}.{{{','.join(leaves)}}}"
