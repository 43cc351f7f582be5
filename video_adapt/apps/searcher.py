"""An index of videos as a function from a sentence, or a video, to the stretches that fit best."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import Index
from video_adapt.retrieval.index import Filter

from .search_folder import SearchFolder
from .search_model import Look, SearchModel, Span


class Hit(NamedTuple):
    """A stretch of a video that was found.

    Attributes:
        video: Absolute path of the file.
        start_s: Where the stretch begins, in seconds.
        end_s: Where it ends, in seconds.
        score: Cosine of its vector with that of the query.
    """

    video: str
    start_s: float
    end_s: float
    score: float


class Found:
    """What an index says of one query.

    Args:
        query: The sentence, or the file.
        vector: Of the query, norm 1, float32 ``[E]``.
        index: Where to look.
        where: Which stretches may be found; None = all.
    """

    def __init__(self, query: str, vector: Tensor, index: Index, where: Filter | None) -> None:
        self.query = query
        self._vector, self._index, self._where = vector, index, where

    def top(self, count: int = 5) -> list[Hit]:
        """The stretches that fit best, best first: an exact search.

        Raises:
            ConfigurationError: If the count is not positive.
        """
        hits = self._index.search(self._vector[None], count, where=self._where)
        pairs = zip(hits.entries[0], hits.scores[0].tolist(), strict=True)
        return [Hit(entry.path, entry.start_s, entry.end_s, score) for entry, score in pairs]


class Searcher:
    """Searches an index with the checkpoint that made it.

    Args:
        checkpoint: The checkpoint that ``video-adapt search index`` was given.
        index: The folder that it wrote.
        device: ``auto`` takes a GPU where there is one, or a name that torch understands.
        **components: Constructor arguments that the checkpoint cannot hold, such as a backbone
            that was built in Python.

    Raises:
        WeightsError: If the checkpoint is missing, or not that of the index, or the index is
            damaged.
        ConfigurationError: If there is no index, or the device does not exist.

    Example::

        from video_adapt import Searcher
        search = Searcher("runs/own_captions/checkpoints/best.ckpt", "videos.index")
        print(search("a red square moves left").top(3))
    """

    def __init__(
        self,
        checkpoint: str | Path,
        index: str | Path,
        *,
        device: str = "auto",
        **components: Any,
    ) -> None:
        self._model = SearchModel(checkpoint, device=device, **components)
        self._folder = SearchFolder.open(index, digest=self._model.digest)

    def __len__(self) -> int:
        """Number of stretches that can be found."""
        return len(self._folder.index)

    def __call__(self, sentence: str, *, where: Filter | None = None) -> Found:
        """Look for what a sentence describes; one that is too long is cut, which is logged.

        Args:
            sentence: In the words of the captions that the checkpoint was trained on.
            where: Which stretches may be found; None = all.

        Raises:
            ConfigurationError: If the sentence is empty.
        """
        (vector,) = self._model.encode_text([sentence])
        return Found(sentence, vector, self._folder.index, where)

    def like(
        self, video: str | Path, span: Span | None = None, *, where: Filter | None = None
    ) -> Found:
        """Look for what resembles a video; if it is indexed, it finds itself first.

        Args:
            video: The file.
            span: The part of it that counts, in seconds; None = all of it.
            where: Which stretches may be found; None = all.

        Raises:
            VideoDecodeError: If the file cannot be read, or ends before the part begins.
            ConfigurationError: If the part ends before it begins.
        """
        if span is not None and not 0 <= span[0] < span[1]:
            raise ConfigurationError(
                f"{video}: from {span[0]:g} s to {span[1]:g} s is no part of it; give a start not "
                "below 0 and a later end"
            )
        with self._model.open(video) as reader:
            clips = list(self._model.clips(reader, [span or (0.0, reader.info.duration_s)]))
        (vector,) = self._model.encode(clips)
        return Found(str(video), vector, self._folder.index, where)

    def look(self, hit: Hit) -> Look:
        """The frames of a hit, and how much each of them counts in its vector.

        Raises:
            VideoDecodeError: If its video cannot be read any more.
        """
        return self._model.look(hit.video, (hit.start_s, hit.end_s))
