import pytest
import torch
from torch import nn
from torch.nn import functional as F

from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import ResidualBlock, TemporalLSTM, TemporalTransformer, Transformer


def sample(b=3, t=5, d=8):
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(b, t, dtype=torch.bool)
    mask[1, 3:] = False
    return torch.randn(b, t, d, generator=generator), mask


def transformer(**settings):
    torch.manual_seed(0)
    return TemporalTransformer(8, **({"layers": 2, "heads": 2, "positions": 7} | settings))


def slow_block(block, tokens, keys):
    """One block by torch's own attention, with the released code's additive mask."""
    normed = F.layer_norm(tokens, (8,), block.ln_1.weight, block.ln_1.bias, 1e-12)
    additive = torch.where(keys, 0.0, -1e6).repeat_interleave(block.attn.num_heads, 0)
    additive = additive[:, None].expand(-1, tokens.shape[1], -1)
    mixed = block.attn(normed, normed, normed, attn_mask=additive, need_weights=False)[0]
    tokens = tokens + mixed
    normed = F.layer_norm(tokens, (8,), block.ln_2.weight, block.ln_2.bias, 1e-12)
    hidden = block.mlp.c_fc(normed)
    return tokens + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))


def test_a_block_in_words():
    tokens, mask = sample()
    torch.manual_seed(0)
    block = ResidualBlock(8, heads=2)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    torch.testing.assert_close(block(tokens, mask), slow_block(block, tokens, mask))


def test_small_differences_between_tokens_survive_the_norm():
    block = ResidualBlock(8, heads=2)
    tokens = 1e-4 * torch.randn(1, 3, 8)
    torch.testing.assert_close(
        block.ln_1(tokens).std(dim=-1, correction=0), torch.ones(1, 3), atol=1e-3, rtol=0
    )


def test_frames_know_their_place_and_keep_themselves():
    frames, mask = sample()
    temporal = transformer()
    seen = temporal(frames, mask) - frames
    torch.testing.assert_close(
        seen, temporal.transformer(frames + temporal.positions.weight[:5], mask)
    )


def test_real_frames_do_not_see_padding():
    frames, mask = sample()
    other = frames.masked_fill(~mask.unsqueeze(-1), 7.0)
    temporal = transformer()
    torch.testing.assert_close(temporal(other, mask)[mask], temporal(frames, mask)[mask])


def test_a_video_of_nothing_but_padding_stays_finite():
    frames, mask = sample()
    mask[0] = False
    seen = transformer()(frames, mask)
    seen.sum().backward()
    assert seen.isfinite().all()


def test_more_frames_than_positions_are_refused():
    with pytest.raises(ConfigurationError, match="9 frames, but the temporal transformer knows 7"):
        transformer()(*sample(t=9))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigurationError, match="3 attention heads do not divide a width of 8"):
        Transformer(8, layers=1, heads=3)


def test_an_lstm_reads_each_video_alone():
    frames, mask = sample()
    torch.manual_seed(0)
    temporal = TemporalLSTM(8)
    seen = temporal(frames, mask)
    for i, length in enumerate(mask.sum(dim=1).tolist()):
        alone = temporal.lstm(frames[i : i + 1, :length])[0][0]
        torch.testing.assert_close(seen[i, :length], frames[i, :length] + alone)
        torch.testing.assert_close(seen[i, length:], frames[i, length:])


def test_an_lstm_survives_a_video_without_a_frame():
    frames, mask = sample()
    mask[2] = False
    assert TemporalLSTM(8)(frames, mask).isfinite().all()
