import pytest
import torch
from torch.nn import functional as F

from video_adapt.detection.convolutions import (
    MaskedConv,
    ScaledResidual,
    TimeConv,
    depthwise,
    linear,
    max_pool,
    residual_scale,
)


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [(3, 1, 1), (3, 2, 6), (11, 1, 6), (1, 1, 6)]
)
def test_time_conv_is_a_convolution_over_the_second_axis(kernel, stride, groups):
    torch.manual_seed(0)
    conv = TimeConv(6, 6, kernel=kernel, stride=stride, groups=groups)
    conv.bias.data.normal_()
    x = torch.randn(2, 12, 6)
    expected = F.conv1d(
        x.transpose(1, 2),
        conv.weight,
        conv.bias,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
    )
    torch.testing.assert_close(conv(x), expected.transpose(1, 2))


def test_biases_start_at_zero_or_are_absent():
    assert not TimeConv(2, 3, kernel=1).bias.any()
    assert not linear(2, 3).bias.any()
    assert depthwise(2, kernel=3, bias=False).bias is None


def test_masked_conv_norms_valid_positions_and_leaves_zeros_elsewhere():
    torch.manual_seed(0)
    unit = MaskedConv(3, 4, kernel=3)
    x, mask = torch.randn(1, 5, 3), torch.tensor([[True, True, True, False, False]])
    unit.norm.bias.data.fill_(0.5)
    y = unit(x, mask)
    assert not y[~mask].any()
    valid = unit.conv(x)[mask]
    mean, variance = valid.mean(-1, keepdim=True), valid.var(-1, unbiased=False, keepdim=True)
    expected = ((valid - mean) / (variance + 1e-6).sqrt() + 0.5).clamp(min=0)
    torch.testing.assert_close(y[mask], expected)


def test_max_pool_takes_the_largest_of_three_neighbours():
    x = torch.tensor([5.0, -1, -2, 7, -3, -4]).reshape(1, 6, 1)
    assert max_pool(x).flatten().tolist() == [5, 7, 7]
    assert max_pool(-x).flatten().tolist() == [1, 2, 4]


def test_a_dropped_branch_is_missing_from_whole_samples_and_stronger_in_the_others():
    torch.manual_seed(0)
    branch = ScaledResidual(3, drop_path=0.25, initial=0.5)
    x = torch.ones(400, 2, 3)
    kept = branch(x)
    first = kept[:, :1, :1]
    assert torch.equal(kept, first.expand_as(kept))
    assert first.unique().tolist() == pytest.approx([0, 0.5 / 0.75])
    assert 0.2 < (first == 0).float().mean() < 0.3
    assert branch.eval()(x).unique().item() == 0.5


def test_a_branch_that_is_never_dropped_has_no_scale():
    assert not list(residual_scale(3, 0.0).parameters())
    assert residual_scale(3, 0.1).scale.tolist() == pytest.approx([1e-4] * 3)
