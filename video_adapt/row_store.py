"""Tensors by number, kept on the disk: what is dear to compute is computed once.

Rows of a kind, such as the frames of video 17, go into files that appear whole or not at all.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from video_adapt.errors import ConfigurationError, WeightsError

logger = logging.getLogger(__name__)

Precision = Literal["float32", "float16"]
Rows = dict[str, Tensor]
_IDS, _CHECKSUMS, _FIELD = "ids", "checksums", "rows/"


class _Shard(NamedTuple):
    """One file: rows of some videos or captions, mapped into memory, read where touched."""

    path: Path
    ids: list[int]
    checksums: list[int]
    rows: Rows

    def read(self, rows: list[int]) -> Rows:
        """Some of the rows, checked."""
        picked = {name: x[rows] for name, x in self.rows.items()}
        found = _checksums([self.ids[row] for row in rows], picked)
        if found != [self.checksums[row] for row in rows]:
            raise WeightsError(
                f"{self.path}: its content changed on the disk; delete the file, its rows will be "
                "computed again"
            )
        return picked


class RowStore:
    """Rows by number, for one state of whatever computes them.

    A file appears whole or not at all; whatever was stored before an interruption stays, and every
    row is checked against its checksum when it is read. Several processes may fill one store.

    Args:
        folder: Where stores lie; each state has its own folder in it.
        facts: Whatever rows depend on, as plain values.
        precision: Type in which floating rows are stored; ``float16`` takes half the space and
            rounds.
        owner: Who computes the rows, for messages.

    Raises:
        WeightsError: If the folder holds the rows of something else.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        facts: Mapping[str, object],
        precision: Precision = "float32",
        owner: str,
    ) -> None:
        text = json.dumps({**facts, "precision": precision}, sort_keys=True, indent=1)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.folder = Path(folder) / self.key[:16]
        self.dtype = {"float32": torch.float32, "float16": torch.float16}[precision]
        self.owner = owner
        self.folder.mkdir(parents=True, exist_ok=True)
        self._state_facts(text)
        self._shards: dict[Path, _Shard] = {}
        self._places: dict[str, dict[int, tuple[Path, int]]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up what other processes have stored meanwhile."""
        for path in sorted(self.folder.glob("*-*.safetensors")):
            if path not in self._shards:
                self._open(path)

    def __len__(self) -> int:
        """Number of rows stored, videos and captions together."""
        return sum(len(places) for places in self._places.values())

    def holds(self, kind: str, number: int) -> bool:
        """Whether there is a row of this number."""
        return number in self._places.get(kind, {})

    def missing(self, kind: str, ids: Tensor) -> Tensor:
        """Places in ``ids``, int64, of what is not stored yet; of equal numbers the first."""
        stored, seen, places = self._places.get(kind, {}), set(), []
        for place, number in enumerate(ids.tolist()):
            if number not in stored and number not in seen:
                places.append(place)
                seen.add(number)
        return torch.tensor(places, dtype=torch.int64, device=ids.device)

    def add(self, kind: str, ids: Tensor, rows: Rows) -> None:
        """Store rows; they are on the disk when this returns.

        Args:
            kind: What they are of.
            ids: Numbers of the videos or captions, int64 ``[n]``.
            rows: Tensors whose first axis is ``n``.

        Raises:
            ConfigurationError: If rows stored before have other names or shapes.
            WeightsError: If a row is not finite.
        """
        numbers = ids.tolist()
        own = {name: self._stored_form(x) for name, x in rows.items()}
        self._check_layout(kind, own)
        for name, x in own.items():
            if not x.isfinite().all():
                raise WeightsError(
                    f"{self.folder}: the {self.owner}'s {name!r} of a {kind} is not finite; look "
                    f"for broken weights, or use float32 (numbers {numbers[:5]} ...)"
                )
        content = {
            _IDS: torch.tensor(numbers, dtype=torch.int64),
            _CHECKSUMS: torch.tensor(_checksums(numbers, own), dtype=torch.int64),
            **{_FIELD + name: x for name, x in own.items()},
        }
        name = hashlib.sha256(str(numbers).encode()).hexdigest()[:16]
        path = self.folder / f"{kind}-{name}.safetensors"
        _write(path, save(content))
        self._open(path)

    def read(self, kind: str, ids: Tensor) -> Rows:
        """Read rows back, on the device of ``ids``, in the stored type.

        Raises:
            ConfigurationError: If something was never stored.
            WeightsError: If something on the disk changed since.
        """
        stored = self._places.get(kind, {})
        wanted: dict[Path, list[tuple[int, int]]] = {}  # by shard: place in ids, row in the shard
        for place, number in enumerate(ids.tolist()):
            if number not in stored:
                raise ConfigurationError(
                    f"{self.folder}: {kind} {number} is not in the {self.owner}'s cache; fill it "
                    "with the whole training set before it is used alone"
                )
            shard, row = stored[number]
            wanted.setdefault(shard, []).append((place, row))
        parts = [self._shards[n].read([row for _, row in found]) for n, found in wanted.items()]
        order = torch.tensor([place for found in wanted.values() for place, _ in found]).argsort()
        names = parts[0] if parts else ()
        return {n: torch.cat([part[n] for part in parts])[order].to(ids.device) for n in names}

    def fetch(self, kind: str, ids: Tensor, encode: Callable[[Tensor], Rows]) -> Rows:
        """Read rows, and before that compute and store what is missing.

        Args:
            kind: What they are of.
            ids: Numbers, int64 ``[n]``.
            encode: Makes the rows of some places in ``ids``; not called where all is stored.

        Returns:
            The rows as stored, so that the first reading equals every later one.
        """
        places = self.missing(kind, ids)
        if len(places):
            self.add(kind, ids[places], encode(places))
        return self.read(kind, ids)

    def _state_facts(self, text: str) -> None:
        """Write down in clear what the folder's name stands for."""
        path = self.folder / "facts.json"
        if not path.exists():
            _write(path, text.encode())
        elif path.read_text() != text:
            raise WeightsError(
                f"{path}: describes another {self.owner} than its folder is named for; delete the "
                "folder"
            )

    def _open(self, path: Path) -> None:
        kind = path.name.rpartition("-")[0]
        try:
            content = load_file(path)
            ids, checksums = content.pop(_IDS).tolist(), content.pop(_CHECKSUMS).tolist()
        except (OSError, SafetensorError, KeyError) as error:
            logger.warning("%s: damaged, delete it; its rows are computed again (%s)", path, error)
            return
        rows = {name.removeprefix(_FIELD): x for name, x in content.items()}
        for row, number in enumerate(ids):
            self._places.setdefault(kind, {})[number] = (path, row)
        self._shards[path] = _Shard(path, ids, checksums, rows)

    def _stored_form(self, rows: Tensor) -> Tensor:
        rows = rows.detach().cpu()
        return (rows.to(self.dtype) if rows.is_floating_point() else rows).contiguous()

    def _check_layout(self, kind: str, rows: Rows) -> None:
        first = next(iter(self._places.get(kind, {}).values()), None)
        if first is None:
            return
        before, now = _layout(self._shards[first[0]].rows), _layout(rows)
        if before != now:
            raise ConfigurationError(
                f"{self.folder}: {kind}s were stored as {before}, now they are {now}; give every "
                "batch the same number of frames and words, or use another folder"
            )


def _checksums(ids: list[int], rows: Rows) -> list[int]:
    """CRC-32 over number and bytes of each row."""
    arrays = [rows[name].numpy() for name in sorted(rows)]
    sums = []
    for row, number in enumerate(ids):
        total = zlib.crc32(str(number).encode())
        for array in arrays:
            total = zlib.crc32(array[row].tobytes(), total)
        sums.append(total)
    return sums


def _layout(rows: Rows) -> dict[str, list[int]]:
    return {name: list(rows[name].shape[1:]) for name in sorted(rows)}


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place whole: written aside, flushed to the disk, then renamed."""
    aside = path.with_suffix(f".{os.getpid()}.part")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
