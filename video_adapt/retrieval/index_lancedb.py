"""Vectors in a LanceDB table: on the disk also while they are searched."""

import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
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
    import_extra,
    require_fit,
    require_positive,
)
from .index_files import IndexFolder, Manifest
from .index_vectors import Precision, pack, unit

_TABLE = "vectors"
_IDS_AT_ONCE = 1000
# Fewer vectors than this are read as fast as lists of them are found.
_LEAST_ROWS = 10_000
_PROBED = 32
_AT_ONCE = timedelta(milliseconds=1)
# How much further is looked where a filter left too few.
_GROWTH = 4

Found = tuple[float, str, Entry]


class LanceIndex(Index):
    """Vectors in a table on the disk; memory holds their ids alone.

    The manifest names the version of the table that counts, so a write that is interrupted never
    happened. Every row carries a checksum, and all are checked when the index is opened. From
    10,000 vectors on an ``IVF_FLAT`` index finds candidates; its files have no checksum of ours.

    See :class:`video_adapt.retrieval.index.Index` for the calls. Made by :meth:`create` and
    :meth:`load`. Needs ``pip install video_adapt[index]``.

    Args:
        folder: Its files.
        manifest: What the folder's manifest says.
        table: The opened table.
    """

    backend: ClassVar[Backend] = "lancedb"

    def __init__(self, folder: IndexFolder, manifest: Manifest, table: Any) -> None:
        self._folder, self._manifest, self._table = folder, manifest, table
        self._ids: set[str] = set()
        self._indexed_rows = 0
        self._flushed: set[Path] = set()
        self._arrow = import_extra("pyarrow")

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        checkpoint: str,
        width: int,
        precision: Precision = "float16",
    ) -> Self:
        """Begin an empty index; see :func:`video_adapt.retrieval.create_index`.

        Raises:
            ConfigurationError: If the folder holds an index, or the precision is unknown here.
        """
        arrow, connection = import_extra("pyarrow"), import_extra("lancedb").connect(str(folder))
        kinds = {"float32": arrow.float32(), "float16": arrow.float16()}
        if precision not in kinds:
            raise ConfigurationError(
                f"precision {precision!r}: LanceDB stores {' or '.join(kinds)}; give one of them"
            )
        columns = {"id": arrow.string(), "row": arrow.string(), "checksum": arrow.int64()}
        schema = arrow.schema([*columns.items(), ("vector", arrow.list_(kinds[precision], width))])
        files = IndexFolder(folder)
        empty = Manifest(checkpoint, width, precision, backend=cls.backend, version=1)
        files.create(empty)
        return cls(files, empty, connection.create_table(_TABLE, schema=schema))

    @classmethod
    def load(cls, folder: str | Path, *, checkpoint: str, damaged: Damaged = "error") -> Self:
        """Open an index; every row of it is checked; see :func:`video_adapt.retrieval.open_index`.

        Raises:
            ConfigurationError: If there is no index, another backend's, or damaged files shall be
                skipped, which cannot be done here.
            WeightsError: If another checkpoint made it, or it is damaged.
        """
        if damaged == "skip":
            raise ConfigurationError(
                f"{folder}: LanceDB cannot leave out damaged files; copy the folder again, or "
                "index again into a new one"
            )
        files = IndexFolder(folder)
        with files.reading() as manifest:
            manifest.require(folder, checkpoint=checkpoint, backend=cls.backend)
            try:
                table = import_extra("lancedb").connect(str(folder)).open_table(_TABLE)
                table.checkout(manifest.version)
                index = cls(files, manifest, table)
                index._check()
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                cause = str(error).partition("\n")[0][:200]
                raise WeightsError(
                    f"{folder}: damaged ({cause}); copy the folder again or index again"
                ) from error
        return index

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self._ids)

    def __contains__(self, name: object) -> bool:
        """Whether there is a vector of this id."""
        return name in self._ids

    def add(self, ids: Sequence[str], vectors: Tensor, metadata: Sequence[Entry]) -> None:
        """Store vectors; they are on the disk when this returns, and none of them before."""
        require_fit(ids, vectors, metadata)
        if not ids:
            return
        packed = pack(unit(vectors, self._manifest.width), self._manifest.precision).vectors.numpy()
        lines = [entry.as_json(name) for name, entry in zip(ids, metadata, strict=True)]
        sums = [_checksum(line, v) for line, v in zip(lines, packed, strict=True)]
        flat = self._arrow.array(packed.ravel())
        rows = self._arrow.FixedSizeListArray.from_arrays(flat, packed.shape[1])
        columns = {"id": list(ids), "row": lines, "checksum": sums, "vector": rows}
        with self._writing() as table:
            _drop(table, [name for name in ids if name in self._ids])
            table.add(self._arrow.table(columns, schema=table.schema))
            self._keep_up(table)
        self._ids.update(ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Forget vectors; those of unknown names are none. Returns how many there were."""
        names = [name for name in dict.fromkeys(ids) if name in self._ids]
        if names:
            with self._writing() as table:
                _drop(table, names)
            self._ids.difference_update(names)
        return len(names)

    def search(self, queries: Tensor, k: int, where: Filter | None = None) -> Hits:
        """Find the vectors of the highest cosines, with the cosines of the vectors as stored."""
        require_positive(k)
        queries = unit(queries, self._manifest.width)
        found = [self._best(query, k, where) for query in queries] if self._ids else []
        scores = [[score for score, _, _ in hits] for hits in found]
        return Hits(
            ids=[[name for _, name, _ in hits] for hits in found] or [[] for _ in queries],
            scores=torch.tensor(scores).reshape(len(queries), -1 if found and scores[0] else 0),
            entries=[[entry for _, _, entry in hits] for hits in found] or [[] for _ in queries],
        )

    def compact(self) -> None:
        """Rewrite the table without deleted vectors and drop its older versions.

        Other processes that have it open must open it again.
        """
        with self._writing() as table:
            table.add(self._batches(table), mode="overwrite")
            self._indexed_rows = 0
            self._keep_up(table)
            table.optimize()
        # Only now that the manifest names the new version may the old ones go.
        with self._writing() as table:
            table.optimize(cleanup_older_than=_AT_ONCE, delete_unverified=True)

    def save(self, folder: str | Path) -> None:
        """Write a compact copy into a new folder."""
        known = self._manifest
        copy = type(self).create(
            folder, checkpoint=known.checkpoint, width=known.width, precision=known.precision
        )
        copy._ids = set(self._ids)
        with copy._writing() as table:
            table.add(self._batches(self._table))
            copy._keep_up(table)

    def _best(self, query: Tensor, k: int, where: Filter | None) -> list[Found]:
        """The ``k`` best that pass; looks further as long as there are too few."""
        limit = k if where is None else _GROWTH * k
        while True:
            everything = limit >= len(self)
            found = self._nearest(query, min(limit, len(self)), everything=everything)
            passed = [hit for hit in found if where is None or where(hit[2])]
            if len(passed) >= k or everything:
                return passed[:k]
            limit *= _GROWTH

    def _nearest(self, query: Tensor, limit: int, *, everything: bool) -> list[Found]:
        search = self._table.search(query.numpy()).distance_type("dot").limit(limit)
        search = search.bypass_vector_index() if everything else search.nprobes(_PROBED)
        table = search.select(["row", "vector", "_distance"]).to_arrow()
        scores = self._values(table["vector"]) @ query
        order = scores.argsort(descending=True, stable=True).tolist()
        rows = [json.loads(row) for row in table["row"].to_pylist()]
        return [(float(scores[i]), rows[i][0], Entry(*rows[i][1:])) for i in order]

    def _values(self, column: Any) -> Tensor:
        """Vectors of an arrow column, float32 ``[n, D]``."""
        flat = [chunk.flatten().to_numpy() for chunk in column.chunks]
        return (
            torch.from_numpy(np.concatenate(flat)).float().unflatten(0, (-1, column.type.list_size))
        )

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """The table to be changed; the changes count when the block has ended, all together."""
        with self._folder.writing():
            try:
                self._table.checkout_latest()
                if self._table.version != self._manifest.version:  # remains of an interrupted write
                    self._table.checkout(self._manifest.version)
                    self._table.restore()
                yield self._table
                self._commit()
            finally:
                self._table.checkout(self._manifest.version)

    def _commit(self) -> None:
        self._flush()
        manifest = self._manifest._replace(version=self._table.version)
        self._folder.write_manifest(manifest)
        self._manifest = manifest

    def _flush(self) -> None:
        """Force what is new to the disk: LanceDB leaves that to the system."""
        for path in sorted({self._folder.path, *self._folder.path.rglob("*")}):
            if path.is_dir() or path not in self._flushed:
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
                self._flushed.add(path)

    def _keep_up(self, table: Any) -> None:
        """Index the table when it has doubled; what is not indexed is searched all the same."""
        rows = table.count_rows()
        if rows >= _LEAST_ROWS and rows > 2 * self._indexed_rows:
            config = import_extra("lancedb.index").IvfFlat(
                distance_type="dot", num_partitions=math.isqrt(rows)
            )
            table.create_index("vector", config=config)
            self._indexed_rows = rows

    def _batches(self, table: Any) -> Any:
        """All rows, a batch at a time."""
        return table.search().select(table.schema.names).to_batches()

    def _check(self) -> None:
        """Read all rows once and keep their ids.

        Raises:
            ValueError: If one is not what was written.
        """
        for batch in self._batches(self._table):
            vectors = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
            lines = batch["row"].to_pylist()
            sums = [_checksum(line, v) for line, v in zip(lines, vectors, strict=True)]
            if sums != batch["checksum"].to_pylist():
                raise ValueError("a row is not what was written")
            self._ids.update(batch["id"].to_pylist())
        indexes = self._table.list_indices()
        if indexes:
            stats = self._table.index_stats(indexes[0].name)
            self._indexed_rows = stats.num_indexed_rows


def _drop(table: Any, names: Sequence[str]) -> None:
    for start in range(0, len(names), _IDS_AT_ONCE):
        quoted = ("'" + name.replace("'", "''") + "'" for name in names[start:][:_IDS_AT_ONCE])
        table.delete(f"id IN ({', '.join(quoted)})")


def _checksum(line: str, vector: Any) -> int:
    """CRC-32 over metadata and vector of a row."""
    return zlib.crc32(vector.tobytes(), zlib.crc32(line.encode()))
