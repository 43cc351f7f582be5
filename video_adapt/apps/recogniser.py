"""A trained recogniser as a function from a video file to scored labels."""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from video_adapt import video as video_package
from video_adapt.batches import ClipBatch, DecodedClips
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError
from video_adapt.video import VideoReader
from video_adapt.vocabulary import Vocabulary

from .recogniser_model import RecogniserModel, open_model
from .typed_classes import Descriptions, retell, vocabulary_of

_BATCH = 4
"""Windows of a long video that pass the model together."""
_SHOWN, _SHOWN_SIDE = 6, 160
"""Frames of each window that are kept to be looked at, and their shorter side in pixels."""


class Recognition(NamedTuple):
    """What a video, or a part of it, was taken for.

    Attributes:
        video: The file.
        start_s: Time of the first frame that was looked at, in seconds.
        end_s: Where the part ends.
        class_names: ``K`` names.
        probs: Probability of each class, float32 ``[K]``; sums to 1.
        frames: A few of the frames that the model saw, uint8 ``[T, C, H, W]``.
        frame_times_s: Their times ``[T]``.
    """

    video: str
    start_s: float
    end_s: float
    class_names: Sequence[str]
    probs: Tensor
    frames: Tensor
    frame_times_s: NDArray[np.float64]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The best labels with their probabilities, best first."""
        scores, index = self.probs.topk(min(count, len(self.class_names)))
        pairs = zip(index.tolist(), scores.tolist(), strict=True)
        return [(self.class_names[k], score) for k, score in pairs]

    @property
    def label(self) -> str:
        """The best label."""
        return self.top(1)[0][0]

    def is_none(self, below: float | None) -> bool:
        """Whether even the best label is less probable than a threshold; None rejects nothing.

        A probability compares the classes given with one another: that one of them fits best says
        little of whether it fits, so a threshold is of use for one list of classes alone.
        """
        return below is not None and self.top(1)[0][1] < below


class Recogniser:
    """Recognises videos with one checkpoint, preparing them as in testing.

    Args:
        checkpoint: A checkpoint written by training, which names its backbone; for zero-shot
            recognition the experiment file of a zero-shot CLIP, or ``MODEL:WEIGHTS`` such as
            ``ViT-B-16-quickgelu:openai``.
        classes: Names of the classes to tell apart, of any model whose classes are text; None =
            those of training.
        descriptions: A sentence about each of these classes in their order, or by name.
        templates: Sentences around the name, ``{}`` in its place; None = as in training, or the
            28 of FROSTER.
        device: ``auto`` takes a GPU where there is one, or a name that torch understands.
        **components: Constructor arguments that the checkpoint cannot hold, such as a backbone
            that was built in Python.

    Raises:
        WeightsError: If the checkpoint is missing, not ours, or says nothing about its input.
        ConfigurationError: If the device does not exist, the model knows no other classes than
            those of its training, or classes cannot be told apart.

    Example::

        from video_adapt import Recogniser
        recognise = Recogniser("runs/demo/checkpoints/best.ckpt")
        print(recognise("video.mp4").top(3))
        recognise = Recogniser("froster.ckpt", classes=["pouring coffee", "arm wrestling"])
    """

    def __init__(
        self,
        checkpoint: str | Path | RecogniserModel,
        *,
        classes: Sequence[str] | Vocabulary | None = None,
        descriptions: Descriptions | None = None,
        templates: Sequence[str] | None = None,
        device: str = "auto",
        **components: Any,
    ) -> None:
        self.device = find_device(device)
        if descriptions is not None and classes is None:
            raise ConfigurationError("descriptions are of typed classes; give classes with them")
        vocabulary = None if classes is None else vocabulary_of(classes, descriptions)
        model = (
            checkpoint
            if isinstance(checkpoint, RecogniserModel)
            else open_model(checkpoint, self.device, vocabulary, **components)
        )
        self.method = model.method
        self.class_names = list(model.class_names)
        if vocabulary is not None or templates is not None:
            source = "the model" if isinstance(checkpoint, RecogniserModel) else checkpoint
            self.class_names = list(retell(self.method, vocabulary, templates, source=source))
        recipe, pixels = model.recipe, self.method.backbone.pixels
        self._views: int = recipe["eval_views"]
        self._short_side: int | None = recipe["short_side"]
        self._sampler = build_part(recipe["sampler"], str(checkpoint))
        transform = dict(recipe["transform"])
        transform["size"] = transform["size"] or pixels.image_size
        self._transform = build_part(transform, str(checkpoint))
        self._normalisation = pixels.mean, pixels.std

    def __call__(self, video: str | Path) -> Recognition:
        """Recognise a whole video.

        Raises:
            VideoDecodeError: If it cannot be read.
        """
        (result,) = self.windows(video, None)
        return result

    def windows(self, video: str | Path, window_s: float | None) -> Iterator[Recognition]:
        """Recognise one stretch of a video after the other, decoding as it goes.

        Args:
            video: The file; only a few windows of it are in memory at a time.
            window_s: Length of a window in seconds; the last one may be shorter. None = all of it.

        Raises:
            VideoDecodeError: If the file cannot be read.
            ConfigurationError: If the length is not above 0.
        """
        if window_s is not None and not window_s > 0:
            raise ConfigurationError(f"a window of {window_s:g} s is empty; give a length above 0")
        with VideoReader(video, short_side=self._short_side) as reader:
            spans = _spans(reader, window_s)
            while windows := list(islice(spans, _BATCH)):
                yield from self._recognise(reader, windows)

    def _recognise(
        self, reader: VideoReader, windows: Sequence[tuple[int, int]]
    ) -> Iterator[Recognition]:
        """Recognise windows given by their first frame and the first one behind them."""
        times_s = reader.timestamps_s
        index = np.stack([self._indices(last - first, reader) + first for first, last in windows])
        clips = [
            view
            for window in index  # [V, T]
            for view in reader.frames_at(window.reshape(-1)).split(index.shape[-1])
        ]
        probs = self._predict(clips).unflatten(0, (len(windows), -1)).mean(1)  # [windows, K]
        shown = np.unique(np.linspace(0, index.shape[-1] - 1, _SHOWN).round().astype(int))
        for number, (first, last) in enumerate(windows):
            yield Recognition(
                str(reader.info.path),
                float(times_s[first]),
                float(times_s[last]) if last < len(times_s) else _end_s(reader),
                self.class_names,
                probs[number],
                thumbnails(clips[number * self._views][shown]),
                times_s[index[number, 0, shown]],
            )

    def _indices(self, num_frames: int, reader: VideoReader) -> NDArray[np.int64]:
        """Frames of all views of a stretch, ``[V, T]``."""
        fps, views = reader.info.fps, self._views
        sampler = self._sampler.for_file(reader.header)
        return np.stack([sampler(num_frames, fps, view=view, views=views) for view in range(views)])

    @torch.inference_mode()
    def _predict(self, clips: list[Tensor]) -> Tensor:
        """Probabilities of clips and their crops, clip by clip ``[clips * crops, K]``."""
        number = torch.arange(len(clips), device=self.device)
        unknown = torch.full_like(number, -1)
        frames = [clip.to(self.device) for clip in clips]
        decoded = DecodedClips(frames, unknown, number, torch.zeros_like(number), number)
        pixels, label = self._transform(decoded, *self._normalisation)
        views = torch.arange(len(label), device=self.device)
        batch = ClipBatch(pixels, label, None, views, torch.zeros_like(views))
        probs: Tensor = self.method.predict_step(batch, 0).probs
        return probs.cpu()


def find_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU where there is one.

    Raises:
        ConfigurationError: If torch does not know it, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"device {name!r} is unknown; try cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"device {name!r} asked for, this machine has {torch.cuda.device_count()} GPUs that "
            "torch can use; take --device cpu"
        )
    return device


def build_part(recipe: dict[str, Any], checkpoint: str | Path) -> Any:
    """A sampler or transform of this project from its class name and values."""
    values = dict(recipe)
    name = values.pop("class")
    if name not in video_package.__all__:
        raise WeightsError(
            f"{checkpoint}: its videos were prepared by {name}, which video_adapt.video does not "
            "have; use the version of the training run"
        )
    return getattr(video_package, name)(**values)


def _spans(reader: VideoReader, window_s: float | None) -> Iterator[tuple[int, int]]:
    """First frame of each window and the first one behind it; none for an empty window."""
    times_s = reader.timestamps_s
    if not len(times_s):
        raise VideoDecodeError(f"{reader.info.path}: holds no frame")
    if window_s is None:
        yield 0, len(times_s)
        return
    count = int(times_s[-1] // window_s) + 1
    edges = np.searchsorted(times_s, np.arange(count + 1) * window_s)
    yield from ((int(a), int(b)) for a, b in pairwise(edges) if a < b)


def thumbnails(frames: Tensor) -> Tensor:
    """Frames scaled down to look at ``[T, C, H, W]``; small ones stay as they are."""
    scale = min(1.0, _SHOWN_SIDE / min(frames.shape[-2:]))
    size = [max(1, round(side * scale)) for side in frames.shape[-2:]]
    return F.interpolate(frames, size, mode="bilinear", antialias=True)


def _end_s(reader: VideoReader) -> float:
    """End of the last frame."""
    return max(reader.info.duration_s, float(reader.timestamps_s[-1]))
