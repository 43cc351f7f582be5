import pytest
import torch
from torch.nn import functional as F

from video_adapt.detection.attention import ConvAttention, full_attention, window_attention


def slow_attention(q, k, v, mask, side):
    """One query at a time; None for a side that sees all."""
    out = torch.zeros_like(q)
    b, h, s, e = q.shape
    for i in range(b):
        for t in range(s):
            keys = [j for j in range(s) if mask[i, j] and (side is None or abs(j - t) <= side)]
            for head in range(h):
                scores = k[i, head, keys] @ q[i, head, t] / e**0.5
                out[i, head, t] = scores.softmax(0) @ v[i, head, keys]
    return out


def sample(s=23, e=4, valid=17):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, s, e)
    mask = torch.ones(2, s, dtype=torch.bool)
    mask[1, valid:] = False
    return q, k, v * mask[:, None, :, None], mask


def test_full_attention_sees_every_valid_key():
    q, k, v, mask = sample()
    torch.testing.assert_close(full_attention(q, k, v, mask), slow_attention(q, k, v, mask, None))


@pytest.mark.parametrize("window", [1, 2, 3, 5, 9, 40, 200])
@pytest.mark.parametrize("length", [1, 23, 64, 70])
def test_window_attention_sees_the_valid_keys_around_a_query(window, length):
    q, k, v, mask = sample(length, valid=max(length - 6, 1))
    out = window_attention(q, k, v, mask, window=window).transpose(1, 2)
    expected = slow_attention(q, k, v, mask, window // 2).transpose(1, 2)
    torch.testing.assert_close(out[mask], expected[mask])


@pytest.mark.parametrize("window", [None, 3])
def test_no_softmax_is_left_without_keys(monkeypatch, window):
    masks = []
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, k, v, attn_mask: masks.append(attn_mask) or q
    )
    attention = ConvAttention(8, heads=2, stride=1, window=window)
    attention(torch.randn(2, 10, 8), torch.arange(10)[None] < torch.tensor([[0], [4]]))
    assert masks[0].any(dim=-1).all()


@pytest.mark.parametrize("window", [None, 3])
def test_a_window_without_valid_positions_gives_zeros_and_finite_gradients(window):
    torch.manual_seed(0)
    attention = ConvAttention(8, heads=2, stride=1, window=window)
    x = torch.randn(2, 10, 8, requires_grad=True)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[0] = False
    out = attention(x, mask)
    assert not out[0].any()
    assert out[1].any()
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in attention.parameters())


def test_strided_attention_halves_the_level():
    attention = ConvAttention(8, heads=2, stride=2, window=None)
    assert attention(torch.randn(1, 12, 8), torch.ones(1, 6, dtype=torch.bool)).shape == (1, 6, 8)


def test_window_attention_keeps_nothing_that_grows_with_the_square_of_the_length():
    def largest_saved(length):
        q, k, v, mask = sample(length, valid=length)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()), id):
            window_attention(q.requires_grad_(), k, v, mask, window=9)
        return max(sizes)

    assert largest_saved(1024) == 4 * largest_saved(256)
