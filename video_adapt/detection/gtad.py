"""G-TAD: every start and duration of a window is a proposal, and a graph tells which are good.

Source: G-TAD, Xu et al., CVPR 2020, and the published code where it says more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError

from .balanced_losses import Draw, balanced_bce, balanced_l2
from .boundaries import boundary_mask
from .gtad_graph import GCNeXt
from .gtad_map import ProposalMap, SubGraphFeatures, proposal_cells
from .gtad_targets import boundary_targets, overlap_targets
from .head import Candidates, Detector, SegmentHead

PROJECTION_GROUPS = 4


@dataclass(frozen=True)
class GTAD(Detector):
    """Sub-graph localisation for temporal action detection; proposals without classes.

    The defaults are those of THUMOS-14. ActivityNet: ``positions=100, max_duration=100,
    roi_size=32, context_size=4, kernel=1``.

    Attributes:
        positions: Grid positions ``T`` of a window.
        max_duration: Longest proposal ``D`` in grid positions.
        hidden: Width of the graph layers.
        groups: Paths of a graph layer's branches, of four channels each.
        neighbours: Nearest positions in feature space that a position sees, itself included.
        roi_size: Samples of a proposal's features.
        context_size: Samples of the features of its neighbours.
        extension: Share of its length by which a proposal is extended on either side.
        map_width: Width of the map of proposals.
        confidence_width: Width of the convolutions on the map.
        convs: Number of these convolutions.
        kernel: Their size.
        class_threshold: Overlap above which a proposal counts as an action.
        low_threshold: Overlap up to which a proposal is a poor one for the regression.
        high_threshold: Overlap above which it is a good one.
        regression_weight: Factor of the regression's loss.
        score: What ranks a proposal: its two confidences, ``iou``, or those and the probabilities
            of its boundaries, ``iouse``.
        half_cast: Round to half precision where the published code does.
    """

    positions: int = 256
    max_duration: int = 64
    hidden: int = 256
    groups: int = 32
    neighbours: int = 3
    roi_size: int = 16
    context_size: int = 16
    extension: float = 0.5
    map_width: int = 512
    confidence_width: int = 128
    convs: int = 3
    kernel: int = 3
    class_threshold: float = 0.9
    low_threshold: float = 0.3
    high_threshold: float = 0.7
    regression_weight: float = 5.0
    score: Literal["iou", "iouse"] = "iou"
    half_cast: bool = False

    def build(self, width: int, num_classes: int) -> "GTADHead":
        """Make the network; the number of classes changes nothing.

        Args:
            width: Width ``D`` of the features.
            num_classes: Number of classes ``K``.

        Raises:
            ConfigurationError: If the sizes do not fit together.
        """
        for name, channels in (("the width of the features", width), ("hidden", self.hidden)):
            if channels % PROJECTION_GROUPS:
                raise ConfigurationError(
                    f"GTAD: {name} is {channels}; make it a multiple of {PROJECTION_GROUPS}"
                )
        for name, most in (("max_duration", self.max_duration), ("neighbours", self.neighbours)):
            if not 0 < most <= self.positions:
                raise ConfigurationError(
                    f"GTAD: {name} is {most}; make it 1 to {self.positions}, the positions"
                )
        if self.kernel % 2 == 0:
            raise ConfigurationError(f"GTAD: kernel is {self.kernel}; make it odd")
        return GTADHead(self, width)


class GTADOutputs(NamedTuple):
    """What the network says of ``B`` windows.

    Attributes:
        boundary_logits: Start and end at each position, ``[B, 2, T]``.
        map_logits: Of every duration and start, whether it is an action and how well it overlaps
            one, ``[B, 2, D, T]``.
    """

    boundary_logits: Tensor
    map_logits: Tensor


class ConfidenceHead(nn.Module):
    """Convolutions on the map of proposals and two numbers for each."""

    def __init__(self, in_width: int, width: int, *, convs: int, kernel: int) -> None:
        super().__init__()
        widths = [in_width] + [width] * convs
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], width, kernel, padding=kernel // 2) for i in range(convs)
        )
        self.output = nn.Conv2d(widths[-1], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, O, D, T]`` to ``[B, 2, D, T]``."""
        for conv in self.convs:
            x = F.relu(conv(x))
        out: Tensor = self.output(x)
        return out


