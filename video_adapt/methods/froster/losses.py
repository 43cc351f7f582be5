"""FROSTER's objective: classify the clip, and stay near the teacher behind a residual network.

Source: FROSTER (ICLR 2024): cross-entropy and residual feature distillation of both towers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.tasks import soft_target_cross_entropy


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the mean cosine of corresponding vectors, in float32.

    Args:
        student: Vectors of any norm ``[..., E]``.
        teacher: The same shape.

    Returns:
        A scalar in [0, 2].
    """
    with torch.autocast(student.device.type, enabled=False):
        return 1.0 - F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def froster_loss(
    logits: Tensor,
    target: Tensor,
    *,
    video: tuple[Tensor, Tensor] | None,
    text: tuple[Tensor, Tensor] | None,
    distillation: float,
) -> Mapping[str, Tensor]:
    """``L = L_ce + distillation * (L_video + L_text)`` and its terms.

    Args:
        logits: ``[B, K]`` over all training classes.
        target: Class indices ``[B]``, or distributions ``[B, K]``.
        video: Every frame behind the student's residual network, and as the teacher sees it, each
            ``[B, T, E]``; None leaves the term out.
        text: The same of the classes, each ``[K, E]``.
        distillation: Weight of the two distances.

    Returns:
        ``loss``, ``ce``, and ``distill_video`` and ``distill_text`` where there are such.
    """
    terms = {"ce": soft_target_cross_entropy(logits, target)}
    pairs = {"distill_video": video, "distill_text": text}
    distances = {k: cosine_distance(*pair) for k, pair in pairs.items() if pair is not None}
    total = terms["ce"] + distillation * sum(distances.values(), torch.zeros_like(terms["ce"]))
    return {"loss": total} | terms | distances
