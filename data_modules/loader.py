"""The loader: workers, broken videos, and the place in the epoch that a checkpoint remembers."""

import logging
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeVar

import av.logging
import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from video_adapt.batches import DecodedClips
from video_adapt.errors import VideoDecodeError
from video_adapt.reading import ReadingBoard

from .annotations import Listed
from .dataset import BrokenVideo
from .samplers import EvalSampler, TrainSampler

logger = logging.getLogger(__name__)

_GRACE_S = 60  # for a step that is being finished when a worker is told to end
OnBroken = Literal["error", "skip"]
BatchT = TypeVar("BatchT")
BatchCo = TypeVar("BatchCo", covariant=True)


class Packed(Protocol[BatchCo]):
    """A batch with all its pixels in one piece of memory."""

    @property
    def shapes(self) -> Sequence[Any]:
        """Shapes of what is packed; empty where everything is broken."""

    @property
    def broken(self) -> Sequence[BrokenVideo]:
        """Videos that failed on the way."""

    def unpack(self) -> BatchCo:
        """The batch as views into it."""


class BatchSource(Protocol[BatchCo]):
    """A data set by key that says how its samples are joined."""

    def __len__(self) -> int:
        """Number of entries."""

    def collate(self, samples: Sequence[Any]) -> Packed[BatchCo]:
        """Join samples."""


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made.

    Args:
        batch_size: Training clips per process and step.
        eval_batch_size: Videos per process and step in evaluation; None = ``batch_size`` divided
            by the number of views.
        num_workers: Decoding processes; 0 = decode in the main process.
        prefetch: Batches that every worker makes in advance.
        short_side: Frames are scaled down to this many pixels while decoding, in the same pass,
            never up; None = native size.
        start_method: How workers start; None = the platform's way.
    """

    batch_size: int = 8
    eval_batch_size: int | None = None
    num_workers: int = 2
    prefetch: int = 2
    short_side: int | None = 256
    start_method: Literal["fork", "spawn", "forkserver"] | None = None


@dataclass
class BrokenLog:
    """Keeps account of broken videos and decides when it is enough.

    Args:
        policy: ``error`` stops at the first one.
        total: Clips in the data set, the missing ones included.
        max_share: Share of ``total`` that may be broken before the run stops anyway.
    """

    policy: OnBroken
    total: int
    max_share: float
    seen: dict[str, BrokenVideo] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Broken clips met so far by this process."""
        return len(self.seen)

    def record(self, broken: BrokenVideo) -> None:
        """Count a broken clip and warn about it, both once.

        Raises:
            VideoDecodeError: If the policy is ``error`` or too many are broken.
        """
        message = f"{broken.where}: {broken.cause}"
        if self.policy == "error":
            raise VideoDecodeError(message)
        if broken.where not in self.seen:
            self.seen[broken.where] = broken
            logger.warning("%s; left out", message)
            self._stop_past_share(message)

    def record_missing(self, missing: Sequence[Listed]) -> None:
        """Count clips whose files do not exist; one warning for all of them.

        Raises:
            VideoDecodeError: If too many are missing.
        """
        if not missing:
            return
        for entry in missing:
            self.seen[entry.where] = BrokenVideo(entry.path, entry.where, "file does not exist")
        message = f"{missing[0].where}: {missing[0].path} does not exist"
        logger.warning("%s, nor do %d others; left out", message, len(missing) - 1)
        self._stop_past_share(message)

    def _stop_past_share(self, message: str) -> None:
        if self.count > self.max_share * self.total:
            raise VideoDecodeError(
                f"{message}; {self.count} of {self.total} videos are missing or broken, more than "
                f"max_broken_share={self.max_share:g} allows"
            )


