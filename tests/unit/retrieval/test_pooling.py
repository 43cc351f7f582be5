import pytest
import torch
from torch.nn import functional as F

from video_adapt.retrieval import AttentivePooling, MeanPooling, masked_mean, masked_softmax


def sample(b=3, t=5, d=8):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(b, t, d, generator=generator)
    mask = torch.ones(b, t, dtype=torch.bool)
    mask[1, 3:] = False
    return frames, mask


def attentive(**settings):
    torch.manual_seed(0)
    pooling = AttentivePooling(8, **settings)
    torch.nn.init.normal_(pooling.hidden.weight)
    torch.nn.init.normal_(pooling.score.weight)
    return pooling


def test_a_softmax_among_real_places_equals_that_of_the_short_row():
    logits = torch.randn(2, 4)
    shares = masked_softmax(logits, torch.tensor([[True] * 4, [True, True, False, False]]))
    torch.testing.assert_close(shares[0], logits[0].softmax(0))
    torch.testing.assert_close(shares[1, :2], logits[1, :2].softmax(0))
    assert shares[1, 2:].tolist() == [0, 0]


def test_a_softmax_without_real_places_stays_finite_backwards_too():
    logits = torch.randn(1, 4, requires_grad=True)
    masked_softmax(logits, torch.zeros(1, 4, dtype=torch.bool)).square().sum().backward()
    assert logits.grad.isfinite().all()


def test_a_mean_is_that_of_the_real_frames():
    frames, mask = sample()
    mean = masked_mean(frames, mask)
    torch.testing.assert_close(mean[0], frames[0].mean(dim=0))
    torch.testing.assert_close(mean[1], frames[1, :3].mean(dim=0))


def test_a_mean_of_nothing_is_zero():
    frames, mask = sample()
    assert not masked_mean(frames, mask & False).any()


def test_mean_pooling_normalises_every_frame_first():
    frames, mask = sample()
    long = frames.clone()
    long[0, 2] *= 100
    pooled = MeanPooling()(frames, mask)
    torch.testing.assert_close(MeanPooling()(long, mask).vector, pooled.vector)
    torch.testing.assert_close(pooled.vector[1], F.normalize(frames[1, :3], dim=-1).mean(0))
    torch.testing.assert_close(pooled.weights[1], torch.tensor([1, 1, 1, 0, 0]) / 3)
    assert pooled.logits is None


def test_attentive_pooling_in_words():
    frames, mask = sample()
    pooling = attentive(temperature=0.2)
    pooled = pooling(frames, mask)
    for i in range(len(frames)):
        real = frames[i, mask[i]]
        logits = [pooling.score(torch.relu(pooling.hidden(frame))).item() for frame in real]
        shares = (torch.tensor(logits) / 0.2).softmax(0)
        vector = sum(
            share * frame / frame.norm() for share, frame in zip(shares, real, strict=True)
        )
        torch.testing.assert_close(pooled.vector[i], vector)
        torch.testing.assert_close(pooled.weights[i, : len(real)], shares)
        torch.testing.assert_close(pooled.logits[i, : len(real)], torch.tensor(logits))


def test_masked_attentive_pooling_does_not_see_padding():
    frames, mask = sample()
    other = frames.masked_fill(~mask.unsqueeze(-1), 7.0)
    pooling = attentive()
    torch.testing.assert_close(pooling(other, mask).vector, pooling(frames, mask).vector)
    assert not pooling(frames, mask).weights[~mask].any()


def test_the_published_attentive_pooling_gives_padding_a_share():
    frames, mask = sample()
    pooled = attentive(masked=False)(frames, mask)
    assert pooled.weights[~mask].min() > 0
    torch.testing.assert_close(pooled.weights, (pooled.logits / 0.1).softmax(dim=-1))


@pytest.mark.parametrize("masked", [True, False])
def test_new_attentive_pooling_weights_frames_nearly_the_same(masked):
    torch.manual_seed(0)
    pooling = AttentivePooling(8, masked=masked)
    frames, _ = sample()
    weights = pooling(frames, torch.ones(3, 5, dtype=torch.bool)).weights
    torch.testing.assert_close(weights, torch.full((3, 5), 0.2), atol=0.01, rtol=0)
    assert not pooling.hidden.bias.any()
    assert not pooling.score.bias.any()
