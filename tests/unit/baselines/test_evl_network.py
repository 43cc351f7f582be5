import itertools
import math

import pytest
import torch
from torch import nn

from video_adapt.backbones.base import Features
from video_adapt.baselines.evl import EVLNetwork, TemporalCrossAttention
from video_adapt.baselines.evl.cross_attention import relative_offsets
from video_adapt.baselines.evl.network import QueryAttention
from video_adapt.errors import ConfigurationError

GRID, WIDTH, HEADS, FRAMES = (2, 3), 8, 2, 3


def randomise(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def network(**settings):
    defaults = {
        "width": WIDTH,
        "num_frames": FRAMES,
        "grid": GRID,
        "layers": 2,
        "inner_width": 6,
        "heads": 3,
    }
    return EVLNetwork(**(defaults | settings))


def features(frames=FRAMES, clips=2, blocks=(4, 5)):
    torch.manual_seed(1)
    tokens = {b: torch.randn(clips, frames, 7, WIDTH) for b in blocks}
    heads = (clips, frames, 7, HEADS, WIDTH // HEADS)
    pairs = {b: (torch.randn(heads), torch.randn(heads)) for b in blocks}
    last = tokens[max(blocks)]
    return Features(last[:, :, 0], last[:, :, 0], last, tokens, pairs)


def test_offsets_number_every_displacement_of_the_grid():
    h, w = GRID
    places = list(itertools.product(range(h), range(w)))
    expected = [
        [(i - k + h - 1) * (2 * w - 1) + (j - m + w - 1) for k, m in places] for i, j in places
    ]
    assert relative_offsets(GRID).tolist() == expected


def test_cross_attention_equals_its_definition():
    module = randomise(TemporalCrossAttention(WIDTH, GRID))
    queries, keys = features().queries_keys[4]
    offset = relative_offsets(GRID)
    expected = torch.zeros(2, FRAMES, 7, WIDTH)
    for t, (step, table) in itertools.product(
        range(FRAMES), [(-1, module.previous), (1, module.next)]
    ):
        if not 0 <= t + step < FRAMES:
            continue
        for clip, p in itertools.product(range(2), range(6)):
            logits = torch.einsum("hd,khd->hk", queries[clip, t, 1 + p], keys[clip, t + step, 1:])
            attention = (logits / math.sqrt(WIDTH // HEADS)).softmax(-1).mean(0)
            expected[clip, t, 1 + p] += attention @ table[offset[p]]
    torch.testing.assert_close(module(queries, keys), expected)


def test_recomputing_in_training_changes_neither_values_nor_gradients():
    module = randomise(TemporalCrossAttention(WIDTH, GRID))
    queries, keys = features().queries_keys[4]
    found = []
    for training in (True, False):
        output = module.train(training)(queries, keys)
        found.append((output, *torch.autograd.grad(output.square().sum(), module.parameters())))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_a_single_frame_has_no_neighbour():
    module = randomise(TemporalCrossAttention(WIDTH, GRID))
    queries, keys = features(frames=1).queries_keys[4]
    assert torch.equal(module(queries, keys), torch.zeros(2, 1, 7, WIDTH))


def test_query_attention_equals_multi_head_attention():
    module = randomise(QueryAttention(WIDTH, WIDTH, HEADS))
    plain = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    projections = (module.q_proj, module.k_proj, module.v_proj)
    with torch.no_grad():
        plain.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        plain.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        plain.out_proj.load_state_dict(module.out_proj.state_dict())
    queries, tokens = torch.randn(2, 3, WIDTH), torch.randn(2, 11, WIDTH)
    expected, _ = plain(queries, tokens, tokens)
    torch.testing.assert_close(module(queries, tokens), expected)


def test_time_and_motion_start_at_nothing():
    layer = network().layers[0]
    nn.init.zeros_(layer.conv.weight)
    nn.init.zeros_(layer.conv.bias)
    given = features()
    assert torch.equal(layer.add_time(given.tokens, given.queries_keys[5]), given.tokens)


def test_blocks_are_read_oldest_first():
    module = randomise(network())
    given = features()
    reversed_dicts = given._replace(
        blocks=dict(reversed(given.blocks.items())),
        queries_keys=dict(reversed(given.queries_keys.items())),
    )
    assert torch.equal(module(given), module(reversed_dicts))
    swapped = given._replace(blocks={4: given.blocks[5], 5: given.blocks[4]})
    assert not torch.allclose(module(given), module(swapped))


def test_the_order_of_frames_matters():
    module = randomise(network())
    given = features()
    backwards = given._replace(
        blocks={k: v.flip(1) for k, v in given.blocks.items()},
        queries_keys={k: (q.flip(1), v.flip(1)) for k, (q, v) in given.queries_keys.items()},
    )
    assert not torch.allclose(module(given), module(backwards))


def test_every_parameter_gets_a_gradient():
    module = network(num_queries=2)
    module(features()).square().sum().backward()
    assert [k for k, p in module.named_parameters() if p.grad is None] == []


def test_several_queries_start_apart():
    query = network(num_queries=2).query
    assert not torch.equal(query[0], query[1])


def test_without_temporal_modules_only_the_time_embedding_knows_order():
    module = randomise(network(layers=1, temporal_conv=False, cross_attention=False))
    given = features(blocks=(5,))._replace(queries_keys={})
    backwards = given._replace(blocks={5: given.blocks[5].flip(1)})
    assert not torch.allclose(module(given), module(backwards))
    nn.init.zeros_(module.layers[0].time)
    torch.testing.assert_close(module(given), module(backwards))


def test_another_number_of_frames_is_refused():
    with pytest.raises(ConfigurationError, match=r"clips have 2 frames, .* built for 3"):
        network()(features(frames=2))
