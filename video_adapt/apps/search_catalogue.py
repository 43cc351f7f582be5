"""Which files an index holds, and in which state they were when they were read."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from video_adapt.errors import WeightsError

_TABLE = """CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, windows INTEGER NOT NULL, size INTEGER, mtime_ns INTEGER)"""


class FileState(NamedTuple):
    """What tells a file from a later version of itself.

    Attributes:
        size: Its length in bytes.
        mtime_ns: When it was changed last, in nanoseconds.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | Path) -> "FileState | None":
        """The state of a file as it is now; None where there is none."""
        try:
            found = Path(path).stat()
        except OSError:
            return None
        return cls(found.st_size, found.st_mtime_ns)


class IndexedFile(NamedTuple):
    """A file of the catalogue.

    Attributes:
        path: Absolute path.
        windows: Vectors that the index holds of it, at most.
        state: The file when it was read; None while its vectors are being written, or if that was
            interrupted.
    """

    path: str
    windows: int
    state: FileState | None

    @property
    def names(self) -> list[str]:
        """Ids of its vectors."""
        return vector_names(self.path, self.windows)


def vector_names(path: str, windows: int) -> list[str]:
    """Ids of the vectors of a file, in the order of time."""
    return [f"{path}#{number}" for number in range(windows)]


class Catalogue:
    """A small database beside the vectors; each call is written as a whole or not at all.

    Args:
        path: Its file; made with the first write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, path: str) -> IndexedFile | None:
        """The file of a path, or None."""
        with self._open() as database:
            row = database.execute("SELECT * FROM files WHERE path = ?", (path,)).fetchone()
        return None if row is None else _file(row)

    def put(self, files: Iterable[IndexedFile]) -> None:
        """Note files, in place of what was known of them."""
        rows = [(file.path, file.windows, *(file.state or (None, None))) for file in files]
        with self._open() as database, database:
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def remove(self, paths: Iterable[str]) -> None:
        """Forget files."""
        with self._open() as database, database:
            database.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])

    def files(self) -> list[IndexedFile]:
        """All files, by path."""
        with self._open() as database:
            rows = database.execute("SELECT * FROM files ORDER BY path").fetchall()
        return [_file(row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for every call: nothing is held open or locked in between."""
        try:
            with closing(sqlite3.connect(self._path)) as database:
                database.execute(_TABLE)
                yield database
        except sqlite3.DatabaseError as error:
            raise WeightsError(
                f"{self._path}: damaged or not accessible ({error}); copy the index again, or "
                "delete this file and index again"
            ) from error


def _file(row: tuple[str, int, int | None, int | None]) -> IndexedFile:
    path, windows, size, mtime_ns = row
    state = None if size is None or mtime_ns is None else FileState(size, mtime_ns)
    return IndexedFile(path, windows, state)
