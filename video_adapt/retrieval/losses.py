"""What a retriever learns from: pairs of its batch, and teachers, in whole and frame by frame.

Everything is computed in float32, whatever the precision of the network. Rows of a similarity
matrix are captions, columns videos.

Source: Tian et al., TeachCLIP, CVPR 2024, section 3.3, and its released code where it differs.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError

Distance = Literal["pearson", "cross_entropy", "l1"]
Normalization = Literal["paper", "code"]

# A row whose deviations are smaller than this share of its length is constant up to rounding.
_CONSTANT = 1e-6


def positive_pairs(caption_video_id: Tensor, video_id: Tensor) -> Tensor:
    """Which captions describe which videos of a batch, bool ``[Q, B]``.

    Args:
        caption_video_id: Video of each caption, int64 ``[Q]``.
        video_id: Each video, int64 ``[B]``; may repeat.
    """
    return caption_video_id[:, None] == video_id


def contrastive_loss(similarity: Tensor, positives: Tensor | None = None) -> Tensor:
    """Cross-entropy of captions over videos and of videos over captions, the mean of both.

    Args:
        similarity: Logits ``[Q, B]``.
        positives: Which pairs belong together, bool ``[Q, B]``; the target of a row is spread
            evenly over its positives, and a row or column without any is left out. None takes the
            diagonal, which makes negatives of two captions of one video.

    Returns:
        A scalar; 0 where nothing belongs together.

    Raises:
        ConfigurationError: If the diagonal is meant, and the matrix is not square.
    """
    similarity = similarity.float()
    if positives is None:
        if similarity.shape[0] != similarity.shape[1]:
            raise ConfigurationError(
                f"a similarity matrix {list(similarity.shape)} has no diagonal of positive pairs: "
                "say which captions belong to which videos"
            )
        positives = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    both = _spread_entropy(similarity, positives) + _spread_entropy(similarity.T, positives.T)
    return both / 2


def _spread_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    target = positives / positives.sum(dim=1, keepdim=True).clamp(min=1)
    losses = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    return losses.sum() / positives.any(dim=1).sum().clamp(min=1)


def pearson_distance(x: Tensor, y: Tensor) -> Tensor:
    """One minus the correlation of rows: ``[..., N]`` twice to ``[...]``, in [0, 2].

    A row that is constant up to rounding correlates with nothing: its distance is 1, and it has no
    gradient, where the released code divides 0 by 0.
    """
    a, varies_a = _direction(x.float())
    b, varies_b = _direction(y.float())
    return 1 - (a * b).sum(dim=-1) * (varies_a & varies_b)


def _direction(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations from the mean at length 1, and which rows have any."""
    deviations = rows - rows.mean(dim=-1, keepdim=True)
    length = torch.linalg.vector_norm(deviations.detach(), dim=-1, keepdim=True)
    varies = length > _CONSTANT * torch.linalg.vector_norm(rows.detach(), dim=-1, keepdim=True)
    # Replaced before the root is taken, not after it: the gradient of a root of 0 is not finite.
    safe = torch.where(varies, deviations, torch.ones_like(deviations))
    return F.normalize(safe, dim=-1), varies.squeeze(-1)


def coarse_loss(
    student: Tensor,
    teacher: Tensor,
    distance: Distance = "pearson",
    *,
    divisor: float = 1.0,
    normalization: Normalization = "paper",
) -> Tensor:
    """How far a student's similarity matrix is from a teacher's.

    Rows and columns are compared after a softmax, and the two means are added, not averaged; ``l1``
    compares the matrices as they are, once.

    Args:
        student: Logits ``[Q, B]``.
        teacher: Logits ``[Q, B]``; no gradient reaches them.
        distance: Of the softmax of a row or column.
        divisor: Of both matrices first: a temperature of the comparison.
        normalization: ``cross_entropy`` is the mean over rows (``paper``) or over all entries
            (``code``), which makes it smaller by their number; the others have one form.

    Returns:
        A scalar.
    """
    student, teacher = student.float() / divisor, teacher.detach().float() / divisor
    if distance == "l1":
        return F.smooth_l1_loss(student, teacher)
    rows = _distance(student, teacher.softmax(dim=1), distance, normalization)
    columns = _distance(student.T, teacher.T.softmax(dim=1), distance, normalization)
    return rows + columns


