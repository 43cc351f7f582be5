"""What travels between loader, model and evaluation: named tuples of tensors.

Notation used everywhere: ``B`` clips, ``V`` views per video, ``T`` frames, ``C`` channels, ``H W``
pixels, ``N`` tokens per frame (class token first), ``D`` width, ``E`` joint width, ``K`` classes.
"""

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
