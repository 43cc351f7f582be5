import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.fakes import FakeBackbone, FakeMethod
from video_adapt.adapters import TIA, STAdapter, TIABlockAdapter, inject, tia_keys
from video_adapt.backbones import CLIP
from video_adapt.checkpoints import convert_keys
from video_adapt.errors import ConfigurationError

STEPS, GRID, WIDTH, NARROW = 5, (2, 3), 8, 4
CLIP_CONFIG = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "layers": 3, "head_width": 8},
    "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 8, "layers": 1, "heads": 1},
}


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2 * STEPS, 6, WIDTH, generator=generator).double()


def adapter(*, kernel=3, random=True):
    torch.manual_seed(1)
    module = TIABlockAdapter(WIDTH, NARROW, kernel).double()
    if random:
        for parameter in module.parameters():
            nn.init.normal_(parameter)
    return module


def slow(module, tokens):
    """Equations 3 to 5 of the paper, place by place, with the video's time steps in a row."""
    hidden = F.gelu(module.down(tokens))
    rows = hidden.unflatten(0, (-1, STEPS)).permute(0, 2, 3, 1).flatten(0, 1)  # [B*N, R, S]
    kernel = module.depthwise.weight
    moved = F.conv1d(
        rows, kernel, module.depthwise.bias, padding=kernel.shape[-1] // 2, groups=NARROW
    )
    moved = F.conv1d(moved, module.pointwise.weight.unsqueeze(-1), module.pointwise.bias)
    moved = moved.unflatten(0, (-1, 6)).permute(0, 3, 1, 2).flatten(0, 1)
    return tokens + module.gamma * module.up(hidden + moved)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_equals_the_formula_with_gradients(tokens, kernel):
    module = adapter(kernel=kernel)
    mine = module.after_mlp(tokens, num_frames=STEPS, grid=GRID)
    torch.testing.assert_close(mine, slow(module, tokens))
    parameters = list(module.parameters())
    fast = torch.autograd.grad(mine.square().sum(), parameters)
    plain = torch.autograd.grad(slow(module, tokens).square().sum(), parameters)
    torch.testing.assert_close(fast, plain)


def test_is_an_identity_at_the_start(tokens):
    module = adapter(random=False)
    assert torch.equal(module.after_mlp(tokens, num_frames=STEPS, grid=GRID), tokens)


def test_a_mean_over_places_may_be_taken_behind_the_activation(tokens):
    module = adapter()
    late = module.edit(tokens, num_frames=STEPS).mean(1)
    hidden = module.squeeze(tokens).mean(1, keepdim=True)
    early = module.expand(module.mix(hidden, num_frames=STEPS)).squeeze(1)
    torch.testing.assert_close(early, late)


def test_a_step_sees_its_neighbours_of_the_same_place_and_video(tokens):
    module = adapter()
    changed = tokens.clone()
    changed[STEPS - 1, 2] += 1  # the last step of the first video
    before, after = (module.edit(x, num_frames=STEPS) for x in (tokens, changed))
    moved = (before != after).any(-1).nonzero().tolist()
    assert moved == [[STEPS - 2, 2], [STEPS - 1, 2]]


def test_starts_with_the_published_spread():
    torch.manual_seed(0)
    module = TIABlockAdapter(1024, 256, 3)
    assert module.down.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert module.depthwise.weight.std().item() == pytest.approx((2 / 3) ** 0.5, rel=0.1)
    assert module.pointwise.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert module.gamma.item() == 1
    layers = (module.down, module.depthwise, module.pointwise, module.up)
    assert not any(layer.bias.any() for layer in layers)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"last_blocks": 2}, [2, 3]),
        ({"blocks": [2, 0]}, [0, 2]),
    ],
)
def test_the_chosen_blocks_are_adapted(settings, expected):
    backbone = FakeBackbone(depth=4)
    inject(backbone, TIA(**settings))
    assert [int(block) for block in backbone.adapters] == expected
    assert backbone.adapters[str(expected[0])].down.out_features == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": 2}, "kernel=2 must be odd"),
        ({"ratio": 0}, "ratio=0 must be positive"),
        ({"last_blocks": 1, "blocks": [0]}, "give one of them"),
        ({"last_blocks": 4}, "last_blocks=4, but fake has 3 blocks; give 1 to 3"),
        ({"blocks": [3, 1]}, r"blocks=\[3\] do not exist, fake has blocks 0 to 2"),
        ({"ratio": 0.01}, "ratio=0.01 leaves no channel of the 8 of fake; give at least 0.125"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        inject(FakeBackbone(depth=3), TIA(**settings))


@pytest.fixture
def clip():
    torch.manual_seed(0)
    backbone = CLIP.from_config(CLIP_CONFIG).eval().requires_grad_(False)
    inject(backbone, TIA(blocks=[0, 2]))
    for parameter in backbone.adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    return backbone


def test_an_image_model_gets_time_from_it(clip):
    video = torch.randn(2, STEPS, 3, 8, 8)
    changed = video.clone()
    changed[0, 0] += 1
    moved = (clip.sequence(video) - clip.sequence(changed)).abs().amax(-1) > 1e-6
    # Two adapters of three steps each reach two steps further.
    assert moved.tolist() == [[True, True, True, False, False], [False] * 5]


def test_beside_an_image_model_it_adds_to_the_last_adapted_block(clip):
    video = torch.randn(2, STEPS, 3, 8, 8)
    clip.beside = True
    adapters = clip.adapters
    with torch.no_grad():
        mine = clip(video).tokens
        clip.adapters = nn.ModuleDict()
        plain = clip(video, blocks=(0, 2)).blocks
    edits = [
        adapters[str(block)].edit(plain[block].flatten(0, 1), num_frames=STEPS) for block in (0, 2)
    ]
    torch.testing.assert_close(mine, plain[2] + sum(edits).unflatten(0, (2, STEPS)))


def test_keys_of_published_files_lead_to_the_adapters():
    names = ["down_proj.bias", "conv.weight", "gamma"]
    shapes = {name: torch.zeros(2, 2, 1) for name in names}
    inside = {f"module.backbone.model.backbone.blocks.4.adapter.{k}": v for k, v in shapes.items()}
    beside = {
        f"module.backbone.model.backbone.ladders.adapters.1.{k}": v for k, v in shapes.items()
    }
    for published in (inside, beside):
        state = convert_keys(published, tia_keys([3, 4], prefix="backbone."))
        assert {k: list(v.shape) for k, v in state.items()} == {
            "backbone.adapters.4.down.bias": [2, 2, 1],
            "backbone.adapters.4.pointwise.weight": [2, 2],
            "backbone.adapters.4.gamma": [2, 2, 1],
        }


def test_tuning_says_where_it_stands():
    inside, beside = FakeBackbone(), FakeBackbone()
    for backbone in (inside, beside):
        inject(backbone, TIA())
    assert not FakeMethod(inside, tuning="adapter").backbone.beside
    method = FakeMethod(beside, tuning="side")
    assert method.backbone.beside
    trained = {name for name, p in method.backbone.named_parameters() if p.requires_grad}
    assert trained == {f"adapters.{name}" for name, _ in beside.adapters.named_parameters()}


def test_only_what_can_stand_beside_a_block_may():
    backbone = FakeBackbone()
    inject(backbone, STAdapter(width=2))
    with pytest.raises(ConfigurationError, match=r"tuning=side wants .* set adapter: TIA"):
        FakeMethod(backbone, tuning="side")
    with pytest.raises(ConfigurationError, match="tuning=side with 0 adapter weights"):
        FakeMethod(FakeBackbone(), tuning="side")
