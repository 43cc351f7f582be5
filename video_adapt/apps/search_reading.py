"""Videos are decoded by several threads while the model reads what they have prepared."""

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from video_adapt.errors import VideoDecodeError

from .search_catalogue import FileState
from .search_model import Clip, SearchModel, window_spans

_PATIENCE_S = 0.1
"""How often a thread that waits for room looks whether anybody still wants its frames."""


class Job(NamedTuple):
    """A video to read.

    Attributes:
        path: Absolute path.
        state: The file as it is; None if there is none.
    """

    path: str
    state: FileState | None


class Piece(NamedTuple):
    """What a thread has to tell: a window of a video, or why there is none.

    Attributes:
        job: The video.
        windows: How many windows it has.
        clip: The next of them, in the order of time; None with an error.
        error: What went wrong; no further window follows.
    """

    job: Job
    windows: int
    clip: Clip | None
    error: Exception | None = None


class WindowReader:
    """Cuts videos in windows and prepares them, several videos at a time.

    Args:
        model: Prepares frames.
        window_s: Length of a window in seconds; None = the whole video.
        stride_s: Seconds from one window to the next; None with whole videos.
        workers: Threads.
        ahead: Windows that may wait for the model; with them the memory is bounded.
    """

    def __init__(
        self,
        model: SearchModel,
        *,
        window_s: float | None,
        stride_s: float | None,
        workers: int,
        ahead: int,
    ) -> None:
        self._model, self._workers = model, workers
        self._window_s, self._stride_s = window_s, stride_s or 0.0
        self._waiting: queue.Queue[Piece] = queue.Queue(ahead)
        self._stop = threading.Event()

    @contextmanager
    def read(self, jobs: Sequence[Job]) -> Iterator[Iterator[Piece]]:
        """Pieces of all videos, each video's in the order of time; leaving ends the threads."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        try:
            for job in jobs:
                pool.submit(self._read, job)
            yield self._pieces(len(jobs))
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def _pieces(self, open_jobs: int) -> Iterator[Piece]:
        counts: dict[str, int] = {}
        while open_jobs:
            piece = self._waiting.get()
            path = piece.job.path
            counts[path] = counts.get(path, 0) + 1
            if piece.error is not None or counts[path] == piece.windows:
                open_jobs -= 1
            yield piece

    def _read(self, job: Job) -> None:
        """Decode a video. All errors travel with the pieces: nobody looks at a thread's result."""
        try:
            if job.state is None:
                raise VideoDecodeError(f"{job.path}: no such file; check the path")
            with self._model.open(job.path) as reader:
                spans = window_spans(reader.info.duration_s, self._window_s, self._stride_s)
                for clip in self._model.clips(reader, spans):
                    if not self._put(Piece(job, len(spans), clip)):
                        return
        except Exception as error:
            self._put(Piece(job, 0, None, error))

    def _put(self, piece: Piece) -> bool:
        """Hand over a piece; False if nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._waiting.put(piece, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return True
        return False
