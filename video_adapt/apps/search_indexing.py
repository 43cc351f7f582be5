"""From video files to vectors in a search folder, however often it is interrupted."""

import csv
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from video_adapt.errors import ConfigurationError, VideoDecodeError
from video_adapt.retrieval import Backend, Entry
from video_adapt.retrieval.index_vectors import Precision

from .outputs import whole_file
from .search_catalogue import FileState
from .search_folder import ReadFile, SearchFolder, SearchRecord, exists
from .search_model import SearchModel
from .search_reading import Job, Piece, WindowReader

logger = logging.getLogger(__name__)

WINDOW_S = 30.0
"""Length of a window where nobody says another one."""
_BROKEN = "broken.csv"
_STORE_EVERY_S, _STORE_FILES = 10.0, 64
"""Videos that are read wait so long, or for so many others, until they are stored together."""

OnProgress = Callable[[float, int], None]


@dataclass
class IndexingReport:
    """What became of the videos.

    Args:
        indexed: Videos whose vectors were stored.
        windows: How many vectors these have.
        kept: Videos that were there, unchanged.
        broken: Why others could not be read, by path.
        listing: Table of the broken ones; None if there is none.
    """

    indexed: int = 0
    windows: int = 0
    kept: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    listing: Path | None = None


class VideoIndexer:
    """Puts videos into a search folder.

    Args:
        model: Reads videos.
        folder: Where their vectors go.
        workers: Threads that decode.
        batch_size: Windows that pass the model together.
        on_broken: Whether a video that cannot be read is left out, counted and listed, or ends
            the work.

    Raises:
        ConfigurationError: If there is no worker or a batch is empty.
    """

    def __init__(
        self,
        model: SearchModel,
        folder: SearchFolder,
        *,
        workers: int = 1,
        batch_size: int = 8,
        on_broken: Literal["skip", "error"] = "skip",
    ) -> None:
        if workers < 1 or batch_size < 1:
            raise ConfigurationError(
                f"{workers} workers, batches of {batch_size} windows: give 1 or more of each"
            )
        self._model, self._folder = model, folder
        self._workers, self._batch_size = workers, batch_size
        self._on_broken = on_broken
        self._report = IndexingReport()
        self._vectors: dict[str, list[Tensor]] = {}
        self._entries: dict[str, list[Entry]] = {}
        self._shares: dict[str, float] = {}  # of each video that is done
        self._read: list[ReadFile] = []
        self._stored_at = 0.0

    def __call__(
        self, videos: Iterable[str | Path], *, on_progress: OnProgress | None = None
    ) -> IndexingReport:
        """Index what is not there yet, or has changed since.

        Interrupted, or stopped by a broken video, it has stored what was read before.

        Args:
            videos: Files.
            on_progress: Called with the number of videos that are read, fractions included, and
                that of those which are stored: a crash loses none of these.

        Raises:
            VideoDecodeError: If a video cannot be read and ``on_broken`` is ``error``.
        """
        self._report, self._stored_at = IndexingReport(), time.monotonic()
        paths = dict.fromkeys(str(Path(video).absolute()) for video in videos)
        stored = self._folder.stored()
        jobs = [Job(path, FileState.of(path)) for path in paths]
        jobs = [job for job in jobs if job.state is None or stored.get(job.path) != job.state]
        self._report.kept = len(paths) - len(jobs)
        tell = on_progress or _nobody
        tell(float(self._report.kept), self._report.kept)
        record = self._folder.record
        reader = WindowReader(
            self._model,
            window_s=record.window_s,
            stride_s=record.stride_s,
            workers=min(self._workers, len(jobs) or 1),
            ahead=self._batch_size,
        )
        try:
            with reader.read(jobs) as pieces:
                self._take(pieces, tell)
        except (KeyboardInterrupt, VideoDecodeError):
            self._store()
            raise
        self._store()
        self._list_broken()
        return self._report

    def _take(self, pieces: Iterable[Piece], tell: OnProgress) -> None:
        batch: list[Piece] = []
        done = float(self._report.kept)
        for piece in pieces:
            if piece.error is not None:
                done += 1 - self._shares.pop(piece.job.path, 0.0)
                self._refuse(piece.job.path, piece.error)
                batch = [other for other in batch if other.job != piece.job]
            else:
                batch.append(piece)
                done += (share := 1 / piece.windows)
                self._shares[piece.job.path] = self._shares.get(piece.job.path, 0.0) + share
            if len(batch) == self._batch_size:
                self._encode(batch)
                batch = []
            tell(done, self._report.kept + self._report.indexed)
        self._encode(batch)

    def _refuse(self, path: str, error: Exception) -> None:
        if not isinstance(error, VideoDecodeError) or self._on_broken == "error":
            raise error
        logger.warning("%s", error)
        self._report.broken[path] = str(error)
        self._vectors.pop(path, None)
        self._entries.pop(path, None)

    def _encode(self, batch: Sequence[Piece]) -> None:
        """Windows become vectors; a video of which all are there becomes ready to be stored."""
        clips = [piece.clip for piece in batch if piece.clip is not None]
        if not clips:
            return
        vectors = self._model.encode(clips)
        for piece, clip, vector in zip(batch, clips, vectors, strict=True):
            path, state = piece.job
            assert state is not None  # a file that is not there has no window
            mine = self._vectors.setdefault(path, [])
            mine.append(vector)
            entries = self._entries.setdefault(path, [])
            entries.append(Entry(path, *clip.span))
            if len(mine) == piece.windows:
                whole = torch.stack(self._vectors.pop(path))
                self._read.append(ReadFile(path, state, self._entries.pop(path), whole))
        late = time.monotonic() - self._stored_at > _STORE_EVERY_S
        if late or len(self._read) >= _STORE_FILES:
            self._store()

    def _store(self) -> None:
        if self._read:
            self._folder.add(self._read)
            self._report.indexed += len(self._read)
            self._report.windows += sum(len(video.entries) for video in self._read)
            self._read = []
        self._stored_at = time.monotonic()

    def _list_broken(self) -> None:
        """A table of what could not be read this time; none if all could."""
        path = self._folder.path / _BROKEN
        if not self._report.broken:
            path.unlink(missing_ok=True)
            return
        with whole_file(path) as file:
            csv.writer(file).writerows([("video", "error"), *self._report.broken.items()])
        self._report.listing = path


