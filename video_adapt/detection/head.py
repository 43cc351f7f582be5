"""The one interface behind which every detector of segments stands."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn


class Candidates(NamedTuple):
    """What a detector proposes in one window, before anything is thrown away.

    Attributes:
        segments: Start and end on the window's grid, ``[N, 2]``; ``[N, K, 2]`` where a detector
            places the segments of every class by itself.
        scores: Confidence in [0, 1] of every class, ``[N, K]``; ``[N, 1]`` where a detector does
            not tell classes apart.
    """

    segments: Tensor
    scores: Tensor


class SegmentHead(nn.Module, ABC):
    """A detector on one vector per grid position. Times inside are in grid positions.

    Weights and outputs are float32-safe under autocast: losses are computed in float32.
    """

    @abstractmethod
    def forward(self, features: Tensor, mask: Tensor) -> Any:
        """Run the network.

        Args:
            features: One vector per grid position, ``[B, S, D]``.
            mask: Positions that lie within the video, bool ``[B, S]``.

        Returns:
            A named tuple of the detector's own, for :meth:`losses` and :meth:`candidates`.
        """

    @abstractmethod
    def losses(
        self, outputs: Any, segments: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the training loss, scalars by name; the loss is their sum.

        In training mode this may update running statistics of the head, so call it once a step.

        Args:
            outputs: What :meth:`forward` returned.
            segments: Ground truth of each window on the grid, ``B`` tensors ``[G, 2]``.
            labels: Class indices of each window, ``B`` tensors int64 ``[G]``.
        """

    @abstractmethod
    def candidates(self, outputs: Any) -> list[Candidates]:
        """Proposals of each of the ``B`` windows, without gradient."""


class Detector(ABC):
    """The settings of a detector, which an experiment file names; a method builds it.

    Subclasses are frozen dataclasses named as the paper prints them.
    """

    @abstractmethod
    def build(self, width: int, num_classes: int) -> SegmentHead:
        """Make the network.

        Args:
            width: Width ``D`` of the features.
            num_classes: Number of classes ``K``.

        Raises:
            ConfigurationError: If the settings contradict each other.
        """
