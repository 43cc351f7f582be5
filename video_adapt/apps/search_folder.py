"""The folder of a search: vectors, the files that they are of, and what made them."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.retrieval import Backend, Entry, Index, create_index, open_index
from video_adapt.retrieval.index_vectors import Precision

from .outputs import whole_file
from .search_catalogue import Catalogue, FileState, IndexedFile, vector_names

_RECORD, _FILES, _VECTORS, _UNFINISHED = "search.json", "files.sqlite", "vectors", "vectors.part"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """What made the vectors of an index; a query has to be made by the same.

    Args:
        checkpoint: Absolute path of the checkpoint.
        digest: Of its weights and settings.
        recipe: How videos and sentences are prepared: frames, sampling, size, words.
        width: Width of a vector.
        window_s: Length of a window in seconds; None = a vector a video.
        stride_s: Seconds from one window to the next; None = a vector a video.
        precision: Type of the stored vectors.
        backend: What keeps and searches them.
    """

    checkpoint: str
    digest: str
    recipe: Mapping[str, Any]
    width: int
    window_s: float | None
    stride_s: float | None
    precision: Precision = "float16"
    backend: Backend = "torch"


class ReadFile(NamedTuple):
    """A video that was read, on its way into the index.

    Attributes:
        path: Absolute path.
        state: The file before it was read.
        entries: Its windows in the order of time.
        vectors: Of norm 1, ``[windows, E]``.
    """

    path: str
    state: FileState
    entries: Sequence[Entry]
    vectors: Tensor


class SearchFolder:
    """An open search folder. Made by :meth:`create` and :meth:`open`.

    Args:
        path: The folder.
        record: What made it.
        index: Its vectors.

    Attributes:
        files: What it holds vectors of.
    """

    def __init__(self, path: Path, record: SearchRecord, index: Index) -> None:
        self.path, self.record, self.index = path, record, index
        self.files = Catalogue(path / _FILES)

    @classmethod
    def create(cls, path: str | Path, record: SearchRecord) -> Self:
        """Begin an empty one.

        Raises:
            ConfigurationError: If the folder holds one already.
        """
        path = Path(path)
        if exists(path):
            raise ConfigurationError(f"{path}: holds an index already; give another folder")
        # The record comes last. Without it, a folder of vectors is what an interrupted start left.
        if not (path / _VECTORS).exists():
            shutil.rmtree(path / _UNFINISHED, ignore_errors=True)
            create_index(
                path / _UNFINISHED,
                checkpoint=record.digest,
                width=record.width,
                precision=record.precision,
                backend=record.backend,
            )
            (path / _UNFINISHED).rename(path / _VECTORS)
        index = open_index(path / _VECTORS, checkpoint=record.digest)
        with whole_file(path / _RECORD) as file:
            file.write(json.dumps({"format": _FORMAT, **asdict(record)}, indent=1) + "\n")
        return cls(path, record, index)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        digest: str | None = None,
        damaged: Literal["error", "skip"] = "error",
    ) -> Self:
        """Open one; every byte of its vectors is checked.

        Args:
            path: The folder.
            digest: Of the checkpoint that it is opened with; None = no vector will be compared.
            damaged: Whether damaged vectors are an error or left out; indexing makes them again.

        Raises:
            ConfigurationError: If there is none.
            WeightsError: If another checkpoint made it, or it is damaged.
        """
        path = Path(path)
        record = read_record(path)
        if digest is not None and digest != record.digest:
            raise WeightsError(
                f"{path}: was made with {record.checkpoint} (digest {record.digest[:12]}), not "
                f"with this checkpoint ({digest[:12]}); give that one, or index into a new folder"
            )
        index = open_index(path / _VECTORS, checkpoint=record.digest, damaged=damaged)
        return cls(path, record, index)

    def stored(self) -> dict[str, FileState]:
        """State, by path, of the files whose vectors are all in the index."""
        return {
            file.path: file.state
            for file in self.files.files()
            if file.state is not None and all(name in self.index for name in file.names)
        }

    def add(self, videos: Sequence[ReadFile]) -> None:
        """Store the vectors of some videos, in place of those of older versions of them.

        When this returns, they are on the disk. Interrupted in between, no video has some of its
        vectors of before and some of now: it is read again.
        """
        counts = {video.path: len(video.entries) for video in videos}
        known = {path: self.files.get(path) for path in counts}
        before = {path: file.windows if file else 0 for path, file in known.items()}
        self.files.put(
            IndexedFile(path, max(count, before[path]), None) for path, count in counts.items()
        )
        surplus = [
            name
            for path, count in counts.items()
            for name in vector_names(path, before[path])[count:]
        ]
        self.index.delete(surplus)
        names = [name for path, count in counts.items() for name in vector_names(path, count)]
        entries = [entry for video in videos for entry in video.entries]
        self.index.add(names, torch.cat([video.vectors for video in videos]), entries)
        self.files.put(IndexedFile(v.path, counts[v.path], v.state) for v in videos)

    def remove(self, files: Iterable[IndexedFile]) -> int:
        """Forget files; returns how many vectors they had."""
        files = list(files)
        self.files.put(file._replace(state=None) for file in files)
        count = self.index.delete([name for file in files for name in file.names])
        self.files.remove(file.path for file in files)
        return count


def exists(path: Path) -> bool:
    """Whether a folder holds a search."""
    return (path / _RECORD).exists()


def read_record(path: Path) -> SearchRecord:
    """What made the index of a folder.

    Raises:
        ConfigurationError: If it holds none, or one of another version.
        WeightsError: If the record is damaged.
    """
    file = path / _RECORD
    if not file.exists():
        raise ConfigurationError(
            f"{path}: holds no index (no file {_RECORD!r}); check the path, or make one with "
            "`video-adapt search index`"
        )
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        version = values.pop("format")
        if version == _FORMAT:
            return SearchRecord(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file}: damaged; copy the index again or index again") from error
    raise ConfigurationError(f"{file}: format {version}, this version reads {_FORMAT}; index again")
