"""The loss of a retriever that learns from its batch and from any number of teachers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .losses import (
    Distance,
    Normalization,
    coarse_loss,
    contrastive_loss,
    fine_loss,
    relevance_entropy,
)


class TeachingTerms(NamedTuple):
    """Parts of the loss, scalars.

    Attributes:
        total: Weighted sum of the three, from which a student learns.
        contrastive: Of :func:`contrastive_loss`.
        coarse: Of :func:`coarse_loss`, mean over the teachers; 0 without any.
        fine: Of :func:`fine_loss`, mean over the teachers that look at frames; 0 without any.
        fine_excess: ``fine`` minus the entropy of the teachers where it is a cross-entropy: what is
            left to learn. No gradient.
    """

    total: Tensor
    contrastive: Tensor
    coarse: Tensor
    fine: Tensor
    fine_excess: Tensor


@dataclass(frozen=True, kw_only=True)
class TeachingLoss:
    """Contrastive loss, and how far a student is from its teachers in whole and frame by frame.

    The paper adds the three terms. The released code weights them 0.2, 1 and 2 with
    ``normalization: code`` (1, 10 and 1 where ``coarse_distance`` is ``cross_entropy``), which for
    ``T`` frames is a weight of ``2 / T`` on the paper's fine term.

    Args:
        contrastive: Weight of the contrastive term.
        coarse: Weight of the coarse term.
        fine: Weight of the fine term.
        coarse_distance: How similarity matrices are compared.
        fine_distance: How weights of frames are compared.
        divisor: Of similarity matrices before they are compared.
        normalization: How cross-entropies and ``l1`` are summed up.

    Source: Tian et al., TeachCLIP, CVPR 2024, section 3.3.
    """

    contrastive: float = 1.0
    coarse: float = 1.0
    fine: float = 1.0
    coarse_distance: Distance = "pearson"
    fine_distance: Distance = "cross_entropy"
    divisor: float = 1.0
    normalization: Normalization = "paper"

    def __call__(
        self,
        similarity: Tensor,
        frame_logits: Tensor | None,
        *,
        teachers: Sequence[Tensor] = (),
        relevance: Sequence[Tensor | None] = (),
        teacher_weights: Sequence[float] | None = None,
        positives: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> TeachingTerms:
        """Compute all terms.

        Args:
            similarity: The student's logits ``[Q, B]``.
            frame_logits: Weights of the frames of each caption's video before their softmax,
                ``[Q, T]``; None from a student that weights all the same.
            teachers: Logits ``[Q, B]`` of each teacher.
            relevance: Their weights of frames ``[Q, T]``; None from one that looks at no frame.
            teacher_weights: How much each counts; None counts all the same.
            positives: As of :func:`contrastive_loss`.
            mask: As of :func:`fine_loss`, ``[Q, T]``.
        """
        shares = [1.0] * len(teachers) if teacher_weights is None else list(teacher_weights)
        contrastive = contrastive_loss(similarity, positives)
        coarse = [self._coarse(similarity, matrix) for matrix in teachers]
        fine, floor, looking = [], [], []
        for weights, share in zip(relevance, shares, strict=True):
            if weights is not None and frame_logits is not None:
                fine.append(self._fine(frame_logits, weights, mask))
                floor.append(self._floor(weights, mask))
                looking.append(share)
        nothing = contrastive.new_zeros(())
        whole = _weighted_mean(coarse, shares, nothing)
        by_frame = _weighted_mean(fine, looking, nothing)
        excess = (by_frame - _weighted_mean(floor, looking, nothing)).detach()
        total = self.contrastive * contrastive + self.coarse * whole + self.fine * by_frame
        return TeachingTerms(total, contrastive, whole, by_frame, excess)

    def _coarse(self, similarity: Tensor, matrix: Tensor) -> Tensor:
        return coarse_loss(
            similarity,
            matrix,
            self.coarse_distance,
            divisor=self.divisor,
            normalization=self.normalization,
        )

    def _fine(self, logits: Tensor, weights: Tensor, mask: Tensor | None) -> Tensor:
        return fine_loss(
            logits, weights, self.fine_distance, mask=mask, normalization=self.normalization
        )

    def _floor(self, weights: Tensor, mask: Tensor | None) -> Tensor:
        if self.fine_distance != "cross_entropy":
            return weights.new_zeros(())
        return relevance_entropy(weights, mask=mask, normalization=self.normalization)


def _weighted_mean(terms: Sequence[Tensor], weights: Sequence[float], nothing: Tensor) -> Tensor:
    if not terms:
        return nothing
    stacked = torch.stack(list(terms))
    shares = stacked.new_tensor(weights)
    return (stacked * shares).sum() / shares.sum()
