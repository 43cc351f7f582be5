import math

import pytest
import torch

from video_adapt.detection.alignment import Taps, WeightedSums, align_1d, sampling_taps


def interpolate(row, place):
    """One sample of a sequence, the obvious way."""
    last = len(row) - 1
    if place < -1 or place > len(row):
        return 0.0
    place = min(max(place, 0.0), float(last))
    low = math.floor(place)
    return row[low] + (place - low) * (row[min(low + 1, last)] - row[low])


def align_slowly(row, start, end, bins, samples):
    extent = max(end - start, 1.0)
    count = samples or math.ceil(extent / bins)
    return [
        sum(interpolate(row, start + (b + (i + 0.5) / count) * extent / bins) for i in range(count))
        / count
        for b in range(bins)
    ]


@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("bins", [1, 3, 5])
def test_bins_average_interpolated_samples(bins, samples):
    features = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0))
    segments = [(0, 2.0, 5.5), (1, -3.0, 4.0), (1, 0.2, 0.4), (0, 7.0, 14.0), (0, -9.0, -4.0)]
    aligned = align_1d(features, torch.tensor(segments), bins=bins, samples=samples)
    expected = [
        [align_slowly(row.tolist(), start, end, bins, samples) for row in features[int(b)]]
        for b, start, end in segments
    ]
    torch.testing.assert_close(aligned, torch.tensor(expected))


def test_taps_are_sorted_and_name_a_place_once():
    taps = sampling_taps(torch.tensor([[0.0, 8.0], [1.0, 3.0]]), length=8, bins=2)
    places = taps.row * 8 + taps.column
    assert (places.diff() > 0).all()
    assert (taps.weight != 0).all()
    totals = torch.zeros(4).index_add(0, taps.row, taps.weight)
    torch.testing.assert_close(totals, torch.ones(4))


def test_weighted_sums_multiply_a_matrix_with_empty_rows():
    taps = Taps(torch.tensor([0, 0, 2]), torch.tensor([1, 3, 0]), torch.tensor([0.5, 2.0, -1.0]))
    table = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    dense = torch.zeros(4, 4)
    dense[taps.row, taps.column] = taps.weight
    sums = WeightedSums(taps, rows=4)
    torch.testing.assert_close(sums(table), dense @ table)
    sums(table).square().sum().backward()
    torch.testing.assert_close(table.grad, 2 * dense.T @ dense @ table.detach())
    assert not sums.state_dict(), "what can be computed is not saved"
