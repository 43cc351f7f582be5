"""The folder of an index: segments that appear whole, and a manifest that says which of them count.

A write puts its segment in place, then replaces the manifest. Whatever stops it in between leaves
the manifest of before and a file that nobody lists.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from video_adapt.errors import ConfigurationError, WeightsError

from .index import Backend, Entry
from .index_vectors import DTYPES, Packed, Precision

_FORMAT = 2
_MANIFEST, _LOCK, _UNFINISHED = "manifest.json", "lock", ".part"
_SEGMENTS = "segment-*"


class Segment(NamedTuple):
    """One file of vectors.

    Attributes:
        file: Its name in the folder.
        rows: Number of its vectors.
        sha256: Digest of its bytes.
        dead: Which of its vectors were deleted since.
    """

    file: str
    rows: int
    sha256: str
    dead: tuple[int, ...] = ()


class Manifest(NamedTuple):
    """What an index is.

    Attributes:
        checkpoint: Digest of the checkpoint that made the vectors.
        width: Width ``D`` of a vector.
        precision: Type of the stored vectors.
        segments: The files that count, oldest first.
        backend: What searches it.
        version: State of another library's table that counts, where one holds the vectors.
    """

    checkpoint: str
    width: int
    precision: Precision
    segments: tuple[Segment, ...] = ()
    backend: Backend = "torch"
    version: int = 0

    def require(self, folder: str | Path, *, checkpoint: str, backend: Backend) -> None:
        """Refuse an index that was made by something else.

        Raises:
            ConfigurationError: If another backend searches it.
            WeightsError: If another checkpoint made it.
        """
        if self.checkpoint != checkpoint:
            raise WeightsError(
                f"{folder}: was made by checkpoint {self.checkpoint[:12]}, not by this one "
                f"({checkpoint[:12]}); search with that one, or index again into a new folder"
            )
        if self.backend != backend:
            raise ConfigurationError(
                f"{folder}: is an index of backend {self.backend!r}, not {backend!r}; open it "
                "with open_index"
            )


class SegmentContent(NamedTuple):
    """What a segment holds: ids, what they are of, vectors."""

    ids: list[str]
    entries: list[Entry]
    packed: Packed


class IndexFolder:
    """Files of one index.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._known = b""

    def create(self, manifest: Manifest) -> None:
        """Begin an empty index.

        Raises:
            ConfigurationError: If there is one already.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock(fcntl.LOCK_EX):
            if (self.path / _MANIFEST).exists():
                raise ConfigurationError(
                    f"{self.path}: holds an index already; open it, or give another folder"
                )
            self.write_manifest(manifest)

    @contextmanager
    def reading(self) -> Iterator[Manifest]:
        """Keep writers out while the segments of the manifest are read.

        Raises:
            ConfigurationError: If there is no index.
            WeightsError: If the manifest is damaged.
        """
        for name in (_MANIFEST, _LOCK):
            if not (self.path / name).exists():
                raise ConfigurationError(
                    f"{self.path}: holds no index (no file {name!r}); check the path, copy the "
                    "whole folder, or index first"
                )
        with self._lock(fcntl.LOCK_SH):
            self._known = (self.path / _MANIFEST).read_bytes()
            yield _parse_manifest(self._known, self.path / _MANIFEST)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep everybody else out while segments and manifest are written.

        Raises:
            ConfigurationError: If another process wrote since this one read.
        """
        with self._lock(fcntl.LOCK_EX):
            if (self.path / _MANIFEST).read_bytes() != self._known:
                raise ConfigurationError(
                    f"{self.path}: another process wrote to this index since it was opened; open "
                    "it again, and let one process write at a time"
                )
            yield

    def read_segment(self, segment: Segment) -> SegmentContent:
        """Read a segment and check every byte.

        Raises:
            WeightsError: If it is missing or changed on the disk.
        """
        path = self.path / segment.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _damaged(path, segment.rows, error.strerror or str(error)) from error
        if hashlib.sha256(data).hexdigest() != segment.sha256:
            raise _damaged(path, segment.rows, "its bytes changed on the disk")
        try:
            content = load(data)
        except SafetensorError as error:
            raise _damaged(path, segment.rows, str(error)) from error
        rows = json.loads(content["rows"].numpy().tobytes())
        return SegmentContent(
            ids=[row[0] for row in rows],
            entries=[Entry(*row[1:]) for row in rows],
            packed=Packed(content["vectors"], content["scales"]),
        )

    def write_segment(
        self, ids: Sequence[str], entries: Sequence[Entry], packed: Packed
    ) -> Segment:
        """Put a segment in its place; it counts once a manifest lists it.

        Raises:
            ConfigurationError: If an entry cannot be stored.
        """
        lines = [entry.as_json(name) for name, entry in zip(ids, entries, strict=True)]
        text = bytearray(f"[{','.join(lines)}]".encode())
        rows = torch.frombuffer(text, dtype=torch.uint8)
        data = save({"vectors": packed.vectors, "scales": packed.scales, "rows": rows})
        sha256 = hashlib.sha256(data).hexdigest()
        # Named for its content: a name never means two things, whoever wrote it and was cut off.
        file = f"segment-{sha256[:16]}.safetensors"
        write_whole(self.path / file, data)
        return Segment(file, len(ids), sha256)

    def write_manifest(self, manifest: Manifest) -> None:
        """Make a list of segments the one that counts."""
        content = {**manifest._asdict(), "segments": [s._asdict() for s in manifest.segments]}
        body = {"format": _FORMAT, **content}
        data = json.dumps({"sha256": _digest_of(body), **body}, indent=1).encode()
        write_whole(self.path / _MANIFEST, data)
        self._known = data

    def unlisted(self, manifest: Manifest) -> list[Path]:
        """Files that interrupted writes left behind."""
        listed = {segment.file for segment in manifest.segments}
        left = [path for path in self.path.glob(_SEGMENTS) if path.name not in listed]
        return sorted({*left, *self.path.glob(f"*{_UNFINISHED}")})

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        # A read-only folder can be searched; network file systems want write access for a writer's
        # lock. The system frees it with the process, however that ends.
        with (self.path / _LOCK).open("rb" if kind == fcntl.LOCK_SH else "ab") as file:
            fcntl.flock(file, kind)
            yield


def _parse_manifest(data: bytes, path: Path) -> Manifest:
    try:
        body: dict[str, Any] = json.loads(data)
        whole = body.pop("sha256") == _digest_of(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged_manifest(path) from error
    if not whole:
        raise _damaged_manifest(path)
    if body["format"] != _FORMAT or body["precision"] not in DTYPES:
        raise ConfigurationError(
            f"{path}: format {body['format']}, this version reads {_FORMAT}; index again"
        )
    segments = tuple(Segment(**{**s, "dead": tuple(s["dead"])}) for s in body["segments"])
    del body["format"]
    return Manifest(**{**body, "segments": segments})


def _digest_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _damaged_manifest(path: Path) -> WeightsError:
    return WeightsError(f"{path}: damaged or incomplete; copy the folder again or index again")


def _damaged(path: Path, rows: int, cause: str) -> WeightsError:
    return WeightsError(
        f"{path}: damaged or missing ({cause}), with {rows} vectors; copy it again, or open the "
        "index with damaged='skip' and index again what it then lacks"
    )


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in its place whole: written aside, flushed to the disk, renamed, name flushed."""
    aside = path.with_name(path.name + _UNFINISHED)
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
