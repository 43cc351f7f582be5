"""A trained retriever as functions: from a stretch of a video, or a sentence, to one vector."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from data_modules.base import sized
from video_adapt.backbones import PixelSpec
from video_adapt.checkpoints import digest, read_checkpoint
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError
from video_adapt.methods.teachclip.network import VectorStudent
from video_adapt.tasks import load_method
from video_adapt.video import VideoReader
from video_adapt.video.caption_transforms import pad_frames

from .recogniser import build_part, find_device, thumbnails

_LAST_SHARE = 0.25
"""Share of a window up to which the rest of a video lengthens its last window."""

Span = tuple[float, float]
"""Start and end in seconds."""


class Clip(NamedTuple):
    """A stretch of a video, prepared for the model.

    Attributes:
        span: Where it lies in the video, in seconds.
        pixels: Its frames in the backbone's normalisation, ``[T', C, S, S]``.
    """

    span: Span
    pixels: Tensor


class Look(NamedTuple):
    """What the model saw of a stretch, and what it made of it.

    Attributes:
        frames: To look at, small, uint8 ``[T', C, H, W]``.
        times_s: When they are on display, ``[T']``.
        weights: Their shares in the vector, ``[T']``; they sum to 1.
        attentive: Whether the model chose the shares; otherwise all are equal.
    """

    frames: Tensor
    times_s: NDArray[np.float64]
    weights: Tensor
    attentive: bool


class SearchModel:
    """Reads videos and sentences with one checkpoint, preparing them as in testing.

    Args:
        checkpoint: A checkpoint written by the training of a student; it names its backbone.
        device: ``auto`` takes a GPU where there is one, or a name that torch understands.
        **components: Constructor arguments that the checkpoint cannot hold, such as a backbone
            that was built in Python.

    Raises:
        WeightsError: If the checkpoint is missing, not ours, or keeps no single vector of a video.
        ConfigurationError: If the device does not exist.

    Attributes:
        digest: SHA-256 of weights and settings: vectors of equal digests can be compared.
        recipe: How videos and sentences are prepared, as plain values.
        width: Width ``E`` of a vector.
        room: Most frames ``T`` that are looked at.
    """

    def __init__(self, checkpoint: str | Path, *, device: str = "auto", **components: Any) -> None:
        self.checkpoint, self.device = Path(checkpoint), find_device(device)
        content = read_checkpoint(checkpoint)
        self.recipe = _recipe(content, checkpoint)
        self.digest = _digest(content)
        method: Any = load_method(checkpoint, map_location=self.device, **components)
        student = getattr(method, "student", None)
        if not isinstance(student, VectorStudent):
            raise WeightsError(
                f"{checkpoint}: compares every pair of sentence and video anew and keeps no vector "
                "of a video, so it cannot be indexed; take a student that does: afa, meanP, "
                "seqTransf or seqLSTM"
            )
        self._method, self._student = method.to(self.device), student
        self._pixels: PixelSpec = method.backbone.pixels
        self._sampler = build_part(self.recipe["sampler"], checkpoint)
        self._transform = sized(build_part(self.recipe["transform"], checkpoint), self._pixels)
        self.width: int = method.backbone.embed_dim
        self.room: int = self._sampler.num_frames

    def open(self, video: str | Path) -> VideoReader:
        """Open a video at the size that frames are decoded at.

        Raises:
            VideoDecodeError: If it cannot be read.
        """
        return VideoReader(video, short_side=self.recipe["short_side"])

    def clips(self, reader: VideoReader, spans: Sequence[Span]) -> Iterator[Clip]:
        """Prepare stretches of a video, every frame decoded once, those of one in memory.

        Args:
            reader: The open video.
            spans: The stretches, by their start.

        Raises:
            VideoDecodeError: If a frame is damaged, or a stretch has none.
        """
        chosen = [self._numbers(reader, span) for span in spans]
        if len(chosen) == 1:
            yield Clip(spans[0], self._prepare(reader.frames_at(chosen[0])))
            return
        wanted = np.unique(np.concatenate(chosen))
        decoded = zip(wanted.tolist(), reader.iter_frames(wanted), strict=True)
        held: dict[int, Tensor] = {}
        for span, numbers in zip(spans, chosen, strict=True):
            held = {number: held[number] for number in held if number >= numbers.min()}
            while numbers.max() not in held:
                number, frame = next(decoded)
                held[number] = frame
            yield Clip(span, self._prepare(torch.stack([held[n] for n in numbers.tolist()])))

    @torch.inference_mode()
    def encode(self, clips: Sequence[Clip]) -> Tensor:
        """Vectors of stretches, norm 1, float32 ``[n, E]`` on the CPU."""
        return self._pool([clip.pixels for clip in clips])[0]

    @torch.inference_mode()
    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Vectors of sentences, norm 1, float32 ``[Q, E]`` on the CPU.

        A sentence that is too long loses its tail, and a warning is logged.

        Raises:
            ConfigurationError: If a sentence is empty.
        """
        if not sentences or not all(sentence.strip() for sentence in sentences):
            raise ConfigurationError("the query is empty; describe in words what to look for")
        backbone = self._method.backbone
        tokens = backbone.tokenize(sentences, length=self.recipe["max_words"])
        text: Tensor = self._method.read_captions(tokens.to(self.device))
        return text.float().cpu()

    def look(self, video: str | Path, span: Span) -> Look:
        """See again what the model saw of a stretch.

        Raises:
            VideoDecodeError: If the video cannot be read.
        """
        with self.open(video) as reader:
            numbers = self._numbers(reader, span)
            frames, times_s = reader.frames_at(numbers), reader.timestamps_s[numbers]
        with torch.inference_mode():
            _, weights, attentive = self._pool([self._prepare(frames)])
        # Padding that is not masked takes its part, too: what is left is shared by the frames.
        shares = weights[0, : len(frames)]
        return Look(thumbnails(frames), times_s, shares / shares.sum(), attentive)

    def _numbers(self, reader: VideoReader, span: Span) -> NDArray[np.int64]:
        """Frames of a stretch; those of a whole video are chosen as in testing."""
        start_s, end_s = span
        whole = start_s <= 0 and end_s >= reader.info.duration_s
        found: NDArray[np.int64] = self._sampler(
            reader.info,
            reader.timestamps_s,
            start_s=None if whole else start_s,
            end_s=None if whole else end_s,
        )
        if not len(found):
            raise VideoDecodeError(
                f"{reader.path}: lasts {reader.info.duration_s:.2f} s and has no frame from "
                f"{start_s:g} s to {end_s:g} s; it has changed, index it again"
            )
        return found

    def _prepare(self, frames: Tensor) -> Tensor:
        prepared: Tensor = self._transform(frames, self._pixels.mean, self._pixels.std)
        return prepared

    def _pool(self, videos: Sequence[Tensor]) -> tuple[Tensor, Tensor, bool]:
        """Vectors ``[n, E]``, shares of the frames ``[n, T]``, and whether these were chosen."""
        counts = torch.tensor([len(frames) for frames in videos])
        mask = (torch.arange(self.room) < counts[:, None]).to(self.device)
        pixels = torch.stack([pad_frames(frames, self.room) for frames in videos]).to(self.device)
        features = self._method.encode(pixels.to(self._method.dtype)).embedding
        pooled = self._student.pool(features, mask)
        vectors = F.normalize(pooled.vector.float(), dim=-1).cpu()
        return vectors, pooled.weights.float().cpu(), pooled.logits is not None


def window_spans(duration_s: float, window_s: float | None, stride_s: float) -> list[Span]:
    """Cut a video into windows of one length, the last one moved back to end with the video.

    Args:
        duration_s: Length of the video in seconds.
        window_s: Length of a window; a video that is hardly longer is one window. None = always.
        stride_s: Seconds from the start of one window to that of the next, at most ``window_s``.
    """
    if window_s is None or duration_s <= window_s * (1 + _LAST_SHARE):
        return [(0.0, duration_s)]
    count = int((duration_s - window_s) / stride_s + 1e-9) + 1
    spans = [(k * stride_s, k * stride_s + window_s) for k in range(count)]
    if duration_s - spans[-1][1] <= window_s * _LAST_SHARE:
        spans[-1] = (spans[-1][0], duration_s)
    else:
        spans.append((duration_s - window_s, duration_s))
    return spans


def _recipe(content: dict[str, Any], checkpoint: str | Path) -> dict[str, Any]:
    record = content.get("video_adapt", {})
    recipe: dict[str, Any] | None = record.get("input")
    if recipe is not None and "max_words" in recipe:
        return recipe
    if recipe is None and "video_adapt" not in content:
        raise WeightsError(
            f"{checkpoint}: not a checkpoint of video_adapt; turn published files into one with "
            "`video-adapt convert`"
        )
    if recipe is None:
        raise WeightsError(
            f"{checkpoint}: does not say how its videos were prepared; train it with a data "
            "module of this project"
        )
    other = "detect" if "frames_per_chunk" in recipe else "recognise"
    raise WeightsError(
        f"{checkpoint}: does not compare videos with sentences; use `video-adapt {other}`"
    )


def _digest(content: dict[str, Any]) -> str:
    """Digest of all that a vector depends on, the frozen weights by their own digest."""
    settings = content["video_adapt"], content.get("hyper_parameters", {})
    text = json.dumps([digest(content["state_dict"]), *settings], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