class BatchLoader(Generic[BatchT]):
    """Iterates over decoded batches and can go on in the middle of an epoch.

    Not a ``DataLoader`` but the owner of one, so that a trainer replaces neither its sampler nor
    its batches. The data module saves and restores its place.

    Args:
        dataset: Decodes samples and joins them.
        sampler: Order and seeds.
        options: How batches are made.
        batch_size: Samples per batch.
        broken: Account of broken videos.
    """

    def __init__(
        self,
        dataset: BatchSource[BatchT],
        sampler: TrainSampler | EvalSampler,
        *,
        options: LoaderOptions,
        batch_size: int,
        broken: BrokenLog,
    ) -> None:
        self._sampler = sampler
        self.broken = broken
        self.batch_size = batch_size
        self._batches = 0
        self._resume: dict[str, int] = {}
        workers = options.num_workers
        self._board = ReadingBoard(workers) if workers else None
        self._loader: DataLoader[Packed[BatchT]] = DataLoader(
            dataset,  # type: ignore[arg-type]  # yields samples, collated into packed batches
            batch_size=batch_size,
            sampler=sampler,
            drop_last=isinstance(sampler, TrainSampler),
            collate_fn=dataset.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=options.prefetch if workers else None,
            multiprocessing_context=options.start_method if workers else None,
            worker_init_fn=partial(_init_worker, self._board),
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def batch_sampler(self) -> Any:
        """Where Lightning looks for the sampler that it tells the epoch."""
        return self._loader.batch_sampler

    @property
    def _iterator(self) -> Any:
        """Where Lightning looks for workers to stop when a run ends."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: None) -> None:
        self._loader._iterator = iterator

    def close(self) -> None:
        """Stop the workers now; garbage collection can wait for each of them for seconds."""
        if isinstance(self._iterator, _MultiProcessingDataLoaderIter):
            self._iterator._shutdown_workers()
        self._iterator = None

    def __len__(self) -> int:
        """Batches of a whole epoch, also after resuming inside one."""
        return len(self._loader)

    def __iter__(self) -> Iterator[BatchT]:
        """Yield batches; nothing starts before the first one is asked for.

        Lightning makes the iterator before it announces the epoch to the sampler, so a loader
        that starts its workers at once would begin with the permutation of the wrong epoch.
        """
        self._batches = self._take_up()
        for packed in self._loader:
            self._account_for(packed.broken)
            self._batches += 1
            if packed.shapes:  # an evaluation batch of broken videos only is left out
                yield packed.unpack()

    def place(self) -> dict[str, int]:
        """Epoch and number of batches handed out in it, by a run that this one goes on from too."""
        epoch = getattr(self._sampler, "epoch", 0)
        if self._resume.get("epoch", -1) >= epoch:  # nothing was asked for since
            return dict(self._resume)
        return {"epoch": epoch, "batches": self._batches}

    def go_on_from(self, place: dict[str, int]) -> None:
        """Skip what was handed out up to ``place`` when its epoch is iterated next."""
        self._resume = dict(place)

    def _account_for(self, broken: Sequence[BrokenVideo]) -> None:
        try:
            for video in broken:
                self.broken.record(video)
        except VideoDecodeError:
            self.close()  # the run is over
            raise

    def _take_up(self) -> int:
        """Skip what was seen before a restart, once; returns the number of skipped batches."""
        place, self._resume = self._resume, {}
        if not isinstance(self._sampler, TrainSampler):
            return 0
        batches = place["batches"] if place.get("epoch") == self._sampler.epoch else 0
        self._sampler.start = batches * self.batch_size
        return batches


class ClipLoader(BatchLoader[DecodedClips]):
    """Batches of trimmed clips."""


def _init_worker(board: ReadingBoard | None, worker: int) -> None:
    """Its place on the board, one thread, no libav chatter between the lines of progress.

    A terminal and a cluster send signals to all processes of a run. The main one answers them and
    still needs its workers for a while.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
    if board is not None:
        board.join(worker)
    torch.set_num_threads(1)
    av.logging.set_level(None)
