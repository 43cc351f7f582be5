import pytest
import torch

from video_adapt.detection import boundary_mask


def slow_mask(row: list[float]) -> list[bool]:
    found = []
    for at, value in enumerate(row):
        near = row[max(at - 1, 0) : at + 2]
        found.append(value == max(near) or value > 0.5 * max(row))
    return found


@pytest.mark.parametrize("length", [1, 2, 3, 17])
def test_peaks_and_high_places_equal_a_slow_second_version(length):
    probs = torch.rand(5, length, generator=torch.Generator().manual_seed(length))
    assert boundary_mask(probs).tolist() == [slow_mask(row) for row in probs.tolist()]


def test_a_low_peak_counts_and_half_of_the_maximum_does_not():
    probs = torch.tensor([[0.1, 0.2, 0.1, 0.5, 1.0, 0.51, 0.0]])
    assert boundary_mask(probs).tolist() == [[False, True, False, False, True, True, False]]


def test_a_plateau_counts_throughout_and_the_ends_compare_with_one_neighbour():
    probs = torch.tensor([[0.3, 0.1, 0.2, 0.2, 0.1, 0.0, 0.9, 0.1, 0.2]])
    expected = [[True, False, True, True, False, False, True, False, True]]
    assert boundary_mask(probs).tolist() == expected


def test_rows_do_not_touch_each_other():
    probs = torch.rand(3, 4, 9, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([torch.stack([boundary_mask(row[None])[0] for row in p]) for p in probs])
    assert torch.equal(boundary_mask(probs), alone)
