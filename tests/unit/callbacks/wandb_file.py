"""Read an offline run of Weights & Biases back, to see what a tracker would have received."""

import json
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32768
WHOLE, LAST = 1, 4


class OfflineRun(NamedTuple):
    id: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    files: Path


def read_offline_run(folder: Path) -> OfflineRun:
    """Read the one run below ``folder/wandb``."""
    (run,) = read_offline_runs(folder)
    return run


def read_offline_runs(folder: Path) -> list[OfflineRun]:
    """Read all runs below ``folder/wandb`` in the order of their start."""
    return [_read(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def _read(path: Path, patience_s: float = 20.0) -> OfflineRun:
    """Read a run as soon as W&B's own process has closed its file."""
    deadline = time.monotonic() + patience_s
    while not (records := _parse(path)) or not records[-1].HasField("exit"):
        assert time.monotonic() < deadline, f"{path} was never closed"
        time.sleep(0.05)
    run = OfflineRun(path.stem.removeprefix("run-"), {}, [], {}, path.parent / "files")
    for record in records:
        run.config.update(_values(record.run.config.update) | _values(record.config.update))
        if record.history.item:
            run.history.append(_values(record.history.item))
        run.summary.update(_values(record.summary.update))
    return run


def _parse(path: Path) -> list[Any]:
    return [wandb_internal_pb2.Record.FromString(data) for data in _records(path.read_bytes())]


def _values(items: Iterable[Any]) -> dict[str, Any]:
    """Keys and values; a nested key is joined by slashes."""
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


def _records(data: bytes) -> Iterator[bytes]:
    """Records lie in blocks of 32 KiB; one that crosses a border is cut into pieces."""
    assert data[:4] == b":W&B", "not a W&B file"
    place, parts = HEADER, []
    while place + 7 <= len(data):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        place += 7
        if place + length > len(data):
            return  # still being written
        parts.append(data[place : place + length])
        place += length
        if kind in (WHOLE, LAST):
            yield b"".join(parts)
            parts = []
