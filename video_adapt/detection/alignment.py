"""Alignment of segments in time: a fixed number of averaged samples from within each segment.

Every output is a weighted sum of grid positions, so alignment is one sparse matrix. It depends on
the segments alone: a detector whose proposals never change computes it once.

Source: G-TAD, Xu et al., CVPR 2020, section 3.3 (SGAlign); the sampling is RoIAlign's in 1-D.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Taps(NamedTuple):
    """The entries of a sparse matrix, sorted by row, then by column, each place at most once.

    Attributes:
        row: int64 ``[M]``.
        column: int64 ``[M]``.
        weight: float32 ``[M]``, none zero.
    """

    row: Tensor
    column: Tensor
    weight: Tensor


def sampling_taps(segments: Tensor, *, length: int, bins: int, samples: int = 0) -> Taps:
    """Weights of the grid positions in every bin of every segment; row ``segment * bins + bin``.

    A segment is at least one position long. A bin averages equally spaced, linearly interpolated
    samples. Those before -1 or after ``length`` are zero, those beyond the first or the last
    position take its value.

    Args:
        segments: Start and end on the grid, ``[R, 2]``.
        length: Positions of the grid.
        bins: Outputs of each segment.
        samples: Samples of a bin; 0 takes as many as leave gaps of at most one position.
    """
    start, end = segments.double().unsqueeze(-1).unbind(1)  # [R, 1]
    extent = (end - start).clamp(min=1)
    per_bin = torch.full_like(extent, samples) if samples else (extent / bins).ceil()
    first = torch.arange(bins, device=segments.device).unsqueeze(-1)  # [bins, 1]
    nth = torch.arange(int(per_bin.max()), device=segments.device)
    share = (nth + 0.5) / per_bin  # [R, samples]: place within a bin
    at = start.unsqueeze(-1) + (first + share.unsqueeze(1)) * (extent / bins).unsqueeze(-1)
    counts = ((nth < per_bin).unsqueeze(1) & (at >= -1) & (at <= length)) / per_bin.unsqueeze(-1)

    at = at.clamp(0, length - 1)  # [R, bins, samples]
    low = at.floor().long()
    upper = at - low
    row = torch.arange(len(segments) * bins, device=segments.device).view(-1, bins, 1)
    place = row * length + torch.stack([low, (low + 1).clamp(max=length - 1)])
    weight = torch.stack([counts * (1 - upper), counts * upper])
    return _collect(place[weight != 0], weight[weight != 0], length)


def _collect(place: Tensor, weight: Tensor, length: int) -> Taps:
    """Sum the weights of equal places ``row * length + column``."""
    unique, inverse = place.unique(return_inverse=True)
    total = weight.new_zeros(len(unique)).index_add(0, inverse, weight)
    return Taps(unique // length, unique % length, total.float())


class WeightedSums(nn.Module):
    """A constant sparse matrix that multiplies a dense one; backward keeps nothing but the matrix.

    Args:
        taps: Entries of the matrix.
        rows: Number of its rows.
    """

    columns: Tensor
    weights: Tensor
    offsets: Tensor

    def __init__(self, taps: Taps, rows: int) -> None:
        super().__init__()
        offsets = taps.row.new_zeros(rows + 1)
        torch.cumsum(taps.row.bincount(minlength=rows), 0, out=offsets[1:])
        self.register_buffer("columns", taps.column.int(), persistent=False)
        self.register_buffer("weights", taps.weight, persistent=False)
        self.register_buffer("offsets", offsets.int(), persistent=False)

    def forward(self, table: Tensor) -> Tensor:
        """Multiply ``[columns, C]`` into float32 ``[rows, C]``."""
        return F.embedding_bag(
            self.columns,
            table.float(),
            self.offsets,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )


def align_1d(features: Tensor, rois: Tensor, *, bins: int, samples: int = 0) -> Tensor:
    """Average the features within each bin of each region.

    Args:
        features: ``[B, C, T]``.
        rois: Window, start and end on the grid, ``[R, 3]``.
        bins: Outputs of each region.
        samples: As of :func:`sampling_taps`.

    Returns:
        float32 ``[R, C, bins]``.
    """
    length = features.shape[2]
    taps = sampling_taps(rois[:, 1:], length=length, bins=bins, samples=samples)
    window = rois[:, 0].long()[taps.row // bins]
    taps = taps._replace(column=window * length + taps.column)
    table = features.transpose(1, 2).flatten(0, 1)  # [B*T, C]
    aligned: Tensor = WeightedSums(taps, len(rois) * bins)(table)
    return aligned.unflatten(0, (-1, bins)).transpose(1, 2)
