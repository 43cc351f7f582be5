"""Unit vectors in few bytes, and the search that reads all of them."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError, WeightsError

Precision = Literal["float32", "float16", "int8"]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
_LARGEST_INT8 = 127
# Rows that are scored at once: in float32 they fit a processor's cache, and few calls are needed.
BLOCK_ROWS = 4096
_QUERIES_AT_ONCE = 256


class Packed(NamedTuple):
    """Vectors as they are stored.

    Attributes:
        vectors: ``[n, D]``, of the precision's type.
        scales: What multiplies each of them, float32 ``[n]``; 1 for the floating types.
    """

    vectors: Tensor
    scales: Tensor

    def rows(self, which: slice | Tensor) -> "Packed":
        """Some of the rows: a view for a slice, a copy for numbers."""
        return Packed(self.vectors[which], self.scales[which])


class PrecisionLoss(NamedTuple):
    """What a precision costs against float32.

    Attributes:
        recall: Share of the ``k`` best of float32 that are among the ``k`` best.
        score_error: Largest difference between a cosine and its stored counterpart.
    """

    recall: float
    score_error: float


def unit(vectors: Tensor, width: int) -> Tensor:
    """Bring vectors to norm 1, in float32 on the CPU.

    Raises:
        ConfigurationError: If they are not ``[n, width]``.
        WeightsError: If one is not finite or zero: it has no direction.
    """
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise ConfigurationError(
            f"vectors {list(vectors.shape)} do not fit an index of width {width}; give [n, {width}]"
        )
    vectors = vectors.detach().cpu().double()  # a float32's square may be infinite
    bad = ~(vectors.isfinite().all(dim=1) & (vectors != 0).any(dim=1))
    if bad.any():
        raise WeightsError(
            f"vector {int(bad.nonzero()[0])} is zero or not finite, so it has no direction; look "
            "for broken weights or an empty input"
        )
    return F.normalize(vectors, dim=1, eps=0.0).float()


def pack(vectors: Tensor, precision: Precision) -> Packed:
    """Round unit vectors ``[n, D]`` to a precision; in int8 the largest number of each is 127."""
    if precision != "int8":
        return Packed(vectors.to(DTYPES[precision]), torch.ones(len(vectors)))
    steps = (vectors / vectors.abs().amax(dim=1, keepdim=True) * _LARGEST_INT8).round()
    # Scaled to norm 1 again, so that a score is the cosine of what is stored, at most 1.
    return Packed(steps.to(torch.int8), 1 / steps.norm(dim=1))


class PackedVectors:
    """A growing list of packed vectors that never copies what it holds.

    Args:
        width: Width ``D`` of a vector.
        precision: Their type.
        block_rows: Rows of a piece of memory; at most one piece is not full.
    """

    def __init__(self, width: int, precision: Precision, block_rows: int = BLOCK_ROWS) -> None:
        self.width, self.precision, self.block_rows = width, precision, block_rows
        self._blocks: list[Packed] = []
        self._count = 0

    def __len__(self) -> int:
        """Number of vectors."""
        return self._count

    def append(self, packed: Packed) -> None:
        """Copy vectors to the end."""
        done = 0
        while done < len(packed.scales):
            place = self._count % self.block_rows
            if place == 0:
                shape = (self.block_rows, self.width)
                vectors = torch.empty(shape, dtype=DTYPES[self.precision])
                self._blocks.append(Packed(vectors, torch.empty(self.block_rows)))
            some = packed.rows(slice(done, done + self.block_rows - place))
            target = self._blocks[-1].rows(slice(place, place + len(some.scales)))
            target.vectors.copy_(some.vectors)
            target.scales.copy_(some.scales)
            done += len(some.scales)
            self._count += len(some.scales)

    def blocks(self) -> Iterator[tuple[int, Packed]]:
        """Number of the first vector of each piece, and the piece."""
        for start in range(0, self._count, self.block_rows):
            rows = slice(0, min(self.block_rows, self._count - start))
            yield start, self._blocks[start // self.block_rows].rows(rows)

    def take(self, rows: Tensor) -> Packed:
        """Copy the vectors of ascending numbers, int64 ``[m]``."""
        parts = []
        for start, block in self.blocks():
            low, high = torch.searchsorted(rows, torch.tensor([start, start + len(block.scales)]))
            parts.append(block.rows(rows[int(low) : int(high)] - start))
        return Packed(torch.cat([p.vectors for p in parts]), torch.cat([p.scales for p in parts]))

    def search(self, queries: Tensor, k: int, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Score every vector and keep the best; exact for the stored vectors, in float32.

        Memory beside the vectors is bounded by a block, whatever the number of vectors.

        Args:
            queries: Unit vectors, float32 ``[Q, D]``.
            k: How many to find; at most as many as are allowed.
            allowed: Which may be found, bool ``[n]``.

        Returns:
            Cosines, best first, float32 ``[Q, k]``, and numbers of the vectors, int64 ``[Q, k]``.
        """
        found = [self._search(few, k, allowed) for few in queries.split(_QUERIES_AT_ONCE)]
        return torch.cat([scores for scores, _ in found]), torch.cat([rows for _, rows in found])

    def _search(self, queries: Tensor, k: int, allowed: Tensor) -> tuple[Tensor, Tensor]:
        best = torch.full((len(queries), k), -torch.inf)
        rows = torch.zeros(len(queries), k, dtype=torch.int64)
        buffer = torch.empty(min(self.block_rows, self._count), self.width)
        for start, block in self.blocks():
            size = len(block.scales)
            wide = buffer[:size].copy_(block.vectors)  # a type that the processor multiplies fast
            scores = (queries @ wide.T).mul_(block.scales)  # [Q, b]
            scores.masked_fill_(~allowed[start : start + size], -torch.inf)
            top, place = scores.topk(min(k, size))
            best, order = torch.cat([best, top], dim=1).topk(k)
            rows = torch.cat([rows, place + start], dim=1).gather(1, order)
        return best, rows


def precision_loss(
    vectors: Tensor, queries: Tensor, precision: Precision, *, k: int = 10
) -> PrecisionLoss:
    """Measure what rounding does to a search.

    Args:
        vectors: Of any norm but 0, ``[n, D]``.
        queries: Of any norm but 0, ``[Q, D]``.
        precision: What to store them in.
        k: How many of the best are compared.

    Returns:
        Recall and error of scores, against float32.
    """
    width = vectors.shape[1]
    exact, queries = unit(vectors, width), unit(queries, width)
    found, error = [], 0.0
    for kind in ("float32", precision):
        packed = PackedVectors(width, kind)
        packed.append(pack(exact, kind))
        found.append(packed.search(queries, min(k, len(exact)), torch.ones(len(exact)).bool())[1])
    for start, block in packed.blocks():
        kept = block.vectors.float() * block.scales[:, None]
        difference = queries @ (kept - exact[start : start + len(kept)]).T
        error = max(error, float(difference.abs().max()))
    same = (found[0][:, :, None] == found[1][:, None, :]).any(dim=2)
    return PrecisionLoss(float(same.float().mean()), error)
