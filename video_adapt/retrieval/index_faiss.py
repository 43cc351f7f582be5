"""The embedded index with faiss in front of it: few lists of vectors are read instead of all."""

import hashlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .index import Backend, Entry, import_extra
from .index_files import write_whole
from .index_torch import TorchIndex

logger = logging.getLogger(__name__)

# Fewer vectors than this are multiplied in a few milliseconds, and could not train the lists.
_LEAST_ROWS = 10_000
_LISTS_PER_ROOT = 4
_TRAINED_PER_LIST = 64
_LEAST_PER_LIST = 39
"""Fewer vectors to train a list on make faiss complain."""
_PROBED = 32
# Candidates per hit: their exact cosines decide, not the rounded ones that found them.
_CANDIDATES = 4
_FILE, _DIGEST_BYTES = "faiss.index", 32
_HEADER = 2 * _DIGEST_BYTES


class FaissIndex(TorchIndex):
    """Finds candidates with faiss's ``IVF,SQ8`` and ranks them by the cosines of what is stored.

    The folder and the memory of :class:`TorchIndex` stay the truth, crash-safe and checked; the
    lists of faiss are derived, and made again where they are missing, damaged or outgrown. So hits
    carry exact scores, and only a vector in a list that was not looked into can be missed. Below
    10,000 vectors, and where more than a quarter of what is allowed is asked for, everything is
    read.

    Needs ``pip install video_adapt[index]``.
    """

    backend: ClassVar[Backend] = "faiss"

    def _clear(self) -> None:
        super()._clear()
        self._faiss = import_extra("faiss")
        self._lists: Any = None
        self._trained_on = 0

    def add(self, ids: Sequence[str], vectors: Tensor, metadata: Sequence[Entry]) -> None:
        """Store vectors; they are on the disk when this returns, and none of them before."""
        super().add(ids, vectors, metadata)
        self._keep_up(store=True)

    def compact(self) -> None:
        """Rewrite the folder without deleted vectors and without remains of interrupted writes."""
        super().compact()
        self._keep_up(store=True)

    def save(self, folder: str | Path) -> None:
        """Write a compact copy into a new folder."""
        super().save(folder)
        type(self).load(folder, checkpoint=self._empty.checkpoint)._keep_up(store=True)

    def _best(self, queries: Tensor, k: int, allowed: Tensor) -> tuple[Tensor, Tensor]:
        self._keep_up(store=False)
        wanted, there = _CANDIDATES * k, int(allowed.sum())
        if self._lists is None or k == 0 or _CANDIDATES * wanted > there:
            return super()._best(queries, k, allowed)
        candidates = self._candidates(queries, wanted, allowed)
        different, place = candidates.unique(return_inverse=True)
        vectors = self._values(different)
        scores = torch.stack([vectors[p] @ q for p, q in zip(place, queries, strict=True)])
        best, order = scores.topk(k)
        return best, candidates.gather(1, order)

    def _candidates(self, queries: Tensor, wanted: int, allowed: Tensor) -> Tensor:
        """Rows of the ``wanted`` best by rounded cosines, int64 ``[Q, wanted]``."""
        selector = None
        if not allowed.all():
            bits = torch.nn.functional.pad(allowed, (0, -len(allowed) % 8)).unflatten(0, (-1, 8))
            bitmap = (bits * 2 ** torch.arange(8)).sum(dim=1).to(torch.uint8).numpy()
            selector = self._faiss.IDSelectorBitmap(bitmap)
        probed = _PROBED
        while True:
            how = self._faiss.SearchParametersIVF(sel=selector, nprobe=probed)
            rows = self._lists.search(queries.numpy(), wanted, params=how)[1]
            # A filter can leave the nearest lists empty: look into more, in the end into all.
            if (rows >= 0).all() or probed >= self._lists.nlist:
                return torch.from_numpy(rows)
            probed *= 4

    def _keep_up(self, *, store: bool) -> None:
        """Give the lists what is not in them yet; train new ones where they have doubled.

        Args:
            store: Whether new lists are written; a search does not write.
        """
        rows = len(self._vectors)
        if rows < _LEAST_ROWS:
            return
        if self._lists is None:
            self._read_lists()
        outgrown = rows > 2 * self._trained_on
        if outgrown:
            self._train(rows)
        for some in torch.arange(self._lists.ntotal, rows).split(_LEAST_ROWS):
            self._lists.add(self._values(some).numpy())
        if outgrown and store:
            self._write_lists()
        elif outgrown:
            logger.warning(
                "%s: made the lists of faiss anew, they were missing or damaged; compact() stores "
                "them",
                self._folder.path,
            )

    def _train(self, rows: int) -> None:
        """Make empty lists for that many rows."""
        lists = min(_LISTS_PER_ROOT * math.isqrt(rows), rows // _LEAST_PER_LIST)
        made = self._faiss.index_factory(
            self._empty.width, f"IVF{lists},SQ8", self._faiss.METRIC_INNER_PRODUCT
        )
        noise = torch.Generator().manual_seed(0)
        drawn = torch.randperm(rows, generator=noise)[: _TRAINED_PER_LIST * lists].sort().values
        made.train(self._values(drawn).numpy())
        self._lists, self._trained_on = made, rows

    def _values(self, rows: Tensor) -> Tensor:
        """Stored vectors of ascending rows, float32 ``[m, D]``."""
        packed = self._vectors.take(rows)
        return packed.vectors.float().mul_(packed.scales[:, None])

    def _read_lists(self) -> None:
        """Take stored lists over if they are whole and of the vectors that are there."""
        path = self._folder.path / _FILE
        if not path.exists():
            return
        data = path.read_bytes()
        vectors, own, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:_HEADER], data[_HEADER:]
        if hashlib.sha256(body).digest() != own:
            return
        lists = self._faiss.deserialize_index(np.frombuffer(body, dtype=np.uint8))
        if lists.ntotal <= len(self._vectors) and self._digest(lists.ntotal) == vectors:
            self._lists, self._trained_on = lists, lists.ntotal

    def _write_lists(self) -> None:
        body = self._faiss.serialize_index(self._lists).tobytes()
        header = self._digest(self._lists.ntotal) + hashlib.sha256(body).digest()
        write_whole(self._folder.path / _FILE, header + body)

    def _digest(self, rows: int) -> bytes:
        """Digest of the first stored vectors: what lists are of."""
        total = hashlib.sha256()
        for start, block in self._vectors.blocks():
            some = block.vectors[: max(0, rows - start)]
            total.update(some.view(torch.uint8).numpy().data)
        return total.digest()
