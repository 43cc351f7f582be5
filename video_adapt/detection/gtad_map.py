"""G-TAD's map of proposals: one cell for every start and duration, with features of its sub-graph.

Source: G-TAD, Xu et al., CVPR 2020, section 3.3.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .alignment import Taps, WeightedSums, sampling_taps
from .gtad_graph import GCNeXt, gather_neighbours, nearest_neighbours


def proposal_cells(positions: int, durations: int) -> Tensor:
    """Segments of the cells: row ``d``, column ``t`` covers ``[t, t + d + 1]``.

    Args:
        positions: Positions ``T`` of the grid.
        durations: Durations ``D`` looked at, in positions.

    Returns:
        ``[D, T, 2]``; ``[0, 0]`` where a cell would end beyond the grid.
    """
    start = torch.arange(positions, dtype=torch.float32).expand(durations, -1)
    end = start + torch.arange(1, durations + 1).unsqueeze(1)
    return torch.stack([start, end], dim=2) * (end <= positions).unsqueeze(2)


class CellTaps(NamedTuple):
    """Which positions each sample of each cell takes, sorted by cell, then by sample.

    Attributes:
        cell: Number ``d * T + t``, int64 ``[M]``.
        sample: Below ``inner`` of the features, from there on of the context, int64 ``[M]``.
        position: int64 ``[M]``.
        weight: float32 ``[M]``.
    """

    cell: Tensor
    sample: Tensor
    position: Tensor
    weight: Tensor


def cell_taps(rois: Tensor, *, length: int, inner: int, context: int) -> CellTaps:
    """Sample every region twice: ``inner`` times the features, ``context`` times the context.

    Args:
        rois: Start and end on the grid, ``[cells, 2]``.
        length: Positions of the grid.
        inner: Samples of the features.
        context: Samples of the context.
    """
    parts = []
    for bins, first in ((inner, 0), (context, inner)):
        taps = sampling_taps(rois, length=length, bins=bins)
        sample = taps.row % bins + first
        parts.append((taps.row // bins, sample, taps.column, taps.weight))
    cell, sample, position, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    order = (cell * (inner + context) + sample).argsort(stable=True)
    return CellTaps(cell[order], sample[order], position[order], weight[order])


class SubGraphFeatures(nn.Module):
    """Aligned samples of each cell and of its neighbours in meaning, mixed into one vector.

    The paper aligns the features, then mixes them: ``D * T`` cells by ``C * samples`` numbers, half
    a gigabyte a window for THUMOS. Both steps are linear and change places: every position is mixed
    first, once for each sample, and the sums over positions follow. A training step of the whole
    detector takes a tenth of the time on a CPU, and a twentieth of the memory.

    Args:
        cells: Segments on the grid, ``[D, T, 2]``.
        width: Channels ``C`` of the features.
        out_width: Channels ``O`` of a cell.
        inner: Samples within a cell, of the features themselves.
        context: Samples within a cell, of the mean of each position's neighbours.
        extension: Share of its length by which a cell is extended on either side.
    """

    def __init__(
        self,
        cells: Tensor,
        *,
        width: int,
        out_width: int,
        inner: int,
        context: int,
        extension: float,
    ) -> None:
        super().__init__()
        self.durations, self.positions, _ = cells.shape
        self.inner, self.samples = inner, inner + context
        self.mix = nn.Conv2d(width * self.samples, out_width, 1)
        start, end = cells.flatten(0, 1).unbind(1)
        margin = extension * (end - start)
        rois = torch.stack([start - margin, end + margin], dim=1)
        self.sums = self._build_sums(rois, context)

    def _build_sums(self, rois: Tensor, context: int) -> WeightedSums:
        """From ``[samples * T, O]`` to ``[cells, O]``."""
        taps = cell_taps(rois, length=self.positions, inner=self.inner, context=context)
        columns = taps.sample * self.positions + taps.position
        return WeightedSums(Taps(taps.cell, columns, taps.weight), len(rois))

    def _cell_features(self, x: Tensor, context: Tensor) -> Tensor:
        """Of one window's ``[T, C]`` and ``[T, C]`` make ``[cells, O]``."""
        of_features, of_context = self._kernel().split([self.inner, self.samples - self.inner], 1)
        mixed = torch.cat(
            [
                torch.einsum("osc,tc->sto", of_features, x),
                torch.einsum("osc,tc->sto", of_context, context),
            ]
        )
        out: Tensor = self.sums(mixed.flatten(0, 1))
        return out

    def _kernel(self) -> Tensor:
        """Weights by output, sample and channel, ``[O, samples, C]``."""
        return self.mix.weight.flatten(1).unflatten(1, (-1, self.samples)).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Turn ``[B, C, T]`` and the neighbours' mean ``[B, C, T]`` into ``[B, O, D, T]``."""
        windows = zip(x.transpose(1, 2), context.transpose(1, 2), strict=True)
        rows = torch.stack([self._cell_features(*window) for window in windows])  # [B, cells, O]
        assert self.mix.bias is not None
        out = F.relu(rows + self.mix.bias)
        # A view: the convolutions that follow read channels-last memory.
        return out.unflatten(1, (self.durations, self.positions)).permute(0, 3, 1, 2)


class HalfSubGraphFeatures(SubGraphFeatures):
    """The published code's numbers: aligned before mixing, and in half precision.

    Regions, features and aligned samples are rounded to half precision, gradients too. Needs the
    memory that :class:`SubGraphFeatures` saves; for comparisons with published weights.
    """

    def _build_sums(self, rois: Tensor, context: int) -> WeightedSums:
        """From ``[2 * T, C]``, features above context, to ``[cells * samples, C]``."""
        rois = round_to_half(rois)
        taps = cell_taps(rois, length=self.positions, inner=self.inner, context=context)
        rows = taps.cell * self.samples + taps.sample
        columns = (taps.sample >= self.inner) * self.positions + taps.position
        return WeightedSums(Taps(rows, columns, taps.weight), len(rois) * self.samples)

    def _cell_features(self, x: Tensor, context: Tensor) -> Tensor:
        aligned = round_to_half(self.sums(round_to_half(torch.cat([x, context]))))
        return F.linear(
            aligned.unflatten(0, (-1, self.samples)).flatten(1), self._kernel().flatten(1)
        )


def round_to_half(x: Tensor) -> Tensor:
    """Return what half precision leaves of ``x``, in float32; gradients are rounded too."""
    return x.half().float()


class ProposalMap(nn.Module):
    """A graph layer and the features of every cell's sub-graph in it.

    Args:
        graph: The layer.
        sub_graphs: Aligns and mixes.
    """

    def __init__(self, graph: GCNeXt, sub_graphs: SubGraphFeatures) -> None:
        super().__init__()
        self.graph = graph
        self.sub_graphs = sub_graphs

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``[B, C, T]`` into ``[B, O, D, T]``; cells beyond the grid have features too."""
        x = self.graph(x)
        near = nearest_neighbours(x, self.graph.neighbours)
        out: Tensor = self.sub_graphs(x, gather_neighbours(x, near).mean(3))
        return out