def open_or_create(
    path: str | Path,
    model: SearchModel,
    *,
    window_s: float | None = None,
    stride_s: float | None = None,
    precision: Precision | None = None,
    backend: Backend | None = None,
    damaged: Literal["error", "skip"] = "error",
) -> SearchFolder:
    """The search folder of a path, begun if there is none.

    Args:
        path: The folder.
        model: Makes its vectors.
        window_s: Length of a window in seconds; infinity = a vector a video, None = as the folder
            has it, or 30 s.
        stride_s: Seconds from one window to the next; None = as the folder has it, or a window.
        precision: Type of the stored vectors; None = as the folder has it, or ``float16``.
        backend: What keeps and searches the vectors; None = as the folder has it, or ``torch``.
        damaged: Whether damaged vectors are an error or left out, to be made again.

    Raises:
        ConfigurationError: If a length is impossible or the folder has another setting.
        WeightsError: If the folder is another checkpoint's, or damaged.
    """
    path = Path(path)
    if not exists(path):
        record = _new_record(model, window_s, stride_s)
        kinds = {"precision": precision, "backend": backend}
        given: dict[str, Any] = {name: kind for name, kind in kinds.items() if kind is not None}
        return SearchFolder.create(path, replace(record, **given))
    folder = SearchFolder.open(path, digest=model.digest, damaged=damaged)
    record = folder.record
    settings = (
        ("window", window_s, inf if record.window_s is None else record.window_s),
        ("stride", stride_s, inf if record.stride_s is None else record.stride_s),
        ("precision", precision, record.precision),
        ("backend", backend, record.backend),
    )
    for name, asked, has in settings:
        if asked is not None and asked != has:
            raise ConfigurationError(
                f"{path}: was made with {name} {has}, not {asked}; leave it out, or index into a "
                "new folder"
            )
    return folder


def _new_record(model: SearchModel, window_s: float | None, stride_s: float | None) -> SearchRecord:
    length_s = WINDOW_S if window_s is None else window_s
    step_s = length_s if stride_s is None else stride_s
    if not 0 < step_s <= length_s or (length_s == inf and step_s < inf):
        raise ConfigurationError(
            f"windows of {length_s:g} s every {step_s:g} s: both must be above 0, the stride at "
            "most the window, and whole videos have none"
        )
    return SearchRecord(
        checkpoint=str(model.checkpoint.absolute()),
        digest=model.digest,
        recipe=model.recipe,
        width=model.width,
        window_s=None if length_s == inf else length_s,
        stride_s=None if length_s == inf else step_s,
    )


def _nobody(_read: float, _stored: int) -> None:
    """Nobody wants to know."""
