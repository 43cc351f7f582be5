import pytest
import torch
from torch.nn import functional as F

from video_adapt.detection.alignment import align_1d
from video_adapt.detection.gtad_map import SubGraphFeatures, proposal_cells


def test_cells_are_every_duration_and_start_within_the_grid():
    cells = proposal_cells(4, 2)
    assert cells[0].tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert cells[1].tolist() == [[0, 2], [1, 3], [2, 4], [0, 0]]


def align_then_mix(module, cells, x, context, extension):
    """The paper's order: align every cell, then one 1x1 convolution on channels and samples."""
    start, end = cells.flatten(0, 1).unbind(1)
    margin = extension * (end - start)
    rows = []
    for b in range(len(x)):
        rois = torch.stack([torch.full_like(start, b), start - margin, end + margin], dim=1)
        aligned = [
            align_1d(x, rois, bins=module.inner),
            align_1d(context, rois, bins=module.context),
        ]
        rows.append(torch.cat(aligned, dim=2).flatten(1))  # [cells, C * samples]
    grid = torch.stack(rows).unflatten(1, cells.shape[:2]).permute(0, 3, 1, 2)
    return F.relu(module.mix(grid))


@pytest.mark.parametrize("half_cast", [False, True])
def test_mixing_first_equals_aligning_first(half_cast):
    cells = proposal_cells(9, 6)
    module = SubGraphFeatures(
        cells, width=4, out_width=3, inner=5, context=2, extension=0.25, half_cast=half_cast
    )
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 2, 4, 9, generator=generator).unbind(0)
    inputs = [t.half().float() if half_cast else t for t in (x, context)]
    expected = align_then_mix(module, cells, *inputs, extension=0.25)
    torch.testing.assert_close(module(x, context), expected)


def test_half_cast_rounds_gradients_too():
    cells = proposal_cells(5, 3)
    module = SubGraphFeatures(
        cells, width=4, out_width=3, inner=2, context=1, extension=0.5, half_cast=True
    )
    x = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    module(x, torch.zeros(1, 4, 5)).sum().backward()
    assert x.grad.any()
    torch.testing.assert_close(x.grad, x.grad.half().float(), atol=0, rtol=0)
