"""What travels between loader, model and evaluation: named tuples of tensors.

Notation used everywhere: ``B`` clips, ``V`` views per video, ``T`` frames, ``C`` channels, ``H W``
pixels, ``N`` tokens per frame (class token first), ``D`` width, ``E`` joint width, ``K`` classes,
``S`` positions of a detector's time grid, ``G`` segments of the ground truth, ``Q`` captions,
``L`` text tokens of a caption.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class DecodedClips(NamedTuple):
    """Clips as they leave the loader: uint8, each at its own size, nothing augmented yet.

    One entry per clip; a video evaluated with V views contributes V consecutive clips.

    Attributes:
        frames: ``B`` tensors ``[T, C, H, W]``, uint8 RGB; ``H`` and ``W`` may differ by clip.
        label: Class index, int64 ``[B]``; -1 where the video has no label.
        video_id: Row of the video in its manifest, int64 ``[B]``; joins the views of one video.
        view: Number of the temporal view, int64 ``[B]``.
        seed: Seed of this clip's augmentation, int64 ``[B]``: a function of the run's seed, the
            epoch and the sample alone, so results do not depend on workers or processes.
    """

    frames: list[Tensor]
    label: Tensor
    video_id: Tensor
    view: Tensor
    seed: Tensor


class ClipBatch(NamedTuple):
    """Clips as the model receives them: augmented and normalised on the device.

    Attributes:
        video: ``[B, T, C, H, W]``, float, in the backbone's own normalisation.
        label: Class index, int64 ``[B]``; -1 where unknown.
        target: Soft targets ``[B, K]`` (mixing, label smoothing) or None: use ``label``.
        video_id: Row of the video in its manifest, int64 ``[B]``.
        view: ``temporal view * crops + crop``, int64 ``[B]``.
    """

    video: Tensor
    label: Tensor
    target: Tensor | None
    video_id: Tensor
    view: Tensor


class StoredClips(NamedTuple):
    """Clips whose features a frozen backbone has computed before; otherwise a :class:`ClipBatch`.

    Attributes:
        video: Features by name, each ``[B, T, ...]``; what
            :meth:`video_adapt.tasks.FrozenBackboneMixin.encode` takes in place of pixels.
        label: Class index, int64 ``[B]``; -1 where unknown.
        target: None: features are not mixed.
        video_id: Row of the video in its manifest, int64 ``[B]``.
        view: ``temporal view * crops + crop``, int64 ``[B]``.
    """

    video: Mapping[str, Tensor]
    label: Tensor
    target: Tensor | None
    video_id: Tensor
    view: Tensor


class ClipPredictions(NamedTuple):
    """What ``validation_step``, ``test_step`` and ``predict_step`` return; callbacks merge by id.

    Attributes:
        video_id: int64 ``[B]``.
        view: int64 ``[B]``.
        probs: Class probabilities of each clip, float32 ``[B, K]``.
        label: int64 ``[B]``; -1 where unknown.
    """

    video_id: Tensor
    view: Tensor
    probs: Tensor
    label: Tensor


class ClipLogits(NamedTuple):
    """What the steps of an open-vocabulary recogniser return: scores that are summed over views.

    The same fields as :class:`ClipPredictions` but for the scores: published protocols add up the
    logits of a video's views, which may rank classes otherwise than their probabilities do.

    Attributes:
        video_id: int64 ``[B]``.
        view: int64 ``[B]``.
        logits: Logits of each clip over the classes of its own data set, float32 ``[B, K]``.
        label: int64 ``[B]``; -1 where unknown.
    """

    video_id: Tensor
    view: Tensor
    logits: Tensor
    label: Tensor


class DecodedWindows(NamedTuple):
    """Windows of long videos as they leave the loader: uint8 frames, or features, of every window.

    A window is ``S`` grid positions (snippets) of one video. Position ``x`` of the grid, which may
    be fractional, is the time ``offset_s + x * step_s``.

    Attributes:
        frames: ``B`` tensors ``[T, C, H, W]``, uint8 RGB, or ``B`` tensors ``[S, D]`` of features.
        mask: Grid positions that lie within the video, bool ``[B, S]``.
        segments: Start and end of what happens in each window, on its grid, ``B`` of ``[G, 2]``.
        labels: Their class indices, ``B`` of int64 ``[G]``.
        video_id: Row of the video in its manifest, int64 ``[B]``; joins the windows of a video.
        window: Number of the window in its video, int64 ``[B]``.
        offset_s: Time of grid position 0 in the video in seconds, float64 ``[B]``.
        step_s: Seconds from one grid position to the next, float64 ``[B]``.
        duration_s: Length of the video in seconds, float64 ``[B]``.
        seed: Seed of this window's augmentation, int64 ``[B]``.
    """

    frames: list[Tensor]
    mask: Tensor
    segments: list[Tensor]
    labels: list[Tensor]
    video_id: Tensor
    window: Tensor
    offset_s: Tensor
    step_s: Tensor
    duration_s: Tensor
    seed: Tensor


class SegmentBatch(NamedTuple):
    """Windows as the model receives them: augmented and normalised on the device.

    Attributes:
        video: ``[B, T, C, H, W]``, float, in the backbone's normalisation; or features
            ``[B, S, D]`` that were extracted before.
        mask: Grid positions that lie within the video, bool ``[B, S]``.
        segments: Ground truth on the grid, ``B`` tensors ``[G, 2]``.
        labels: Class indices, ``B`` tensors int64 ``[G]``.
        video_id: Row of the video in its manifest, int64 ``[B]``.
        window: Number of the window in its video, int64 ``[B]``.
        offset_s: Time of grid position 0 in the video in seconds, float64 ``[B]``.
        step_s: Seconds from one grid position to the next, float64 ``[B]``.
        duration_s: Length of the video in seconds, float64 ``[B]``.
    """

    video: Tensor
    mask: Tensor
    segments: list[Tensor]
    labels: list[Tensor]
    video_id: Tensor
    window: Tensor
    offset_s: Tensor
    step_s: Tensor
    duration_s: Tensor


class SegmentPredictions(NamedTuple):
    """What the steps of a detector return: every detection of a batch of windows, in seconds.

    Attributes:
        video_id: Row of the video in its manifest, int64 ``[M]``.
        window: Number of the window in its video, int64 ``[M]``.
        segments: Start and end in seconds, float32 ``[M, 2]``.
        scores: Confidence in [0, 1], float32 ``[M]``.
        labels: Class index, int64 ``[M]``.
    """

    video_id: Tensor
    window: Tensor
    segments: Tensor
    scores: Tensor
    labels: Tensor


class DecodedCaptions(NamedTuple):
    """Captioned videos as they leave the loader: uint8 frames, captions by their numbers.

    Attributes:
        frames: ``B`` tensors ``[T', C, H, W]``, uint8 RGB, with as many frames as were looked at.
        caption_video: Row in this batch of the video that a caption describes, int64 ``[Q]``.
        video_id: Row of the video in its manifest, int64 ``[B]``.
        caption_id: Number of the caption in its manifest, int64 ``[Q]``.
        seed: Seed of the video's augmentation, int64 ``[B]``.
    """

    frames: list[Tensor]
    caption_video: Tensor
    video_id: Tensor
    caption_id: Tensor
    seed: Tensor


class CaptionBatch(NamedTuple):
    """Videos and captions of them as the model receives them: normalised on the device.

    Attributes:
        video: ``[B, T, C, H, W]``, float, in the backbone's normalisation; zeros where there is no
            frame.
        video_mask: Where a frame is real, bool ``[B, T]``.
        tokens: Captions as text tokens, int64 ``[Q, L]``: start, words, end (the largest id),
            zeros.
        caption_video: Row in this batch of the video that a caption describes, int64 ``[Q]``.
        video_id: Row of the video in its manifest, int64 ``[B]``.
        caption_id: Number of the caption in its manifest, int64 ``[Q]``.
    """

    video: Tensor
    video_mask: Tensor
    tokens: Tensor
    caption_video: Tensor
    video_id: Tensor
    caption_id: Tensor


class RetrievalPredictions(NamedTuple):
    """What the steps of a retriever return; the evaluation merges by id and compares all pairs.

    Attributes:
        video_id: Row of the video in its manifest, int64 ``[B]``.
        video: Its feature, float32 ``[B, E]`` of norm 1; of a method that compares more than two
            vectors, whatever its ``similarity`` takes, ``[B, ...]``.
        caption_id: Number of the caption in its manifest, int64 ``[Q]``.
        caption_video_id: ``video_id`` of the video that the caption describes, int64 ``[Q]``.
        text: Its feature, float32 ``[Q, E]`` of norm 1, or ``[Q, ...]``.
    """

    video_id: Tensor
    video: Tensor
    caption_id: Tensor
    caption_video_id: Tensor
    text: Tensor
