"""Which file a process is reading at this moment, for whoever asks why no batch comes.

Every opened file is noted for as long as it is open: in memory of the process itself or, in a
worker of a loader, in memory that it shares with the process that waits for it.
"""

import struct
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Slot = NDArray[np.uint8]
_SLOT_BYTES = 1024
_HEAD = struct.Struct("<dI")
"""Moment at which the file was opened, in seconds since 1970, and the bytes of its path."""


class Reading(NamedTuple):
    """A file that is open.

    Attributes:
        reader: Who reads it: ``worker <number>`` of a loader, or ``main process``.
        path: The file.
        since_s: For how many seconds.
    """

    reader: str
    path: str
    since_s: float


class ReadingBoard:
    """Where the workers of one loader note what they read, in shared memory.

    Args:
        workers: Number of workers.
    """

    def __init__(self, workers: int) -> None:
        self._slots = torch.zeros(workers, _SLOT_BYTES, dtype=torch.uint8).share_memory_()
        with _boards_lock:
            _boards.add(self)

    def join(self, worker: int) -> None:
        """Note what this process reads as that worker from now on; a worker calls it first."""
        _own.slot = self._slots[worker].numpy()

    def readings(self) -> list[Reading]:
        """What the workers read."""
        noted = ((f"worker {n}", slot) for n, slot in enumerate(self._slots.numpy()))
        return [found for name, slot in noted if (found := _read(name, slot))]


class _Own:
    """Where this process notes what it reads, and the notes of all that is open, latest last."""

    def __init__(self) -> None:
        self.slot: Slot = np.zeros(_SLOT_BYTES, np.uint8)
        self.notes: list[bytes] = []

    def show(self) -> None:
        """Put the latest note where it is seen; none is a path of no bytes."""
        note = self.notes[-1] if self.notes else _HEAD.pack(0.0, 0)
        self.slot[: len(note)] = np.frombuffer(note, np.uint8)


_own = _Own()
_boards: weakref.WeakSet[ReadingBoard] = weakref.WeakSet()
_boards_lock = threading.Lock()


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Note that a file is being read; afterwards the latest of those still open is told."""
    # The end of a long path tells more than its beginning.
    name = str(path).encode(errors="replace")[-(_SLOT_BYTES - _HEAD.size) :]
    note = _HEAD.pack(time.time(), len(name)) + name
    _own.notes.append(note)
    _own.show()
    try:
        yield
    finally:
        _own.notes.remove(note)  # not always the last: a generator may keep its file for long
        _own.show()


def being_read() -> list[Reading]:
    """Files that this process and the workers of its loaders are reading."""
    own = _read("main process", _own.slot)
    with _boards_lock:
        boards = list(_boards)
    return ([own] if own else []) + [found for board in boards for found in board.readings()]


def _read(reader: str, slot: Slot) -> Reading | None:
    note = slot.tobytes()
    opened, length = _HEAD.unpack_from(note)
    if not length:
        return None
    path = note[_HEAD.size : _HEAD.size + length].decode(errors="replace")
    return Reading(reader, path, time.time() - opened)
