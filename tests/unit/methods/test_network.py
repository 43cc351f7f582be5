import pytest
import torch
from torch import nn

from tests.unit.methods import reference
from video_adapt.methods.dual_encoder import BranchSpec, DiSTNetwork
from video_adapt.methods.dual_encoder.pooling import QueryAttention
from video_adapt.methods.dual_encoder.units import frugal

UNUSUAL = BranchSpec(
    integration_dim=12,
    temporal_dim=6,
    heads=2,
    pooling_layers=3,
    stem_kernel=3,
    temporal_kernel=5,
    temporal_ratio=2,
    integration_ratio=1.5,
    integration_temporal_ratio=0.5,
)


def build(spec=UNUSUAL, *, layers=2, frames=6, ratio=3):
    torch.manual_seed(0)
    network = DiSTNetwork(
        spec,
        width=10,
        embed_dim=7,
        patch_size=2,
        num_layers=layers,
        num_frames=frames,
        frame_ratio=ratio,
    )
    with torch.no_grad():  # biases and norms begin so that a mistake in them would not show
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def inputs(network, *, clips=2, frames=6, ratio=3, rows=3, columns=4):
    video = torch.randn(clips, frames, 3, 2 * rows, 2 * columns)
    shape = clips, frames // ratio, 1 + rows * columns, 10
    return video, [torch.randn(shape) for _ in network.input_linears]


def grads(network):
    return {name: p.grad for name, p in network.named_parameters()}


@pytest.mark.parametrize(("layers", "frames", "ratio"), [(2, 6, 3), (1, 4, 1), (3, 4, 4)], ids=str)
def test_the_network_is_what_the_paper_says(layers, frames, ratio):
    network = build(layers=layers, frames=frames, ratio=ratio)
    video, features = inputs(network, frames=frames, ratio=ratio)
    mine = network(video, features)
    mine.square().sum().backward()
    found = grads(network)
    network.zero_grad()
    weights = dict(network.named_parameters())
    theirs = reference.network(weights, video, features, patch=2, ratio=ratio, heads=2)
    theirs.square().sum().backward()
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    for name, grad in grads(network).items():
        torch.testing.assert_close(found[name], grad, rtol=1e-3, atol=1e-4, msg=name)


def test_cheap_steps_are_computed_again_and_layers_are_not():
    layer, cheap, dear = nn.Linear(4, 4), [], []
    x = torch.randn(3, 4, requires_grad=True)

    def step(x):
        cheap.append(x.exp())
        dear.append(layer(cheap[-1]))
        return dear[-1]

    frugal(step, x).sum().backward()
    assert (len(cheap), len(dear)) == (2, 1)
    torch.testing.assert_close(x.grad, layer.weight.sum(0) * x.detach().exp())


def test_one_query_needs_no_projected_tokens():
    mine = QueryAttention(12, heads=3)
    nn.init.normal_(mine.in_proj.bias)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": mine.in_proj.weight,
            "in_proj_bias": mine.in_proj.bias,
            "out_proj.weight": mine.out_proj.weight,
            "out_proj.bias": mine.out_proj.bias,
        }
    )
    query, tokens = torch.randn(2, 5, 12), torch.randn(2, 5, 9, 12)
    expected, _ = theirs(query.flatten(0, 1)[:, None], *2 * [tokens.flatten(0, 1)])
    torch.testing.assert_close(mine(query, tokens).flatten(0, 1), expected[:, 0])


VITB16 = {"width": 768, "embed_dim": 512, "patch_size": 16, "num_layers": 12}
VITL14 = {"width": 1024, "embed_dim": 768, "patch_size": 14, "num_layers": 24}


@pytest.mark.parametrize(
    ("tower", "frames", "rounds", "millions"),
    [
        (VITB16, 16, 2, 19.00),
        (VITB16, 16, 4, 26.11),
        (VITB16, 32, 2, 19.04),
        (VITB16, 64, 4, 26.25),
        (VITL14, 64, 2, 32.75),
        (VITL14, 64, 4, 39.87),
    ],
)
def test_released_models_have_the_published_number_of_weights(tower, frames, rounds, millions):
    with torch.device("meta"):
        network = DiSTNetwork(BranchSpec(pooling_layers=rounds), **tower, num_frames=frames)
    discarded = 384 * 96 + 96  # the exchange behind the last layer, which ours does not have
    count = sum(p.numel() for p in network.parameters()) + discarded
    assert round(count / 1e6, 2) == millions


def test_it_starts_small_but_nowhere_at_zero():
    torch.manual_seed(0)
    network = DiSTNetwork(
        BranchSpec(), width=64, embed_dim=32, patch_size=4, num_layers=2, num_frames=4
    )
    for name, parameter in network.named_parameters():
        if "norm" in name:
            expected = 0.0 if name.endswith("bias") else 1.0
            assert (parameter == expected).all(), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        elif name.endswith("in_proj.weight"):
            bound = (6 / (4 * 384)) ** 0.5  # Xavier, uniform
            assert 0.99 * bound < parameter.abs().max() <= bound, name
        else:
            expected = 384**-0.5 if name == "projection.weight" else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.15), name


def test_every_frame_of_the_temporal_stream_matters():
    network = build()
    video, features = inputs(network)
    start = network(video, features)
    for frame in range(video.shape[1]):
        changed = video.clone()
        changed[:, frame] += 1
        assert not torch.allclose(network(changed, features), start), frame
