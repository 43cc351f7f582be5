"""G-TAD's map of proposals: one cell for every start and duration, with features of its sub-graph.

Source: G-TAD, Xu et al., CVPR 2020, section 3.3.
"""

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


def round_to_half(x: Tensor) -> Tensor:
    """Return what half precision leaves of ``x``, in float32; gradients are rounded too."""
    return x.half().float()


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
        half_cast: Round regions and features to half precision, as the published code does.
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
        half_cast: bool,
    ) -> None:
        super().__init__()
        self.inner, self.context, self.half_cast = inner, context, half_cast
        self.mix = nn.Conv2d(width * (inner + context), out_width, 1)
        self.durations, length, _ = cells.shape
        start, end = cells.flatten(0, 1).unbind(1)
        margin = extension * (end - start)
        rois = torch.stack([start - margin, end + margin], dim=1)
        taps = _cell_taps(round_to_half(rois) if half_cast else rois, length, (inner, context))
        self.sums = WeightedSums(taps, len(rois))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Turn ``[B, C, T]`` and the neighbours' mean ``[B, C, T]`` into ``[B, O, D, T]``."""
        if self.half_cast:
            x, context = round_to_half(x), round_to_half(context)
        kernel = self.mix.weight.flatten(1).unflatten(1, (x.shape[1], -1))  # [O, C, samples]
        of_x, of_context = kernel.split([self.inner, self.context], dim=2)
        mixed = torch.cat(
            [
                torch.einsum("ocs,bct->bsto", of_x, x),
                torch.einsum("ocs,bct->bsto", of_context, context),
            ],
            dim=1,
        )
        tables = mixed.flatten(1, 2)  # [B, samples*T, O]
        assert self.mix.bias is not None
        rows = torch.stack([self.sums(table) for table in tables])  # [B, D*T, O]
        # A view: the convolutions that follow read channels-last memory.
        out = rows.unflatten(1, (self.durations, -1)).permute(0, 3, 1, 2)
        return F.relu(out + self.mix.bias.view(-1, 1, 1))


def _cell_taps(rois: Tensor, length: int, bins: tuple[int, int]) -> Taps:
    """Taps of both kinds of samples; column ``sample * length + position``, context last."""
    parts, first = [], 0
    for count in bins:
        row, column, weight = sampling_taps(rois, length=length, bins=count)
        parts.append((row // count, (first + row % count) * length + column, weight))
        first += count
    row, column, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    order = row.argsort(stable=True)
    return Taps(row[order], column[order], weight[order])


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
