"""The embedded index: exact, in memory for the search, in a folder for everything else."""

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from video_adapt.errors import ConfigurationError, WeightsError

from .index import (
    Backend,
    Damaged,
    Entry,
    Filter,
    Hits,
    Index,
    require_fit,
    require_positive,
)
from .index_files import IndexFolder, Manifest, Segment, SegmentContent
from .index_vectors import DTYPES, PackedVectors, Precision, pack, unit

logger = logging.getLogger(__name__)

# Adding videos one by one leaves a small file each; past this number they are merged.
_MOST_SMALL_SEGMENTS = 64
_SMALL_ROWS = 4096
_LARGEST_ROWS = 65_536


class TorchIndex(Index):
    """Vectors in memory, in the precision they are stored in; a search multiplies all of them.

    See :class:`video_adapt.retrieval.index.Index` for the calls. Made by :meth:`create` and
    :meth:`load`.

    Args:
        folder: Its files.
        empty: What the folder's manifest says, without segments.
    """

    backend: ClassVar[Backend] = "torch"

    def __init__(self, folder: IndexFolder, empty: Manifest) -> None:
        self._folder, self._empty = folder, empty
        self._clear()

    def _clear(self) -> None:
        self._segments: list[Segment] = []
        self._ids: list[str] = []  # of every row in memory, deleted ones included
        self._entries: list[Entry] = []
        self._alive = torch.zeros(0, dtype=torch.bool)
        self._places: dict[str, int] = {}  # rows of what is not deleted
        self._vectors = PackedVectors(self._empty.width, self._empty.precision)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        checkpoint: str,
        width: int,
        precision: Precision = "float16",
    ) -> Self:
        """Begin an empty index.

        Args:
            folder: Where its files go; made if missing.
            checkpoint: Digest of the checkpoint that makes the vectors.
            width: Width ``D`` of a vector.
            precision: How vectors are stored: ``float32``, ``float16`` in half of that, ``int8`` in
                a quarter.

        Raises:
            ConfigurationError: If the folder holds an index, or the precision is unknown.
        """
        if precision not in DTYPES:
            raise ConfigurationError(f"precision {precision!r}: give one of {', '.join(DTYPES)}")
        files = IndexFolder(folder)
        empty = Manifest(checkpoint, width, precision, backend=cls.backend)
        files.create(empty)
        return cls(files, empty)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        checkpoint: str,
        damaged: Damaged = "error",
    ) -> Self:
        """Open an index; every byte of it is checked.

        Args:
            folder: Its files.
            checkpoint: Digest of the checkpoint that makes queries and further vectors.
            damaged: Whether a damaged file is an error, or is left out, said, and gone from the
                index with the next write: what it held can then be added again.

        Raises:
            ConfigurationError: If there is no index, or another backend's.
            WeightsError: If another checkpoint made it, or a file is damaged.
        """
        files = IndexFolder(folder)
        with files.reading() as manifest:
            manifest.require(folder, checkpoint=checkpoint, backend=cls.backend)
            if left := files.unlisted(manifest):
                logger.warning(
                    "%s: %d files of interrupted writes are ignored (%s); compact() deletes them",
                    folder,
                    len(left),
                    ", ".join(path.name for path in left[:3]),
                )
            index = cls(files, manifest._replace(segments=()))
            for segment in manifest.segments:
                index._read(segment, damaged)
        return index

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        """Whether there is a vector of this id."""
        return name in self._places

    def add(self, ids: Sequence[str], vectors: Tensor, metadata: Sequence[Entry]) -> None:
        """Store vectors; they are on the disk when this returns, and none of them before."""
        require_fit(ids, vectors, metadata)
        if not ids:
            return
        packed = pack(unit(vectors, self._empty.width), self._empty.precision)
        replaced = [self._places[name] for name in ids if name in self._places]
        with self._folder.writing():
            segment = self._folder.write_segment(ids, metadata, packed)
            kept = self._without(replaced)
            self._commit([*kept, segment])
        self._segments = kept
        self._alive[replaced] = False
        self._append(segment, SegmentContent(list(ids), list(metadata), packed))
        self._tidy()

    def delete(self, ids: Sequence[str]) -> int:
        """Forget vectors; those of unknown names are none. Returns how many there were."""
        names = {name for name in ids if name in self._places}
        rows = [self._places[name] for name in names]
        if rows:
            with self._folder.writing():
                kept = self._without(rows)
                self._commit(kept)
            self._segments = kept
            self._alive[rows] = False
            for name in names:
                del self._places[name]
            self._tidy()
        return len(rows)

    def search(self, queries: Tensor, k: int, where: Filter | None = None) -> Hits:
        """Find the vectors of the highest cosines, with the cosines of the vectors as stored."""
        require_positive(k)
        queries = unit(queries, self._empty.width)
        allowed = self._alive
        if where is not None:
            pairs = zip(self._alive.tolist(), self._entries, strict=True)
            allowed = torch.tensor([alive and where(entry) for alive, entry in pairs]).bool()
        k = min(k, int(allowed.sum()))
        scores, rows = self._best(queries, k, allowed)
        return Hits(
            ids=[[self._ids[row] for row in found] for found in rows.tolist()],
            scores=scores,
            entries=[[self._entries[row] for row in found] for found in rows.tolist()],
        )

    def _best(self, queries: Tensor, k: int, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and rows of the ``k`` best of the allowed, both ``[Q, k]``, best first."""
        return self._vectors.search(queries, k, allowed)

    def compact(self) -> None:
        """Rewrite the folder without deleted vectors and without remains of interrupted writes.

        Takes the vectors' memory twice while it runs. A damaged file that was skipped goes too.
        """
        with self._folder.writing():
            segments = self._write_alive(self._folder)
            self._commit(segments, tidy=True)
        parts = list(self._alive_parts())
        self._clear()
        for segment, part in zip(segments, parts, strict=True):
            self._append(segment, part)

    def save(self, folder: str | Path) -> None:
        """Write a compact copy into a new folder."""
        copy = IndexFolder(folder)
        copy.create(self._empty)
        with copy.writing():
            segments = self._write_alive(copy)
            copy.write_manifest(self._empty._replace(segments=tuple(segments)))

    def _read(self, segment: Segment, damaged: Damaged) -> None:
        try:
            content = self._folder.read_segment(segment)
        except WeightsError as error:
            if damaged == "error":
                raise
            logger.warning("%s", error)
            return
        self._append(segment, content)

    def _append(self, segment: Segment, content: SegmentContent) -> None:
        """Take the rows of a segment into memory."""
        first = len(self._ids)
        alive = torch.ones(segment.rows, dtype=torch.bool)
        alive[list(segment.dead)] = False
        self._segments.append(segment)
        self._ids += content.ids
        self._entries += content.entries
        self._alive = torch.cat([self._alive, alive])
        self._vectors.append(content.packed)
        for row in alive.nonzero()[:, 0].tolist():
            self._places[content.ids[row]] = first + row

    def _commit(self, segments: Sequence[Segment], *, tidy: bool = False) -> None:
        manifest = self._empty._replace(segments=tuple(segments))
        self._folder.write_manifest(manifest)
        if tidy:
            for path in self._folder.unlisted(manifest):
                path.unlink()

    def _without(self, rows: Collection[int]) -> list[Segment]:
        """The segments, with some more rows dead."""
        gone, segments, start = torch.tensor(sorted(rows), dtype=torch.int64), [], 0
        for segment in self._segments:
            stop = start + segment.rows
            here = gone[(gone >= start) & (gone < stop)] - start
            segments.append(segment._replace(dead=(*segment.dead, *here.tolist())))
            start = stop
        return segments

    def _tidy(self) -> None:
        """Keep deleted vectors fewer than the others, and small files few."""
        small = 0
        for segment in reversed(self._segments):
            if segment.rows >= _SMALL_ROWS:
                break
            small += 1
        if len(self._ids) > 2 * len(self):
            self.compact()
        elif small > _MOST_SMALL_SEGMENTS:
            self._merge(small)

    def _merge(self, last: int) -> None:
        """Write the last few segments as one, deleted rows included: rows keep their numbers."""
        kept = self._segments[:-last]
        first = sum(segment.rows for segment in kept)
        rows = torch.arange(first, len(self._ids))
        dead = (~self._alive[first:]).nonzero()[:, 0].tolist()
        with self._folder.writing():
            merged = self._folder.write_segment(
                self._ids[first:], self._entries[first:], self._vectors.take(rows)
            )
            segments = [*kept, merged._replace(dead=tuple(dead))]
            self._commit(segments, tidy=True)
        self._segments = segments

    def _write_alive(self, folder: IndexFolder) -> list[Segment]:
        return [folder.write_segment(*part) for part in self._alive_parts()]

    def _alive_parts(self) -> Iterator[SegmentContent]:
        """What is not deleted, in pieces of bounded size."""
        for rows in self._alive.nonzero()[:, 0].split(_LARGEST_ROWS):
            if len(rows):
                yield SegmentContent(
                    ids=[self._ids[row] for row in rows.tolist()],
                    entries=[self._entries[row] for row in rows.tolist()],
                    packed=self._vectors.take(rows),
                )
