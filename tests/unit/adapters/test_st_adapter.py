import pytest
import torch
from torch import nn
from torch.nn import functional as F

from video_adapt.adapters import STAdapter, STBottleneck
from video_adapt.errors import ConfigurationError

FRAMES, GRID, WIDTH = 3, (2, 3), 5


@pytest.fixture
def tokens():
    return torch.randn(
        2 * FRAMES, 1 + 6, WIDTH, generator=torch.Generator().manual_seed(0)
    ).double()


def bottleneck(kernel=(3, 1, 1), *, random=True):
    torch.manual_seed(1)
    module = STBottleneck(WIDTH, 4, kernel).double()
    if random:
        for parameter in module.parameters():
            nn.init.normal_(parameter)
    return module


def apply(module, tokens):
    return module(tokens, num_frames=FRAMES, grid=GRID)


def slow(module, tokens):
    """The formula, with an ordinary 3-D convolution over a contiguous volume."""
    hidden = module.fc1(tokens[:, 1:]).reshape(2, FRAMES, *GRID, 4).permute(0, 4, 1, 2, 3)
    padding = [side // 2 for side in module.conv.kernel_size]
    mixed = F.conv3d(
        hidden.contiguous(), module.conv.weight, module.conv.bias, padding=padding, groups=4
    )
    edit = module.fc2(mixed.permute(0, 2, 3, 4, 1).reshape(2 * FRAMES, 6, 4))
    return torch.cat([tokens[:, :1], tokens[:, 1:] + edit], dim=1)


@pytest.mark.parametrize("kernel", [(3, 1, 1), (5, 1, 1), (3, 3, 3), (1, 3, 1)])
def test_equals_the_formula_with_gradients(tokens, kernel):
    module = bottleneck(kernel)
    torch.testing.assert_close(apply(module, tokens), slow(module, tokens))
    fast = torch.autograd.grad(apply(module, tokens).square().sum(), list(module.parameters()))
    plain = torch.autograd.grad(slow(module, tokens).square().sum(), list(module.parameters()))
    torch.testing.assert_close(fast, plain)


def test_is_an_identity_at_the_start(tokens):
    assert torch.equal(apply(bottleneck(random=False), tokens), tokens)


def test_the_class_token_passes_untouched(tokens):
    edited = apply(bottleneck(), tokens)
    assert torch.equal(edited[:, 0], tokens[:, 0])
    assert not torch.equal(edited[:, 1:], tokens[:, 1:])


def test_clips_do_not_see_each_other(tokens):
    module = bottleneck()
    changed = tokens.clone()
    changed[FRAMES:] += 1
    assert torch.equal(apply(module, changed)[:FRAMES], apply(module, tokens)[:FRAMES])


def test_a_frame_sees_its_neighbours_only(tokens):
    module = bottleneck()
    changed = tokens.clone()
    changed[0] += 1
    moved = (apply(module, changed) != apply(module, tokens)).flatten(1).any(1)
    assert moved.tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("kernel", [(2, 1, 1), (3, 1, 0), (3, 2, 1)])
def test_even_kernels_are_refused(kernel):
    with pytest.raises(ConfigurationError, match="must hold odd numbers"):
        STAdapter(kernel=kernel)


def test_no_site_is_refused():
    with pytest.raises(ConfigurationError, match="enable before_attention, before_mlp or both"):
        STAdapter(before_mlp=False)
