"""Clips whose features were computed before: nothing is decoded, the backbone does not run."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from video_adapt.batches import ClipBatch, DecodedClips, StoredClips
from video_adapt.errors import ConfigurationError
from video_adapt.row_store import Precision, RowStore

from .annotations import VideoEntry
from .dataset import MAX_DRAWS, REPLACEMENT, BrokenVideo
from .loader import BatchLoader
from .samplers import EvalSampler, Key, derive_seed

logger = logging.getLogger(__name__)

CLIP_ROWS = "clip"
_FILE_BYTES = 64e6
"""Rows are written in files of about this size; an interruption loses one at most."""


@dataclass(frozen=True)
class FeatureCache:
    """Where features of a frozen backbone are kept.

    Args:
        folder: Any folder; every backbone, preprocessing and sampling has its own below it.
        copies: How often each training clip is drawn and augmented; epoch ``e`` trains on copy
            ``e % copies``. With as many copies as epochs nothing differs from a run without a
            cache.
        precision: ``float16`` takes half the space and rounds the features.

    Raises:
        ConfigurationError: If there is no copy.
    """

    folder: str
    copies: int = 1
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.copies < 1:
            raise ConfigurationError(f"copies is {self.copies}: the feature cache needs 1 or more")


class FeatureSource(Protocol):
    """A method whose backbone is frozen and that says which of its features it reads."""

    def stored_facts(self) -> dict[str, object]:
        """What the features depend on."""

    def rows_to_store(self, video: Tensor) -> dict[str, Tensor]:
        """Features of clips by name, the first axis that of the clips."""


class InOrder(EvalSampler):
    """Keys in a given order.

    Args:
        keys: What to yield.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__(len(keys))
        self._keys = keys

    def __iter__(self) -> Iterator[Key]:
        """Yield the keys."""
        return iter(self._keys)


class PackedRows(NamedTuple):
    """A batch of stored clips as the loader joins them."""

    batch: StoredClips
    broken: tuple[BrokenVideo, ...] = ()

    @property
    def shapes(self) -> Sequence[int]:
        """One entry for each clip; none where all are broken."""
        return self.batch.label.tolist()

    def unpack(self) -> StoredClips:
        """The batch."""
        return self.batch


