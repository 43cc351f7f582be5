import pytest
import torch
from torch.nn import functional as F

from video_adapt.detection import SGP
from video_adapt.detection.sgp import SGPBlock
from video_adapt.errors import ConfigurationError

WIDTH = 32


def make(stride=1, drop_path=0.1, **settings):
    torch.manual_seed(0)
    block = SGPBlock(
        SGP(expansion=1.5, mlp_width=8, init_std=1.0, **settings),
        WIDTH,
        window=3,
        stride=stride,
        drop_path=drop_path,
    )
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    return block.eval()


def slow_block(w, x, mask):
    """By the paper, channels first, from our weights by name."""

    def conv(name, y):
        kernel = w[f"{name}.weight"]
        pad = kernel.shape[2] // 2
        return F.conv1d(y, kernel, w[f"{name}.bias"], padding=pad, groups=WIDTH)

    x = x.transpose(1, 2)
    y = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    y = y * w["norm.weight"][:, None] + w["norm.bias"][:, None]
    phi = conv("instant_gate", y.mean(2, keepdim=True)).relu()
    mixed = conv("instant", y) * phi
    mixed = mixed + (conv("window", y) + conv("wide_window", y)) * conv("gate", y) + y
    x = x * mask[:, None] + mixed * w["mix_scale.scale"][:, None]
    groups = x.unflatten(1, (16, -1)).flatten(2)
    mean, variance = groups.mean(2, keepdim=True), groups.var(2, unbiased=False, keepdim=True)
    z = ((groups - mean) / (variance + 1e-5).sqrt()).view_as(x)
    z = (z * w["mlp_norm.weight"][:, None] + w["mlp_norm.bias"][:, None]).transpose(1, 2)
    z = F.gelu(F.linear(z, w["up.weight"], w["up.bias"]))
    return x.transpose(1, 2) + F.linear(z, w["down.weight"], w["down.bias"]) * w["mlp_scale.scale"]


def test_block_by_the_paper():
    block = make()
    x, mask = torch.randn(2, 9, WIDTH), torch.arange(9).expand(2, -1) < 7
    expected = slow_block(block.state_dict(), x, mask)
    torch.testing.assert_close(block(x, mask), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_strided_block_pools_first(pool):
    block = make(stride=2, pool=pool)
    x, mask = torch.randn(1, 8, WIDTH), torch.ones(1, 4, dtype=torch.bool)
    pooled = F.max_pool1d(x.transpose(1, 2), 3, 2, 1).transpose(1, 2)
    if pool == "mean":
        means = (x[:, ::2] + x[:, 1::2]) / 2
        pooled = F.linear(means, block.pool.linear.weight, block.pool.linear.bias)
    expected = slow_block(block.state_dict(), pooled, mask)
    torch.testing.assert_close(block(x, mask), expected, atol=1e-4, rtol=1e-4)


def test_the_wider_window_is_odd():
    assert [SGP(expansion=5).wide_window(w) for w in (1, 3)] == [11, 21]
    assert [SGP(expansion=1.5).wide_window(w) for w in (1, 3)] == [3, 7]


def test_kernels_start_with_the_stated_spread():
    block = SGPBlock(SGP(), WIDTH, window=1, stride=1, drop_path=0.0)
    kernels = (block.gate, block.instant, block.instant_gate, block.window, block.wide_window)
    assert not any(kernel.weight.any() for kernel in kernels)


@pytest.mark.parametrize("windows", [(1, 3), 2, -1])
def test_windows_are_odd_and_one_per_level(windows):
    with pytest.raises(ConfigurationError, match="for 3 levels"):
        SGP(windows=windows).window_per_level(3)
    assert SGP(windows=3).window_per_level(2) == [3, 3]