class GTADHead(SegmentHead):
    """The network of G-TAD.

    Padding is masked out before and after the first graph layer; from there on its positions are
    like any other, in the losses too, as in the published code.

    Args:
        settings: What the experiment file says.
        width: Width of the features.

    Attributes:
        draw: Makes the random numbers of the regression's loss, see
            :func:`~video_adapt.detection.balanced_losses.balanced_l2`.
    """

    cells: Tensor

    def __init__(self, settings: GTAD, width: int) -> None:
        super().__init__()
        self.settings = settings
        self.draw: Draw = torch.rand_like
        hidden = settings.hidden
        cells = proposal_cells(settings.positions, settings.max_duration)
        self.register_buffer("cells", cells, persistent=False)  # [D, T, 2]
        self.projection = nn.Conv1d(width, hidden, 3, padding=1, groups=PROJECTION_GROUPS)
        self.graph = self._graph()
        self.boundaries = nn.ModuleList(
            nn.Sequential(self._graph(), nn.Conv1d(hidden, 1, 1)) for _ in ("start", "end")
        )
        sub_graphs = SubGraphFeatures(
            cells,
            width=hidden,
            out_width=settings.map_width,
            inner=settings.roi_size,
            context=settings.context_size,
            extension=settings.extension,
            half_cast=settings.half_cast,
        )
        self.proposals = ProposalMap(self._graph(), sub_graphs)
        self.confidences = ConfidenceHead(
            settings.map_width,
            settings.confidence_width,
            convs=settings.convs,
            kernel=settings.kernel,
        )

    def _graph(self) -> GCNeXt:
        settings = self.settings
        return GCNeXt(settings.hidden, groups=settings.groups, neighbours=settings.neighbours)

    @property
    def valid(self) -> Tensor:
        """Cells within the grid, bool ``[D, T]``."""
        return self.cells[..., 1] > 0

    def forward(self, features: Tensor, mask: Tensor) -> GTADOutputs:
        """Run the network.

        Args:
            features: One vector per grid position, ``[B, T, D]``.
            mask: Positions that lie within the video, bool ``[B, T]``.

        Raises:
            ConfigurationError: If the window has another number of positions than the settings.
        """
        if features.shape[1] != self.settings.positions:
            raise ConfigurationError(
                f"GTAD: windows have {features.shape[1]} positions, the detector "
                f"{self.settings.positions}; set positions={features.shape[1]}"
            )
        within = mask.unsqueeze(1)  # [B, 1, T]
        x = F.relu(self.projection(features.transpose(1, 2)) * within)
        x = self.graph(x) * within
        boundary_logits = torch.cat([boundary(x) for boundary in self.boundaries], dim=1)
        return GTADOutputs(boundary_logits, self.confidences(self.proposals(x)))

    def losses(
        self, outputs: GTADOutputs, segments: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Losses of the boundaries and of both confidences; labels are not looked at.

        Args:
            outputs: What :meth:`forward` returned.
            segments: Ground truth of each window on the grid, ``B`` tensors ``[G, 2]``.
            labels: Class indices of each window, ``B`` tensors int64 ``[G]``.
        """
        settings = self.settings
        near = boundary_targets(segments, settings.positions)  # [B, 2, T]
        overlap = overlap_targets(segments, self.cells[self.valid])  # [B, N]
        is_action, how_well = outputs.map_logits[:, :, self.valid].unbind(1)  # [B, N]
        starts, ends = outputs.boundary_logits.unbind(1)  # [B, T]
        return {
            "boundary": balanced_bce(starts, near[:, 0]) + balanced_bce(ends, near[:, 1]),
            "classification": balanced_bce(is_action, overlap > settings.class_threshold),
            "regression": balanced_l2(
                how_well.float().sigmoid(),
                overlap,
                low=settings.low_threshold,
                high=settings.high_threshold,
                weight=settings.regression_weight,
                draw=self.draw,
            ),
        }

    @torch.no_grad()
    def candidates(self, outputs: GTADOutputs) -> list[Candidates]:
        """Proposals that begin and end at likely boundaries, by duration, then by start."""
        boundaries = outputs.boundary_logits.float().sigmoid()
        likely = boundary_mask(boundaries)
        likely[:, 0, 0] = likely[:, 1, -1] = True
        last = (self.cells[..., 1].long() - 1).clamp(min=0)  # [D, T]: last position of a cell
        kept = likely[:, 0].unsqueeze(1) & likely[:, 1][:, last] & self.valid  # [B, D, T]
        scores = outputs.map_logits.float().sigmoid().prod(1)
        if self.settings.score == "iouse":
            scores = scores * boundaries[:, 0].unsqueeze(1) * boundaries[:, 1][:, last]
        return [
            Candidates(self.cells[where], of_window[where].unsqueeze(1))
            for where, of_window in zip(kept, scores, strict=True)
        ]