class StoredDataset:
    """Features of clips by key.

    Args:
        entries: The clips.
        store: Their features.
        keys: All that can be asked for: the clips in order, once for every copy.
        views: Views and crops of a clip in evaluation; None = training, one drawn by seed.
    """

    def __init__(
        self,
        entries: Sequence[VideoEntry],
        store: RowStore,
        keys: Sequence[Key],
        *,
        views: int | None,
    ) -> None:
        self.entries, self.store, self.keys, self.views = entries, store, keys, views
        self._place = {key: place for place, key in enumerate(keys)}
        self._identities: dict[int, str] = {}

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.entries)

    def __getitem__(self, key: Key) -> Key:
        """The key itself; a batch is read at once."""
        return key

    def numbers(self, key: Key) -> list[int]:
        """Numbers of the rows of a clip in the store: one for training, one a view otherwise."""
        row, seed = key
        parts = [seed] if self.views is None else range(self.views)
        return [self.number(row, part) for part in parts]

    def number(self, row: int, part: int) -> int:
        """Number of one row in the store.

        Args:
            row: Row of the video in the manifest.
            part: Seed of the draw in training, number of the view in evaluation.
        """
        if row not in self._identities:
            entry = self.entries[row]
            path = Path(entry.path)
            size = path.stat().st_size if path.exists() else -1
            self._identities[row] = json.dumps([entry.path, size, entry.start_s, entry.end_s])
        digest = hashlib.sha256(f"{self._identities[row]} {part}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Those of the keys that are not stored in full."""
        return [key for key in keys if not self._stored(key)]

    def collate(self, keys: Sequence[Key]) -> PackedRows:
        """Read the rows of a batch; a clip that could not be decoded is replaced or left out."""
        found = [key for key in map(self._replaced, keys) if key is not None]
        numbers = [number for key in found for number in self.numbers(key)]
        views = 1 if self.views is None else self.views
        label = torch.tensor([self.entries[row].label for row, _ in found], dtype=torch.int64)
        video_id = torch.tensor([row for row, _ in found], dtype=torch.int64)
        batch = StoredClips(
            video=self.store.read(CLIP_ROWS, torch.tensor(numbers, dtype=torch.int64)),
            label=label.repeat_interleave(views),
            target=None,
            video_id=video_id.repeat_interleave(views),
            view=torch.arange(views).repeat(len(found)),
        )
        return PackedRows(batch)

    def _replaced(self, key: Key) -> Key | None:
        """The key, or for a broken clip in training another of the same copy, drawn by seed."""
        first = self._place[key] // len(self) * len(self)
        draws = np.random.default_rng([key[1], REPLACEMENT])
        for _ in range(MAX_DRAWS if self.views is None else 1):
            if self._stored(key):
                return key
            key = self.keys[first + int(draws.integers(len(self)))]
        return None

    def _stored(self, key: Key) -> bool:
        return all(self.store.holds(CLIP_ROWS, number) for number in self.numbers(key))


def training_keys(rows: int, copies: int, seed: int) -> list[Key]:
    """Keys of all copies of all training clips."""
    return [(row, derive_seed(seed, copy, row)) for copy in range(copies) for row in range(rows)]


def fill(
    dataset: StoredDataset,
    clips: BatchLoader[DecodedClips],
    *,
    module: FeatureSource,
    prepare: Callable[[DecodedClips], ClipBatch],
) -> None:
    """Compute and store features; says how much before it stores anything.

    Args:
        dataset: What will read them.
        clips: Decodes what is missing.
        module: Computes them.
        prepare: Augments or crops clips on the device.

    Raises:
        ConfigurationError: If they do not fit on the disk.
    """
    store, total = dataset.store, len(clips) * clips.batch_size
    numbers: list[int] = []
    parts: list[Mapping[str, Tensor]] = []
    announced = False
    for decoded in track(
        clips, "features", total=len(clips), console=Console(stderr=True), transient=True
    ):
        batch = prepare(decoded)
        rows = {name: x.cpu() for name, x in module.rows_to_store(batch.video).items()}
        if not announced:
            _announce(store, rows, clips=total * (dataset.views or 1))
            announced = True
        drawn = decoded.seed if dataset.views is None else batch.view
        pairs = zip(batch.video_id.tolist(), drawn.tolist(), strict=True)
        numbers += [dataset.number(row, part) for row, part in pairs]
        parts.append(rows)
        if sum(x.nbytes for part in parts for x in part.values()) > _FILE_BYTES:
            _store(store, numbers, parts)
            numbers, parts = [], []
    if parts:
        _store(store, numbers, parts)


def _store(store: RowStore, numbers: Sequence[int], parts: Sequence[Mapping[str, Tensor]]) -> None:
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    store.add(CLIP_ROWS, torch.tensor(numbers, dtype=torch.int64), joined)


def _announce(store: RowStore, rows: Mapping[str, Tensor], *, clips: int) -> None:
    """Say how much space features will take, and stop if there is too little."""
    element = torch.empty(0, dtype=store.dtype).element_size()
    each = sum(x[0].numel() * element for x in rows.values())
    needed, free = clips * each, shutil.disk_usage(store.folder).free
    logger.info(
        "features of %d clips: %.1f KB each, %.1f MB in %s (%.0f MB free)",
        *(clips, each / 1e3, needed / 1e6, store.folder, free / 1e6),
    )
    if needed > free:
        raise ConfigurationError(
            f"{store.folder}: features need {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; "
            "give another folder, fewer copies, or precision: float16"
        )