def _distance(
    logits: Tensor, target: Tensor, distance: Distance, normalization: Normalization
) -> Tensor:
    if distance == "pearson":
        return pearson_distance(logits.softmax(dim=1), target).mean()
    losses = _soft_entropy(logits.log_softmax(dim=1), target)
    return losses.mean() if normalization == "code" else losses.sum(dim=1).mean()


def _soft_entropy(log_probs: Tensor, target: Tensor) -> Tensor:
    # Where the target is 0, so is the term, also beside a logarithm of -inf.
    return -(target * log_probs.masked_fill(target == 0, 0.0))


def fine_loss(
    logits: Tensor,
    relevance: Tensor,
    distance: Distance = "cross_entropy",
    *,
    mask: Tensor | None = None,
    temperature: float = 1.0,
    normalization: Normalization = "paper",
) -> Tensor:
    """How far a student's weights of frames are from a teacher's.

    Args:
        logits: The student's weights before their softmax, ``[B, T]``.
        relevance: The teacher's weights ``[B, T]``, none negative, rows summing to 1; no gradient
            reaches them.
        distance: Of the weights of a video.
        mask: Where a frame is real, bool ``[B, T]``: padding gets no weight from either side. None
            takes all frames, as the released code does.
        temperature: Of the student's softmax here; that of its pooling is another.
        normalization: ``cross_entropy`` and ``l1`` add up the frames of a video (``paper``) or take
            their mean (``code``), which makes them smaller by the number of frames.

    Returns:
        The mean over the videos, a scalar. The entropy of the teacher is in it:
        :func:`relevance_entropy`.
    """
    logits = logits.float() / temperature
    relevance = _among_real(relevance, mask)
    if mask is not None:
        shown = mask | ~mask.any(dim=1, keepdim=True)
        logits = logits.masked_fill(~shown, -torch.inf)
    if distance == "pearson":
        return pearson_distance(logits.softmax(dim=1), relevance).mean()
    if distance == "l1":
        losses = F.smooth_l1_loss(logits.softmax(dim=1), relevance, reduction="none")
    else:
        losses = _soft_entropy(logits.log_softmax(dim=1), relevance)
    return losses.mean() if normalization == "code" else losses.sum(dim=1).mean()


def weights_to_logits(weights: Tensor) -> Tensor:
    """Logits whose softmax is ``weights`` ``[..., T]``, for a student that shows only these."""
    return weights.float().clamp(min=torch.finfo(torch.float32).tiny).log()


def relevance_entropy(
    relevance: Tensor, *, mask: Tensor | None = None, normalization: Normalization = "paper"
) -> Tensor:
    """Entropy of a teacher's weights of frames: what :func:`fine_loss` cannot fall below.

    Args:
        relevance: ``[B, T]``, as of :func:`fine_loss`; so are the others.
        mask: Where a frame is real, bool ``[B, T]``.
        normalization: That of the loss.

    Returns:
        A scalar without gradient; a cross-entropy minus this is a divergence, 0 at best.
    """
    entropy = torch.special.entr(_among_real(relevance, mask))
    return entropy.mean() if normalization == "code" else entropy.sum(dim=1).mean()


def _among_real(relevance: Tensor, mask: Tensor | None) -> Tensor:
    relevance = relevance.detach().float()
    if mask is None:
        return relevance
    relevance = relevance * mask
    return relevance / relevance.sum(dim=1, keepdim=True).clamp(min=1e-12)
