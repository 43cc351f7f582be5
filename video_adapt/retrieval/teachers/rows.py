"""What a teacher says of single videos or captions, by name, and the same as one tensor."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Rows = dict[str, Tensor]


class RowLayout(NamedTuple):
    """What the rows of a teacher hold, by name; all of one width ``E``.

    Attributes:
        vectors: One vector for each, ``[n, E]``.
        sequence: One vector for each frame or word, ``[n, S, E]``; None where there is none.
        flags: What is true of each frame or word, bool ``[n, S]``.
    """

    vectors: tuple[str, ...] = ()
    sequence: str | None = None
    flags: tuple[str, ...] = ()

    def pack(self, rows: Rows) -> Tensor:
        """Put rows into one tensor, as evaluations and gatherings want it.

        Returns:
            ``[n, vectors + S, E + flags]``: vectors first, flags behind the features.
        """
        features = [rows[name].unsqueeze(1) for name in self.vectors]
        features += [] if self.sequence is None else [rows[self.sequence]]
        packed = torch.cat(features, dim=1)
        flags = [rows[name].to(packed.dtype) for name in self.flags]
        if not flags:
            return packed
        above = F.pad(torch.stack(flags, dim=-1), (0, 0, len(self.vectors), 0))
        return torch.cat([packed, above], dim=-1)

    def unpack(self, packed: Tensor) -> Rows:
        """The rows that :meth:`pack` put together."""
        width, start = packed.shape[-1] - len(self.flags), len(self.vectors)
        rows = {name: packed[:, place, :width] for place, name in enumerate(self.vectors)}
        if self.sequence is not None:
            rows[self.sequence] = packed[:, start:, :width]
        flags = {name: packed[:, start:, width + n] > 0 for n, name in enumerate(self.flags)}
        return rows | flags
